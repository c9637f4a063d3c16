"""The per-query programme against plain enumeration, and decisions against the checker."""

from __future__ import annotations

import dataclasses
import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from circinus.decision import encode_decision
from circinus.query import Slo
from circinus.scenario import Scenario
from circinus_coordinator.planning import MaxIterations, explain, plan
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.labels import Aim, solve
from circinus_coordinator.planning.latency import percentile_ms, service_variance
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing, offers
from circinus_coordinator.planning.placed import PlacedPlan, place, plan_of
from circinus_coordinator.planning.search import limits_of, search
from circinus_coordinator.planning.selection import Selection

sys.path.insert(0, str(Path(__file__).parent))
import checker
from planner_scenarios import random_scenario

seeds = st.integers(0, 2**32)


def _brute(scenario: Scenario, index: int = 0) -> tuple[float, float] | None:
    """(cheapest USD, fastest ms) per request over all plans within the SLOs."""
    query = scenario.queries[index]
    pipeline = scenario.pipelines[query.pipeline]
    slo, found = query.slo, []
    for steps in checker.enumerate_plans(scenario, query):
        accuracy = checker.accuracy_of(scenario, pipeline, steps)
        if slo.accuracy is not None and (accuracy is None or accuracy < slo.accuracy):
            continue
        usd = sum(checker.costs(scenario, query, steps).values())
        spread = {
            name: service_variance(row.latency_ms, slo.percentile)
            for name, step in steps.items()
            if (
                row := checker.row_for(
                    scenario, pipeline.name, name, step.device, step.config, step.batch
                )
            )
        }
        ms = percentile_ms(*checker.latency(scenario, query, steps, spread), slo.percentile)
        if slo.latency_ms is not None and ms > slo.latency_ms * (1 + 1e-12):
            continue
        if slo.cost_usd_per_1000 is not None and usd * 1e3 > slo.cost_usd_per_1000 * (1 + 1e-12):
            continue
        found.append((usd, ms))
    return (min(u for u, _ in found), min(m for _, m in found)) if found else None


def _programme(scenario: Scenario, aim: Aim, slots: int = 1) -> PlacedPlan | None:
    query = scenario.queries[0]
    catalogue = Catalogue(scenario)
    programme = catalogue.programme(query, slots=slots)
    choices, moving = offers(programme, Ledger(scenario), Pricing(), rate_rps=0.0)
    found = solve(programme, choices, moving, limits_of(query.slo), aim=aim)
    return None if found is None else place(catalogue, query, plan_of(programme, found))


@pytest.mark.timeout(300)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds)
def test_the_programme_finds_what_enumeration_finds(seed: int) -> None:
    scenario = random_scenario(random.Random(seed), queries=1, queueing=False)
    expected = _brute(scenario)
    cheapest, fastest = _programme(scenario, Aim.VALUE), _programme(scenario, Aim.LATENCY)
    if expected is None:
        assert cheapest is None
        assert fastest is None
        return
    assert cheapest is not None
    assert fastest is not None
    # Equal costs are decided by tie-breakers of relative weight 1e-7.
    assert cheapest.usd == pytest.approx(expected[0], rel=1e-5, abs=1e-12)
    assert fastest.latency_ms() == pytest.approx(expected[1], rel=1e-9)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds)
def test_telling_equal_machines_apart_does_not_change_the_optimum(seed: int) -> None:
    scenario = random_scenario(random.Random(seed), queries=1, queueing=False)
    one, three = (_programme(scenario, Aim.LATENCY, slots) for slots in (1, 3))
    assert (one is None) == (three is None)
    if one is not None and three is not None:
        assert one.latency_ms() == pytest.approx(three.latency_ms(), rel=1e-9)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds, st.floats(1.0, 3.0), st.sampled_from(["latency_ms", "accuracy", "cost_usd_per_1000"]))
