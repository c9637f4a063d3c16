"""Each rule of the contract on numbers worked out by hand."""

from __future__ import annotations

import pytest

from circinus.decision import Assignment, Decision
from circinus_coordinator.planning import MaxIterations, plan

PI, BOX, SRV = "pi", "box", "srv"
CHAIN = {"operators": {"a": {}, "b": {"needs": ["a"]}}}


def only(decision: Decision) -> Assignment:
    assert len(decision.assignments) == 1, decision.rejected
    return decision.assignments[0]


def where(assignment: Assignment) -> dict[str, str]:
    return {name: step.device for name, step in assignment.plan.items()}


def test_a_hop_takes_half_the_rtt_and_the_bytes_over_the_bandwidth(build, profile) -> None:
    scenario = build(profiles=[profile("a", "middle", 7)])
    # 10 / 2 + 100,000 x 8 / 80e6 s + 7
    assert only(plan(scenario)).estimate.latency_ms == 5 + 10 + 7


def test_staying_on_a_device_is_free_and_instant(build, profile) -> None:
    scenario = build(pipeline=CHAIN, profiles=[profile("a", "small", 3), profile("b", "small", 4)])
    found = only(plan(scenario))
    assert found.estimate.latency_ms == 7
    assert plan(scenario).deployment.network == 0


def test_each_operator_pays_its_dominant_share_and_each_hop_its_bytes(build, profile) -> None:
    scenario = build(
        profiles=[profile("a", "large", 50, compute_s={"cores": 0.5}, price_usd_per_call=1e-6)],
        query={"rate_rps": 2},
    )
    decision = plan(scenario)
    usage = 36 / 3600 * 0.5 / 10 + 1e-6
    network = 100_000 / 1e9 * 2
    assert only(decision).estimate.cost_usd_per_1000 == pytest.approx((usage + network) * 1000)
    assert decision.deployment.usage == pytest.approx(usage * 2 * 3600)
    assert decision.deployment.network == pytest.approx(network * 2 * 3600)
    assert decision.deployment.total == pytest.approx((usage + network) * 2 * 3600)


def test_an_accelerator_counts_where_it_is_the_larger_share(build, profile) -> None:
    classes = {"large": {"cores": 10, "memory_mb": 1e4, "price_usd_hour": 36,
                         "accelerators": {"gpu": 1}}}  # fmt: skip
    scenario = build(
        device_classes={**_classes(), **classes},
        profiles=[profile("a", "large", 50, compute_s={"cores": 0.5, "gpu": 0.2})],
        links=[{"between": ["device", "cloud"], "rtt_ms": 0, "bandwidth_mbps": 1000}],
    )
    assert only(plan(scenario)).estimate.cost_usd_per_1000 == pytest.approx(36 / 3600 * 0.2 * 1000)


def _classes() -> dict[str, object]:
    return {
        "small": {"cores": 2, "memory_mb": 1000},
        "middle": {"cores": 4, "memory_mb": 4000},
    }


def test_a_rented_machine_costs_its_whole_price_and_a_query_its_part(build, profile) -> None:
    classes = {
        **_classes(),
        "large": {"cores": 10, "memory_mb": 1e4, "price_usd_hour": 36, "billing": "machine"},
    }
    scenario = build(
        device_classes=classes,
        profiles=[profile("a", "large", 50, compute_s={"cores": 0.5}, price_usd_per_call=1e-6)],
        links=[{"between": ["device", "cloud"], "rtt_ms": 0, "bandwidth_mbps": 1000}],
    )
    decision = plan(scenario)
    assert decision.deployment.machines == 36
    assert decision.deployment.usage == pytest.approx(1e-6 * 3600)
    assert only(decision).estimate.cost_usd_per_1000 == pytest.approx(
        (36 / 3600 * 0.5 / 10 + 1e-6) * 1000
    )


