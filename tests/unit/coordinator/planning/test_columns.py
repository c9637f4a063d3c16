"""Which plans a unit of demand may choose from, and what classes learn from one another."""

from __future__ import annotations

import numpy as np
import pytest

from circinus_coordinator.generation import generate
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposition.bound import price_all
from circinus_coordinator.planning.decomposition.classes import Market, market
from circinus_coordinator.planning.decomposition.pool import Pool, cheapest, everything, make_units
from circinus_coordinator.planning.decomposition.pricing import exact, learn


@pytest.fixture(scope="module")
def found() -> Market:
    scenario = generate(queries=80, devices=20, seed=0, contention=0.5, queueing=False)
    return market(Catalogue(scenario))


@pytest.fixture(scope="module")
def prices(found: Market) -> np.ndarray:
    return np.random.default_rng(0).exponential(0.1, len(found.capacity))


def test_the_cheapest_plans_of_each_unit_come_first(found: Market, prices: np.ndarray) -> None:
    units = make_units(found)
    price_all(found, units, prices * 0, 1.0, wanted=False)
    price_all(found, units, prices, 1.0, wanted=False)
    every = Pool.of(found, units, *everything(found, units))
    value = every.use @ prices + every.usd
    few = Pool.of(found, units, *cheapest(found, units, prices, 1.0, 2))
    for unit in range(len(units)):
        two = np.sort(value[every.unit == unit])[:2]
        mine = few.take(np.flatnonzero(few.unit == unit))
        assert np.sort(mine.use @ prices + mine.usd) == pytest.approx(two)
    assert len(few) < len(every)


def test_what_is_taken_over_adds_up_as_if_it_had_been_found() -> None:
    scenario = generate(queries=80, devices=20, seed=1, contention=0.5, queueing=False)
    own = market(Catalogue(scenario))
    free = np.zeros(len(own.capacity))
    same = 0
    for kind in own.classes:
        asks = np.arange(len(kind.asks))
        learn(kind, free, 1.0, asks * 0, asks)
        taken = {plan.options: plan for plan in kind.templates.found}
        for plan in exact(kind, free, 1.0, asks * 0, asks, np.full(len(asks), np.inf)):
            kind.templates.add([plan])
            if plan is not None and plan.options in taken:
                other = taken[plan.options]
                assert (other.mean, other.variance, other.usd) == pytest.approx(
                    (plan.mean, plan.variance, plan.usd)
                )
                same += 1
    assert same > 0
