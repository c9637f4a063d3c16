"""Every decision of every baseline before the independent checker."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circinus.decision import decode_decision, encode_decision
from circinus_coordinator.planning import plan
from circinus_coordinator.planning.baselines import BASELINES

sys.path.insert(0, str(Path(__file__).parent))
import checker
from planner_scenarios import random_scenario

seeds = st.integers(0, 2**32)


@pytest.mark.parametrize("name", sorted(BASELINES))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(seeds, st.integers(1, 4), st.booleans())
def test_the_checker_finds_nothing_wrong(
    name: str, seed: int, queries: int, queueing: bool
) -> None:
    scenario = random_scenario(random.Random(seed), queries=queries, queueing=queueing)
    decision = plan(scenario, planner=name)
    assert checker.violations(scenario, decision) == []
    assert decision.planner == name
    assert decision.evaluations is not None
    assert decode_decision(encode_decision(decision)) == decision
