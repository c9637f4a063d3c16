"""The front door: effort, seeds, previous decisions, and scenarios at the edge."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from circinus.decision import encode_decision
from circinus.errors import InvalidInput
from circinus.fleet import Device
from circinus.scenario import Scenario
from circinus_coordinator.planning import MaxIterations, MaxSeconds, plan
from circinus_coordinator.planning.catalogue import Catalogue

CLASSES = {
    "small": {"cores": 2, "memory_mb": 1000},
    "large": {"cores": 10, "memory_mb": 1e4, "price_usd_hour": 36, "billing": "machine"},
}


def test_an_empty_scenario_has_an_empty_decision() -> None:
    decision = plan(Scenario())
    assert (decision.goodput_rps, decision.bound_rps, decision.gap) == (0, 0, 0)
    assert decision.assignments == ()
    assert decision.certified


def test_an_unknown_planner_is_bad_input() -> None:
    with pytest.raises(InvalidInput, match="unknown planner 'x'"):
        plan(Scenario(), planner="x")


def test_a_query_without_requests_is_served_and_adds_nothing(build, profile) -> None:
    decision = plan(build(profiles=[profile("a", "small", 5)], query={"rate_rps": 0}))
    assert [a.share for a in decision.assignments] == [1]
    assert decision.goodput_rps == 0
    assert decision.deployment.total == 0


def test_a_machine_without_cores_runs_nothing(build, profile) -> None:
    classes = {"small": {"cores": 0, "memory_mb": 100}, "middle": {"cores": 0, "memory_mb": 100},
               "large": {"cores": 0, "memory_mb": 100}}  # fmt: skip
    decision = plan(build(device_classes=classes, profiles=[profile("a", "small", 5)]))
    assert decision.bound_rps == 0
    assert len(decision.rejected) == 1


def test_the_clock_is_read_for_the_report_only(build, profile) -> None:
    scenario = build(profiles=[profile("a", "small", 5)])
    ticks = itertools.count()
    timed = plan(scenario, clock=lambda: float(next(ticks)))
    assert sum(timed.seconds.values()) > 0
    untimed = plan(scenario)
    assert set(untimed.seconds.values()) == {0.0}
    assert dataclasses.replace(timed, seconds={}) == dataclasses.replace(untimed, seconds={})


def test_a_time_limit_ends_the_rounds(build, profile) -> None:
    queries = [
        {"id": f"q{i}", "pipeline": "p", "source": "pi", "rate_rps": 10, "splittable": False}
        for i in range(3)
    ]
    scenario = build(profiles=[profile("a", "small", 100)], queries=queries)
    ticks = itertools.count()

    def clock() -> float:
        assert next(ticks) < 50, "the limit of three seconds is long over"
        return float(next(ticks))

    assert plan(scenario, effort=MaxSeconds(3), clock=clock).assignments


def test_a_previous_plan_is_kept_among_equals(build, profile) -> None:
    twins = [{"id": "pi", "class": "small", "tier": "device"}] + [
        {"id": f"box{i}", "class": "middle", "tier": "edge"} for i in range(4)
    ]
    scenario = build(devices=twins, profiles=[profile("a", "middle", 5)])
    first = plan(scenario)
    for name in ("box3", "box1"):
        moved = dataclasses.replace(
            first.assignments[0],
            plan={"a": dataclasses.replace(first.assignments[0].plan["a"], device=name)},
        )
        again = plan(scenario, previous=dataclasses.replace(first, assignments=(moved,)))
        assert again.assignments[0].plan["a"].device == name


def test_a_previous_plan_that_no_longer_holds_is_dropped(build, profile) -> None:
    first = plan(build(profiles=[profile("a", "middle", 5)]))
    gone = build(profiles=[profile("a", "small", 5)])
    assert plan(gone, previous=first).assignments[0].plan["a"].device == "pi"
    fleet = build(profiles=[profile("a", "small", 5)])
    smaller = dataclasses.replace(fleet, devices=tuple(d for d in fleet.devices if d.id != "box"))
    assert plan(smaller, previous=first).assignments[0].plan["a"].device == "pi"


def test_equal_machines_share_the_load(build, profile) -> None:
    twins = [{"id": "pi", "class": "small", "tier": "device"}] + [
        {"id": f"box{i}", "class": "middle", "tier": "edge"} for i in range(3)
    ]
    scenario = build(
        devices=twins, profiles=[profile("a", "middle", 100)], query={"rate_rps": 30}, links=[
            {"between": ["device", "edge"], "rtt_ms": 1, "bandwidth_mbps": 1000}],
    )  # fmt: skip
    decision = plan(scenario)  # 32/s on each
    assert len(decision.assignments) == 1
    crowd = dataclasses.replace(
        scenario, queries=(dataclasses.replace(scenario.queries[0], rate_rps=90),)
    )
    assert plan(crowd).goodput_rps == pytest.approx(90)
    assert len({a.plan["a"].device for a in plan(crowd).assignments}) == 3


def test_interchangeable_machines_are_told_apart_no_more_than_needed(build, profile) -> None:
    boxes = [Device(id=f"box{i}", device_class="middle", tier="edge") for i in range(300)]
    many = (Device(id="pi", device_class="small", tier="device"), *boxes)
    scenario = dataclasses.replace(build(profiles=[profile("a", "middle", 1)]), devices=many)
    programme = Catalogue(scenario).programme(scenario.queries[0], slots=2)
    assert len(programme.devices) == 3


def test_a_machine_is_not_rented_for_what_fits_elsewhere(build, profile) -> None:
    scenario = build(
        device_classes={**CLASSES, "middle": CLASSES["large"]},
        profiles=[profile("a", "middle", 10), profile("a", "large", 10)],
        queries=[
            {"id": f"q{i}", "pipeline": "p", "source": s, "rate_rps": 1}
            for i, s in enumerate(("pi", "pi", "pi"))
        ],
    )
    decision = plan(scenario)
    assert len(decision.assignments) == 3
    assert decision.deployment.machines == 36
    assert len(decision.open_devices) == 1


def test_more_valuable_queries_come_first(build, profile) -> None:
    queries = [
        {"id": f"q{w}", "pipeline": "p", "source": "pi", "rate_rps": 10, "weight": w,
         "splittable": False}
        for w in (1, 3, 2)
    ]  # fmt: skip
    decision = plan(build(profiles=[profile("a", "small", 100)], queries=queries))
    assert [a.query for a in decision.assignments] == ["q3"]
    assert decision.goodput_rps == 30


def test_the_seed_stands_in_the_decision_and_repeats_it(build, profile) -> None:
    queries = [
        {"id": f"q{i}", "pipeline": "p", "source": "pi", "rate_rps": 3, "splittable": False}
        for i in range(9)
    ]
    scenario = build(profiles=[profile("a", "small", 100)], queries=queries)
    first, second = (plan(scenario, seed=7, effort=MaxIterations(5)) for _ in range(2))
    assert first.seed == 7
    assert encode_decision(first) == encode_decision(second)


def test_a_batch_of_one_may_be_quick_where_a_full_one_is_late(build, profile) -> None:
    """The bound must see it too: at hardly any load batches are not full."""
    rows = [
        profile("a", "small", 10, batch=1, price_usd_per_call=1),
        profile("a", "small", 40, batch=4, compute_s={"cores": 0.01}),
    ]
    query = {"rate_rps": 0.01, "slo": {"latency_ms": 20, "cost_usd_per_1000": 1}}
    decision = plan(build(queueing=True, profiles=rows, query=query))
    assert [a.share for a in decision.assignments] == [1]
    assert decision.assignments[0].plan["a"].batch == 4
    assert decision.bound_rps == pytest.approx(0.01)
