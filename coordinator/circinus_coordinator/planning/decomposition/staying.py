"""Leaving things where they are: parts of the decision in force, and a mixture for the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.placement import Placed
from circinus_coordinator.planning.decomposition.recipes import Recipe
from circinus_coordinator.planning.decomposition.solve import Solution, mix_again

__all__ = ["MIGRATION", "Start"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# A request that has to move counts as losing this part of its worth: what is in force stays where
# it is unless there is a better plan by more than that.
MIGRATION = 0.02
_LEAST_SHARE = 1e-9
# Of what may not be split, the mixture has to want this part for it to stay.
_MOSTLY = 0.5


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

    def keep(
        self, market: Market, solution: Solution, kept: Sequence[Placed]
    ) -> tuple[Market, Solution]:
        """Leave in place what fits and what the best mixture would have anyway, or nearly.

        Returns:
            What is left of capacity, and of demand with the mixture for it.
        """
        units = solution.units
        unit_of = units.of_query(len(market.rate))
        unit = unit_of[np.array([piece.query for piece in kept], dtype=np.int64)]
        template = np.array([piece.template for piece in kept], dtype=np.int64)
        pool, mixture = mix_again(market, solution, unit, template, MIGRATION)
        pairs = zip(pool.unit.tolist(), pool.template.tolist(), strict=True)
        column = {pair: k for k, pair in enumerate(pairs)}
        wanted, rate = mixture.rate.copy(), units.rate.copy()
        capacity = market.capacity.copy()
        for piece, of, plan in zip(kept, unit.tolist(), template.tolist(), strict=True):
            at = column[of, plan]
            served = self._stay(market, piece, float(wanted[at]))
            wanted[at] = max(0.0, wanted[at] - served)
            rate[of] -= served
            kind = market.classes[piece.kind]
            capacity[kind.rows[units.site[of]]] -= served * kind.templates.use[plan]
        rate[rate < _LEAST_SHARE * units.rate] = 0.0
        left = dataclasses.replace(
            solution,
            units=dataclasses.replace(units, rate=rate),
            pool=pool,
            mixture=dataclasses.replace(mixture, rate=wanted),
        )
        return dataclasses.replace(market, capacity=np.maximum(capacity, 0.0)), left

    def _stay(self, market: Market, piece: Placed, wanted: float) -> float:
        """Requests per second that stay, of those wanted; a whole piece, or what may be split."""
        whole = not market.splittable[piece.query]
        rate = min(piece.rate, float(self.left[piece.query]))
        if whole and wanted < rate * _MOSTLY:
            return 0.0
        rate = rate if whole else min(rate, wanted)
        steps = self._recipe(market, piece)
        most = min(rate, self.filling.limit(steps, piece.devices))
        if most <= piece.rate * _LEAST_SHARE or (whole and most < rate * (1.0 - _LEAST_SHARE)):
            return 0.0
        self.filling.put(steps, piece.devices, most)
        self.left[piece.query] -= most
        self.placed.append(dataclasses.replace(piece, rate=most))
        return most

    def _recipe(self, market: Market, piece: Placed) -> Recipe:
        found = market.classes[piece.kind].templates.found[piece.template]
        return self.filling.recipe(piece.kind, found.options)
