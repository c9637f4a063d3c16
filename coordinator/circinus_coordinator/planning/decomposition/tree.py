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

from circinus_coordinator.planning.decomposition.covers import covers

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
    """

    bound: float
    worth: float
    taken: FloatArray


def search(
    grove: Grove,
    *,
    nodes: int,
    gap: float,
    start: FloatArray | None = None,
    cuts: tuple[int, int] = (4, 0),
) -> Outcome:
    """Find good choices and a bound on the best.

    Args:
        grove: The options.
        nodes: Branches to look at.
        gap: Difference in worth that is left alone.
        start: `(options,)` parts of choices that are known already.
        cuts: Rounds of cuts before there are branches, and in each of them. Many of them help to
            prove, but not to find.
    """
    useful = np.flatnonzero((grove.gain > 0) & (grove.use <= 1 + _FITS).all(axis=1))
    few = grove.take(useful)
    taken = np.zeros(len(grove.gain))
    if not len(useful):
        return Outcome(bound=0.0, worth=0.0, taken=taken)
    found = _Tree(few, gap, None if start is None else start[useful])
    found.grow(nodes, cuts)
    taken[useful] = found.taken
    return Outcome(bound=found.bound, worth=found.worth, taken=taken)


@dataclass(slots=True)
class _Node:
    """A branch: what may still be taken, and who has to take something."""

    open: BoolArray
    forced: BoolArray


class _Tree:
    def __init__(self, grove: Grove, gap: float, start: FloatArray | None) -> None:
        self._gap, self._gain, self._use = gap, grove.gain, grove.use
        self._rows = grove.use.shape[1]
        self._first = np.flatnonzero(np.diff(grove.owner, prepend=-1))
        self._number = np.cumsum(np.diff(grove.owner, prepend=-1) != 0) - 1
        self._solver = _solver(grove, self._number)
        self._columns = np.arange(len(grove.gain), dtype=np.int32)
        self._choosers = np.arange(len(self._first), dtype=np.int32) + self._rows
        self.worth = 0.0
        self.bound = np.inf
        self.taken: FloatArray = np.zeros(len(grove.gain))
        if start is not None and (start @ grove.use <= 1 + _FITS).all():
            self.worth, self.taken = float(start @ grove.gain), start

    def grow(self, nodes: int, cuts: tuple[int, int]) -> None:
        """Look at the most promising branches, so many of them."""
        order = itertools.count()
        root = _Node(
            np.ones(len(self._gain), dtype=np.bool_), np.zeros(len(self._first), dtype=np.bool_)
        )
        heap: list[tuple[float, int, _Node]] = [(-np.inf, next(order), root)]
        looked = 0
        while heap and -heap[0][0] > self.worth + self._gap and looked < nodes:
            above, _, node = heapq.heappop(heap)
            value, split = self._relax(node, cuts[looked > 0])
            value = min(value, -above)
            if looked == 0:
                self.bound = value
            looked += 1
            if split is not None and value > self.worth + self._gap:
                for child in self._children(node, split):
                    heapq.heappush(heap, (-value, next(order), child))
        top = -heap[0][0] if heap else -np.inf
        self.bound = min(self.bound, max(top, self.worth + self._gap))

    def _relax(self, node: _Node, cuts: int) -> tuple[float, BoolArray | None]:
        """A bound for the node, and the options to part from their chooser's others, if any."""
        if not self._propagate(node):
            return -np.inf, None
        solver = self._solver
        solver.changeColsBounds(
            len(self._columns),
            self._columns,
            np.zeros(len(self._columns)),
            np.where(node.open, 1.0, 0.0),
        )
        solver.changeRowsBounds(
            len(self._choosers),
            self._choosers,
            np.where(node.forced, 1.0, -highspy.kHighsInf),
            np.ones(len(self._choosers)),
        )
        value = np.inf
        for round_ in itertools.count():
            part, prices = self._solved()
            if not np.isfinite(prices).all() or not np.isfinite(part).all():
                prices, part = np.zeros(self._use.shape[1]), np.zeros(len(part))
            value = min(value, self._weigh(node, prices))
            if value <= self.worth + self._gap:
                return value, None
            if round_ >= cuts or not self._cut(part):
                break
        self._round(node, part, prices)
        return value, self._split(node, part)

    def _propagate(self, node: _Node) -> bool:
        """Close what does not fit beside what has to be taken; False where nothing can be done."""
        forced = node.forced[self._number]
        least = np.minimum.reduceat(np.where(node.open[:, None], self._use, np.inf), self._first)
        least[~node.forced] = 0.0
        if not np.isfinite(least).all():
            return False
        room = 1 + _FITS - least.sum(axis=0)
        if (room < 0).any():
            return False
        own = np.where(forced[:, None], least[self._number], 0.0)
        node.open &= (self._use <= room + own).all(axis=1)
        return True

    def _solved(self) -> tuple[FloatArray, FloatArray]:
        """Parts and prices of the linear programme as it stands."""
        self._solver.run()
        solution = self._solver.getSolution()
        dual = -np.array(solution.row_dual)
        prices = np.concatenate([dual[: self._rows], dual[self._rows + len(self._choosers) :]])
        return np.array(solution.col_value), np.maximum(prices, 0.0)

    def _cut(self, part: FloatArray) -> bool:
        """Add cuts to the linear programme, which hold in all branches; False without any."""
        cuts = covers(self._use[:, : self._rows], self._number, part)
        for cut in cuts.T:
            some = np.flatnonzero(cut).astype(np.int32)
            self._solver.addRow(-highspy.kHighsInf, 1.0, len(some), some, cut[some])
        self._use = np.concatenate([self._use, cuts], axis=1)
        return cuts.shape[1] > 0

    def _weigh(self, node: _Node, prices: FloatArray) -> float:
        """The bound at some prices; what cannot be part of anything better is closed."""
        reduced = self._gain - self._use @ prices
        best = np.maximum.reduceat(np.where(node.open, reduced, -np.inf), self._first)
        best = np.where(node.forced, best, np.maximum(best, 0.0))
        value = float(best.sum() + prices.sum() * (1 + _FITS))
        value += _ROUNDING * float(np.abs(best[np.isfinite(best)]).sum() + prices.sum())
        # What costs more than the bound is above what is known already is out of the question.
        if np.isfinite(value):
            node.open &= value - (best[self._number] - reduced) > self.worth
            node.forced |= value - best <= self.worth
        return value

    def _split(self, node: _Node, part: FloatArray) -> BoolArray | None:
        """Some of the options of the chooser that is least decided, those that take most."""
        fraction = np.minimum(part, 1 - part)
        score = np.add.reduceat(np.where(part > _INTEGRAL, fraction * self._gain, 0.0), self._first)
        chooser = int(np.argmax(score))
        mine = self._number == chooser
        taken = np.flatnonzero(mine & (part > _INTEGRAL))
        if not len(taken) or fraction[taken].max() <= _INTEGRAL:
            return None
        total = float(part[taken].sum())
        if total < 1 - _INTEGRAL and not node.forced[chooser]:
            return np.asarray(mine & node.open)
        size = self._use[:, : self._rows].max(axis=1)
        order = taken[np.argsort(size[taken], kind="stable")]
        middle = int(np.searchsorted(np.cumsum(part[order]), total / 2))
        edge = size[order[min(max(middle, 0) + 1, len(order) - 1)]]
        split = mine & node.open & (size >= edge)
        if split[taken].all():
            split = mine & node.open
            split[order[0]] = False
        return np.asarray(split)

    def _children(self, node: _Node, split: BoolArray) -> Sequence[_Node]:
        """Without these, and with nothing but these of their chooser, who takes one."""
        chooser = self._number[np.argmax(split)]
        forced = node.forced.copy()
        forced[chooser] = True
        others = (self._number != chooser) | split
        return [_Node(node.open & ~split, node.forced.copy()), _Node(node.open & others, forced)]

    def _round(self, node: _Node, part: FloatArray, prices: FloatArray) -> None:
        """Take what the relaxation takes most of, then what is worth most at its prices."""
        use = self._use[:, : self._rows]
        reduced = self._gain - self._use @ prices
        done = np.zeros(len(self._first), dtype=np.bool_)
        room = np.ones(self._rows)
        taken: list[int] = []
        some = np.flatnonzero(part > _INTEGRAL)
        for c in some[np.argsort(-part[some], kind="stable")].tolist():
            if not done[self._number[c]] and (use[c] <= room).all():
                taken.append(c)
                done[self._number[c]] = True
                room -= use[c]
        rest = np.flatnonzero(node.open)
        while True:
            rest = rest[~done[self._number[rest]] & (use[rest] <= room).all(axis=1)]
            if not len(rest):
                break
            c = int(rest[np.argmax(reduced[rest])])
            taken.append(c)
            done[self._number[c]] = True
            room = room - use[c]
        worth = float(self._gain[taken].sum())
        if worth > self.worth:
            self.worth = worth
            self.taken = np.zeros(len(self._gain))
            self.taken[taken] = 1.0


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
