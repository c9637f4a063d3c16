"""Every decision of every baseline before the independent checker."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circinus.decision import decode_decision, encode_decision
from circinus_coordinator.planning import MaxIterations, plan
from circinus_coordinator.planning.baselines import BASELINES
from circinus_coordinator.planning.baselines.admission import Admission
from circinus_coordinator.planning.baselines.bayesian import Bayesian
from circinus_coordinator.planning.baselines.classes import Classes
from circinus_coordinator.planning.baselines.menu import Preference, menu
from circinus_coordinator.planning.baselines.orders import BEST
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.placed import place, streams

sys.path.insert(0, str(Path(__file__).parent))
import checker
from planner_scenarios import random_scenario

seeds = st.integers(0, 2**32)
# A search of full length takes a third of a second; a short one takes the same ways.
PLANNERS = {name: made for name, made in BASELINES.items() if not isinstance(made, Bayesian)}
PLANNERS["search"] = Bayesian(name="search", budget=8)
PLANNERS["search@best"] = Bayesian(name="search@best", budget=8, orders=BEST)
PLANNERS["search-shared@best"] = Bayesian(
    name="search-shared@best", budget=8, share_classes=True, orders=BEST
)


@pytest.mark.parametrize("name", sorted(PLANNERS))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(seeds, st.integers(1, 4), st.booleans())
def test_the_checker_finds_nothing_wrong(
    name: str, seed: int, queries: int, queueing: bool
) -> None:
    scenario = random_scenario(random.Random(seed), queries=queries, queueing=queueing)
    decision = PLANNERS[name](
        scenario, effort=MaxIterations(1), seed=seed, previous=None, clock=lambda: 0.0
    )
    assert checker.violations(scenario, decision) == []
    assert decision.planner == name
    assert decision.evaluations is not None
    assert decode_decision(encode_decision(decision)) == decision


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(seeds, st.integers(1, 4))
def test_without_queueing_nobody_beats_the_exact_programme(seed: int, queries: int) -> None:
    scenario = random_scenario(random.Random(seed), queries=queries, queueing=False)
    best = plan(scenario, planner="exact")
    assert best.bound_rps is not None
    demand = sum(query.demand_rps for query in scenario.queries)
    assert best.goodput_rps >= best.bound_rps - 5e-6 * demand
    for name in ("circinus", "cheapest-first@best", "best-accuracy@best"):
        other = plan(scenario, planner=name, effort=MaxIterations(2))
        assert other.goodput_rps <= best.bound_rps
        if other.goodput_rps >= best.goodput_rps * (1 - 1e-9) and best.goodput_rps > 0:
            slack = 1e-4 * best.deployment.total + 1e-9
            assert other.deployment.total >= best.deployment.total - slack


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(seeds, st.integers(1, 4))
def test_with_queueing_nobody_passes_the_exact_bound(seed: int, queries: int) -> None:
    scenario = random_scenario(random.Random(seed), queries=queries, queueing=True)
    bound = plan(scenario, planner="exact").bound_rps
    assert bound is not None
    for name in ("circinus", "cheapest-first@best", "best-accuracy@best"):
        assert plan(scenario, planner=name, effort=MaxIterations(2)).goodput_rps <= bound


def test_estimates_at_present_loads_hardly_ever_exceed_the_judges() -> None:
    """So they seldom keep a plan from the judge that he would admit."""
    ratios = [ratio for seed in range(200) for ratio in _ratios(seed)]
    assert len(ratios) > 200
    assert sum(ratio > 1.1 for ratio in ratios) < 0.06 * len(ratios)
    assert sum(0.8 < ratio < 1.1 for ratio in ratios) > 0.65 * len(ratios)


def _ratios(seed: int) -> Iterator[float]:
    """Estimate over judgement, for plans no two steps of which share a machine."""
    scenario = random_scenario(random.Random(seed), queries=4, queueing=True)
    catalogue = Catalogue(scenario)
    classes = Classes(catalogue, functools.partial(menu, preference=Preference.CHEAPEST, beam=None))
    admission = Admission(catalogue)
    for query in scenario.queries[:-1]:
        admission.serve(classes.course(query))
    query, ledger = scenario.queries[-1], admission.ledger
    course = classes.course(query)
    if course.ways is None:
        return
    machines = [scenario.devices[members[0]].id for members in course.view.members]
    found = course.ways.latency_ms(query, ledger, machines, 1.0)
    for k, slots in enumerate(course.entries.slots.tolist()):
        if len(set(slots)) == len(slots):
            plan = course.entries.plan(k, course.table, course.view, machines)
            placed = place(catalogue, query, plan)
            undo = ledger.add(placed.use, query.rate_rps * query.count, streams(query, 1.0))
            wanted = placed.latency_ms(ledger)
            undo()
            yield 1.0 if found[k] == wanted else found[k] / wanted
