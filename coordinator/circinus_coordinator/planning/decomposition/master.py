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
# Capacity up to this is none.
_NOTHING = 1e-12
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
    units: Units,
    pool: Pool,
    capacity: FloatArray,
    *,
    usd: float,
    basis: bool,
    fallback: FloatArray,
) -> Mixture:
    """Solve it over the pool's columns.

    Args:
        units: Demand.
        pool: Columns.
        capacity: `(rows,)`.
        usd: Value of a US dollar.
        basis: Ask for a vertex: fewest split queries, but slower where the programme is large.
        fallback: `(rows,)` prices to report where the solver fails; nothing is mixed then.
    """
    share: FloatArray = np.zeros(len(pool))
    prices = _forbidding(units, pool, capacity)
    # What needs a resource that is not there is left to the prices: no scaling could hold it.
    fits = np.flatnonzero(np.asarray(pool.use @ (capacity <= _NOTHING)) <= 0).astype(np.int64)
    some = pool.take(fits)
    if not len(some):
        return Mixture(share, prices, 0.0)
    rate = units.rate[some.unit]
    gain = rate * (units.weight[some.unit] - usd * some.usd)
    use = sparse.csc_matrix(sparse.diags(rate) @ some.use)
    loaded = np.unique(some.use.indices)
    most: FloatArray = np.asarray(use[:, loaded].max(axis=0).todense()).reshape(-1)
    some_use = most > 0
    loaded, most = loaded[some_use], most[some_use]
    choose = _choices(some)
    matrix = sparse.csc_matrix(
        sparse.vstack([(use[:, loaded] @ sparse.diags(1.0 / most)).T, choose])
    )
    right = np.concatenate([capacity[loaded] / most, np.ones(choose.shape[0])])
    top = float(gain.max(initial=0.0)) or 1.0
    solution = _solved(matrix, gain / top, right, basis)
    if solution is None:
        return Mixture(share, fallback, 0.0)
    share[fits] = np.clip(np.array(solution.col_value), 0.0, 1.0)
    prices[loaded] = np.abs(np.array(solution.row_dual)[: len(loaded)]) * top / most
    return Mixture(share * units.rate[pool.unit], prices, float(gain @ share[fits]))


def _forbidding(units: Units, pool: Pool, capacity: FloatArray) -> FloatArray:
    """`(rows,)` prices that turn everybody away from what has no capacity, and 0 elsewhere."""
    prices = np.zeros(len(capacity))
    use = pool.use
    of = np.repeat(pool.unit, np.diff(use.indptr))
    nothing = (capacity[use.indices] <= _NOTHING) & (use.data > 0)
    at = use.indices[nothing]
    np.maximum.at(prices, at, units.weight[of[nothing]] / use.data[nothing])
    return prices


def _choices(pool: Pool) -> sparse.csr_matrix:
    """A row for each unit with more than one column: its shares sum to at most 1."""
    counts = np.diff(np.append(pool.starts(), len(pool)))
    row = np.repeat(np.arange(len(counts)), counts)
    number = np.cumsum(counts > 1) - 1
    pick = np.flatnonzero(counts[row] > 1)
    shape = (int((counts > 1).sum()), len(pool))
    return sparse.csr_matrix((np.ones(len(pick)), (number[row[pick]], pick)), shape=shape)


def _solved(
    matrix: sparse.csc_matrix, gain: FloatArray, right: FloatArray, basis: bool
) -> highspy.HighsSolution | None:
    solver = _solver(matrix, gain, right, basis)
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    found: highspy.HighsSolution = solver.getSolution()
    return found


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
