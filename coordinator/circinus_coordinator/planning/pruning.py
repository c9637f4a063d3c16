"""Ending hopeless labels early: what a plan would have to be worth at least."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.bounds import Hurry, Worth, remaining_value
from circinus_coordinator.planning.latency import percentile_factor
from circinus_coordinator.planning.offers import Choice, Moving
from circinus_coordinator.planning.programme import Programme
from circinus_coordinator.planning.transitions import Transitions

__all__ = ["TOLERANCE", "Asks", "Pruning", "prune"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# Relative slack on SLO comparisons: sums of floats in another order must not decide.
TOLERANCE = 1e-9
# Prices on latency that are tried, times value over latency at the limits.
_HURRIES = (0.5, 2.0)
# Beyond this a price on latency says nothing that floats could hold.
_DEAREST = 1e100


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What `m` askers want; arrays `(m,)`.

    Attributes:
        start: Automaton node they start from: their accuracy floor; -1 where nothing reaches it.
        latency_ms: Limits, infinite where absent.
        usd: Limits per request, infinite where absent.
        cutoff: Plans of at least this value are of no interest; None for no cutoffs.
    """

    start: IntArray
    latency_ms: FloatArray
    usd: FloatArray
    cutoff: FloatArray | None = None

    def at(self, index: IntArray) -> Asks:
        """Some of them."""
        cutoff = None if self.cutoff is None else self.cutoff[index]
        return Asks(
            start=self.start[index],
            latency_ms=self.latency_ms[index],
            usd=self.usd[index],
            cutoff=cutoff,
        )


@dataclass(frozen=True, slots=True)
class Pruning:
    """A lower bound for every label, and what it has to stay below.

    A plan that is in time is worth at least its value plus the price of its latency, less the
    price of the limit: at whatever price.

    Attributes:
        hurry: The price on latency.
        worth: Bounds on what remains.
        most: `(m,)` cutoff plus the price of the limit.
    """

    hurry: Hurry
    worth: Worth
    most: FloatArray

    def paid(
        self, of: IntArray, value: FloatArray, mean: FloatArray, variance: FloatArray
    ) -> FloatArray:
        """Value with the price of the latency so far."""
        return value + self.hurry.of(of, mean, variance) if self.hurry.per_ms.any() else value

    def at(self, index: IntArray) -> Pruning:
        """For some of the askers."""
        hurry = Hurry(per_ms=self.hurry.per_ms[index], curve=self.hurry.curve[index])
        head = tuple(h[:, index] for h in self.worth.head)
        tail = tuple(t[:, :, index] for t in self.worth.tail)
        return Pruning(hurry, Worth(head=head, tail=tail), self.most[index])


def prune(
    programme: Programme,
    choices: Sequence[Choice],
    moving: Moving,
    asks: Asks,
    tables: Sequence[Transitions],
) -> tuple[IntArray, list[Pruning]]:
    """The askers who may still find a plan below their cutoff, and their prunings.

    First without a price on latency; who is left tries a few, and keeps the sharpest.
    """
    assert asks.cutoff is not None
    index = np.flatnonzero(asks.start >= 0).astype(np.int64)
    found: list[Pruning] = []
    chain = programme.is_chain and bool(np.isfinite(asks.latency_ms).any())
    for factors in ((0.0,), _HURRIES) if chain else ((0.0,),):
        if not len(index):
            return index, []
        part = asks.at(index)
        some = [dataclasses.replace(c, value=c.value[index]) for c in choices]
        there = moving.at(index)
        tried = [_bounds(programme, some, there, part, tables, f) for f in factors]
        least = np.stack([_least(programme, there, part, p) - p.most for p in tried])
        keep = np.flatnonzero(~(least >= 0).any(axis=0)).astype(np.int64)
        best = np.argmax(least[:, keep], axis=0)
        chosen = [tried[b] for b in np.unique(best)]
        found = [p.at(keep) for p in [*found, *chosen]]
        index = index[keep]
    return index, found


def _bounds(
    programme: Programme,
    choices: Sequence[Choice],
    moving: Moving,
    asks: Asks,
    tables: Sequence[Transitions],
    factor: float,
) -> Pruning:
    assert asks.cutoff is not None
    z = percentile_factor(programme.query.slo.percentile)
    finite = np.isfinite(asks.latency_ms) & np.isfinite(asks.cutoff)
    limit = np.where(finite, asks.latency_ms * (1 + TOLERANCE), 1.0)
    per_ms = np.where(finite, factor * np.where(finite, asks.cutoff, 0.0) / limit, 0.0)
    # Where limits are absurdly small or large the product may not be a number: no price then.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        curve = z * z / limit
        usable = finite & np.isfinite(curve) & np.isfinite(per_ms * limit) & (per_ms > 0)
        usable &= np.isfinite(per_ms) & (per_ms < _DEAREST) & (curve < _DEAREST)
    per_ms, curve = np.where(usable, per_ms, 0.0), np.where(usable, curve, 0.0)
    hurry = Hurry(per_ms=per_ms, curve=curve)
    worth = remaining_value(programme, choices, moving, tables, hurry)
    return Pruning(hurry, worth, asks.cutoff + per_ms * limit)


def _least(programme: Programme, moving: Moving, asks: Asks, pruning: Pruning) -> FloatArray:
    """`(m,)` lower bound over all plans, price of latency included."""
    hops, size = programme.entry[0]
    count = len(programme.devices)
    slots: IntArray = np.arange(count, dtype=np.int64)
    late = hops.ms((slots,), np.full(count, size))
    some = np.flatnonzero(np.isfinite(late)).astype(np.int64)
    key = asks.start[:, None] * count + some
    start = pruning.worth.head[0][key, np.arange(len(asks.start))[:, None]]
    way = size * moving.entry[0][:, some] + pruning.hurry.per_ms[:, None] * late[some]
    found = (start + way).min(axis=1, initial=np.inf)
    return np.where(np.isfinite(found), found, np.finfo(float).max)
