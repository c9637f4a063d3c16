"""The relaxation's bound against the exact programme, and its decisions against the checker."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circinus.errors import InvalidInput
from circinus_coordinator.planning import plan
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposed import at_large
from circinus_coordinator.planning.decomposition.bound import lagrangian, price_all
from circinus_coordinator.planning.decomposition.classes import market
from circinus_coordinator.planning.decomposition.pool import make_units

sys.path.insert(0, str(Path(__file__).parent))
import checker
from planner_scenarios import random_scenario

seeds = st.integers(0, 2**32)
_some = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.timeout(900)
@settings(max_examples=300, **_some)
@given(seeds)
def test_bound_exceeds_the_optimum_and_the_optimum_the_goodput(seed: int) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(1, 4), queueing=False)
    decision = at_large(scenario, seed=seed, clock=lambda: 0.0)
    assert checker.violations(scenario, decision) == []
    assert decision.bound_rps is not None
    try:
        best = plan(scenario, planner="exact")
    except InvalidInput:
        return
    assert decision.bound_rps >= best.goodput_rps * (1 - 1e-9)
    # The solver stops within a tolerance of the optimum; its own bound is on the other side.
    assert best.bound_rps is not None
    assert decision.goodput_rps <= best.bound_rps * (1 + 1e-6) + 1e-9


@pytest.mark.timeout(600)
@settings(max_examples=60, **_some)
@given(seeds, st.floats(1e-9, 1e9))
def test_the_bound_holds_at_whatever_prices(seed: int, scale: float) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(1, 3), queueing=False)
    found = market(Catalogue(scenario))
    units = make_units(found)
    generator = np.random.default_rng(seed)
    prices = generator.exponential(scale, len(found.capacity)) * generator.integers(
        0, 2, len(found.capacity)
    )
    priced = price_all(found, units, prices, 0.0)
    bound = lagrangian(units, prices, found.capacity, priced.value)
    try:
        best = plan(scenario, planner="exact")
    except InvalidInput:
        return
    assert bound >= best.goodput_rps * (1 - 1e-9)


@pytest.mark.timeout(300)
@settings(max_examples=40, **_some)
@given(seeds)
def test_the_bound_holds_for_what_waits_as_well(seed: int) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(1, 4), queueing=True)
    found = market(Catalogue(scenario))
    units = make_units(found)
    prices = np.random.default_rng(seed).exponential(1.0, len(found.capacity))
    priced = price_all(found, units, prices, 0.0)
    bound = lagrangian(units, prices, found.capacity, priced.value)
    assert bound >= plan(scenario).goodput_rps * (1 - 1e-9)
