"""Advice that reckons with waiting: plans with time to spare, and long steps kept apart."""

from __future__ import annotations

import pytest

from circinus.decision import Step
from circinus.pipeline import Config
from circinus.scenario import Scenario
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposition.classes import market
from circinus_coordinator.planning.decomposition.solve import relax
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, place
from circinus_coordinator.planning.selection import Selection


def scenario_of(build, profile, mean_ms: float, limit_ms: float, rate_rps: float) -> Scenario:
    scenario: Scenario = build(
        queueing=True,
        profiles=[profile("a", "middle", {"mean": mean_ms, "p95": 2 * mean_ms})],
        queries=[{"id": "q", "pipeline": "p", "source": "pi", "rate_rps": rate_rps,
                  "slo": {"latency_ms": limit_ms, "percentile": 95}}],
    )  # fmt: skip
    return scenario


def at_box(scenario: Scenario, catalogue: Catalogue) -> PlacedPlan:
    return place(catalogue, scenario.queries[0], {"a": Step(device="box", config=Config({}))})


def most_at_once(build, profile, mean_ms: float, *, crowded: bool) -> float:
    """Requests per second the relaxation lets a machine take, with all the time in the world."""
    catalogue = Catalogue(scenario_of(build, profile, mean_ms, 1e6, 1e6))
    return relax(market(catalogue, crowded=crowded)).goodput_rps


def test_where_waiting_counts_a_step_ten_times_as_long_takes_more_than_ten_times_as_much(
    build, profile
) -> None:
    short, long = (most_at_once(build, profile, ms, crowded=True) for ms in (100, 1000))
    assert long < short / 12
    short, long = (most_at_once(build, profile, ms, crowded=False) for ms in (100, 1000))
    assert long >= short / 10.001


def test_advice_that_reckons_with_waiting_has_no_plan_without_a_moment_to_spare(
    build, profile
) -> None:
    catalogue = Catalogue(scenario_of(build, profile, 100, 230, 1))
    assert relax(market(catalogue)).goodput_rps > 0
    assert relax(market(catalogue, crowded=True)).goodput_rps == 0


@pytest.mark.parametrize(("times", "refused"), [(0.99, True), (1.01, False)])
def test_with_headroom_a_plan_is_judged_by_a_part_of_its_limit(
    build, profile, times, refused
) -> None:
    scenario = scenario_of(build, profile, 100, 2000, 20)
    catalogue = Catalogue(scenario)
    placed, chosen = at_box(scenario, catalogue), Selection(catalogue, Ledger(scenario))
    loaded = Selection(catalogue, Ledger(scenario))
    loaded.admit(placed, 1.0)
    taken = placed.latency_ms(loaded.ledger)
    assert taken > 1.2 * placed.latency_ms()  # it waits
    chosen.headroom = taken / 2000 * times
    assert (chosen.judge(placed, 1.0) is not None) == refused


def test_whatever_the_headroom_a_plan_that_hardly_waits_is_not_late(build, profile) -> None:
    scenario = scenario_of(build, profile, 100, 226, 0.1)
    catalogue = Catalogue(scenario)
    placed, chosen = at_box(scenario, catalogue), Selection(catalogue, Ledger(scenario))
    chosen.headroom = 0.5
    assert placed.latency_ms() > 0.8 * 226
    assert chosen.judge(placed, 1.0) is None
