"""What a decision says its resources are worth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from circinus.decision import decode_decision, encode_decision
from circinus_coordinator.planning import plan
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposed import at_large
from circinus_coordinator.planning.decomposition.classes import market
from circinus_coordinator.planning.decomposition.solve import relax
from circinus_coordinator.planning.decomposition.worth import resource_prices, row_prices

EDGE = {"operators": {"a": {"tiers": ["edge"]}}}
HALF_A_CORE_SECOND = 500  # ms


def crowded(build, profile, *, queries=8, **more):
    """Queries of 1 request/s each that only fit on the box, where there is room for half."""
    return build(
        pipeline=EDGE,
        profiles=[profile("a", "middle", HALF_A_CORE_SECOND)],
        links=[{"between": ["device", "edge"], "rtt_ms": 10, "bandwidth_mbps": 1e6}],
        queries=[
            {"id": f"q{i}", "pipeline": "p", "source": "pi", "rate_rps": 2, "weight": 3}
            for i in range(queries)
        ],
        **more,
    )


@pytest.mark.parametrize("planner", [plan, lambda s: at_large(s, seed=0, clock=lambda: 0.0)])
def test_a_core_is_worth_what_its_plannable_part_serves(build, profile, planner) -> None:
    scenario = crowded(build, profile)
    found = planner(scenario).prices
    # 0.8 of a core serves 1.6 requests per second of weight 3.
    assert [(p.resource, p.devices, p.machines) for p in found] == [("cores", ("box",), (1,))]
    assert found[0].weighted_rps_per_unit == pytest.approx(3 * 0.8 / 0.5, rel=1e-3)


def test_what_a_core_is_said_to_be_worth_comes_true(build, profile) -> None:
    scenario = crowded(build, profile)
    kind = scenario.device_classes["middle"]
    larger = dataclasses.replace(
        scenario,
        device_classes={
            **scenario.device_classes,
            "middle": dataclasses.replace(kind, cores=kind.cores + 1),
        },
    )
    before, after = plan(scenario), plan(larger)
    gain = after.goodput_rps - before.goodput_rps
    assert gain == pytest.approx(before.prices[0].weighted_rps_per_unit, rel=1e-3)


def test_where_everybody_is_served_nothing_has_a_price(build, profile) -> None:
    assert plan(crowded(build, profile, queries=1)).prices == ()


def test_a_pool_names_one_machine_and_how_many_it_stands_for(build, profile) -> None:
    scenario = crowded(
        build,
        profile,
        queries=40,
        devices=[
            {"id": "pi", "class": "small", "tier": "device"},
            *({"id": f"box-{i}", "class": "middle", "tier": "edge"} for i in range(3)),
        ],
    )
    price = plan(scenario).prices[0]
    assert (price.devices, price.machines) == (("box-0",), (3,))


def test_prices_find_their_rows_again(build, profile) -> None:
    scenario = crowded(build, profile)
    found = market(Catalogue(scenario))
    solution = relax(found)
    told = resource_prices(found, solution.prices)
    again = market(Catalogue(scenario))
    assert told
    assert np.allclose(row_prices(again, told), solution.prices, atol=1e-6)
    assert not row_prices(again, ()).any()


def test_a_decision_keeps_its_prices_in_its_file(build, profile) -> None:
    decision = plan(crowded(build, profile))
    assert decode_decision(encode_decision(decision)).prices == decision.prices
