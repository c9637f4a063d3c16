"""The baselines: what each of them is known to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from circinus.errors import InvalidInput
from circinus.scenario import Scenario
from circinus_coordinator.planning import PLANNERS, plan
from circinus_coordinator.planning.baselines.bayesian import Bayesian
from circinus_coordinator.planning.baselines.exact import Exact
from circinus_coordinator.planning.stop import MaxIterations

Build = Callable[..., Scenario]
Row = Callable[..., dict[str, Any]]

KNOB = {"operators": {"a": {"knobs": {"v": [0, 1]}}}}
ACCURACY = [
    {"pipeline": "p", "config": {"a": {"v": v}}, "mean": mean, "samples": 10}
    for v, mean in ((0, 0.7), (1, 0.9))
]


def _both(profile: Row, kind: str, slow: float = 20) -> list[dict[str, Any]]:
    """A cheap and a dear, more accurate config on one class."""
    return [
        profile("a", kind, 10, config={"v": 0}),
        profile("a", kind, slow, config={"v": 1}),
    ]


def test_every_name_comes_in_first_come_and_in_best_order() -> None:
    plain = {name for name in PLANNERS if "@" not in name} - {"circinus", "exact"}
    assert {f"{name}@best" for name in plain} <= PLANNERS.keys()
    assert {"best-accuracy", "cheapest-first", "bayesian-50", "bayesian-200-shared"} <= plain


def test_best_accuracy_takes_the_most_accurate_and_cheapest_first_the_cheapest(
    build: Build, profile: Row
) -> None:
    scenario = build(profiles=_both(profile, "small"), accuracy=ACCURACY, pipeline=KNOB)
    accurate = plan(scenario, planner="best-accuracy").assignments[0]
    cheap = plan(scenario, planner="cheapest-first").assignments[0]
    assert dict(accurate.plan["a"].config) == {"v": 1}
    assert dict(cheap.plan["a"].config) == {"v": 0}


def test_best_accuracy_comes_down_where_the_most_accurate_does_not_fit(
    build: Build, profile: Row
) -> None:
    query = {"rate_rps": 100, "splittable": False}  # 1.6 core-seconds per second are free
    scenario = build(
        profiles=_both(profile, "small"), accuracy=ACCURACY, pipeline=KNOB, query=query
    )
    (found,) = plan(scenario, planner="best-accuracy").assignments
    assert dict(found.plan["a"].config) == {"v": 0}


@pytest.mark.parametrize(
    ("planner", "device"), [("all-device", "pi"), ("all-edge", "box"), ("all-cloud", "srv")]
)
def test_everything_is_put_on_one_tier(
    build: Build, profile: Row, planner: str, device: str
) -> None:
    rows = [profile("a", kind, 10) for kind in ("small", "middle", "large")]
    decision = plan(build(profiles=rows), planner=planner)
    assert [a.plan["a"].device for a in decision.assignments] == [device]


def test_an_operator_bound_to_another_tier_goes_there_all_the_same(
    build: Build, profile: Row
) -> None:
    pipeline = {"operators": {"a": {"tiers": ["device"]}, "b": {"needs": ["a"]}}}
    rows = [profile(name, kind, 10) for name in "ab" for kind in ("small", "large")]
    found = plan(build(profiles=rows, pipeline=pipeline), planner="all-cloud").assignments[0]
    assert {name: step.device for name, step in found.plan.items()} == {"a": "pi", "b": "srv"}


def test_a_tier_the_scenario_has_not_is_bad_input(build: Build, profile: Row) -> None:
    scenario = build(
        tiers=["device", "cloud"],
        devices=[{"id": "pi", "class": "small", "tier": "device"}],
        links=[],
        profiles=[profile("a", "small", 10)],
    )
    with pytest.raises(InvalidInput, match="tier 'edge'"):
        plan(scenario, planner="all-edge")


def test_the_best_order_serves_the_worthy_where_first_come_serves_the_first(
    build: Build, profile: Row
) -> None:
    queries = [
        {"id": name, "pipeline": "p", "source": "pi", "rate_rps": 100, "weight": weight,
         "splittable": False}
        for name, weight in (("first", 1), ("worthy", 5))
    ]  # fmt: skip
    scenario = build(profiles=[profile("a", "small", 10)], queries=queries)
    assert plan(scenario, planner="cheapest-first").goodput_rps == pytest.approx(100)
    assert plan(scenario, planner="cheapest-first@best").goodput_rps == pytest.approx(500)


def test_queries_that_differ_in_their_source_only_share_a_menu(build: Build, profile: Row) -> None:
    def evaluations(sources: int) -> int | None:
        devices = [{"id": f"pi{i}", "class": "small", "tier": "device"} for i in range(sources)]
        queries = [
            {"id": f"q{i}", "pipeline": "p", "source": f"pi{i}", "rate_rps": 1}
            for i in range(sources)
        ]
        scenario = build(devices=devices, queries=queries, profiles=[profile("a", "small", 10)])
        # One judgement for each query; what is left is the menu.
        found = plan(scenario, planner="cheapest-first").evaluations
        return found and found - sources

    assert evaluations(5) == evaluations(1) == 1


def test_a_larger_query_is_spread_over_machines(build: Build, profile: Row) -> None:
    devices = [{"id": "pi", "class": "small", "tier": "device"}] + [
        {"id": f"box{i}", "class": "middle", "tier": "edge"} for i in range(3)
    ]
    scenario = build(
        devices=devices,
        profiles=[profile("a", "middle", 10)],
        pipeline={"input_bytes": 0},
        query={"rate_rps": 640},
    )
    decision = plan(scenario, planner="cheapest-first")  # 3.2 of 4 cores each: 320 per second
    assert decision.goodput_rps == pytest.approx(640)
    assert len(decision.open_devices) == 2


@pytest.mark.parametrize("share_classes", [False, True])
def test_a_search_evaluates_no_more_than_its_budget(
    build: Build, profile: Row, share_classes: bool
) -> None:
    knobs = {"operators": {"a": {"knobs": {"v": list(range(40))}}}}
    rows = [profile("a", "small", 10 + v, config={"v": v}) for v in range(40)]
    queries = [{"id": f"q{i}", "pipeline": "p", "source": "pi", "rate_rps": 1} for i in range(3)]
    scenario = build(profiles=rows, pipeline=knobs, queries=queries)
    planner = Bayesian(name="b", budget=12, share_classes=share_classes)
    decision = planner(scenario, effort=MaxIterations(1), seed=1, previous=None, clock=lambda: 0.0)
    assert decision.goodput_rps == pytest.approx(3)
    # And one judgement per query.
    assert decision.evaluations == (12 if share_classes else 3 * 12) + 3


def test_a_search_finds_the_better_plan_and_repeats_itself(build: Build, profile: Row) -> None:
    knobs = {"operators": {"a": {"knobs": {"v": list(range(60))}}}}
    rows = [profile("a", "small", 10 + abs(v - 41), config={"v": v}) for v in range(60)]
    scenario = build(profiles=rows, pipeline=knobs, query={"slo": {"latency_ms": 100}})
    planner = Bayesian(name="b", budget=30)
    first, again = (
        planner(scenario, effort=MaxIterations(1), seed=3, previous=None, clock=lambda: 0.0)
        for _ in range(2)
    )
    assert first == again
    assert abs(int(first.assignments[0].plan["a"].config["v"]) - 41) <= 1


def test_a_search_spreads_what_no_machine_takes_alone(build: Build, profile: Row) -> None:
    devices = [{"id": "pi", "class": "small", "tier": "device"}] + [
        {"id": f"box{i}", "class": "middle", "tier": "edge"} for i in range(3)
    ]
    scenario = build(
        devices=devices,
        profiles=[profile("a", "middle", 10)],
        pipeline={"input_bytes": 0},
        query={"rate_rps": 640},
    )
    decision = plan(scenario, planner="bayesian-50")  # 3.2 of 4 cores each: 320 per second
    assert decision.goodput_rps == pytest.approx(640)


def test_a_search_looks_only_at_plans_that_reach_the_accuracy_floor(
    build: Build, profile: Row
) -> None:
    query = {"slo": {"accuracy": 0.8}}
    scenario = build(
        profiles=_both(profile, "small"), accuracy=ACCURACY, pipeline=KNOB, query=query
    )
    decision = plan(scenario, planner="bayesian-50-shared")
    assert dict(decision.assignments[0].plan["a"].config) == {"v": 1}
    assert decision.evaluations == 1 + 1  # searched, judged


def test_the_exact_programme_packs_what_comes_in_the_wrong_order(
    build: Build, profile: Row
) -> None:
    # 1.6 and 3.2 cores are free and 0.8, 1.6 and 2.4 wanted: the first must leave the cheaper one.
    queries = [
        {"id": f"q{i}", "pipeline": "p", "source": "pi", "rate_rps": rate, "splittable": False}
        for i, rate in enumerate((80, 160, 240))
    ]
    rows = [profile("a", kind, 10) for kind in ("small", "middle")]
    scenario = build(profiles=rows, queries=queries, pipeline={"input_bytes": 0})
    assert plan(scenario, planner="cheapest-first").goodput_rps == pytest.approx(240)
    decision = plan(scenario, planner="exact")
    assert decision.goodput_rps == pytest.approx(480)
    assert decision.certified
    assert decision.gap == pytest.approx(0, abs=1e-5)


def test_the_exact_programme_rents_the_cheaper_machine(build: Build, profile: Row) -> None:
    classes = {
        "small": {"cores": 2, "memory_mb": 1000},
        "middle": {"cores": 4, "memory_mb": 4000, "price_usd_hour": 2, "billing": "machine"},
        "large": {"cores": 10, "memory_mb": 10000, "price_usd_hour": 5, "billing": "machine"},
    }
    rows = [profile("a", kind, 10) for kind in ("middle", "large")]
    decision = plan(build(device_classes=classes, profiles=rows), planner="exact")
    assert decision.open_devices == ("box",)
    assert decision.deployment.machines == pytest.approx(2)


def test_the_exact_programme_declines_what_it_cannot_enumerate(build: Build, profile: Row) -> None:
    rows = _both(profile, "small")
    scenario = build(profiles=rows, accuracy=ACCURACY, pipeline=KNOB)
    with pytest.raises(InvalidInput, match="too many plans") as caught:
        Exact(name="exact", most=1)(
            scenario, effort=MaxIterations(1), seed=0, previous=None, clock=lambda: 0.0
        )
    assert "q" in str(caught.value)


def test_an_empty_scenario_is_no_trouble() -> None:
    for name in (
        "best-accuracy@best",
        "cheapest-first",
        "bayesian-50@best",
        "bayesian-50-shared",
        "exact",
    ):
        decision = plan(Scenario(), planner=name)
        assert (decision.goodput_rps, decision.assignments) == (0, ())
