"""Each query that is turned away hears what is in its way and what would help."""

from __future__ import annotations

import dataclasses

import pytest

from circinus.errors import InvalidInput, NoData
from circinus_coordinator.planning import candidate_placements, explain, plan

CHAIN = {"operators": {"a": {}, "b": {"needs": ["a"]}}}


def rejection(scenario):
    decision = plan(scenario)
    assert not decision.assignments
    assert len(decision.rejected) == 1
    return decision.rejected[0]


def test_latency_is_lacking_by_what_the_fastest_plan_needs_more(build, profile) -> None:
    # On the box 5 + 10 + 20; here 50.
    rows = [profile("a", "small", 50), profile("a", "middle", 20)]
    found = rejection(build(profiles=rows, query={"slo": {"latency_ms": 30}}))
    assert (found.binding, found.relaxation) == ("latency", "needs 5 ms more latency")
    assert found.reason == "the fastest plan takes 35 ms, 30 ms are allowed"


def test_only_plans_that_meet_the_other_objectives_count(build, profile) -> None:
    rows = [profile("a", "small", 50), profile("a", "large", 1)]
    links = [{"between": ["device", "cloud"], "rtt_ms": 20, "bandwidth_mbps": 80}]
    # Here 50 ms for 0.0025; in the cloud 21 ms for 0.001: no latency would make it cheaper.
    dear = {"latency_ms": 40, "cost_usd_per_1000": 0.0001}
    found = rejection(build(profiles=rows, links=links, query={"slo": dear}))
    assert found.binding == "cost"
    assert found.relaxation == "needs 0.0009 more USD per 1,000 requests"


def test_accuracy_names_the_best_within_reach(build, profile) -> None:
    scenario = build(
        pipeline={"operators": {"a": {"knobs": {"k": [1, 2]}}}},
        profiles=[profile("a", "small", 9, config={"k": k}) for k in (1, 2)],
        accuracy=[
            {"pipeline": "p", "config": {"a": {"k": k}}, "mean": mean}
            for k, mean in ((1, 0.7), (2, 0.911667))
        ],
        query={"slo": {"accuracy": 0.95}},
    )
    found = rejection(scenario)
    assert found.binding == "accuracy"
    # Rounded down: a floor of 0.9117 would be refused again.
    assert found.reason == "0.9116 is the best accuracy, 0.95 is asked for"
    assert found.relaxation == "needs an accuracy floor of at most 0.9116"


def test_several_objectives_may_have_to_give(build, profile) -> None:
    rows = [profile("a", "small", 50)]
    slo = {"latency_ms": 40, "cost_usd_per_1000": 0.001}
    found = rejection(build(profiles=rows, query={"slo": slo}))
    assert found.relaxation == ("needs 10 ms more latency and 0.0015 more USD per 1,000 requests")


def test_an_operator_without_a_profile_is_named(build, profile) -> None:
    found = rejection(build(pipeline=CHAIN, profiles=[profile("a", "small", 1)]))
    assert found.binding == "no profile"
    assert found.reason == "there is no profile of b on any machine it may run on"


def test_an_accuracy_that_was_never_measured_is_named(build, profile) -> None:
    found = rejection(build(profiles=[profile("a", "small", 1)], query={"slo": {"accuracy": 0.1}}))
    assert found.binding == "no profile"
    assert "no accuracy of p is measured" in found.reason


def test_a_machine_that_cannot_be_reached_is_named(build, profile) -> None:
    scenario = build(
        pipeline={"operators": {"a": {"tiers": ["cloud"]}}},
        links=[],
        profiles=[profile("a", "large", 1)],
    )
    found = rejection(scenario)
    assert found.binding == "not connected"


def test_a_model_too_large_for_every_machine_is_named(build, profile) -> None:
    found = rejection(build(profiles=[profile("a", "small", 1, memory_mb=2000)]))
    assert found.binding.startswith("memory of")
    assert found.relaxation == "needs 1000 MB more on pi"