def test_a_looser_objective_never_makes_the_optimum_worse(
    seed: int, factor: float, name: str
) -> None:
    scenario = random_scenario(random.Random(seed), queries=1, queueing=False)
    query = scenario.queries[0]
    limit = getattr(query.slo, name)
    if limit is None:
        return
    looser = limit / factor if name == "accuracy" else limit * factor
    slo = dataclasses.replace(query.slo, **{name: looser})
    relaxed = dataclasses.replace(scenario, queries=(dataclasses.replace(query, slo=slo),))
    before, after = _programme(scenario, Aim.VALUE), _programme(relaxed, Aim.VALUE)
    if before is not None:
        assert after is not None
        assert after.usd <= before.usd * (1 + 1e-5) + 1e-12


@pytest.mark.timeout(300)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds)
def test_the_search_finds_the_cheapest_plan_that_fits(seed: int) -> None:
    """Where the steps of one plan get in each other's way, branching is exact too."""
    scenario = random_scenario(random.Random(seed), queries=1, queueing=False)
    query = dataclasses.replace(scenario.queries[0], slo=Slo())
    scenario = dataclasses.replace(scenario, queries=(query,))
    fitting = [
        sum(checker.costs(scenario, query, steps).values())
        for steps in checker.enumerate_plans(scenario, query)
        if checker.fits(scenario, query, steps)
    ]
    chosen = Selection(Catalogue(scenario), Ledger(scenario))
    found = search(
        chosen.catalogue, query, chosen.ledger, Pricing(), 1.0, chosen.judge, slots=4, solves=2000
    )
    assert (found is None) == (not fitting)
    if found is not None:
        assert found.placed.usd == pytest.approx(min(fitting), rel=1e-5, abs=1e-12)


@pytest.mark.timeout(600)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds, st.booleans())
@example(1007, True)  # whole queries on rented machines, one of them just too large
def test_every_decision_is_sound(seed: int, queueing: bool) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(0, 6), queueing=queueing)
    decision = plan(scenario, effort=MaxIterations(3), seed=seed)
    assert checker.violations(scenario, decision) == []


@pytest.mark.timeout(300)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds)
@example(1884907)  # shares of machines that are rented
def test_the_same_seed_gives_the_same_bytes(seed: int) -> None:
    scenario = random_scenario(random.Random(seed), queries=4, queueing=True)
    first, second = (plan(scenario, effort=MaxIterations(4), seed=seed) for _ in range(2))
    assert encode_decision(first) == encode_decision(second)


@pytest.mark.timeout(300)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds)
def test_planning_again_from_its_own_answer_loses_nothing(seed: int) -> None:
    scenario = random_scenario(random.Random(seed), queries=4, queueing=True)
    first = plan(scenario, effort=MaxIterations(3), seed=seed)
    again = plan(scenario, effort=MaxIterations(1), seed=seed, previous=first)
    assert checker.violations(scenario, again) == []
    assert again.goodput_rps >= first.goodput_rps * (1 - 1e-9)


@pytest.mark.timeout(300)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds)
def test_every_query_can_be_explained(seed: int) -> None:
    scenario = random_scenario(random.Random(seed), queries=4, queueing=True)
    decision = plan(scenario, effort=MaxIterations(2), seed=seed)
    turned_away = {r.query for r in decision.rejected}
    for query in scenario.queries:
        found = explain(scenario, decision, query.id)
        assert found.reason
        assert (found.share < 1 - 1e-6) == (query.id in turned_away)
        assert found.binding or not turned_away & {query.id}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds)
def test_the_latency_relaxation_is_exact(seed: int) -> None:
    """A query that lacks nothing but latency has a plan with the latency explain asks for."""
    scenario = random_scenario(random.Random(seed), queries=1, queueing=False)
    query = scenario.queries[0]
    if query.slo.latency_ms is None:
        return
    decision = plan(scenario, effort=MaxIterations(1))
    for rejection in decision.rejected:
        if rejection.binding != "latency" or "and" in (rejection.relaxation or ""):
            continue
        more = float((rejection.relaxation or "").split()[1])
        for extra, served in ((more, True), (more * 0.99, False)):
            slo = dataclasses.replace(query.slo, latency_ms=query.slo.latency_ms + extra)
            relaxed = dataclasses.replace(scenario, queries=(dataclasses.replace(query, slo=slo),))
            assert (_programme(relaxed, Aim.VALUE) is not None) == served
