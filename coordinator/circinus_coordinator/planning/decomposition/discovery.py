"""First plans and prices, where none are known yet."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.bound import lagrangian, price_all
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.dual import ascend, first_prices
from circinus_coordinator.planning.decomposition.pool import Pool, Units, cheapest, everything

__all__ = ["LARGE", "discover", "dollar", "settle", "starters"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
LARGE = 20_000
"""Beyond this many units a vertex of the master programme, and all their plans, are too much."""
# So many of its known plans are in play for each of very many units.
_NEAREST = 8
# A dollar saved never weighs as much as a request served: all the dollars of the dearest plan
# together weigh this part of the least valuable request.
_DOLLAR = 1e-4
# Units that first plans are sought for.
_SAMPLE = 1_500
# Rounds of pricing new plans for them.
_ROUNDS = 6
# While plans are collected a rough idea will do: what pricing may overlook, relative.
_ROUGH = 5e-3
# Rounds of pricing new plans for all, where a sample was asked before, until there are hardly
# better plans than those known: by this part of the bound.
_SETTLINGS, _SETTLED = 4, 2e-3
_STEPS = 150


def starters(market: Market, units: Units, prices: FloatArray, usd: float) -> Pool:
    """The columns to start from: of very many units only what is cheapest at the prices."""
    if len(units) <= LARGE:
        return Pool.of(market, units, *everything(market, units))
    return Pool.of(market, units, *cheapest(market, units, prices, usd, _NEAREST))


def discover(market: Market, units: Units, usd: float) -> FloatArray:
    """First templates, from free resources to those that some demand presses on; their prices.

    Of many units a sample is asked: all of some sources, with their part of what is pooled.
    """
    index, capacity = _sample(market, units)
    units = units.take(index)
    prices: FloatArray = np.zeros(len(capacity))
    for turn in range(_ROUNDS):
        pool = Pool.of(market, units, *everything(market, units))
        if turn == 0:
            prices = first_prices(units, pool, capacity)
        ascent = ascend(units, pool, capacity, prices, usd=usd, rounds=40, fine=0, gentle=turn > 0)
        prices = ascent.prices
        if not price_all(market, units, prices, usd, slack=_ROUGH).improved:
            break
    return np.where(_pressed(units, pool, len(capacity)), prices, 0.0)


def settle(
    market: Market, units: Units, prices: FloatArray, usd: float
) -> tuple[FloatArray, float]:
    """Templates also for the units that were not in the sample; prices, and a bound.

    Prices of a master programme over few columns jump from one end to another, and plans sought
    at such prices are of little use. Those of an ascent are near what they will be.
    """
    best = np.inf
    for _ in range(_SETTLINGS if len(units) >= 2 * _SAMPLE else 0):
        pool = starters(market, units, prices, usd)
        ascent = ascend(units, pool, market.capacity, prices, usd=usd, rounds=_STEPS, fine=0)
        prices = ascent.prices
        value = price_all(market, units, prices, 0.0, slack=_SETTLED / 4).value
        bound = lagrangian(units, prices, market.capacity, value)
        best = min(best, bound)
        if bound - ascent.bound <= _SETTLED * bound:
            break
    return prices, best


def _pressed(units: Units, pool: Pool, rows: int) -> npt.NDArray[np.bool_]:
    """`(rows,)`: those that some column uses."""
    found = np.zeros(rows, dtype=np.bool_)
    found[pool.use.indices] = True
    return found & (len(units) > 0)


def _sample(market: Market, units: Units) -> tuple[IntArray, FloatArray]:
    """Units to learn from, and the capacities they would have to themselves."""
    every: IntArray = np.arange(len(units), dtype=np.int64)
    parts = len(units) // _SAMPLE
    if parts <= 1:
        return every, market.capacity
    node = np.zeros(len(units), dtype=np.int64)
    for number, kind in market.of_class():
        mine = units.kind == number
        first = np.array([site.nodes[0] for site in kind.sites], dtype=np.int64)
        node[mine] = first[units.site[mine]]
    chosen = every[node % parts == 0]
    demand = units.rate * units.weight
    share = float(demand[chosen].sum() / demand.sum())
    members = market.sites.members
    pooled = np.array(
        [
            max(len(members[one]), len(members[two])) > 1
            for _, one, two in market.sites.resources.keys
        ],
        dtype=np.bool_,
    )
    return chosen, np.where(pooled, market.capacity * share, market.capacity)


def dollar(market: Market, units: Units) -> float:
    """Value of a US dollar, from the dearest plan that is cheapest for somebody."""
    # Nothing has a price yet, so one site stands for all of a class.
    _, one = np.unique(units.kind * 2**32 + units.ask, return_index=True)
    bare = one[_planless(market, units.take(one))]
    if len(bare):
        price_all(market, units.take(bare), np.zeros(len(market.capacity)), 1.0, wanted=False)
    dearest = max((float(c.templates.usd.max(initial=0.0)) for c in market.classes), default=0.0)
    weight = float(units.weight.min(initial=np.inf))
    return _DOLLAR * weight / dearest if dearest > 0 and np.isfinite(weight) else 1.0


def _planless(market: Market, units: Units) -> npt.NDArray[np.bool_]:
    """`(units,)`: those that none of the known plans would do for."""
    found = np.ones(len(units), dtype=np.bool_)
    for number, kind in market.of_class():
        mine = units.kind == number
        found[mine] = ~np.asarray(kind.templates.meeting(kind.asks).any(axis=1))[units.ask[mine]]
    return found
