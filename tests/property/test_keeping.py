"""Earlier decisions read back: what stands is found again, what does not is left out."""

from __future__ import annotations

import dataclasses
import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks._planner.replan import moved
from circinus_coordinator.generation import generate
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposed import at_large
from circinus_coordinator.planning.decomposition.classes import market
from circinus_coordinator.planning.decomposition.keeping import keep
from circinus_coordinator.planning.decomposition.solve import relax
from circinus_coordinator.planning.decomposition.totals import plans_of

sys.path.insert(0, str(Path(__file__).parent))
import checker
from planner_scenarios import random_scenario

seeds = st.integers(0, 2**32)
_some = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.timeout(600)
@settings(max_examples=12, **_some)
@given(seeds)
def test_a_plan_adds_up_to_what_the_programme_told_of_it(seed: int) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(1, 4), queueing=False)
    found = market(Catalogue(scenario))
    relax(found)
    for kind in found.classes:
        known = kind.templates.found
        again = plans_of(kind.programme, [plan.options for plan in known])
        for plan, told in zip(known, again, strict=True):
            assert told is not None
            assert (told.mean, told.variance, told.usd) == pytest.approx(
                (plan.mean, plan.variance, plan.usd), rel=1e-9, abs=1e-12
            )


@pytest.mark.timeout(600)
@settings(max_examples=12, **_some)
@given(seeds)
def test_all_of_a_decision_is_kept_where_nothing_changed(seed: int) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(1, 6), queueing=False)
    decision = at_large(scenario, seed=seed, clock=lambda: 0.0)
    again = market(Catalogue(scenario))
    kept = keep(again, decision)
    assert len(kept) == len(decision.assignments)
    for piece, assignment in zip(kept, decision.assignments, strict=True):
        assert scenario.queries[piece.query].id == assignment.query
        programme = again.classes[piece.kind].programme
        options = again.classes[piece.kind].templates.found[piece.template].options
        for step, option in zip(programme.steps, options, strict=True):
            told = assignment.plan[step.name]
            assert piece.devices[int(step.slot[option])] == told.device
            assert (step.rows[option].config, step.rows[option].batch) == (told.config, told.batch)


@pytest.mark.timeout(600)
@settings(max_examples=12, **_some)
@given(seeds)
def test_plans_that_are_too_slow_by_now_are_not_kept(seed: int) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(1, 6), queueing=False)
    decision = at_large(scenario, seed=seed, clock=lambda: 0.0)
    if not decision.assignments:
        return
    first = decision.assignments[0]
    limit = first.estimate.latency_ms * 0.9
    hasty = tuple(
        dataclasses.replace(q, slo=dataclasses.replace(q.slo, latency_ms=limit))
        if q.id == first.query
        else q
        for q in scenario.queries
    )
    kept = keep(market(Catalogue(dataclasses.replace(scenario, queries=hasty))), decision)
    position = [q.id for q in scenario.queries].index(first.query)
    quick = [
        a for a in decision.assignments if a.query == first.query and a.estimate.latency_ms <= limit
    ]
    assert sum(piece.query == position for piece in kept) == len(quick)


@pytest.mark.timeout(600)
@settings(max_examples=12, **_some)
@given(seeds)
def test_what_follows_a_previous_decision_is_sound(seed: int) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(2, 6), queueing=False)
    decision = at_large(scenario, seed=seed, clock=lambda: 0.0)
    gone = rng.randrange(len(scenario.queries))
    rest = tuple(q for k, q in enumerate(scenario.queries) if k != gone)
    changed = dataclasses.replace(scenario, queries=rest)
    following = at_large(changed, seed=seed, clock=lambda: 0.0, previous=decision)
    assert checker.violations(changed, following) == []
    assert following.bound_rps is not None
    assert following.goodput_rps <= following.bound_rps


@pytest.mark.timeout(600)
def test_a_small_change_moves_few_and_costs_hardly_anything() -> None:
    whole = generate(queries=330, devices=20, seed=1, contention=0.5, queueing=False)
    before = dataclasses.replace(whole, queries=whole.queries[:300])
    after = dataclasses.replace(whole, queries=whole.queries[3:303])
    decision = at_large(before, seed=0, clock=lambda: 0.0)
    following = at_large(after, seed=0, clock=lambda: 0.0, previous=decision)
    assert moved(whole.queries[3:300], decision, following) <= 0.06
    assert decision.gap is not None
    assert following.gap is not None
    assert following.gap <= decision.gap + 0.005
