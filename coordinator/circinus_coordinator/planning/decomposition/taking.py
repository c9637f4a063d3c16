"""Sources take turns at what they share, each with its whole queries, until none does better.

In its turn a source gives back what its queries use and chooses anew, within its own capacity and
what all others leave of the pools. In a selfless turn it pays for what it takes of the pools, so
that it leaves what others can make more of; in a selfish one it takes what there is. No machines
are told apart yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from circinus_coordinator.planning.decomposition.groves import Groves
from circinus_coordinator.planning.decomposition.tree import Grove, search

__all__ = ["Taking"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# Options that leave less than this part of their worth, less than nothing, at the prices.
_LEAST = -0.3
_BETTER = 1e-9
# Branches of a turn.
_BRANCHES = 30
# Parts of the prices that are paid, one pass after another.
_THRIFT = (1.0, 0.5, 0.03)
# One start for so many passes.
_PASSES_OF_A_START = 5


class Taking:
    """Who takes what."""

    def __init__(self, groves: Groves, prices: FloatArray, capacity: FloatArray) -> None:
        """Start from nothing.

        Args:
            groves: Sources and their options.
            prices: `(rows,)` of all resources.
            capacity: `(rows,)` of what is shared.
        """
        self._groves, self._prices = groves, prices * groves.shared
        self._capacity = capacity
        self._paid: FloatArray = np.asarray(groves.use @ self._prices)
        self._most = 0.0
        self._best: IntArray = np.zeros(0, dtype=np.int64)
        self._begin({})

    def agree(self, passes: int, seed: int) -> None:
        """Give every source a turn in each pass, alone at first, then two by two.

        Much depends on who comes first, so there are several starts, and the best goes on.
        """
        random = np.random.default_rng(seed)
        starts = max(1, passes // _PASSES_OF_A_START)
        reached = []
        for _ in range(starts):
            self._begin({})
            for thrift in _THRIFT[:passes]:
                self._pass(random, thrift, together=1)
            reached.append((self._worth, dict(self._taken)))
        self._begin(max(reached, key=lambda pair: pair[0])[1])
        for number in range(passes - starts * len(_THRIFT)):
            self._pass(random, _THRIFT[number % len(_THRIFT)], together=2)

    def _begin(self, taken: Mapping[int, IntArray]) -> None:
        self._taken: dict[int, IntArray] = dict(taken)
        chosen = np.concatenate([self._best[:0], *taken.values()])
        self._load = self._total(chosen)
        self._worth = float(self._groves.worth[chosen].sum())

    def _pass(self, random: np.random.Generator, thrift: float, *, together: int) -> None:
        order = random.permutation(np.array(self._groves.nodes, dtype=np.int64)).tolist()
        for start in range(0, len(order), together):
            self.turn(order[start : start + together], thrift=thrift)
        if self._worth > self._most:
            self._most = self._worth
            self._best = np.concatenate([self._best[:0], *self._taken.values()])

    def best(self) -> IntArray:
        """The options taken after the best pass."""
        return self._best

    def turn(self, nodes: Sequence[int], *, thrift: float) -> None:
        """Let these sources choose together.

        Args:
            nodes: Which.
            thrift: Part of the prices of what is shared that they pay.
        """
        groves = self._groves
        before = {node: self._taken.get(node, np.zeros(0, dtype=np.int64)) for node in nodes}
        gain = groves.worth - thrift * self._paid
        for taken in before.values():
            self._load -= self._total(taken)
        grove, options = self._grove(nodes, gain)
        held = np.isin(options, np.concatenate(list(before.values())))
        outcome = search(grove, nodes=_BRANCHES, gap=0.0)
        chosen = options[outcome.taken > 0]
        if outcome.worth <= float(gain[options[held]].sum()) * (1 + _BETTER):
            chosen = np.concatenate(list(before.values()))
        for node in nodes:
            part = groves.part(node)
            self._worth -= float(groves.worth[before[node]].sum())
            self._taken[node] = chosen[(chosen >= part.start) & (chosen < part.stop)]
            self._worth += float(groves.worth[self._taken[node]].sum())
        self._load += self._total(chosen)

    def _grove(self, nodes: Sequence[int], gain: FloatArray) -> tuple[Grove, IntArray]:
        groves = self._groves
        parts = [groves.part(node) for node in nodes]
        some: list[IntArray] = []
        for part in parts:
            every = np.arange(part.start, part.stop, dtype=np.int64)
            left = groves.worth[every] - self._paid[every]
            some.append(every[left > _LEAST * groves.worth[every]])
        options = np.concatenate(some)
        use = self._used(options)
        rows = np.unique(use.indices).astype(np.int64)
        shared = _dense(use, rows)
        room = (self._capacity - self._load)[rows]
        # Rows that hold all that could be asked of them are no limit.
        tight = shared.sum(axis=0) > room
        parts_of_room = shared[:, tight] / np.maximum(room[tight], 1e-12)
        owners, uses = [], [parts_of_room]
        for node, part, mine in zip(nodes, parts, some, strict=True):
            whole = groves.of(node, gain)
            at = mine - part.start
            owners.append(whole.owner[at])
            own = np.zeros((len(options), whole.use.shape[1]))
            own[(options >= part.start) & (options < part.stop)] = whole.use[at]
            uses.append(own)
        return Grove(
            owner=np.concatenate(owners), gain=gain[options], use=np.concatenate(uses, axis=1)
        ), options

    def _used(self, options: IntArray) -> sparse.csr_matrix:
        # The stubs do not know an index array of int64 for what it is.
        use: Any = self._groves.use
        return sparse.csr_matrix(use[options])

    def _total(self, options: IntArray) -> FloatArray:
        use = self._used(options)
        found = np.zeros(len(self._capacity))
        np.add.at(found, use.indices, use.data)
        return found


def _dense(use: sparse.csr_matrix, columns: IntArray) -> FloatArray:
    found = np.zeros((use.shape[0], len(columns)))
    row = np.repeat(np.arange(use.shape[0]), np.diff(use.indptr))
    found[row, np.searchsorted(columns, use.indices)] = use.data
    return found