def test_delivery_at_the_source_adds_the_way_back(build, profile) -> None:
    rows = [profile("a", "middle", 7)]
    there = plan(build(profiles=rows))
    back = plan(build(profiles=rows, pipeline={"deliver": "source"}))
    # 10 / 2 + 10,000 x 8 / 80e6 s
    assert only(back).estimate.latency_ms == only(there).estimate.latency_ms + 5 + 1


def test_the_way_back_needs_a_link(build, profile) -> None:
    scenario = build(
        pipeline={**CHAIN, "deliver": "source"},
        links=[
            {"between": ["device", "edge"], "rtt_ms": 0, "bandwidth_mbps": 80},
            {"between": ["edge", "cloud"], "rtt_ms": 0, "bandwidth_mbps": 80},
        ],
        profiles=[profile("a", "middle", 1), profile("b", "large", 1)],
    )
    assert not plan(scenario).assignments


@pytest.mark.parametrize(("backward", "served"), [(True, True), (False, False)])
def test_steps_go_inwards_only_where_the_pipeline_says_so(build, profile, backward, served) -> None:
    scenario = build(
        pipeline={**CHAIN, "backward": backward},
        profiles=[profile("a", "middle", 1), profile("b", "small", 1)],
    )
    assert bool(plan(scenario).assignments) == served


def test_an_operator_stays_in_its_tiers(build, profile) -> None:
    scenario = build(
        pipeline={"operators": {"a": {"tiers": ["cloud"]}}},
        profiles=[profile("a", k, 1) for k in ("small", "middle", "large")],
    )
    assert where(only(plan(scenario))) == {"a": SRV}


def test_a_join_waits_for_its_slowest_input(build, profile) -> None:
    operators = {"a": {}, "b": {"needs": ["a"]}, "c": {"needs": ["a"]}, "d": {"needs": ["b", "c"]}}
    rows = [profile(op, "small", ms) for op, ms in (("a", 1), ("b", 10), ("c", 30), ("d", 2))]
    scenario = build(pipeline={"operators": operators}, profiles=rows)
    assert only(plan(scenario)).estimate.latency_ms == 1 + 30 + 2


def test_each_source_starts_at_its_own_device(build, profile) -> None:
    scenario = build(
        pipeline={
            "operators": {"a": {}, "b": {}, "c": {"needs": ["a", "b"]}},
            "input_bytes": {"a": 100_000, "b": 50_000},
        },
        profiles=[profile(op, "large", ms) for op, ms in (("a", 1), ("b", 2), ("c", 4))],
        query={"source": {"a": "pi", "b": "box"}},
    )
    # a: 20 + 100 + 1 by the slow link; b: 10 + 10 + 2
    assert only(plan(scenario)).estimate.latency_ms == pytest.approx(121 + 4)


def test_a_request_is_done_when_all_sinks_are(build, profile) -> None:
    operators = {"a": {}, "b": {"needs": ["a"]}, "c": {"needs": ["a"]}}
    rows = [profile(op, "small", ms) for op, ms in (("a", 1), ("b", 10), ("c", 30))]
    scenario = build(pipeline={"operators": operators}, profiles=rows)
    assert only(plan(scenario)).estimate.latency_ms == 31


def test_a_profile_of_this_pipeline_beats_a_plain_one(build, profile) -> None:
    scenario = build(profiles=[profile("p/a", "small", 9), profile("a", "small", 2)])
    assert only(plan(scenario)).estimate.latency_ms == 9


def test_memory_is_used_once_per_instance_whoever_shares_it(build, profile) -> None:
    rows = [profile("a", "small", 10, memory_mb=600)]
    queries = [{"id": f"q{i}", "pipeline": "p", "source": "pi", "rate_rps": 1} for i in range(3)]
    assert len(plan(build(profiles=rows, queries=queries)).assignments) == 3


