"""Sources take turns at what they share, each with its whole queries, until none does better.

They start from what each would choose at the prices, which some pools cannot hold. In its turn a
grove of sources gives back what its queries use and chooses anew, within its own capacity and its
part of the pools: what all others leave; where a pool is overloaded, those whose turn is still to
come give back in proportion to what they use. In a selfless turn a grove pays for what it takes of
the pools, so that it leaves what others can make more of; in a selfish one it pays half. No
machines are told apart yet.
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
_FITS = 1e-9
# Branches of a turn: more of them find no more in the end.
_BRANCHES = 10
# Groves that choose together.
_TOGETHER = 2
# Parts of the prices that are paid in the first passes, and in all others.
_FIRST, _LATER = (1.0, 1.0), 0.5


class Taking:
    """Who takes what."""

    def __init__(
        self,
        groves: Groves,
        prices: FloatArray,
        capacity: FloatArray,
        start: Mapping[int, IntArray],
    ) -> None:
        """Start from what everybody would choose.

        Args:
            groves: Sources and their options.
            prices: `(rows,)` of all resources.
            capacity: `(rows,)` of what is shared.
            start: Options by grove, which together may be more than pools hold.
        """
        self._groves, self._prices = groves, prices * groves.shared
        self._capacity = capacity
        self._paid: FloatArray = np.asarray(groves.use @ self._prices)
        none: IntArray = np.zeros(0, dtype=np.int64)
        self._taken = {node: start.get(node, none) for node in groves.nodes}
        chosen = np.concatenate([none, *self._taken.values()])
        self._load = self._total(chosen)
        self._waiting: FloatArray = self._load.copy()
        self._worth = float(groves.worth[chosen].sum())
        self._most = 0.0
        self._best: IntArray = none

    def agree(self, passes: int, seed: int) -> IntArray:
        """Give all a turn in each pass, two by two; returns the options of the best one."""
        random = np.random.default_rng(seed)
        for number in range(passes):
            self._waiting = self._load.copy()
            order = random.permutation(np.array(self._groves.nodes, dtype=np.int64)).tolist()
            thrift = _FIRST[number] if number < len(_FIRST) else _LATER
            for start in range(0, len(order), _TOGETHER):
                self.turn(order[start : start + _TOGETHER], thrift=thrift)
            fits = (self._load <= self._capacity * (1 + _FITS)).all()
            if fits and self._worth > self._most:
                self._most = self._worth
                self._best = np.concatenate([self._best[:0], *self._taken.values()])
        return self._best

    def turn(self, nodes: Sequence[int], *, thrift: float) -> None:
        """Let these groves choose together.

        Args:
            nodes: Which.
            thrift: Part of the prices of what is shared that they pay.
        """
        groves = self._groves
        before = np.concatenate([self._taken[node] for node in nodes])
        room = self._room(self._total(before))
        gain = groves.worth - thrift * self._paid
        grove, options = self._grove(nodes, gain, room)
        held = np.isin(options, before)
        outcome = search(grove, nodes=_BRANCHES, gap=0.0, start=held.astype(np.float64))
        chosen = options[outcome.taken > 0]
        fits = held.sum() == len(before) and (held @ grove.use <= 1 + _FITS).all()
        if fits and float(gain[chosen].sum()) <= float(gain[before].sum()) * (1 + _BETTER):
            chosen = before
        for node in nodes:
            part = groves.part(node)
            self._taken[node] = chosen[(chosen >= part.start) & (chosen < part.stop)]
        self._worth += float(groves.worth[chosen].sum() - groves.worth[before].sum())
        self._load += self._total(chosen) - self._total(before)

    def _room(self, mine: FloatArray) -> FloatArray:
        """`(rows,)` that those who use `mine` may use."""
        left = self._capacity - self._load
        part = np.minimum(mine / np.maximum(self._waiting, 1e-12), 1.0)
        self._waiting = np.maximum(self._waiting - mine, 0.0)
        return np.asarray(np.maximum(mine + np.where(left < 0, left * part, left), 0.0))

    def _grove(
        self, nodes: Sequence[int], gain: FloatArray, free: FloatArray
    ) -> tuple[Grove, IntArray]:
        groves = self._groves
        parts = [groves.part(node) for node in nodes]
        some: list[IntArray] = []
        for part in parts:
            every = np.arange(part.start, part.stop, dtype=np.int64)
            left = groves.worth[every] - self._paid[every]
            some.append(every[groves.fits[every] & (left > _LEAST * groves.worth[every])])
        options = np.concatenate(some)
        use = self._used(options)
        rows = np.unique(use.indices).astype(np.int64)
        shared = _dense(use, rows)
        room = free[rows]
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
