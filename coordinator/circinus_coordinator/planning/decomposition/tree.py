"""Branch and bound over the plans of whole queries at one source, proved by weak duality.

Choosers take one option each or none, as far as a few rows have room. The bound of a branch is

    what is fixed + y . room + sum over choosers of max(0, best of gain - y . use)

for prices y >= 0 of the rows (Geoffrion, "Lagrangean relaxation for integer programming", 1974).
A linear programme by HiGHS says which prices are good; whatever it says, the bound holds.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

__all__ = ["Grove", "Outcome", "search"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_ROUNDING = 1e-12
_INTEGRAL = 1e-6
# What fits but for rounding fits, and may not be left out.
_FITS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Grove:
    """What there is to choose from.

    Attributes:
        owner: `(options,)` whose, in rising order.
        gain: `(options,)` worth, more is better.
        use: `(options, rows)` parts of each row's room.
    """

    owner: IntArray
    gain: FloatArray
    use: FloatArray

    def take(self, keep: IntArray) -> Grove:
        """Some of the options, in order."""
        return Grove(
            owner=self.owner[keep],
            gain=self.gain[keep],
            use=self.use[keep],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was found.

    Attributes:
        bound: Nothing is worth more.
        worth: Of what is taken.
        taken: `(options,)` parts.
        prices: `(rows,)` of the first linear programme.
    """

    bound: float
    worth: float
    taken: FloatArray
    prices: FloatArray


def search(grove: Grove, *, nodes: int, gap: float) -> Outcome:
    """Find good choices and a bound on the best.

    Args:
        grove: The options.
        nodes: Branches to look at.
        gap: Difference in worth that is left alone.
    """
    useful = np.flatnonzero((grove.gain > 0) & (grove.use <= 1 + _FITS).all(axis=1))
    few = grove.take(useful)
    taken = np.zeros(len(grove.gain))
    if not len(useful):
        return Outcome(bound=0.0, worth=0.0, taken=taken, prices=np.zeros(grove.use.shape[1]))
    found = _Tree(few, gap)
    found.grow(nodes)
    taken[useful] = found.taken
    return Outcome(bound=found.bound, worth=found.worth, taken=taken, prices=found.prices)


@dataclass(slots=True)
class _Node:
    """A branch: what may still be taken, and what is."""

    open: BoolArray
    fixed: tuple[int, ...]