def test_memory_counts_per_replica(build, profile) -> None:
    # 100 ms at 20/s keep two workers busy: three at 80 % at most, 3900 MB of 4000.
    fits = build(profiles=[profile("a", "middle", 100, memory_mb=1300)],
                 query={"rate_rps": 20}, queueing=True)  # fmt: skip
    assert only(plan(fits)).plan["a"].replicas == 3
    too_large = build(
        profiles=[profile("a", "middle", 100, memory_mb=1400)],
        query={"rate_rps": 20, "splittable": False},
        queueing=True,
    )
    decision = plan(too_large)
    assert not decision.assignments
    assert decision.rejected[0].binding == "memory of box"
    assert decision.rejected[0].relaxation == "needs 200 MB more on box"


def test_no_more_cores_are_held_than_may_be_planned(build, profile) -> None:
    """However little is computed meanwhile: 18 times 100 ms are 0.9 of two cores."""
    rows = [profile("a", "small", 100, compute_s={"cores": 0.01})]
    decision = plan(build(profiles=rows, query={"rate_rps": 30}, queueing=True))
    assert decision.goodput_rps == pytest.approx(18, rel=1e-3)


@pytest.mark.parametrize("splittable", [True, False])
def test_without_queueing_one_replica_holds_all_load(build, profile, splittable: bool) -> None:
    scenario = build(
        profiles=[profile("a", "small", 200, memory_mb=900)],
        query={"rate_rps": 8, "splittable": splittable},
    )  # 1.6 workers busy, all of the two cores that may be planned
    found = only(plan(scenario))
    assert found.share == 1
    assert found.plan["a"].replicas == 1


def test_a_share_fills_the_last_replica_that_has_memory(build, profile) -> None:
    # One worker of 900 MB, 200 ms a request, 80 % busy at most: 4/s.
    scenario = build(
        profiles=[profile("a", "small", 200, memory_mb=900)], query={"rate_rps": 5}, queueing=True
    )
    assert plan(scenario).goodput_rps == pytest.approx(4, rel=1e-9)


def test_only_a_part_of_the_cores_may_be_planned(build, profile) -> None:
    # 2 cores x 0.8 / 0.1 core-seconds = 16/s of the 20/s wanted.
    decision = plan(build(profiles=[profile("a", "small", 100)], query={"rate_rps": 20}))
    assert only(decision).share == pytest.approx(0.8, rel=1e-3)
    assert decision.goodput_rps == pytest.approx(16, rel=1e-3)
    assert decision.bound_rps == pytest.approx(16, rel=1e-6)
    assert decision.rejected[0].binding == "cores of pi"
    assert decision.rejected[0].relaxation == "needs 0.5 more cores on pi"


def test_a_query_larger_than_a_machine_is_spread_over_several(build, profile) -> None:
    rows = [profile("a", "small", 100), profile("a", "middle", 100)]
    decision = plan(build(profiles=rows, query={"rate_rps": 40}))
    assert sum(a.share for a in decision.assignments) == pytest.approx(1)
    assert {where(a)["a"] for a in decision.assignments} == {PI, BOX}


def test_identical_queries_that_cannot_be_split_come_in_whole_ones(build, profile) -> None:
    # 16/s of room, 5/s each: three of four.
    decision = plan(
        build(profiles=[profile("a", "small", 100)],
              query={"rate_rps": 5, "count": 4, "splittable": False})
    )  # fmt: skip
    assert only(decision).share == 0.75
    assert decision.goodput_rps == 15
    assert decision.bound_rps == pytest.approx(15)


def test_a_stateful_operator_is_neither_split_nor_replicated(build, profile) -> None:
    scenario = build(
        pipeline={"operators": {"a": {"stateful": True}}},
        profiles=[profile("a", k, 100, compute_s={"cores": 0.01}) for k in ("small", "middle")],
        query={"rate_rps": 12},
    )
    decision = plan(scenario)  # 12/s would keep 1.2 workers busy
    assert not decision.assignments
    assert "single" in decision.rejected[0].binding
    half = build(
        pipeline={"operators": {"a": {"stateful": True}}},
        profiles=[profile("a", k, 100, compute_s={"cores": 0.01}) for k in ("small", "middle")],
        query={"rate_rps": 6, "count": 2},
    )
    assert [a.share for a in plan(half).assignments] == [0.5, 0.5]


