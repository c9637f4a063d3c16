"""The master programme: the best mixture of known plans, and the prices that support it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
import numpy.typing as npt
from scipy import sparse

from circinus_coordinator.planning.decomposition.pool import Pool, Units

__all__ = ["Mixture", "mix"]

FloatArray = npt.NDArray[np.float64]
# Capacity up to this is none.
_NOTHING = 1e-12
# Steps the simplex method is given.
_LEAST_STEPS, _STEPS_PER_ROW = 20_000, 4
# By how much a row may be exceeded, relative and absolute (rows are scaled to a largest use of 1).
_TOLERANCE = 1e-7


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
    bonus: FloatArray | None = None,
) -> Mixture:
    """Solve it over the pool's columns.

    Args:
        units: Demand.
        pool: Columns.
        capacity: `(rows,)`.
        usd: Value of a US dollar.
        basis: Ask for a vertex: fewest split queries, but slower where the programme is large.
        fallback: `(rows,)` prices to report where the solver fails; nothing is mixed then.
        bonus: `(columns,)` what a request of each is worth on top.
    """
    share: FloatArray = np.zeros(len(pool))
    prices = _forbidding(units, pool, capacity)
    # What needs a resource that is not there is left to the prices: no scaling could hold it.
    fits = np.flatnonzero(np.asarray(pool.use @ (capacity <= _NOTHING)) <= 0).astype(np.int64)
    some = pool.take(fits)
    if not len(some):
        return Mixture(share, prices, 0.0)
    rate = units.rate[some.unit]
    worth = units.weight[some.unit] + (0.0 if bonus is None else bonus[fits])
    gain = rate * (worth - usd * some.usd)
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
    """A solution that keeps to the rows; None where neither method has one.

    The simplex method goes first: the rows of a fleet hang together little, which suits it, and
    it leaves a vertex. Its steps are limited, as it may get lost. The interior point method ends
    as "unknown" where its last digits disagree (HiGHS 1.15, from some 20,000 rows on): what it
    has then is right to 1e-6, so it is taken if it keeps to the rows.
    """
    steps = max(_LEAST_STEPS, _STEPS_PER_ROW * matrix.shape[0])
    simplex: dict[str, Any] = {"solver": "simplex", "simplex_iteration_limit": steps}
    interior: dict[str, Any] = {"solver": "ipm", "run_crossover": "on" if basis else "off"}
    for options in (simplex, interior):
        solver = _run(matrix, gain, right, options)
        solution: highspy.HighsSolution = solver.getSolution()
        if solver.getModelStatus() == highspy.HighsModelStatus.kOptimal:
            return solution
        if solver.getModelStatus() == highspy.HighsModelStatus.kUnknown and solution.dual_valid:
            share = np.clip(np.array(solution.col_value), 0.0, 1.0)
            if (matrix @ share <= right * (1 + _TOLERANCE) + _TOLERANCE).all():
                return solution
    return None


def _run(
    matrix: sparse.csc_matrix, gain: FloatArray, right: FloatArray, options: Mapping[str, Any]
) -> highspy.Highs:
    solver = highspy.Highs()
    for name, value in {"output_flag": False, "threads": 1, **options}.items():
        solver.setOptionValue(name, value)
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
