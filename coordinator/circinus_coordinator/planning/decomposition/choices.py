"""Plans that are nearly as good as a unit's best at the relaxation's prices."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.solve import Solution

__all__ = ["Choices"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# Units and templates compared in one go.
_CELLS = 4_000_000


class Choices:
    """What each unit may take, best first.

    Attributes:
        gain: `(units,)` what the best plan leaves of a request's worth once all it uses is paid
            for; negative where none pays, -inf where there is none.
    """

    def __init__(
        self, market: Market, solution: Solution, *, within: float, least: float = -np.inf
    ) -> None:
        """Price all known plans.

        Args:
            market: Classes.
            solution: Prices, and pairs of unit and template that are out of the question.
            within: Plans are near that are worse than the best by this part of a request's worth.
            least: Units whose best plan leaves less than this part are left out.
        """
        units = solution.units
        self.gain: FloatArray = np.full(len(units), -np.inf)
        unit: list[IntArray] = [np.zeros(0, dtype=np.int64)]
        template: list[IntArray] = [np.zeros(0, dtype=np.int64)]
        gain: list[FloatArray] = [np.zeros(0)]
        refused = _by_unit(solution.refused)
        edges = np.flatnonzero(np.diff(units.kind, prepend=-1, append=-1))
        for a, b in itertools.pairwise(edges):
            kind = market.classes[int(units.kind[a])]
            known = kind.templates
            if not len(known):
                continue
            meeting = known.meeting(kind.asks)
            step = max(1, _CELLS // len(known))
            for low in range(int(a), int(b), step):
                some = np.arange(low, min(low + step, int(b)), dtype=np.int64)
                value = solution.prices[kind.rows[units.site[some]]] @ known.use.T
                left = units.weight[some][:, None] - value - solution.usd * known.usd[None, :]
                left[~meeting[units.ask[some]]] = -np.inf
                for one in some if refused else ():
                    left[one - low, refused.get(int(one), [])] = -np.inf
                best = left.max(axis=1)
                self.gain[some] = best
                worth = units.weight[some]
                near = (left >= (best - within * worth)[:, None]) & np.isfinite(left)
                near &= (best >= least * worth)[:, None]
                row, plan = np.nonzero(near)
                order = np.lexsort((-left[row, plan], row))
                unit.append(some[row[order]])
                template.append(plan[order].astype(np.int64))
                gain.append(left[row[order], plan[order]])
        self._template = np.concatenate(template)
        self._gain = np.concatenate(gain)
        self._start = np.searchsorted(np.concatenate(unit), np.arange(len(units) + 1))

    def of(self, unit: int) -> IntArray:
        """Its templates, best first."""
        return self._template[self._start[unit] : self._start[unit + 1]]


def _by_unit(pairs: Collection[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for unit, template in pairs:
        found.setdefault(unit, []).append(template)
    return found