def test_the_one_worker_of_a_stateful_operator_serves_whoever_shares_it(build, profile) -> None:
    # 0.6 + 0.6 workers busy: one pipeline knows the operator as stateful, the other does not.
    pipelines = {
        "kept": {"operators": {"a": {"stateful": True, "tiers": ["device"]}}, "input_bytes": 1},
        "free": {"operators": {"a": {"tiers": ["device"]}}, "input_bytes": 1},
    }
    queries = [
        {"id": p, "pipeline": p, "source": "pi", "rate_rps": 6, "splittable": False}
        for p in pipelines
    ]
    rows = [profile("a", "small", 100, compute_s={"cores": 0.01})]
    decision = plan(build(pipelines=pipelines, profiles=rows, queries=queries))
    assert decision.goodput_rps == 6
    assert decision.rejected[0].binding == "the single a[-] worker of pi"


def test_a_link_carries_a_part_of_its_bandwidth(build, profile) -> None:
    # 0.8 Mbit a request, 80 Mbit/s x 0.8: 80/s.
    decision = plan(build(profiles=[profile("a", "middle", 1)], query={"rate_rps": 100}))
    assert only(decision).share == pytest.approx(0.8, rel=1e-3)
    assert decision.rejected[0].binding == "link box - pi"
    assert decision.rejected[0].relaxation == "needs 20 Mbit/s more between box and pi"


def test_an_uplink_caps_the_sum_over_the_links_of_a_device(build, profile) -> None:
    scenario = build(
        devices=[
            {"id": "pi", "class": "small", "tier": "device", "uplink_mbps": 8},
            {"id": "box", "class": "middle", "tier": "edge"},
            {"id": "box2", "class": "middle", "tier": "edge"},
        ],
        links=[{"between": ["device", "edge"], "rtt_ms": 1, "bandwidth_mbps": 80}],
        profiles=[profile("a", "middle", 1)],
        query={"rate_rps": 20},
    )
    decision = plan(scenario)  # 0.8 Mbit a request: 10/s over all links
    assert decision.goodput_rps == pytest.approx(10, rel=1e-3)
    assert decision.rejected[0].binding == "uplink of pi"


def test_the_bound_knows_that_batches_start_before_they_are_full(build, profile) -> None:
    """A batch of one is in time where a full one is late, at a load too high for single steps."""
    scenario = build(
        queueing=True,
        devices=[{"id": "pi", "class": "small", "tier": "device"}],
        links=[],
        profiles=[
            profile("a", "small", 30, compute_s={"cores": 0.03}),
            profile("a", "small", 60, compute_s={"cores": 0.01}, batch=4),
        ],
        query={"rate_rps": 100, "slo": {"latency_ms": 58, "percentile": 50}},
    )
    found = plan(scenario)
    assert found.goodput_rps > 2 * 0.8 / 0.03
    assert found.bound_rps >= found.goodput_rps


def test_larger_batches_save_computation(build, profile) -> None:
    rows = [
        profile("a", "small", 100, compute_s={"cores": 0.1}),
        profile("a", "small", 200, compute_s={"cores": 0.05}, batch=4),
    ]
    fast = plan(build(profiles=rows, query={"slo": {"latency_ms": 150}}))
    assert only(fast).plan["a"].batch == 1
    cheap = plan(build(profiles=rows))
    assert only(cheap).plan["a"].batch == 4
    assert only(cheap).estimate.latency_ms == 200  # of the whole batch


ACCURACY = [
    {"pipeline": "p", "config": {"a": {"k": 1}, "b": {"k": 1}}, "mean": 0.7},
    {"pipeline": "p", "config": {"a": {"k": 2}, "b": {"k": 2}}, "mean": 0.9},
]


