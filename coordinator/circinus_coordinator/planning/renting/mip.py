"""Mixed-integer programmes piece by piece, solved by HiGHS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt
from scipy import sparse

__all__ = ["Answer", "Model", "Terms"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Terms = Sequence[tuple[int, float]]
# Effort is counted in nodes and not in seconds, so that the same programme gives the same answer.
_NODES = 4_000
# Larger programmes get by with fewer.
_LARGE, _FEW_NODES = 2_000, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A solution.

    Attributes:
        x: `(variables,)`.
        objective: Its value.
        bound: No solution has a lower value, but for the solver's tolerances.
        dual: `(rows,)`, zeros where something is integral.
    """

    x: FloatArray
    objective: float
    bound: float
    dual: FloatArray


class Model:
    """A minimisation under construction."""

    def __init__(self) -> None:
        self.cost: list[float] = []
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.integral: list[bool] = []
        self._row: list[IntArray] = []
        self._column: list[IntArray] = []
        self._value: list[FloatArray] = []
        self._low: list[float] = []
        self._high: list[float] = []

    def variables(
        self,
        cost: FloatArray,
        upper: FloatArray | float = np.inf,
        lower: FloatArray | float = 0.0,
        *,
        integral: bool = False,
    ) -> IntArray:
        """Add as many variables as there are costs; their numbers."""
        first, count = len(self.cost), len(cost)
        self.cost += cost.tolist()
        self.upper += np.broadcast_to(upper, count).tolist()
        self.lower += np.broadcast_to(lower, count).tolist()
        self.integral += [integral] * count
        return np.arange(first, first + count, dtype=np.int64)

    def row(self, terms: Terms, low: float, high: float) -> int:
        """Add one row."""
        columns = np.array([c for c, _ in terms], dtype=np.int64)
        values = np.array([v for _, v in terms], dtype=np.float64)
        return self._add(np.zeros(len(terms), dtype=np.int64), columns, values, [low], [high])

    def rows(
        self,
        parts: Sequence[tuple[sparse.csr_matrix, IntArray]],
        low: FloatArray | float,
        high: FloatArray | float,
    ) -> int:
        """Add rows that are sums of matrices over some variables each; number of the first."""
        count = int(parts[0][0].shape[0])
        row, column, value = [], [], []
        for matrix, variables in parts:
            entries = sparse.coo_matrix(matrix)
            row.append(entries.row.astype(np.int64))
            column.append(variables[entries.col])
            value.append(np.asarray(entries.data, dtype=np.float64))
        return self._add(
            np.concatenate(row),
            np.concatenate(column),
            np.concatenate(value),
            np.broadcast_to(low, count).tolist(),
            np.broadcast_to(high, count).tolist(),
        )

    def _add(
        self,
        row: IntArray,
        column: IntArray,
        value: FloatArray,
        low: list[float],
        high: list[float],
    ) -> int:
        first = len(self._low)
        self._row.append(row + first)
        self._column.append(column)
        self._value.append(value)
        self._low += low
        self._high += high
        return first

    def solve(self, *, gap: float = 0.0, relaxed: bool = False) -> Answer | None:
        """The least value; None where nothing satisfies all rows, or the solver fails.

        Args:
            gap: Relative gap to stop at.
            relaxed: Take nothing as integral.
        """
        whole = any(self.integral) and not relaxed
        solver = highspy.Highs()
        solver.setOptionValue("output_flag", False)
        solver.setOptionValue("threads", 1)
        if whole:  # see docs/adr/0006: presolve has called solvable programmes infeasible
            solver.setOptionValue("presolve", "off")
            solver.setOptionValue("mip_rel_gap", gap)
            solver.setOptionValue("mip_abs_gap", 1e-9)
            nodes = _NODES if len(self.cost) <= _LARGE else _FEW_NODES
            solver.setOptionValue("mip_max_nodes", nodes)
        solver.passModel(self._lp(whole))
        solver.run()
        status, info = solver.getModelStatus(), solver.getInfo()
        done = status == highspy.HighsModelStatus.kOptimal
        if not (done or (whole and info.primal_solution_status == highspy.kSolutionStatusFeasible)):
            return None
        solution = solver.getSolution()
        objective = float(info.objective_function_value)
        x = np.array(solution.col_value, dtype=np.float64)
        if not whole:
            dual = np.array(solution.row_dual, dtype=np.float64)
            return Answer(x=x, objective=objective, bound=objective, dual=dual)
        polished = self._polished(x)
        return Answer(
            x=x if polished is None else polished.x,
            objective=objective,
            bound=float(info.mip_dual_bound),
            dual=np.zeros(len(self._low)),
        )

    def _polished(self, x: FloatArray) -> Answer | None:
        """The best of the rest with what is integral just so, and not nearly so."""
        lower, upper = self.lower, self.upper
        exact = np.round(x)
        self.lower = [
            float(e) if i else v for e, i, v in zip(exact, self.integral, lower, strict=True)
        ]
        self.upper = [
            float(e) if i else v for e, i, v in zip(exact, self.integral, upper, strict=True)
        ]
        try:
            return self.solve(relaxed=True)
        finally:
            self.lower, self.upper = lower, upper

    def _lp(self, whole: bool) -> highspy.HighsLp:
        rows, columns = len(self._low), len(self.cost)
        none: list[IntArray] = [np.zeros(0, dtype=np.int64)]
        no_value: list[FloatArray] = [np.zeros(0)]
        row: IntArray = np.concatenate([*none, *self._row])
        column: IntArray = np.concatenate([*none, *self._column])
        value: FloatArray = np.concatenate([*no_value, *self._value])
        matrix = sparse.csc_matrix((value, (row, column)), shape=(rows, columns))
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = columns, rows
        lp.col_cost_ = np.array(self.cost)
        lp.col_lower_, lp.col_upper_ = np.array(self.lower), np.array(self.upper)
        lp.row_lower_, lp.row_upper_ = np.array(self._low), np.array(self._high)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = matrix.indptr.astype(np.int32)
        lp.a_matrix_.index_ = matrix.indices.astype(np.int32)
        lp.a_matrix_.value_ = matrix.data
        if whole:
            kinds = highspy.HighsVarType
            lp.integrality_ = [kinds.kInteger if i else kinds.kContinuous for i in self.integral]
        return lp