def test_a_query_that_was_crowded_out_hears_by_how_much(build, profile) -> None:
    queries = [
        {"id": f"q{i}", "pipeline": "p", "source": "pi", "rate_rps": 10, "splittable": False}
        for i in range(2)
    ]
    scenario = build(profiles=[profile("a", "small", 100)], queries=queries)
    decision = plan(scenario)
    assert len(decision.assignments) == 1
    found = decision.rejected[0]
    assert found.binding == "cores of pi"
    assert found.reason == "there is too little left: cores of pi"
    assert found.relaxation == "needs 0.5 more cores on pi"  # 2.0 of 1.6, by 0.8
    larger = dataclasses.replace(
        scenario,
        device_classes={
            **scenario.device_classes,
            "small": dataclasses.replace(scenario.device_classes["small"], cores=2.5),
        },
    )
    assert len(plan(larger).assignments) == 2


def test_a_served_query_hears_its_tightest_objective(build, profile) -> None:
    scenario = build(
        profiles=[profile("a", "small", 90)],
        query={"slo": {"latency_ms": 100, "cost_usd_per_1000": 1}},
    )
    found = explain(scenario, plan(scenario), "q")
    assert (found.share, found.binding) == (1, "latency")
    assert "latency: 90 ms promised, 100 ms are allowed" in found.reason
    free = build(profiles=[profile("a", "small", 90)])
    assert explain(free, plan(free), "q").binding is None


def test_an_unknown_query_is_bad_input(build, profile) -> None:
    scenario = build(profiles=[profile("a", "small", 90)])
    with pytest.raises(InvalidInput, match="no query 'x'"):
        explain(scenario, plan(scenario), "x")


def test_a_decision_for_another_scenario_is_no_data(build, profile) -> None:
    decision = plan(build(profiles=[profile("a", "small", 90)]))
    for other in (
        build(profiles=[profile("a", "middle", 90)]),
        build(pipeline=CHAIN, profiles=[profile("a", "small", 90), profile("b", "small", 90)]),
    ):
        with pytest.raises(NoData):
            explain(other, decision, "q")


def test_candidate_placements_look_at_rules_and_not_at_profiles(build) -> None:
    scenario = build(
        pipeline={"operators": {"a": {"tiers": ["edge"]}, "b": {"needs": ["a"]}}},
        links=[{"between": ["device", "edge"], "rtt_ms": 1, "bandwidth_mbps": 1}],
    )
    found = candidate_placements(scenario, scenario.queries[0])
    assert found == [("a", "box"), ("b", "box")]
    free = build(pipeline={**CHAIN, "backward": True})
    assert len(candidate_placements(free, free.queries[0])) == 6


def test_the_way_back_counts_towards_the_cost_limit(build, profile) -> None:
    links = [{"between": ["device", "edge"], "rtt_ms": 1, "bandwidth_mbps": 80, "price_usd_gb": 1}]
    rows = [profile("a", "middle", 1, compute_s={}, output_bytes=50_000)]
    # 0.1 MB there and 0.05 MB back are 0.15 USD per 1,000 requests.
    for limit, served in ((0.15, True), (0.14, False)):
        scenario = build(
            pipeline={"deliver": "source"},
            links=links,
            profiles=rows,
            query={"slo": {"cost_usd_per_1000": limit}},
        )
        decision = plan(scenario)
        assert bool(decision.assignments) == served
    assert decision.rejected[0].binding == "cost"
    assert decision.rejected[0].relaxation == "needs 0.01 more USD per 1,000 requests"


def test_a_link_that_is_too_narrow_is_widened_for_all_who_use_it(build, profile) -> None:
    """Where queries wait for it: what it must become is asked of everybody's transfers."""
    # The input takes 10 ms of the 80 Mbit/s; both queries together would fill the link.
    queries = [
        {"id": n, "pipeline": "p", "source": "pi", "rate_rps": 50, "weight": w,
         "splittable": False, "slo": {"latency_ms": 100}}
        for n, w in (("first", 2), ("second", 1))
    ]  # fmt: skip
    scenario = build(queueing=True, profiles=[profile("a", "middle", 1)], queries=queries)
    decision = plan(scenario)
    assert [a.query for a in decision.assignments] == ["first"]
    assert decision.rejected[0].binding == "link box - pi"
    (change,) = decision.rejected[0].relaxations
    assert change.what == "link"
    wider = [
        {"between": ["device", "edge"], "rtt_ms": 10, "bandwidth_mbps": change.to},
    ]
    again = build(queueing=True, profiles=[profile("a", "middle", 1)], queries=queries, links=wider)
    assert {a.query for a in plan(again).assignments} == {"first", "second"}
