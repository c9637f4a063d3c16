"""What a mixture uses, source by source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from circinus_coordinator.planning.decomposition.solve import Solution

__all__ = ["Mixed"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Mixed:
    """Sums of a mixture's loads."""

    def __init__(
        self,
        solution: Solution,
        units: Mapping[int, IntArray],
        starts: Callable[[int], Sequence[int]],
        own: Mapping[int, Sequence[int]],
        single: BoolArray,
    ) -> None:
        """Work out the loads.

        Args:
            solution: Mixture and pool.
            units: By first source.
            starts: Sources of a unit.
            own: Rows of each source.
            single: `(rows,)` which rows are some source's.
        """
        pool = solution.pool
        self._units, self._own, self._single = units, own, single
        self._load = sparse.csr_matrix(sparse.diags(solution.mixture.rate) @ pool.use)
        self._start = np.searchsorted(pool.unit, np.arange(len(solution.units) + 1))
        count = [len(set(starts(unit))) for unit in range(len(solution.units))]
        self._several = np.array(count, dtype=np.int64) > 1

    def load(self, node: int) -> FloatArray:
        """`(rows,)` of all units whose first source this is."""
        return self._sum(self._units[node])

    def elsewhere(self, node: int) -> FloatArray:
        """`(rows,)` of the same at other sources."""
        mine = self._units[node]
        found = self._sum(mine[self._several[mine]])
        found[~self._single] = 0.0
        found[list(self._own.get(node, ()))] = 0.0
        return found

    def _sum(self, units: IntArray) -> FloatArray:
        load = self._load
        found = np.zeros(load.shape[1])
        for unit in units.tolist():
            low, high = load.indptr[self._start[unit]], load.indptr[self._start[unit + 1]]
            np.add.at(found, load.indices[low:high], load.data[low:high])
        return found
