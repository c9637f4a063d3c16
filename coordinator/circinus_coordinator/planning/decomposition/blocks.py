"""Small mixed-integer programmes: which plans a few queries take on a few machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

__all__ = ["Block", "Holding", "Option", "solve"]

FloatArray = npt.NDArray[np.float64]
# What a solution may exceed a row by, as a part of it: the solver works to such a tolerance.
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Option:
    """A plan for a part of a chooser's demand.

    Attributes:
        chooser: Whose; numbered from 0.
        gain: Worth of one part.
        use: [(row, amount per part), ...], no row twice.
    """

    chooser: int
    gain: float
    use: Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Holding:
    """What a machine's memory may hold.

    Attributes:
        memory_mb: Room.
        instances: For each instance in question: MB, and the options that need it.
    """

    memory_mb: float
    instances: Sequence[tuple[float, Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Block:
    """Choosers take parts of options, in all no more than they have.

    Attributes:
        options: What there is to choose from.
        parts: Of each chooser.
        whole: Which choosers' parts stay whole.
        room: Of each row.
        holdings: Machines whose memory is in question.
        start: Parts of each option in a feasible solution, if one is known.
    """

    options: Sequence[Option]
    parts: Sequence[int]
    whole: Sequence[bool]
    room: Sequence[float]
    holdings: Sequence[Holding] = ()
    start: Sequence[float] | None = None


def solve(block: Block, *, nodes: int, gap: float = 1e-4) -> list[float] | None:
    """Parts of each option, all limits kept; None where the solver finds no solution.

    Args:
        block: The programme.
        nodes: Branches to look at.
        gap: Relative distance to the optimum that will do.
    """
    if not block.options:
        return []
    rows = _Rows(block)
    solver = highspy.Highs()
    settings: Mapping[str, object] = {
        "output_flag": False,
        "threads": 1,
        # With presolve HiGHS has called feasible programmes infeasible (ADR 6).
        "presolve": "off",
        "mip_max_nodes": nodes,
        "mip_rel_gap": gap,
        "mip_feasibility_tolerance": 1e-9,
        "primal_feasibility_tolerance": 1e-9,
    }
    for name, value in settings.items():
        solver.setOptionValue(name, value)
    solver.passModel(rows.model())
    if block.start is not None:
        guess = highspy.HighsSolution()
        guess.col_value = rows.guess(block.start)
        solver.setSolution(guess)
    solver.run()
    values = np.array(solver.getSolution().col_value)
    return rows.checked(values) if len(values) else None


class _Rows:
    """The programme row by row: choosers, resources, memory, instances."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._index: list[int] = []
        self._value: list[float] = []
        self._start: list[int] = [0]
        self._right: list[float] = []
        self._columns = len(block.options)
        self._whole = [block.whole[option.chooser] for option in block.options]
        self._most = [float(block.parts[option.chooser]) for option in block.options]
        of: list[list[int]] = [[] for _ in block.parts]
        using: list[list[tuple[int, float]]] = [[] for _ in block.room]
        for k, option in enumerate(block.options):
            of[option.chooser].append(k)
            for row, amount in option.use:
                using[row].append((k, amount))
        for mine, parts in zip(of, block.parts, strict=True):
            self._add([(k, 1.0) for k in mine], float(parts))
        for use, room in zip(using, block.room, strict=True):
            top = max((amount for _, amount in use), default=0.0)
            if top > 0:
                self._add([(k, amount / top) for k, amount in use], max(room, 0.0) / top)
        for holding in block.holdings:
            self._hold(holding)

    def _add(self, entries: Sequence[tuple[int, float]], right: float) -> None:
        self._index += [k for k, _ in entries]
        self._value += [value for _, value in entries]
        self._start.append(len(self._index))
        self._right.append(right)

    def _hold(self, holding: Holding) -> None:
        total = []
        for size, users in holding.instances:
            held = self._columns
            self._columns += 1
            self._whole.append(True)
            self._most.append(1.0)
            total.append((held, size / holding.memory_mb))
            for user in users:
                self._add([(user, 1.0 / self._most[user]), (held, -1.0)], 0.0)
        self._add(total, 1.0)

    def model(self) -> highspy.HighsLp:
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = self._columns, len(self._right)
        cost = np.zeros(self._columns)
        cost[: len(self._block.options)] = [-option.gain for option in self._block.options]
        lp.col_cost_ = cost
        lp.col_lower_ = np.zeros(self._columns)
        lp.col_upper_ = np.array(self._most)
        lp.row_lower_ = np.full(len(self._right), -highspy.kHighsInf)
        lp.row_upper_ = np.array(self._right)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = np.array(self._start, dtype=np.int32)
        lp.a_matrix_.index_ = np.array(self._index, dtype=np.int32)
        lp.a_matrix_.value_ = np.array(self._value)
        whole, part = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
        if any(self._whole):
            lp.integrality_ = [whole if one else part for one in self._whole]
        return lp

    def guess(self, parts: Sequence[float]) -> FloatArray:
        values = np.zeros(self._columns)
        values[: len(parts)] = parts
        at = len(parts)
        for holding in self._block.holdings:
            for _, users in holding.instances:
                values[at] = float(any(parts[user] > 0 for user in users))
                at += 1
        return values

    def checked(self, values: FloatArray) -> list[float] | None:
        """The parts, where they keep all limits: the solver's word is not enough (ADR 6)."""
        whole = np.array(self._whole)
        found = np.clip(values, 0.0, np.array(self._most))
        found[whole] = np.round(found[whole])
        # Parts that come and go with an instance are nothing where it is not held.
        index, start = np.array(self._index), np.array(self._start)
        filled = np.add.reduceat(np.append(np.array(self._value) * found[index], 0.0), start[:-1])
        filled[start[:-1] == start[1:]] = 0.0
        right = np.array(self._right)
        if np.any(filled > right + _TOLERANCE * np.maximum(1.0, right)):
            return None
        return [float(x) for x in found[: len(self._block.options)]]
