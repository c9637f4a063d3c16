"""What a rehearsal says of plans."""

from __future__ import annotations

import dataclasses

import pytest

from circinus.decision import Assignment, Decision, Estimate, Step
from circinus.scenario import Scenario, decode_scenario
from circinus_coordinator import planning
from circinus_coordinator.rehearsal import Budget, Rehearsal, play
from circinus_coordinator.simulation import simulate

SCENARIO = b"""
circinus: 1
device_classes: {pi: {cores: 1, memory_mb: 1000, price_usd_hour: 0.1}}
devices: [{id: pi-1, class: pi, tier: device}]
pipelines: {p: {operators: {a: {}}, input_bytes: 1}}
profiles:
  - {operator: a, device_class: pi, compute_s: {cores: 0.02}, samples: 9,
     latency_ms: {mean: 20, p50: 13.9, p95: 59.9, p99: 92.1}}
queries:
  - {id: often, pipeline: p, source: pi-1, rate_rps: 25, slo: {latency_ms: 400}}
  - {id: seldom, pipeline: p, source: pi-1, rate_rps: 0.05, slo: {latency_ms: 400}}
"""
PLAN = {"a": Step(device="pi-1")}
PROMISE = Estimate(latency_ms=1.0, accuracy=None, cost_usd_per_1000=0.0)
DECISION = Decision(
    planner="by hand",
    assignments=tuple(
        Assignment(query=name, share=1.0, plan=PLAN, estimate=PROMISE)
        for name in ("often", "seldom")
    ),
)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return decode_scenario(SCENARIO, name="s.yaml")


def test_another_simulation_of_the_same_plans_lies_in_the_interval(scenario: Scenario) -> None:
    often = play(scenario, DECISION, budget=Budget(), seed=0)[0]
    assert often is not None
    assert often.steady
    other = simulate(scenario, DECISION, seconds=1600, seed=0, shedding=False)
    seen = other.assignments[0].simulated_ms
    assert seen is not None
    assert often.low_ms < seen < often.high_ms
    assert often.latency_ms != seen


def test_who_has_few_requests_beyond_the_percentile_is_not_steady(scenario: Scenario) -> None:
    often, seldom = play(scenario, DECISION, budget=Budget(requests=20_000), seed=0)
    assert often is not None
    assert often.steady
    assert often.requests > 10_000
    assert seldom is None or not seldom.steady


def test_what_does_not_last_for_long_enough_is_not_rehearsed_at_all(scenario: Scenario) -> None:
    assert play(scenario, DECISION, budget=Budget(requests=500), seed=0) == (None, None)


def test_the_same_seed_shows_the_same_and_another_does_not(scenario: Scenario) -> None:
    budget = Budget(requests=8000)
    one = play(scenario, DECISION, budget=budget, seed=1)
    assert one == play(scenario, DECISION, budget=budget, seed=1)
    assert one != play(scenario, DECISION, budget=budget, seed=2)


def test_who_asks_twice_is_not_played_to_twice(scenario: Scenario) -> None:
    rehearsal = Rehearsal(Budget(requests=8000))
    first = rehearsal(scenario, DECISION)
    half = dataclasses.replace(DECISION.assignments[0], share=0.5)
    other = rehearsal(scenario, dataclasses.replace(DECISION, assignments=(half,)))
    assert rehearsal(scenario, DECISION) is first
    assert other != first


def test_a_planner_promises_what_its_rehearsal_showed(scenario: Scenario) -> None:
    decision = planning.plan(scenario, rehearse=Rehearsal(seed=3))
    shown = play(scenario, decision, budget=Budget(), seed=3)
    told = {a.query: a.estimate for a in decision.assignments}
    often = next(s for a, s in zip(decision.assignments, shown, strict=True) if a.query == "often")
    assert often is not None
    assert told["often"].latency_ms == often.latency_ms
    assert told["often"].rehearsed is not None
    assert told["seldom"].rehearsed is None
    assert decision == planning.plan(scenario, rehearse=Rehearsal(seed=3))
