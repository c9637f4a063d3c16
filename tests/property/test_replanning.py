"""A plan kept in memory: whatever comes and goes, what it claims holds and hardly anybody moves."""

from __future__ import annotations

import dataclasses
import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks._planner.replan import moved
from circinus.decision import Decision
from circinus.errors import InvalidInput
from circinus.scenario import Scenario
from circinus_coordinator.generation import generate
from circinus_coordinator.planning import Replanner, plan
from circinus_coordinator.planning.decomposed import at_large

sys.path.insert(0, str(Path(__file__).parent))
import checker
from planner_scenarios import random_scenario


@pytest.mark.timeout(600)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
@example(4_294_967_295)  # a floor out of reach, then one of the same class that is not
@example(179)  # nobody at the margin has a plan
def test_whatever_comes_and_goes_decisions_are_sound_and_bounds_hold(seed: int) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=6, queueing=False)
    first = dataclasses.replace(scenario, queries=scenario.queries[:4])
    planner = Replanner(first, seed=seed)
    planner.change(add=scenario.queries[4:], remove=[scenario.queries[rng.randrange(4)].id])
    planner.change(remove=[rng.choice(planner.scenario.queries).id])
    present, decision = planner.scenario, planner.decision()
    assert checker.violations(present, decision) == []
    assert decision.goodput_rps >= planner.goodput_rps * (1 - 1e-6)
    exact = plan(present, planner="exact", seed=seed)
    assert exact.goodput_rps <= planner.bound_rps * (1 + 1e-6) + 1e-9


@pytest.fixture(scope="module")
def generated() -> Scenario:
    return generate(queries=320, devices=20, seed=3, contention=0.5, queueing=False)


@pytest.mark.timeout(600)
def test_a_small_change_moves_hardly_anybody_and_costs_little(
    generated: Scenario,
) -> None:
    before = dataclasses.replace(generated, queries=generated.queries[:317])
    planner = Replanner(before)
    was = planner.decision()
    change = planner.change(
        add=generated.queries[317:], remove=[q.id for q in generated.queries[:3]]
    )
    assert moved(generated.queries[3:317], was, planner.decision()) <= 0.02
    after = dataclasses.replace(generated, queries=generated.queries[3:])
    cold = at_large(after, seed=0, clock=lambda: 0.0)
    assert change.goodput_rps >= cold.goodput_rps * (1 - 0.02)
    assert cold.goodput_rps <= change.bound_rps


@pytest.mark.timeout(600)
def test_settling_finds_what_a_cold_plan_finds(generated: Scenario) -> None:
    planner = Replanner(dataclasses.replace(generated, queries=generated.queries[:290]))
    planner.change(add=generated.queries[290:])
    planner.settle()
    cold = at_large(generated, seed=0, clock=lambda: 0.0)
    assert planner.goodput_rps >= cold.goodput_rps * (1 - 0.005)


def test_what_a_change_tells_is_all_that_differs(generated: Scenario) -> None:
    few = dataclasses.replace(generated, queries=generated.queries[:60])
    planner = Replanner(few)
    before = planner.decision()
    told = {q.id: _ways(before, q.id) for q in few.queries}
    gone = [q.id for q in few.queries[:6]]
    change = planner.change(add=generated.queries[60:66], remove=gone)
    for name in gone:
        del told[name]
    for name, some in change.assignments.items():
        told[name] = {tuple((k, s.device, s.config) for k, s in a.plan.items()) for a in some}
    now = planner.decision()
    assert {name: ways for name, ways in told.items() if ways} == {
        q.id: ways for q in planner.scenario.queries if (ways := _ways(now, q.id))
    }
    assert set(change.assignments) >= set(change.served)


def _ways(decision: Decision, query: str) -> set[tuple[object, ...]]:
    return {
        tuple((name, step.device, step.config) for name, step in a.plan.items())
        for a in decision.assignments
        if a.query == query
    }


def test_a_class_never_seen_is_compiled_and_nothing_else_is_planned_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = generate(queries=40, devices=12, seed=1, contention=0.9, queueing=False)
    new = whole.queries[27]
    old = tuple(q for q in whole.queries if q.pipeline != new.pipeline)
    planner = Replanner(dataclasses.replace(whole, queries=old))
    monkeypatch.setattr(planner, "settle", None)
    change = planner.change(add=[new])
    assert new.id in change.served
    assert change.goodput_rps <= change.bound_rps


def test_a_query_from_a_source_never_seen_is_planned_too() -> None:
    whole = generate(queries=40, devices=12, seed=1, contention=0.9, queueing=False)
    source = dict(whole.queries[-1].source)
    old = tuple(q for q in whole.queries if dict(q.source) != source)
    new = [q for q in whole.queries if dict(q.source) == source]
    planner = Replanner(dataclasses.replace(whole, queries=old))
    before = planner.goodput_rps
    change = planner.change(add=new)
    assert set(change.served) | set(change.waiting) >= {q.id for q in new}
    assert before < change.goodput_rps <= change.bound_rps


def test_what_cannot_be_done_changes_nothing(generated: Scenario) -> None:
    few = dataclasses.replace(generated, queries=generated.queries[:20])
    planner = Replanner(few)
    before = planner.decision()
    strange = dataclasses.replace(generated.queries[30], pipeline="nowhere")
    for add, remove, told in (
        ((), ["nobody"], "nobody"),
        ((generated.queries[30], generated.queries[30]), [], "there already"),
        ((few.queries[0],), [], "there already"),
        ((strange,), [few.queries[0].id], "nowhere"),
    ):
        with pytest.raises(InvalidInput, match=told):
            planner.change(add=add, remove=remove)
        assert planner.decision() == before


def test_waiting_is_beyond_it(generated: Scenario) -> None:
    with pytest.raises(InvalidInput, match="queueing"):
        Replanner(dataclasses.replace(generated, queueing=True))
