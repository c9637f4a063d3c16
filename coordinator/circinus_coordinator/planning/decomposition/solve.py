"""From a market to prices, a mixture of plans for all queries, and a bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.bound import lagrangian, price_all
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.dual import ascend, first_prices
from circinus_coordinator.planning.decomposition.master import Mixture, mix
from circinus_coordinator.planning.decomposition.pool import Pool, Units, everything, make_units

__all__ = ["Solution", "certify", "relax"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# A dollar saved never weighs as much as a request served: all the dollars of the dearest plan
# together weigh this part of the least valuable request.
_DOLLAR = 1e-4
_ROUNDS, _FINE = 150, 50
# Rounds of pricing new plans before the master programme is believed.
_PRICINGS = 6
# Relative: pricing for columns may overlook this much, and a gap of this much is left alone.
_SLACK, _ENOUGH = 2e-5, 2e-4


@dataclass(slots=True)
class Solution:
    """What the relaxation says.

    Attributes:
        units: Demand.
        pool: Columns of the last master programme.
        mixture: Its solution.
        prices: `(rows,)` the prices of the best bound.
        bound_rps: Weighted goodput no assignment exceeds; infinite before it is certified.
    """

    units: Units
    pool: Pool
    mixture: Mixture
    prices: FloatArray
    bound_rps: float
    usd: float
    seconds: dict[str, float]


def relax(
    market: Market,
    *,
    prices: FloatArray | None = None,
    clock: Callable[[], float] = lambda: 0.0,
) -> Solution:
    """Solve the relaxation.

    Args:
        market: Classes; plans found join their templates.
        prices: `(rows,)` of an earlier solution to start from.
        clock: For reporting.
    """
    units = make_units(market)
    began = clock()
    usd = _dollar(market, units)
    capacity = market.capacity
    if prices is None or not any(len(c.templates) for c in market.classes):
        prices = _discover(market, units, usd)
    seconds = {"discover": clock() - began}
    began = clock()
    pool = Pool.of(market, units, *everything(market, units))
    ascent = ascend(units, pool, capacity, prices, usd=usd, rounds=_ROUNDS, fine=_FINE)
    seconds["dual"] = clock() - began
    began = clock()
    pool = pool.take(np.flatnonzero(ascent.touched))
    mixture = mix(units, pool, capacity, usd=usd, basis=len(units) < 20_000)
    seconds["master"] = clock() - began
    began = clock()
    for _ in range(_PRICINGS):
        priced = price_all(market, units, mixture.prices, usd, slack=_SLACK)
        reached = lagrangian(units, mixture.prices, capacity, priced.value)
        if reached - mixture.objective <= _ENOUGH * max(mixture.objective, 1e-9):
            break
        unit, template = priced.pairs
        pool = Pool.of(
            market,
            units,
            np.concatenate([pool.unit, unit]),
            np.concatenate([pool.template, template]),
        )
        mixture = mix(units, pool, capacity, usd=usd, basis=len(units) < 20_000)
    seconds["reprice"] = clock() - began
    return Solution(units, pool, mixture, mixture.prices, np.inf, usd, seconds)


def certify(market: Market, solution: Solution) -> float:
    """The bound at the solution's prices, exact over all plans."""
    priced = price_all(market, solution.units, solution.prices, 0.0)
    return lagrangian(solution.units, solution.prices, market.capacity, priced.value)


def _discover(market: Market, units: Units, usd: float) -> FloatArray:
    """First templates, from free resources to those that some demand presses on; their prices."""
    nothing = np.zeros(len(market.capacity))
    price_all(market, units, nothing, usd)
    prices = nothing
    for turn in range(_PRICINGS):
        pool = Pool.of(market, units, *everything(market, units))
        if turn == 0:
            prices = first_prices(units, pool, market.capacity)
        ascent = ascend(
            units, pool, market.capacity, prices, usd=usd, rounds=40, fine=0, gentle=turn > 0
        )
        prices = ascent.prices
        if not price_all(market, units, prices, usd, slack=1e-3).improved:
            break
    return prices


def _dollar(market: Market, units: Units) -> float:
    """Value of a US dollar, from the dearest plan that is cheapest for somebody."""
    nothing = np.zeros(len(market.capacity))
    if not any(len(c.templates) for c in market.classes):
        price_all(market, units, nothing, 1.0)
    dearest = max((float(c.templates.usd.max(initial=0.0)) for c in market.classes), default=0.0)
    weight = float(units.weight.min(initial=np.inf))
    return _DOLLAR * weight / dearest if dearest > 0 and np.isfinite(weight) else 1.0
