"""A sharper bound, and an agreement between sources, where queries stay whole.

In the relaxation a query may be served in part, and by several plans at once. Where it may not,
its source cannot fill its own cores and uplink to the brim: a few queries share a small machine.
So each source, or those that have queries in common, gets a programme of its own (a *grove*):
whole queries within its own capacity, and only what is shared keeps its price (Lagrangian
decomposition; Guignard and Kim, Mathematical Programming 39, 1987):

    y . b of what is shared + sum over groves of their best choice at y
                            + sum over all other demand of rate * max(0, weight - least value)

For any y >= 0 nothing is worth more, provided that each grove chooses among all plans that might
suit it (`fronts`), and that its best choice is bounded from above (`tree`). Better prices than the
relaxation's lower this by less than a hundredth of a percent of generated scenarios.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.agreement import Agreement
from circinus_coordinator.planning.decomposition.bound import price_all
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.fronts import features_of, front
from circinus_coordinator.planning.decomposition.groves import Groves
from circinus_coordinator.planning.decomposition.solve import Solution
from circinus_coordinator.planning.decomposition.taking import Taking
from circinus_coordinator.planning.decomposition.tree import search
from circinus_coordinator.planning.label_search import TooManyError

__all__ = ["sharpen"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_ROUNDING = 1e-12
# Branches per grove to prove the bound, fewer of many groves, and rounds of cuts.
_PROVING, _GROVES_TIMES_BRANCHES = 100, 2_000
_CUTS, _CUTS_OF_MANY = (15, 1), (4, 0)
# Passes in which each grove has a turn, fewer of many groves; none beyond so many.
_PASSES, _GROVES_TIMES_PASSES, _MANY = 6, 500, 3_000
# Part of the bound that all sources together leave alone.
_GAP = 2e-4


def sharpen(
    market: Market,
    solution: Solution,
    *,
    seed: int = 0,
    clock: Callable[[], float] = lambda: 0.0,
) -> Agreement | None:
    """Lower the solution's bound, and say what sources could do with their whole queries.

    Returns:
        What they agreed on. Pools are not overloaded, but no machines are told apart, nor memory
        looked at. None where nothing is whole, or sources are too many.

    Args:
        market: Classes; plans found join their templates.
        solution: Of the relaxation.
        seed: Of the order in which sources take turns.
        clock: For reporting.
    """
    began = clock()
    whole = ~market.splittable[solution.units.query]
    if not whole.any() or not np.isfinite(solution.bound_rps):
        return None
    known = _Sharpening(market, solution)
    known.complete()
    bound = known.proved()
    solution.bound_rps = min(solution.bound_rps, bound)
    agreed = known.agreed(seed)
    solution.seconds["sharpen"] = clock() - began
    return agreed


class _Sharpening:
    """The groves of a market, and the prices of what they share."""

    def __init__(self, market: Market, solution: Solution) -> None:
        self._market, self._solution = market, solution
        self._groves = Groves(market, solution)
        self._gap = _GAP * solution.bound_rps / max(1, len(self._groves.nodes))
        self._prices = solution.prices.copy()
        # What each grove would choose at the prices, whatever the others do.
        self._choices: dict[int, IntArray] = {}

    def complete(self) -> None:
        """Find all plans that a source may want at these prices, whatever those of sources."""
        market, units, groves = self._market, self._solution.units, self._groves
        prices = self._prices
        hard: set[int] = set()
        for number, kind in market.of_class():
            mine = np.flatnonzero((units.kind == number) & ~groves.loose)
            of = kind.rows[units.site[mine]]
            own = np.isin(kind.used, features_of(kind.layout))
            # Sites that pay the same for everything else share their plans.
            alike = np.unique(np.where(own, 0.0, prices[of]), axis=0, return_inverse=True)[1]
            for group in range(int(alike.max(initial=-1)) + 1):
                some = mine[alike.reshape(-1) == group]
                asks, ask = np.unique(units.ask[some], return_inverse=True)
                most = np.zeros(len(asks))
                np.maximum.at(most, ask, units.weight[some])
                site = int(units.site[some[0]])
                free = prices.copy()
                free[kind.rows[site][own]] = 0.0
                try:
                    for plans in front(kind, free, site, asks, most):
                        kind.templates.add(plans)
                except TooManyError:
                    hard.update(some.tolist())
        if hard:
            self._groves = Groves(market, self._solution, without=hard)
        else:
            groves.fill()

    def proved(self) -> float:
        """The bound at the prices, over all plans; `complete` at the same prices comes first."""
        market, units, groves = self._market, self._solution.units, self._groves
        prices = self._prices * groves.shared
        gain = groves.worth - groves.use @ prices
        total = [*(prices * market.capacity).tolist()]
        branches = min(_PROVING, max(1, _GROVES_TIMES_BRANCHES // max(1, len(groves.nodes))))
        cuts = _CUTS if branches > 1 else _CUTS_OF_MANY
        for node in groves.nodes:
            outcome = search(groves.of(node, gain), nodes=branches, gap=self._gap, cuts=cuts)
            total.append(outcome.bound)
            self._choices[node] = np.flatnonzero(outcome.taken) + groves.part(node).start
        loose = np.flatnonzero(groves.loose).astype(np.int64)
        if len(loose):
            some = units.take(loose)
            least = price_all(market, some, prices, 0.0).value * (1 - _ROUNDING)
            total += (some.rate * np.maximum(some.weight - least, 0.0)).tolist()
        return math.nextafter(math.fsum(total) * (1 + _ROUNDING), math.inf)

    def agreed(self, seed: int) -> Agreement | None:
        """What the sources take, turn by turn, of what all other demand leaves."""
        groves, solution = self._groves, self._solution
        if len(groves.nodes) > _MANY:
            return None
        passes = int(np.clip(_GROVES_TIMES_PASSES // max(1, len(groves.nodes)), 1, _PASSES))
        pool, rate = solution.pool, solution.mixture.rate
        others = pool.use.T @ np.where(groves.loose[pool.unit], rate, 0.0)
        capacity = np.maximum(self._market.capacity - others, 0.0)
        chosen = Taking(groves, self._prices, capacity, self._choices).agree(passes, seed)
        pieces = [
            (query, unit, template, float(self._market.rate[query]))
            for query, unit, template in zip(
                groves.query[chosen].tolist(),
                groves.unit[chosen].tolist(),
                groves.template[chosen].tolist(),
                strict=True,
            )
        ]
        return Agreement(pieces=pieces, decided=~groves.loose)
