"""From a market to prices, a mixture of plans for all queries, and a bound."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.bound import lagrangian, price_all
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.discovery import (
    LARGE,
    discover,
    dollar,
    settle,
    starters,
)
from circinus_coordinator.planning.decomposition.dual import ascend, first_prices
from circinus_coordinator.planning.decomposition.master import Mixture, mix
from circinus_coordinator.planning.decomposition.pool import (
    Pool,
    Units,
    everything,
    make_units,
)

__all__ = ["Solution", "mix_again", "relax", "told", "without"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_ROUNDS, _FINE = 150, 50
# Plans up to this many times the worth of a request are kept for second choices.
_NEARLY = 1.2
# Rounds of pricing new plans before the master programme is believed.
_PRICINGS = 6
# And of up to so many units, which it costs little to ask.
_MORE_PRICINGS, _FEW = 60, 200
# A column worse than its unit's best by this part of a request's worth is left out.
_HOPELESS = 0.05
# Where the master programme is large, plans that are better by this part of a request's worth are
# not looked for; the bound is higher by that.
_OVERLOOKED = 1e-4
# A gap of this much is left alone; where the master programme is large, one of that much.
_ENOUGH, _LARGE_ENOUGH = 2e-4, 1e-3
# Of few units the bound itself is meant to be sharper.
_EXACT = 1e-7


@dataclass(slots=True)
class Solution:
    """What the relaxation says.

    Attributes:
        units: Demand.
        pool: Columns of the last master programme.
        mixture: Its solution.
        prices: `(rows,)` the prices of the best bound.
        bound_rps: Weighted goodput no assignment exceeds.
        usd: Value of a US dollar.
        seconds: Of each phase.
        refused: (unit, template) pairs that real machines had no room for.
    """

    units: Units
    pool: Pool
    mixture: Mixture
    prices: FloatArray
    bound_rps: float
    usd: float
    seconds: dict[str, float]
    refused: set[tuple[int, int]] = field(default_factory=set)

    @property
    def goodput_rps(self) -> float:
        """Weighted goodput of the mixture, were all its parts to fit on real machines."""
        return float(self.mixture.rate @ self.units.weight[self.pool.unit])


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
    units, capacity = make_units(market), market.capacity
    began = clock()
    usd = dollar(market, units)
    cold = prices is None or not any(len(c.templates) for c in market.classes)
    bound = np.inf
    if prices is None or cold:
        prices = discover(market, units, usd)
        # What the sample did not press on may well be scarce for the others.
        pool = starters(market, units, prices, usd)
        prices = np.where(prices > 0, prices, first_prices(units, pool, capacity))
        prices, bound = settle(market, units, prices, usd)
    settled = clock()
    rounds, few = _ROUNDS, len(units) <= LARGE
    if not few:  # what is cheapest is looked at again half-way
        rounds = _ROUNDS // 2
        pool = starters(market, units, prices, usd)
        prices = ascend(units, pool, capacity, prices, usd=usd, rounds=rounds, fine=0).prices
    pool = starters(market, units, prices, usd)
    ascent = ascend(
        units, pool, capacity, prices, usd=usd, rounds=rounds, fine=_FINE, gentle=not few
    )
    risen = clock()
    pool = pool.take(np.flatnonzero(ascent.touched))
    mixture = mix(units, pool, capacity, usd=usd, basis=len(units) < LARGE, fallback=ascent.prices)
    mixed = clock()
    solution = Solution(units, pool, mixture, mixture.prices, bound, usd, {})
    enough = _ENOUGH if few else _LARGE_ENOUGH
    for _ in range(_MORE_PRICINGS if len(units) <= _FEW else _PRICINGS):
        bound, unit, template = _priced(market, solution)
        solution.bound_rps = min(solution.bound_rps, bound)
        if bound - solution.goodput_rps <= enough * max(bound, 1e-9):
            break
        known = Pool.of(market, units, *_joined(pool, unit, template))
        if len(known) == len(pool):  # the solver's last digits are all that is between the two
            break
        pool = known.take(_promising(units, solution, known))
        mixture = mix(
            units, pool, capacity, usd=usd, basis=len(units) < LARGE, fallback=mixture.prices
        )
        solution.pool, solution.mixture, solution.prices = pool, mixture, mixture.prices
    if len(units) <= _FEW:
        _tighten(market, solution)
    solution.seconds = {
        "discover": settled - began,
        "dual": risen - settled,
        "master": mixed - risen,
        "certify": clock() - mixed,
    }
    return solution


def _tighten(market: Market, solution: Solution) -> None:
    """Lower the bound to what the mixture of most goodput reaches, whatever it costs.

    The mixture itself heeds dollars, so that its prices leave a gap where a plan is very dear.
    """
    units, capacity, fallback = solution.units, market.capacity, solution.prices
    pool = Pool.of(market, units, *everything(market, units))
    for _ in range(_MORE_PRICINGS):
        if solution.bound_rps - solution.goodput_rps <= _EXACT * solution.bound_rps:
            return
        free = Solution(
            units,
            pool,
            mix(units, pool, capacity, usd=0.0, basis=True, fallback=fallback),
            fallback,
            np.inf,
            0.0,
            {},
        )
        free.prices = free.mixture.prices
        bound, unit, template = _priced(market, free)
        solution.bound_rps = min(solution.bound_rps, bound)
        known = Pool.of(market, units, *_joined(pool, unit, template))
        if solution.bound_rps - free.goodput_rps <= _EXACT * bound or len(known) == len(pool):
            return
        pool = known


def _joined(pool: Pool, unit: IntArray, template: IntArray) -> tuple[IntArray, IntArray]:
    return np.concatenate([pool.unit, unit]), np.concatenate([pool.template, template])


def _promising(units: Units, solution: Solution, pool: Pool) -> IntArray:
    """Columns that are not much worse than the best of their unit, nor than nothing.

    Without this the master programme grows by a column per unit in each round, hardly any of
    which is ever used.
    """
    gain = units.weight[pool.unit] - pool.use @ solution.prices - solution.usd * pool.usd
    best = np.zeros(len(units))
    np.maximum.at(best, pool.unit, gain)
    near = gain >= best[pool.unit] - _HOPELESS * units.weight[pool.unit]
    key = pool.unit * (int(pool.template.max(initial=0)) + 1) + pool.template
    mixed = solution.pool
    in_use = mixed.unit * (int(pool.template.max(initial=0)) + 1) + mixed.template
    return np.flatnonzero(near | np.isin(key, in_use[solution.mixture.rate > 0])).astype(np.int64)


def without(market: Market, solution: Solution, refused: Collection[tuple[int, int]]) -> None:
    """Mix again without these (unit, template) pairs; bound and prices stay.

    The units concerned may choose from all known plans, nearly the cheapest ones first.
    """
    units, pool = solution.units, solution.pool
    solution.refused |= set(refused)
    among = np.array(sorted({unit for unit, _ in refused}), dtype=np.int64)
    unit, template = everything(market, units, among)
    wide = Pool.of(market, units, unit, template)
    value = wide.use @ solution.prices + solution.usd * wide.usd
    cheap = value < units.weight[wide.unit] * _NEARLY
    unit = np.concatenate([pool.unit, wide.unit[cheap]])
    template = np.concatenate([pool.template, wide.template[cheap]])
    allowed = [pair not in solution.refused for pair in zip(unit, template, strict=True)]
    pool = Pool.of(market, units, unit[allowed], template[allowed])
    solution.pool = pool
    solution.mixture = mix(
        units,
        pool,
        market.capacity,
        usd=solution.usd,
        basis=len(units) < LARGE,
        fallback=solution.prices,
    )


def told(market: Market, prices: FloatArray, bound_rps: float, usd: float) -> Solution:
    """What is known without a mixture: prices and a bound from elsewhere."""
    units = make_units(market)
    none = np.zeros(0, dtype=np.int64)
    mixture = Mixture(np.zeros(0), prices, 0.0)
    return Solution(units, Pool.of(market, units, none, none), mixture, prices, bound_rps, usd, {})


def mix_again(
    market: Market, solution: Solution, unit: IntArray, template: IntArray, bonus: float
) -> tuple[Pool, Mixture]:
    """A mixture in which some plans count a bit more than they are worth; bound and prices stay.

    Args:
        market: Classes.
        solution: Whose columns may be chosen as well.
        unit: Of each pair preferred.
        template: Of each pair preferred.
        bonus: As a part of a request's worth.
    """
    units = solution.units
    pool = Pool.of(market, units, *_joined(solution.pool, unit, template))
    base = int(pool.template.max(initial=0)) + 1
    preferred = np.isin(pool.unit * base + pool.template, unit * base + template)
    mixture = mix(
        units,
        pool,
        market.capacity,
        usd=solution.usd,
        basis=len(units) < LARGE,
        fallback=solution.prices,
        bonus=bonus * preferred * units.weight[pool.unit],
    )
    return pool, mixture


def _priced(market: Market, solution: Solution) -> tuple[float, IntArray, IntArray]:
    """The bound at the solution's prices, exact over all plans, and columns that may help."""
    slack = _OVERLOOKED if len(solution.units) > LARGE else 0.0
    priced = price_all(market, solution.units, solution.prices, 0.0, slack=slack)
    bound = lagrangian(solution.units, solution.prices, market.capacity, priced.value)
    return bound, *priced.pairs
