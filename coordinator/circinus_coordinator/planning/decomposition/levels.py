"""How much of each of the relaxation's resources is left, kept count of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.joining import Joined

__all__ = ["Levels"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# Sums of what was taken and given back are off by less, relative to what there is.
_NOTHING = 1e-9
# What has less than this part left is full.
_FULL = 1e-7
# Who waits for a resource is asked if it has this part left: pools always have some scraps.
_WORTHWHILE = 3e-3


class Levels:
    """What is left of pools and links in all; whether a single machine has room is not told.

    A machine that is a source and one of a group as well counts in both, what it does in one.

    Attributes:
        left: `(rows,)`.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._most: FloatArray = market.capacity
        self.left: FloatArray = market.capacity.copy()
        self._loads: dict[tuple[int, int], tuple[IntArray, FloatArray]] = {}

    def grow(self) -> None:
        """Know the resources that only new sites use."""
        self._most = self._market.sites.resources.capacities
        self.left = np.concatenate([self.left, self._most[len(self.left) :]])

    def load(self, joined: Joined, template: int) -> tuple[IntArray, FloatArray]:
        """The resources that a plan uses, and how much of each for a request."""
        features, amounts = self._load(joined.kind, template)
        return self._market.classes[joined.kind].rows[joined.site][features], amounts

    def usd(self, joined: Joined, template: int) -> float:
        """Of a plan, per request."""
        return float(self._market.classes[joined.kind].templates.usd[template])

    def take(self, joined: Joined, template: int, rate: float) -> None:
        """Let a plan have so many requests per second, or give them back if negative."""
        rows, amounts = self.load(joined, template)
        self.left[rows] -= rate * amounts

    def some(self, row: int) -> bool:
        """Whether a resource has enough left to ask anybody."""
        return bool(self.left[row] > _WORTHWHILE * self._most[row])

    def rows(self, joined: Joined, template: int) -> list[int]:
        """The resources that a plan uses."""
        found: list[int] = self.load(joined, template)[0].tolist()
        return found

    def scarcest(self, joined: Joined, template: int) -> list[int]:
        """The resources that a plan uses, those first that have room for the fewest requests."""
        rows, amounts = self.load(joined, template)
        found: list[int] = rows[np.argsort(self.left[rows] / amounts, kind="stable")].tolist()
        return found

    def fitting(self, joined: Joined, templates: Sequence[int], rate: float) -> list[int]:
        """Those of the plans whose resources have so many requests per second left."""
        kind = self._market.classes[joined.kind]
        rows = kind.rows[joined.site]
        left, most = self.left[rows], self._most[rows]
        use = kind.templates.use[templates]
        room = (use * rate <= left + _NOTHING * most) & ((left > _FULL * most) | (use <= 0))
        return [t for t, fits in zip(templates, room.all(axis=1).tolist(), strict=True) if fits]

    def _load(self, kind: int, template: int) -> tuple[IntArray, FloatArray]:
        key = (kind, template)
        if key not in self._loads:
            use = self._market.classes[kind].templates.use[template]
            features = np.flatnonzero(use > 0)
            self._loads[key] = features, use[features]
        return self._loads[key]