@pytest.mark.parametrize(
    ("slo", "expected"),
    [({}, (2, 1)), ({"accuracy": 0.0}, (1, 1)), ({"accuracy": 0.8}, (2, 2))],
    ids=["no floor: any vector", "floor 0: a measured one", "floor 0.8: the good one"],
)
def test_a_vector_without_a_row_is_never_guessed(build, profile, slo, expected) -> None:
    knobs = {"k": [1, 2]}
    scenario = build(
        pipeline={"operators": {"a": {"knobs": knobs}, "b": {"needs": ["a"], "knobs": knobs}}},
        # The cheapest vector, (2, 1), was not measured.
        profiles=[
            profile("a", "small", 10, config={"k": 1}), profile("a", "small", 5, config={"k": 2}),
            profile("b", "small", 5, config={"k": 1}), profile("b", "small", 90, config={"k": 2}),
        ],
        accuracy=ACCURACY,
        query={"slo": slo},
    )  # fmt: skip
    found = only(plan(scenario))
    assert tuple(found.plan[op].config["k"] for op in "ab") == expected
    assert found.estimate.accuracy == {(1, 1): 0.7, (2, 2): 0.9}.get(expected)


def test_an_accuracy_row_holds_for_all_values_of_a_neutral_knob(build, profile) -> None:
    scenario = build(
        pipeline={"operators": {"a": {"knobs": {"k": [1, 2]}, "neutral_knobs": ["k"]}}},
        profiles=[profile("a", "small", 9, config={"k": 1}),
                  profile("a", "small", 5, config={"k": 2})],
        accuracy=[{"pipeline": "p", "config": {"a": {"k": 1}}, "mean": 0.9}],
        query={"slo": {"accuracy": 0.8}},
    )  # fmt: skip
    found = only(plan(scenario))
    assert found.plan["a"].config["k"] == 2
    assert found.estimate.accuracy == 0.9


def test_operators_without_knobs_may_stand_in_an_accuracy_row_or_not(build, profile) -> None:
    for config in ({"a": {"k": 1}}, {"a": {"k": 1}, "b": {}}):
        scenario = build(
            pipeline={"operators": {"a": {"knobs": {"k": [1]}}, "b": {"needs": ["a"]}}},
            profiles=[profile("a", "small", 9, config={"k": 1}), profile("b", "small", 1)],
            accuracy=[{"pipeline": "p", "config": config, "mean": 0.9}],
            query={"slo": {"accuracy": 0.8}},
        )
        assert only(plan(scenario)).estimate.accuracy == 0.9


def test_a_limit_met_exactly_is_met(build, profile) -> None:
    rows = [profile("a", "small", 0.1), profile("b", "small", 0.2)]
    scenario = build(pipeline=CHAIN, profiles=rows, query={"slo": {"latency_ms": 0.3}})
    assert only(plan(scenario)).estimate.latency_ms == 0.3  # 0.1 + 0.2 > 0.3 in floats


def test_two_hops_of_one_plan_over_a_link_have_to_fit_together(build, profile) -> None:
    """Either output alone fits; for both, the operator has to put out less."""
    operators = {"a": {"knobs": {"k": [1, 2]}}, "b": {"needs": ["a"]}, "c": {"needs": ["a"]}}
    scenario = build(
        pipeline={"operators": operators},
        profiles=[
            profile("a", "small", 1, config={"k": 1}, output_bytes=50_000),
            profile("a", "small", 2, config={"k": 2}, output_bytes=20_000),
            profile("b", "middle", 1),
            profile("c", "middle", 1),
        ],
        query={"rate_rps": 100, "splittable": False},  # 80 of the link's 64 Mbit/s, or 32
    )
    found = only(plan(scenario, effort=MaxIterations(1)))  # no help from raised prices
    assert found.plan["a"].config["k"] == 2
