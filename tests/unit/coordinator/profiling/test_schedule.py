"""Probes are sent where they disturb least, and ended once they tell enough."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circinus.messages import (
    Artifact,
    CancelProbe,
    ProbeAccuracy,
    ProbeLink,
    ProbeOperators,
)
from circinus_coordinator.profiling import Needs, OperatorKey, Send, relative_half_width
from circinus_coordinator.profiling.summary import Summary, Take

sys.path.insert(0, str(Path(__file__).parent))
from probing import SETTINGS, Bench, device, query, wanted

STEADY = [10.0, 10.1, 9.9, 10.0]
NOISY = [1.0, 30.0, 2.0, 40.0]


def kinds(orders: list[Send]) -> list[type]:
    return [type(order.command) for order in orders]


def test_each_class_is_measured_on_one_of_its_devices() -> None:
    bench = Bench("pi1 pi2 dc")
    assert sorted(o.device for o in bench.want(wanted(devices="pi1 pi2 dc"))) == ["dc", "pi1"]


def test_a_device_that_serves_nothing_is_preferred() -> None:
    bench = Bench()
    bench.devices = {"pi1": device("pi1", busy=True), "pi2": device("pi2")}
    bench.online()
    (order,) = bench.want(wanted(devices="pi1 pi2"))
    assert order.device == "pi2"


def test_a_device_unlike_its_class_measures_for_it_only_where_no_other_can() -> None:
    bench = Bench()
    bench.devices = {"pi1": device("pi1", apart=True), "pi2": device("pi2", busy=True)}
    bench.online()
    (order,) = bench.want(wanted(devices="pi1 pi2"))
    assert order.device == "pi2"
    bench = Bench()
    bench.devices = {"pi1": device("pi1", apart=True)}
    bench.online()
    (order,) = bench.want(wanted(devices="pi1"))
    assert order.device == "pi1"


def test_a_probe_is_bound_to_the_session_it_is_sent_to() -> None:
    bench = Bench("pi1")
    bench.devices = {"pi1": device("pi1", session=7)}
    bench.online()
    (order,) = bench.want(wanted(devices="pi1"))
    assert (order.command.boot_id, order.command.session) == ("pi1-boot", 7)


def test_a_probe_carries_the_operators_upstream_and_the_files() -> None:
    file = Artifact(sha256="0" * 64, size_bytes=1, url="http://x")
    bench = Bench("dc")
    needs = wanted(devices="dc", placements={"q": [("b", "dc")]}, artifacts=(file,))
    (order,) = bench.want(needs)
    assert isinstance(order.command, ProbeOperators)
    assert [step.name for step in order.command.steps] == ["a", "b"]
    assert order.command.artifacts == [file]
    assert {target.operator for target in order.command.targets} == {"b"}


def test_a_device_does_one_probe_at_a_time() -> None:
    bench = Bench("dc")
    orders = bench.want(wanted(devices="dc", queries=[query(accuracy=0.5)]))
    assert kinds(orders) == [ProbeOperators]
    assert kinds(bench.answer(orders[0])) == [ProbeAccuracy]


def test_accuracy_is_scored_on_the_outermost_device() -> None:
    bench = Bench()
    bench.want(wanted(queries=[query(accuracy=0.5)]))
    bench.finish()
    assert {o.device for o in bench.sent if isinstance(o.command, ProbeAccuracy)} == {"dc"}


def test_accuracy_comes_in_chunks() -> None:
    bench = Bench(accuracy_chunk=1)
    bench.want(wanted(queries=[query(accuracy=0.5)]))
    bench.finish()
    assert kinds(bench.sent).count(ProbeAccuracy) == 2


def test_a_link_is_measured_while_both_ends_are_idle() -> None:
    bench = Bench()
    orders = bench.want(wanted(links=True))
    assert kinds(orders) == [ProbeLink]
    assert sorted(o.device for o in bench.answer(orders[0])) == ["dc", "pi1"]


def test_the_number_of_probes_at_a_time_can_be_limited() -> None:
    bench = Bench(max_parallel=1)
    assert len(bench.want(wanted())) == 1


def test_a_target_is_ended_once_its_mean_is_precise_enough() -> None:
    bench = Bench("pi1")
    (order,) = bench.want(wanted(devices="pi1"))
    (cancel,) = bench.samples(order, 1, latency_ms=STEADY)
    assert isinstance(cancel.command, CancelProbe)
    assert (cancel.command.probe, cancel.command.targets) == (order.command.request_id, [1])
    assert len(bench.kept) == 1


def test_a_target_goes_on_while_it_is_noisy() -> None:
    bench = Bench("pi1")
    (order,) = bench.want(wanted(devices="pi1"))
    assert bench.samples(order, latency_ms=NOISY) == []
    assert bench.kept == []


def test_a_target_ends_at_the_largest_number_of_samples() -> None:
    bench = Bench("pi1")
    (order,) = bench.want(wanted(devices="pi1"))
    bench.samples(order, latency_ms=NOISY)
    assert kinds(bench.samples(order, latency_ms=NOISY)) == [CancelProbe]


def test_no_target_ends_before_the_least_number_of_samples() -> None:
    bench = Bench("pi1")
    (order,) = bench.want(wanted(devices="pi1"))
    assert bench.samples(order, latency_ms=STEADY[:3]) == []


def test_what_the_device_closes_is_kept_with_the_samples_it_has() -> None:
    bench = Bench("pi1")
    (order,) = bench.want(wanted(devices="pi1"))
    bench.samples(order, latency_ms=NOISY[:2], done=True, cause="budget used up")
    (kept,) = bench.kept
    assert (kept.summary.samples, kept.summary.cause) == (2, None)


@pytest.mark.parametrize("figure", [-1.0, 1e300, float("inf"), float("nan")])
def test_what_no_probe_can_have_measured_is_left_out(figure: float) -> None:
    bench = Bench("pi1")
    (order,) = bench.want(wanted(devices="pi1"))
    bench.samples(
        order, latency_ms=[*STEADY, figure, figure], compute_s=[figure], output_bytes=[figure],
        price_usd=[figure], memory_mb=figure, scores=[figure], rtt_ms=[figure],
        bandwidth_mbps=[figure],
    )  # fmt: skip
    (kept,) = bench.kept
    takes = [Take(samples=len(STEADY), time_s=0.0, device="pi1")]
    assert kept.summary == Summary(latency_ms=STEADY, takes=takes, done=True)


def test_scores_are_no_samples_of_an_operator() -> None:
    bench = Bench("pi1", attempts=1)
    (order,) = bench.want(wanted(devices="pi1"))
    bench.samples(order, scores=[1.0], rtt_ms=[1.0], done=True)
    (kept,) = bench.kept
    assert kept.summary.cause == "no samples came"


def test_an_absurd_figure_that_was_kept_is_measured_again() -> None:
    first = Bench("pi1")
    first.want(wanted(devices="pi1"))
    first.finish()
    rows = first.profiler.results()
    spoilt = next(key for key in rows if isinstance(key, OperatorKey))
    rows[spoilt].latency_ms = [1e308, 1e308]
    again = Bench("pi1")
    again.profiler.restore(rows)
    (order,) = again.want(wanted(devices="pi1"))
    assert isinstance(order.command, ProbeOperators)
    assert [target.operator for target in order.command.targets] == [spoilt.operator]


def test_samples_for_another_probe_are_ignored() -> None:
    bench = Bench("pi1")
    (order,) = bench.want(wanted(devices="pi1"))
    stranger = Send(device="dc", command=order.command)
    bench.samples(stranger, latency_ms=STEADY)
    bench.samples(order, 99, latency_ms=STEADY)
    assert bench.kept == []


def test_what_is_measured_is_not_measured_again() -> None:
    bench = Bench()
    bench.want(wanted())
    bench.finish()
    sent = len(bench.sent)
    bench.want(wanted(queries=[query("q"), query("r")]))
    assert len(bench.sent) == sent


def test_restored_measurements_are_not_repeated() -> None:
    first = Bench()
    first.want(wanted())
    first.finish()
    again = Bench()
    again.profiler.restore(first.profiler.results())
    assert again.want(wanted()) == []
    assert again.profiler.missing("q") == set()


def test_a_new_session_gets_what_is_missing_again() -> None:
    bench = Bench("pi1")
    (order,) = bench.want(wanted(devices="pi1"))
    bench.samples(order, 0, latency_ms=STEADY)
    bench.devices = {"pi1": device("pi1", session=2)}
    (again,) = bench.online()
    assert isinstance(again.command, ProbeOperators)
    assert len(again.command.targets) == 4


def test_samples_taken_before_the_session_ended_still_count() -> None:
    bench = Bench("pi1")
    (order,) = bench.want(wanted(devices="pi1"))
    bench.samples(order, 0, latency_ms=STEADY[:3])
    bench.devices = {"pi1": device("pi1", session=2)}
    (again,) = bench.online()
    assert kinds(bench.samples(again, 0, latency_ms=STEADY[3:])) == [CancelProbe]


def test_another_device_of_the_class_takes_over() -> None:
    bench = Bench("pi1 pi2")
    bench.want(wanted(devices="pi1 pi2"))
    del bench.devices["pi1"]
    assert [o.device for o in bench.online()] == ["pi2"]


def test_a_failed_target_is_tried_again_and_then_given_up_with_its_cause() -> None:
    bench = Bench("pi1")
    (first,) = bench.want(wanted(devices="pi1"))
    (second,) = bench.result(first, error="no module m")
    assert bench.profiler.missing("q")
    assert bench.result(second, error="no module m") == []
    assert bench.profiler.missing("q") == set()
    assert {kept.summary.cause for kept in bench.kept} == {"no module m"}


def scoring(**changes: Any) -> tuple[Bench, Send]:
    """A bench at its first accuracy probe."""
    bench = Bench("dc", **changes)
    (order,) = bench.want(wanted(devices="dc", queries=[query(accuracy=0.5)]))
    (order,) = bench.answer(order)
    assert isinstance(order.command, ProbeAccuracy)
    bench.kept.clear()
    return bench, order


def test_scoring_that_was_cut_off_early_goes_on_after_the_last_input() -> None:
    bench, order = scoring()
    bench.samples(order, 0, scores=[1.0], first=0)
    bench.samples(order, 0, done=True, cause="budget used up")
    assert bench.kept == []
    assert [kept.summary.scores for kept in bench.unfinished] == [[1.0]]
    bench.samples(order, 1, scores=[1.0], done=True)
    (again,) = bench.result(order)
    assert isinstance(again.command, ProbeAccuracy)
    assert [target.first for target in again.command.targets] == [1]
    bench.samples(again, 0, scores=[0.5], first=1, done=True)
    assert [kept.summary.scores for kept in bench.kept] == [[1.0], [1.0, 0.5]]
    assert [kept.summary.cause for kept in bench.kept] == [None, None]


def test_another_device_goes_on_where_the_first_was_cut_off() -> None:
    bench, order = scoring()
    bench.samples(order, 0, scores=[1.0, 0.0], first=0)
    bench.devices = {"dc2": device("dc2")}
    (over,) = bench.online()
    assert isinstance(over.command, ProbeAccuracy)
    assert [target.first for target in over.command.targets] == [2, 0]
    bench.samples(over, 0, scores=[0.5], first=2, done=True)
    (kept,) = bench.kept
    assert kept.summary.scores == [1.0, 0.0, 0.5]
    assert [(t.device, t.samples) for t in kept.summary.takes] == [("dc", 2), ("dc2", 1)]


def test_an_agent_that_begins_anew_adds_only_what_was_not_scored_yet() -> None:
    bench, order = scoring()
    bench.samples(order, 0, scores=[1.0, 0.0])
    bench.samples(order, 0, done=True, cause="budget used up")
    (again,) = bench.result(order)
    bench.samples(again, 0, scores=[1.0])
    bench.samples(again, 0, scores=[0.0, 0.5], done=True)
    (kept,) = bench.kept
    assert kept.summary.scores == [1.0, 0.0, 0.5]


def test_a_score_that_is_always_cut_off_is_given_up_with_its_cause() -> None:
    bench, order = scoring(accuracy_chunk=1, attempts=2)
    for scored in (9, 10):
        bench.samples(order, 0, scores=[1.0] * scored, done=True, cause="budget used up")
        (order,) = bench.result(order)
    (kept,) = bench.kept
    assert (kept.summary.cause, kept.summary.scores) == ("budget used up", [1.0] * 10)


@pytest.mark.parametrize(("scored", "wanted"), [(20, 100), (3, 3)])
def test_a_score_that_was_cut_off_late_is_used(scored: int, wanted: int) -> None:
    bench, order = scoring(accuracy_samples=wanted)
    bench.samples(order, 0, scores=[1.0] * scored, done=True, cause="budget used up")
    (kept,) = bench.kept
    assert (kept.summary.cause, kept.summary.samples) == (None, scored)


def test_a_probe_that_fails_amid_scoring_counts_as_failed() -> None:
    bench, order = scoring(attempts=1)
    bench.samples(order, 0, scores=[1.0])
    bench.result(order, error="out of memory")
    assert [kept.summary.cause for kept in bench.kept] == ["out of memory"] * 2


def test_scores_of_a_session_that_ended_are_not_counted_twice() -> None:
    bench, order = scoring(attempts=1)
    bench.samples(order, 0, scores=[1.0, 0.5])
    bench.devices = {}
    bench.online()
    bench.devices = {"dc": device("dc", session=2)}
    (again,) = bench.online()
    bench.samples(again, 0, scores=[1.0], done=True)
    (kept,) = bench.kept
    assert kept.summary.scores == [1.0, 0.5]


def test_scores_of_a_probe_nobody_needed_any_more_are_not_counted_twice() -> None:
    bench, order = scoring()
    bench.samples(order, 0, scores=[1.0, 0.5])
    bench.want(wanted(devices="dc", queries=[]))
    (again,) = bench.want(wanted(devices="dc", queries=[query(accuracy=0.5)]))
    bench.samples(again, 0, scores=[1.0], done=True)
    (kept,) = bench.kept
    assert kept.summary.scores == [1.0, 0.5]


def test_another_device_that_took_over_keeps_its_scores() -> None:
    bench, _ = scoring(attempts=1)
    bench.devices = {"dc2": device("dc2")}
    (over,) = bench.online()
    bench.samples(over, 0, scores=[0.5])
    bench.devices["dc"] = device("dc", boot="second")
    bench.online()
    bench.samples(over, 0, scores=[1.0], done=True)
    (kept,) = bench.kept
    assert kept.summary.scores == [0.5, 1.0]


def test_a_device_that_is_started_anew_at_every_scoring_is_given_up() -> None:
    bench, _ = scoring(attempts=2)
    for boot in ("second", "third"):
        assert not bench.kept
        bench.devices = {}
        bench.online()
        bench.devices = {"dc": device("dc", boot=boot)}
        sent = bench.online()
    assert sent == []
    assert {kept.summary.cause for kept in bench.kept} == {"the device was started anew"}


def test_what_was_given_up_is_tried_again_by_another_incarnation() -> None:
    bench = Bench("pi1")
    (first,) = bench.want(wanted(devices="pi1"))
    (second,) = bench.result(first, error="x")
    bench.result(second, error="x")
    bench.devices = {"pi1": device("pi1", boot="new")}
    assert len(bench.online()) == 1


def test_a_probe_that_never_answers_is_cancelled_and_counts_as_failed() -> None:
    bench = Bench("pi1")
    (order,) = bench.want(wanted(devices="pi1"))
    orders = bench.wait(order.command.budget_s + 5)  # type: ignore[union-attr]
    assert kinds(orders) == [CancelProbe, ProbeOperators]


def test_probes_nobody_needs_any_more_are_cancelled() -> None:
    bench = Bench("pi1")
    bench.want(wanted(devices="pi1"))
    assert kinds(bench.want(wanted(queries=[]))) == [CancelProbe]


def test_progress_counts_targets_and_names_what_runs() -> None:
    bench = Bench("pi1")
    (order,) = bench.want(wanted(devices="pi1"))
    bench.samples(order, 0, latency_ms=STEADY)
    done, total, (row,) = bench.profiler.progress()
    assert (done, total) == (1, 5)
    assert (row.device, row.running) == ("pi1", "p: operators")


def test_requests_have_ids_of_their_own() -> None:
    bench = Bench()
    bench.want(wanted(links=True, queries=[query(accuracy=0.5)]))
    bench.finish()
    ids = [order.command.request_id for order in bench.sent]
    assert len(ids) == len(set(ids))


def test_the_half_width_shrinks_with_the_root_of_the_samples() -> None:
    few, many = [9.0, 11.0] * 10, [9.0, 11.0] * 1000
    ratio = relative_half_width(few) / relative_half_width(many)
    assert 9.5 < ratio < 10.5


steps = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), st.integers(0, 20)),
        st.tuples(st.just("fail"), st.integers(0, 20)),
        st.tuples(st.just("partial"), st.integers(0, 20)),
        st.tuples(st.just("online"), st.integers(0, 7)),
        st.tuples(st.just("session"), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.sampled_from([1, 1000])),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(steps)
def test_whatever_happens_everything_is_measured_in_the_end(events: list[tuple[str, int]]) -> None:
    names = ["pi1", "pi2", "dc"]
    bench = Bench("pi1 pi2 dc", attempts=1000)
    bench.want(wanted(devices="pi1 pi2 dc", links=True, queries=[query(accuracy=0.5)]))
    for kind, value in events:
        if kind == "online":
            there = [name for i, name in enumerate(names) if value >> i & 1]
            bench.devices = {name: device(name) for name in there}
            bench.online()
        elif kind == "session":
            bench.devices[names[value]] = device(names[value], session=value + 2)
            bench.online()
        elif kind == "wait":
            bench.wait(value)
        else:
            order = bench.sent[value % len(bench.sent)]
            if kind == "answer":
                bench.answer(order)
            elif kind == "fail":
                bench.result(order, error="x")
            else:
                bench.samples(order, latency_ms=STEADY)
        running = [probe.device.id for probe in bench.profiler._running]
        assert len(running) == len(set(running))
    bench.devices = {name: device(name, session=99) for name in names}
    bench.online()
    bench.finish()
    assert bench.profiler.missing("q") == set()
    assert all(kept.summary.cause is None for kept in bench.kept)


def _extra(device: str = "pi1") -> OperatorKey:
    keys = wanted(devices="pi1").keys
    key = next(key for key in keys if isinstance(key, OperatorKey) and key.operator == "a")
    return dataclasses.replace(key, device_class=f"pi@{device}")


def test_what_is_wanted_of_one_device_is_measured_there_and_keeps_nobody_waiting() -> None:
    bench = Bench("pi1 pi2")
    needs = wanted(devices="pi1 pi2")
    bench.want(needs)
    bench.finish()
    bench.sent.clear()
    key = _extra("pi2")
    (order,) = bench.want(dataclasses.replace(needs, extra={key: 7}))
    assert isinstance(order.command, ProbeOperators)
    assert (order.device, order.command.min_samples, order.command.max_samples) == ("pi2", 7, 7)
    assert bench.profiler.missing("q") == set()
    bench.samples(order, latency_ms=[1.0] * 6)
    assert bench.profiler.summary(key) is None
    bench.samples(order, latency_ms=[1.0])
    assert bench.profiler.summary(key) is not None
    assert bench.profiler.measured_by(key) == {"pi2"}


def _measured_alone() -> tuple[Bench, Needs, OperatorKey]:
    """A device that was measured beside its class."""
    bench, needs, key = Bench("pi1"), wanted(devices="pi1"), _extra()
    bench.want(needs)
    bench.finish()
    needs = dataclasses.replace(needs, extra={key: 4})
    (order,) = bench.want(needs)
    bench.samples(order, latency_ms=[1.0] * 4)
    bench.result(order)
    return bench, needs, key


def test_what_is_measured_anew_holds_until_there_is_better() -> None:
    bench, _, key = _measured_alone()
    (order,) = bench.take(bench.profiler.stale([key], bench.now))
    bench.samples(order, latency_ms=[9.0])
    assert bench.profiler.results()[key].latency_ms == [1.0] * 4
    bench.kept.clear()
    bench.samples(order, latency_ms=[9.0] * 3)
    assert bench.profiler.results()[key].latency_ms == [9.0] * 4
    assert [order.summary.latency_ms for order in bench.kept] == [[9.0] * 4]


def test_what_cannot_be_measured_anew_goes_on_holding() -> None:
    bench, _, key = _measured_alone()
    bench.kept.clear()
    orders = bench.take(bench.profiler.stale([key], bench.now))
    for _ in range(SETTINGS.attempts):
        (order,) = orders
        orders = bench.result(order, "it broke")
    assert orders == []
    found = bench.profiler.summary(key)
    assert found is not None
    assert found.latency_ms == [1.0] * 4
    assert bench.kept == []


def test_what_is_forgotten_is_measured_again() -> None:
    bench, needs, key = _measured_alone()
    bench.profiler.forget("pi", before_s=1.0)
    assert bench.profiler.summary(key) is not None
    bench.profiler.forget("pi@pi1", before_s=-1.0)
    assert bench.profiler.summary(key) is not None
    bench.profiler.forget("pi@pi1")
    assert bench.profiler.summary(key) is None
    assert len(bench.want(needs)) == 1
