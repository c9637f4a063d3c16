"""Leaving things where they are: parts of the decision in force, and a mixture for the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.choices import Choices
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.placement import Placed
from circinus_coordinator.planning.decomposition.solve import Solution, mix_rest

__all__ = ["MIGRATION", "Start", "remaining"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# A request that has to move counts as losing this part of its worth: what is in force stays where
# it is unless there is a better plan by more than that.
MIGRATION = 0.02
_LEAST_SHARE = 1e-9


class Start:
    """Machines with nothing on them, or with what stays of an earlier decision.

    Attributes:
        filling: The machines.
        placed: What stays.
        left: `(queries,)` requests per second that are not served by it.
    """

    def __init__(self, market: Market) -> None:
        self.filling = Filling(market)
        self.placed: list[Placed] = []
        self.left: FloatArray = market.rate.copy()

    def keep(self, market: Market, solution: Solution, kept: Sequence[Placed]) -> None:
        """Leave in place what still fits and is not much worse than what there is now."""
        units = solution.units
        unit_of = units.of_query(len(market.rate))
        best = np.maximum(Choices(market, solution, within=0.0).gain, 0.0)
        for piece in kept:
            unit = int(unit_of[piece.query])
            kind = market.classes[piece.kind]
            use = kind.templates.use[piece.template]
            value = float(use @ solution.prices[kind.rows[units.site[unit]]])
            gain = units.weight[unit] - value - solution.usd * kind.templates.usd[piece.template]
            if gain >= best[unit] - MIGRATION * units.weight[unit]:
                self._stay(market, piece)

    def _stay(self, market: Market, piece: Placed) -> None:
        found = market.classes[piece.kind].templates.found[piece.template]
        steps = self.filling.recipe(piece.kind, found.options)
        rate = min(piece.rate, float(self.left[piece.query]))
        most = min(rate, self.filling.limit(steps, piece.devices))
        whole = not market.splittable[piece.query]
        if most <= rate * _LEAST_SHARE or (whole and most < rate * (1.0 - _LEAST_SHARE)):
            return
        self.filling.put(steps, piece.devices, most)
        self.left[piece.query] -= most
        self.placed.append(dataclasses.replace(piece, rate=most))


def remaining(market: Market, solution: Solution, start: Start) -> tuple[Market, Solution]:
    """What is left of demand and capacity, and the best mixture for just that."""
    units = solution.units
    unit_of = units.of_query(len(market.rate))
    capacity, rate = market.capacity.copy(), units.rate.copy()
    for piece in start.placed:
        unit = int(unit_of[piece.query])
        kind = market.classes[piece.kind]
        rate[unit] -= piece.rate
        rows = kind.rows[units.site[unit]]
        capacity[rows] -= piece.rate * kind.templates.use[piece.template]
    rate[rate < _LEAST_SHARE * units.rate] = 0.0
    rest = dataclasses.replace(market, capacity=np.maximum(capacity, 0.0))
    return rest, mix_rest(rest, solution, rate)