class _Tree:
    def __init__(self, grove: Grove, gap: float) -> None:
        self._grove, self._gap = grove, gap
        self._first = np.flatnonzero(np.diff(grove.owner, prepend=-1))
        self._number = np.cumsum(np.diff(grove.owner, prepend=-1) != 0) - 1
        self._uses: list[list[float]] = grove.use.tolist()
        self._owners: list[int] = self._number.tolist()
        self._solver = _solver(grove, self._number)
        self._columns = np.arange(len(grove.gain), dtype=np.int32)
        self.worth = 0.0
        self.bound = np.inf
        self.taken: FloatArray = np.zeros(len(grove.gain))
        self.prices: FloatArray = np.zeros(grove.use.shape[1])

    def grow(self, nodes: int) -> None:
        """Look at the most promising branches, so many of them."""
        order = itertools.count()
        root = _Node(np.ones(len(self._grove.gain), dtype=np.bool_), ())
        heap: list[tuple[float, int, _Node]] = [(-np.inf, next(order), root)]
        looked = 0
        while heap and -heap[0][0] > self.worth + self._gap and looked < nodes:
            _, _, node = heapq.heappop(heap)
            value, branch = self._relax(node)
            if looked == 0:
                self.bound = value
            looked += 1
            if branch >= 0 and value > self.worth + self._gap:
                for child in self._children(node, branch):
                    heapq.heappush(heap, (-value, next(order), child))
        top = -heap[0][0] if heap else -np.inf
        self.bound = min(self.bound, max(top, self.worth + self._gap))

    def _relax(self, node: _Node) -> tuple[float, int]:
        """A bound for the node, and the option to branch on, -1 where there is none."""
        grove, solver = self._grove, self._solver
        lower = np.zeros(len(grove.gain))
        lower[list(node.fixed)] = 1.0
        upper = np.where(node.open, 1.0, 0.0)
        upper[list(node.fixed)] = 1.0
        solver.changeColsBounds(len(lower), self._columns, lower, upper)
        solver.run()
        solution = solver.getSolution()
        part = np.array(solution.col_value)
        prices = np.maximum(-np.array(solution.row_dual)[: grove.use.shape[1]], 0.0)
        if not np.isfinite(prices).all() or not np.isfinite(part).all():
            prices, part = np.zeros(len(prices)), np.zeros(len(part))
        if not node.fixed and node.open.all():
            self.prices = prices
        value, reduced, best = self._weigh(node, prices)
        self._round(node, part, reduced)
        # What costs more than the bound is above what is known already is out of the question.
        hopeless = value - (best[self._number] - reduced) <= self.worth
        node.open &= ~hopeless
        fraction = np.where(part > _INTEGRAL, np.minimum(part, 1 - part), 0.0)
        fraction[~node.open] = 0.0
        score = fraction * grove.gain
        branch = int(np.argmax(score))
        return value, branch if score[branch] > 0 and fraction[branch] > _INTEGRAL else -1

    def _weigh(self, node: _Node, prices: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """The bound at some prices; what options leave at them, and the best of each chooser."""
        grove = self._grove
        reduced = grove.gain - grove.use @ prices
        best = np.maximum.reduceat(np.where(node.open, reduced, 0.0), self._first)
        best = np.maximum(best, 0.0)
        fixed = list(node.fixed)
        rest = prices @ np.maximum(1 + _FITS - grove.use[fixed].sum(axis=0), 0.0)
        value = float(best.sum() + rest + grove.gain[fixed].sum())
        return value * (1 + _ROUNDING), reduced, best

    def _round(self, node: _Node, part: FloatArray, reduced: FloatArray) -> None:
        """Take what the relaxation takes most of, then what is worth most at its prices."""
        room = (1 - self._grove.use[list(node.fixed)].sum(axis=0)).tolist()
        taken = dict.fromkeys(node.fixed, 1.0)
        done = {self._owners[c] for c in node.fixed}
        some = np.flatnonzero(node.open)
        for c in some[np.lexsort((-reduced[some], -np.round(part[some], 6)))].tolist():
            if self._owners[c] in done:
                continue
            use = self._uses[c]
            if all(u <= r for u, r in zip(use, room, strict=True)):
                taken[c] = 1.0
                done.add(self._owners[c])
                room = [r - u for u, r in zip(use, room, strict=True)]
        if min(room, default=0.0) < -_FITS:
            return
        worth = sum(float(self._grove.gain[c]) for c in taken)
        if worth > self.worth:
            self.worth = worth
            self.taken[:] = 0.0
            self.taken[list(taken)] = 1.0

    def _children(self, node: _Node, branch: int) -> Sequence[_Node]:
        grove = self._grove
        without = node.open.copy()
        without[branch] = False
        found = [_Node(without, node.fixed)]
        fixed = (*node.fixed, branch)
        room = 1 - grove.use[list(fixed)].sum(axis=0)
        if (room >= -_FITS).all():
            fits = node.open & (grove.use <= room + _FITS).all(axis=1)
            fits &= self._number != self._number[branch]
            found.append(_Node(fits, fixed))
        return found


def _solver(grove: Grove, number: IntArray) -> highspy.Highs:
    options, rows = grove.use.shape
    choosers = int(number[-1]) + 1
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = options, rows + choosers
    lp.col_cost_ = -grove.gain
    lp.col_lower_, lp.col_upper_ = np.zeros(options), np.ones(options)
    lp.row_lower_ = np.full(rows + choosers, -highspy.kHighsInf)
    lp.row_upper_ = np.ones(rows + choosers)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    some = grove.use > 0
    entries = np.concatenate([some, np.ones((options, 1), dtype=np.bool_)], axis=1)
    index = np.concatenate(
        [np.tile(np.arange(rows), (options, 1)), (rows + number)[:, None]], axis=1
    )
    value = np.concatenate([grove.use, np.ones((options, 1))], axis=1)
    lp.a_matrix_.start_ = np.concatenate([[0], np.cumsum(entries.sum(axis=1))]).astype(np.int32)
    lp.a_matrix_.index_ = index[entries].astype(np.int32)
    lp.a_matrix_.value_ = value[entries]
    solver = highspy.Highs()
    for name, setting in (("output_flag", False), ("threads", 1), ("presolve", "off")):
        solver.setOptionValue(name, setting)
    solver.passModel(lp)
    return solver
