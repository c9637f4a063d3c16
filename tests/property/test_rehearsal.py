"""Whatever a rehearsal shows, a decision promises nothing it must not."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from circinus.decision import Decision, decode_decision, encode_decision
from circinus.scenario import Scenario
from circinus_coordinator.planning import MaxIterations, Shown, plan
from circinus_coordinator.rehearsal import Budget, Rehearsal

sys.path.insert(0, str(Path(__file__).parent))
import checker
from planner_scenarios import random_scenario

PLANNERS = ("circinus", "cheapest-first", "best-accuracy@best")


def drawn(scenario: Scenario, decision: Decision, *, seed: int) -> Sequence[Shown | None]:
    """A rehearsal that says anything: too late, in doubt, in time, nothing."""
    del scenario
    generator = random.Random(seed)
    found: list[Shown | None] = []
    for a in decision.assignments:
        ms = a.estimate.latency_ms * generator.choice([0.3, 0.8, 1.0, 1.04, 1.3, 5.0, 900.0])
        low = ms * generator.choice([0.7, 0.98])
        shown = Shown(
            latency_ms=ms, low_ms=low, high_ms=2 * ms, requests=7, steady=generator.random() < 0.8
        )
        found.append(generator.choice([shown, shown, shown, None]))
    return found


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("seed", range(12))
def test_the_checker_finds_nothing_wrong_whatever_is_shown(planner: str, seed: int) -> None:
    scenario = random_scenario(random.Random(seed), queries=4, queueing=True)
    rehearse = functools.partial(drawn, seed=seed)
    decision = plan(scenario, rehearse=rehearse, planner=planner, effort=MaxIterations(1))
    wrong = checker.violations(scenario, decision)
    # What is drawn knows nothing of how long services take.
    assert [text for text in wrong if "the mean alone" not in text] == []
    assert decode_decision(encode_decision(decision)) == decision


def test_the_same_seed_gives_the_same_decision() -> None:
    budget = Budget(requests=6000)
    for seed in range(5, 9):
        scenario = random_scenario(random.Random(seed), queries=4, queueing=True)
        one, two = (
            plan(scenario, rehearse=Rehearsal(budget, seed=4), effort=MaxIterations(1), seed=4)
            for _ in range(2)
        )
        assert one == two
        if any(a.estimate.rehearsed for a in one.assignments):
            return
    pytest.fail("nothing was rehearsed")
