"""Decisions reach the devices in steps, or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circinus.messages import DesiredBody, InstanceReport, Route
from circinus_coordinator.fleet import Failed, Moved, Publish, Settled, Snapshot, Stage, compose

sys.path.insert(0, str(Path(__file__).parent))
from rollout_bench import Bench, dial, route, target

OLD, NEW = route("q", "ab", config=1), route("q", "ac", config=2)


@pytest.fixture
def serving() -> Bench:
    """A bench that serves OLD."""
    bench = Bench()
    bench.decide("first", target(OLD))
    bench.finish()
    bench.log.clear()
    return bench


def test_new_routes_are_prepared_inactive_beside_the_old_ones(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    assert serving.plans("a") == {"qab1": True, "qac2": False}


def test_old_instances_stay_while_new_ones_are_prepared(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    assert len(serving.wire["a"].body.instances) == 2


def test_the_switch_waits_for_every_device_that_will_serve(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.converge("a")
    assert serving.plans("a")["qac2"] is False
    serving.converge("c")
    assert serving.plans("a") == {"qab1": False, "qac2": True}


def test_old_routes_stay_for_requests_on_their_way_until_drained(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.converge("ac")
    serving.converge("abc")
    assert "qab1" in serving.plans("a")
    serving.wait(1.0)
    assert serving.plans("a") == {"qac2": True}


def test_a_device_that_is_let_go_gets_an_empty_document(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.finish()
    assert serving.wire["b"].body == DesiredBody()


def test_a_decision_that_settled_is_told(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.finish()
    assert serving.log[-1] == Settled(decision="second")


def test_a_first_decision_needs_no_draining() -> None:
    bench = Bench()
    bench.decide("first", target(OLD))
    bench.converge("ab")
    bench.converge("ab")
    assert bench.log[-1] == Settled(decision="first")


def test_the_same_decision_again_publishes_nothing(serving: Bench) -> None:
    serving.decide("again", target(OLD))
    assert serving.log == [Settled(decision="again")]


def test_a_device_whose_document_does_not_change_gets_no_new_version(serving: Bench) -> None:
    serving.decide("second", target(OLD, route("r", "c")))
    serving.finish()
    published = {o.desired.device for o in serving.log if isinstance(o, Publish)}
    assert published == {"c"}


def test_a_new_share_of_the_same_plan_takes_effect_at_the_switch(serving: Bench) -> None:
    serving.decide("second", target(route("q", "ab", config=1, share=0.5)))
    serving.finish()
    assert serving.wire["a"].body.routes[0].share == 0.5


def test_shared_instances_get_the_most_replicas_while_both_plans_are_there(serving: Bench) -> None:
    serving.decide("second", target(route("q", "ab", config=1, replicas=3)))
    serving.finish()
    assert serving.wire["b"].body.instances[0].replicas == 3


def test_a_preparation_that_fails_puts_the_old_documents_back_everywhere(serving: Bench) -> None:
    before = {device: serving.wire[device].body for device in "ab"}
    serving.decide("second", target(NEW))
    serving.report("c", "failed", error="no such model")
    assert {device: serving.wire[device].body for device in "ab"} == before
    assert serving.wire["c"].body == DesiredBody()


def test_a_failed_decision_is_told_with_its_cause(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.report("c", "failed", error="no such model")
    assert Failed(decision="second", cause="c: no such model", queries=("q",)) in serving.log


def test_an_instance_that_fails_takes_back_only_the_queries_that_use_it() -> None:
    bench = Bench()
    bad, sound = route("q", "ac", config=1), route("r", "ab", config=2)
    bench.decide("first", target(bad, sound))
    broken = InstanceReport(state="failed", cause="no such model")
    bench.report("a", "failed", instances={bad.instances["a"][0].key: broken}, error="boom")
    bench.finish()
    assert bench.plans("a") == {"rab2": True}
    assert (bench.rollout.failed("q"), bench.rollout.failed("r")) == ("a: boom", None)


def test_a_device_that_is_late_takes_back_only_the_queries_that_need_it() -> None:
    bench = Bench()
    bench.decide("first", target(route("q", "ac"), route("r", "ab")))
    bench.converge("ab")
    bench.wait(60)
    bench.finish("ab")
    assert bench.plans("a") == {"rab0": True}


def test_the_same_decision_once_more_brings_back_what_had_failed(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.report("c", "failed", error="no such model")
    serving.decide("second", target(NEW))
    serving.finish()
    assert serving.plans("a") == {"qac2": True}


def test_what_was_taken_back_is_not_reported_as_settled(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.report("c", "failed", error="x")
    serving.finish()
    assert not [order for order in serving.log if isinstance(order, Settled)]


def test_a_failure_during_the_switch_is_taken_back_too(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.converge("ac")
    serving.report("a", "failed", error="x")
    assert serving.plans("a") == {"qab1": True}


def test_a_refused_document_is_a_failure(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.report("c", "idle", version=0, hash="", refused="hash does not match")
    assert any(isinstance(order, Failed) for order in serving.log)


def test_a_device_that_knows_a_later_version_gets_a_still_later_one(serving: Bench) -> None:
    serving.report("a", "converged", version=41, hash="x", refused="older than applied")
    assert serving.wire["a"].version == 42


def test_a_failure_of_an_earlier_document_is_ignored(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.report("a", "failed", version=1, hash="x")
    assert not any(isinstance(order, Failed) for order in serving.log)


def test_a_failure_while_nothing_changes_takes_nothing_back(serving: Bench) -> None:
    serving.report("a", "failed", error="x")
    assert serving.log == []


def test_a_step_that_takes_too_long_has_failed(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.converge("a")
    serving.wait(60)
    (failed,) = [order for order in serving.log if isinstance(order, Failed)]
    assert failed.cause == "c: not ready within 60 s"


def test_a_newer_decision_replaces_a_stuck_one(serving: Bench) -> None:
    serving.decide("stuck", target(NEW))
    serving.decide("third", target(route("q", "b", config=3)))
    assert serving.plans("a") == {"qab1": True}
    serving.finish()
    assert serving.plans("b") == {"qb3": True}


def test_a_newer_decision_starts_from_what_was_switched_on(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.converge("ac")
    serving.decide("third", target(route("q", "b", config=3)))
    assert serving.plans("a") == {"qac2": True}


def test_a_query_that_needs_an_absent_device_holds_up_nobody_else() -> None:
    bench = Bench("ab")
    bench.decide("first", target(route("q", "ac"), route("r", "ab")))
    bench.finish("ab")
    assert bench.plans("a") == {"qac0": False, "rab0": True}


def test_the_retained_document_waits_for_the_absent_device() -> None:
    bench = Bench("ab")
    bench.decide("first", target(route("q", "ac")))
    bench.finish("ab")
    bench.online("abc")
    bench.finish("abc")
    assert bench.plans("a") == {"qac0": True}


def test_time_spent_waiting_for_an_absent_device_does_not_count() -> None:
    bench = Bench("ab")
    bench.decide("first", target(route("q", "ac")))
    bench.wait(1000)
    bench.online("abc")
    bench.wait(59)
    assert not any(isinstance(order, Failed) for order in bench.log)


def test_a_lost_device_does_not_keep_its_old_routes_alive(serving: Bench) -> None:
    serving.online("ac")
    serving.decide("second", target(NEW))
    serving.finish("ac")
    assert serving.plans("a") == {"qac2": True}


def test_a_report_of_an_earlier_incarnation_does_not_count(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.report("c", boot_id="before")
    serving.converge("a")
    assert serving.plans("a")["qac2"] is False


def test_a_withdrawn_query_is_switched_off_and_removed(serving: Bench) -> None:
    serving.decide("second", {})
    assert serving.plans("a") == {"qab1": False}
    serving.finish()
    assert serving.plans("a") == {}


def test_peers_are_the_neighbours_and_the_lead_with_everyone() -> None:
    bodies = compose([(route("q", "abc"), True)], dial)
    assert {p.device: p.url for p in bodies["a"].peers} == {"b": "ws://b", "c": "ws://c"}
    assert {p.device: p.url for p in bodies["b"].peers} == {"a": None, "c": "ws://c"}


def test_devices_learn_that_a_peer_is_reached_elsewhere(serving: Bench) -> None:
    def moved(a: str, b: str):  # type: ignore[no-untyped-def]
        caller, peer = dial(a, b)
        return caller, msgspec.structs.replace(peer, url="ws://elsewhere")

    orders = serving.rollout.on_devices(serving.boots, moved, 0)
    assert [o.desired.device for o in orders if isinstance(o, Publish)] == ["a"]


def test_a_query_tells_whom_it_waits_for(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.converge("a")
    assert serving.rollout.waiting_for("q") == ["c"]


def restarted(bench: Bench) -> Bench:
    """The same over a restart: only what is written down is left."""
    written = msgspec.json.encode(bench.rollout.snapshot)
    again = Bench(snapshot=msgspec.json.decode(written, type=Snapshot), now=bench.now)
    again.boots = bench.boots
    return again


def test_a_restart_in_peace_publishes_nothing(serving: Bench) -> None:
    assert restarted(serving).log == []


@pytest.mark.parametrize("steps", range(4))
def test_a_restart_at_any_step_goes_on_to_the_end(serving: Bench, steps: int) -> None:
    serving.decide("second", target(NEW))
    for _ in range(steps):
        serving.converge("abc")
    again = restarted(serving)
    again.finish()
    assert again.plans("a") == {"qac2": True}


def test_moves_are_told_once_per_stage(serving: Bench) -> None:
    serving.decide("second", target(NEW))
    serving.finish()
    stages = [order.stage for order in serving.log if isinstance(order, Moved)]
    assert stages == [Stage.PREPARE, Stage.SWITCH, Stage.DRAIN, None]


wishes = st.dictionaries(
    st.sampled_from("qr"),
    st.tuples(st.sampled_from(["a", "ab", "abc", "ac", "b", "cb"]), st.integers(0, 2)),
    max_size=2,
)
events = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), wishes),
        st.tuples(st.just("report"), st.sampled_from("abc")),
        st.tuples(st.just("fail"), st.sampled_from("abc")),
        st.tuples(st.just("online"), st.sampled_from(["abc", "ab", "a", ""])),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 30.0])),
        st.tuples(st.just("restart"), st.none()),
    ),
    max_size=25,
)


def traffic(bench: Bench) -> list[Route]:
    """Routes whose lead is told to send requests along."""
    documents = bench.wire.values()
    return [r for d in documents for r in d.body.routes if r.active and r.lead == d.device]


@settings(deadline=None)
@given(events)
def test_whatever_happens_the_rollout_stays_sound(steps: list[tuple[str, object]]) -> None:
    """Versions only grow; routes take traffic only where all that is online has prepared them;
    and once everybody is there and converges, the last good wish is what is served.
    """
    bench = Bench()
    prepared: dict[str, set[str]] = {}
    for i, (kind, value) in enumerate(steps):
        if kind == "decide":
            wanted = [route(q, d, config=c) for q, (d, c) in value.items()]  # type: ignore[attr-defined]
            bench.decide(f"d{i}", target(*wanted))
        elif kind in ("report", "fail") and value in bench.wire:
            phase = "converged" if kind == "report" else "failed"
            if kind == "report":
                prepared.setdefault(str(value), set()).update(bench.plans(str(value)))
            bench.report(str(value), phase)
        elif kind == "online":
            bench.online(str(value))
        elif kind == "wait":
            bench.wait(float(value))  # type: ignore[arg-type]
        elif kind == "restart":
            bench = restarted(bench)
        for found in traffic(bench):
            for step in found.steps:
                assert found.plan in prepared.get(step.device, set())
    bench.online("abc")
    bench.finish()
    wanted = compose(
        [(p, True) for routes in bench.rollout.serving().values() for p in routes], dial
    )
    assert not bench.rollout.snapshot.stages
    for device, desired in bench.wire.items():
        assert desired.body == wanted.get(device, DesiredBody())
