"""The master programme: the best mixture of known plans, and the prices that support it."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt
from scipy import sparse

from circinus_coordinator.planning.decomposition.pool import Pool, Units

__all__ = ["Mixture", "mix"]

FloatArray = npt.NDArray[np.float64]
# Rows beyond this many go to the interior point method, which the simplex method cannot follow.
_SIMPLEX_ROWS = 3_000


@dataclass(frozen=True, slots=True)
class Mixture:
    """A solution of the master programme.

    Attributes:
        rate: `(columns,)` requests per second that go each way.
        prices: `(rows,)` of the resources.
        objective: Weighted goodput less the value of dollars.
    """

    rate: FloatArray
    prices: FloatArray
    objective: float


def mix(
    units: Units, pool: Pool, capacity: FloatArray, *, usd: float, basis: bool = True
) -> Mixture:
    """Solve it over the pool's columns.

    Args:
        units: Demand.
        pool: Columns.
        capacity: `(rows,)`.
        usd: Value of a US dollar.
        basis: Ask for a vertex: fewest split queries, but slower where the programme is large.
    """
    if not len(pool):
        return Mixture(np.zeros(0), np.zeros(len(capacity)), 0.0)
    rate = units.rate[pool.unit]
    gain = rate * (units.weight[pool.unit] - usd * pool.usd)
    loaded = np.unique(pool.use.indices)
    scale = 1.0 / np.maximum(capacity[loaded], 1e-12)
    use = sparse.diags(rate) @ pool.use[:, loaded] @ sparse.diags(scale)
    starts = pool.starts()
    counts = np.diff(np.append(starts, len(pool)))
    several = np.flatnonzero(counts > 1)
    row = np.repeat(np.arange(len(starts)), counts)
    pick = np.isin(row, several)
    number = np.cumsum(np.isin(np.arange(len(starts)), several)) - 1
    choose = sparse.csr_matrix(
        (np.ones(int(pick.sum())), (number[row[pick]], np.flatnonzero(pick))),
        shape=(len(several), len(pool)),
    )
    matrix = sparse.csc_matrix(sparse.vstack([use.T, choose]))
    # Capacity of zero carries nothing; its scaled right-hand side has to be zero too.
    right = np.concatenate([(capacity[loaded] > 0).astype(float), np.ones(len(several))])
    solver = _solver(matrix, gain, right, basis)
    solution = solver.getSolution()
    share = np.clip(np.array(solution.col_value), 0.0, 1.0)
    prices = np.zeros(len(capacity))
    dual = np.abs(np.array(solution.row_dual)[: len(loaded)])
    prices[loaded] = dual * scale
    return Mixture(rate=share * rate, prices=prices, objective=float(gain @ share))


def _solver(
    matrix: sparse.csc_matrix, gain: FloatArray, right: FloatArray, basis: bool
) -> highspy.Highs:
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    if matrix.shape[0] > _SIMPLEX_ROWS:
        solver.setOptionValue("solver", "ipm")
        solver.setOptionValue("run_crossover", "on" if basis else "off")
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = matrix.shape[1], matrix.shape[0]
    lp.col_cost_ = -gain
    lp.col_lower_ = np.zeros(matrix.shape[1])
    lp.col_upper_ = np.ones(matrix.shape[1])
    lp.row_lower_ = np.full(matrix.shape[0], -highspy.kHighsInf)
    lp.row_upper_ = right
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = matrix.indptr.astype(np.int32)
    lp.a_matrix_.index_ = matrix.indices.astype(np.int32)
    lp.a_matrix_.value_ = matrix.data
    solver.passModel(lp)
    solver.run()
    return solver
