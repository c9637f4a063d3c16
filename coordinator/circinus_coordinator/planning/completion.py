"""Lower bounds on what completes a label, as `backwards` finds them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Bounds", "Tolls", "Worth"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolls:
    """What `m` askers would pay for latency and dollars if plans beyond the SLOs were let through.

    `per_ms` is value per millisecond, of chains only: elsewhere latency does not add up;
    `per_usd` is value per dollar. `curve` says how many milliseconds a unit of variance counts.
    With z standard deviations and the limit L, `z² / L` is the chord of `z * sqrt(variance)`
    between 0 and the largest variance that meets the limit, so what is counted never exceeds the
    latency of a plan that meets it.
    """

    per_ms: FloatArray
    curve: FloatArray
    per_usd: FloatArray

    def at(self, index: IntArray) -> Tolls:
        """For some of the askers."""
        return Tolls(
            per_ms=self.per_ms[index], curve=self.curve[index], per_usd=self.per_usd[index]
        )

    def distinct(self) -> tuple[IntArray, IntArray]:
        """One asker for each of the tolls that occur, and for each asker the number of his."""
        if not self.per_ms.any() and not self.per_usd.any():
            return np.zeros(1, dtype=np.int64), np.zeros(len(self.per_ms), dtype=np.int64)
        order = np.lexsort((self.curve, self.per_ms, self.per_usd))
        new = np.ones(len(order), dtype=np.bool_)
        new[1:] = False
        for column in (self.per_ms, self.curve, self.per_usd):
            new[1:] |= column[order][1:] != column[order][:-1]
        number = np.empty(len(order), dtype=np.int64)
        number[order] = np.cumsum(new) - 1
        return order[new].astype(np.int64), number


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds at each (node, slot) for each asker.

    Slots where all askers of equal tolls agree (`shared`) have a column for each of the tolls,
    the others one for each asker, after all of the former.
    """

    flat: FloatArray
    shared: BoolArray
    columns: tuple[IntArray, IntArray]
    widths: tuple[int, int]
    start: int

    def of(self, node: IntArray, slot: IntArray, asker: IntArray) -> FloatArray:
        """The bound of each label."""
        key = node * len(self.shared) + slot
        own = self.start + key * self.widths[1] + self.columns[1][asker]
        if not self.start:
            return np.asarray(self.flat[own])
        common = key * self.widths[0] + self.columns[0][asker]
        return np.asarray(self.flat[np.where(self.shared[slot], common, own)])

    def at(self, index: IntArray) -> Bounds:
        """For some of the askers."""
        common, own = self.columns
        return dataclasses.replace(self, columns=(common[index], own[index]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Lower bounds on the priced value that remains, tolls included.

    `head` counts from arrival at each operator, `tail` from its end, what a sink delivers
    included before it. The accuracy that is still to be reached is seen.
    """

    head: tuple[Bounds, ...]
    tail: tuple[Bounds, ...]

    def at(self, index: IntArray) -> Worth:
        """For some of the askers."""
        return Worth(
            head=tuple(b.at(index) for b in self.head), tail=tuple(b.at(index) for b in self.tail)
        )
