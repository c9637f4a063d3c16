"""Ending hopeless labels early: what a plan would have to be worth at least."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.backwards import remaining_value
from circinus_coordinator.planning.completion import Tolls, Worth
from circinus_coordinator.planning.latency import percentile_factor
from circinus_coordinator.planning.offers import Choice, Moving
from circinus_coordinator.planning.programme import Programme
from circinus_coordinator.planning.transitions import Transitions

__all__ = ["TOLERANCE", "Asks", "Pruning", "attempts", "prune"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# Relative slack on SLO comparisons: sums of floats in another order must not decide.
TOLERANCE = 1e-9
# Tolls on latency and on dollars that are tried, times value over the limits.
_GUESSES = ((0.5, 0.0), (2.0, 0.0), (0.0, 0.5), (0.0, 2.0))
# And where a single asker looks for the sharpest, one after the other and so many times.
_COARSE = np.array([0.0, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5, 5.0])
_TURNS = 3
# Bounds times these are guesses at the least value.
_CLOSE, _WIDE = 1.03, 1.25
# Beyond this a toll says nothing that floats could hold.
_DEAREST = 1e100


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What `m` askers want; arrays `(m,)`.

    Attributes:
        start: Automaton node they start from: their accuracy floor; -1 where nothing reaches it.
        latency_ms: Limits, infinite where absent.
        usd: Limits per request, infinite where absent.
        cutoff: Plans of at least this value are of no interest; None for no cutoffs.
        tolls: Guesses what the limits are worth, `(m,)` value per ms and per dollar; any will
            do, and good ones end the search sooner. None where nobody knows.
    """

    start: IntArray
    latency_ms: FloatArray
    usd: FloatArray
    cutoff: FloatArray | None = None
    tolls: tuple[FloatArray, FloatArray] | None = None

    def at(self, index: IntArray) -> Asks:
        """Some of them."""
        cutoff = None if self.cutoff is None else self.cutoff[index]
        tolls = None if self.tolls is None else (self.tolls[0][index], self.tolls[1][index])
        return Asks(
            start=self.start[index],
            latency_ms=self.latency_ms[index],
            usd=self.usd[index],
            cutoff=cutoff,
            tolls=tolls,
        )


@dataclass(frozen=True, slots=True)
class Pruning:
    """A lower bound for every label, and what it has to stay below.

    A plan within its limits is worth at least its value plus the tolls of its latency and
    dollars, less the tolls of the limits: at whatever tolls.

    Attributes:
        tolls: On latency and dollars.
        worth: Bounds on what remains.
        most: `(m,)` cutoff plus the tolls of the limits.
    """

    tolls: Tolls
    worth: Worth
    most: FloatArray

    def paid(
        self,
        of: IntArray,
        value: FloatArray,
        mean: FloatArray,
        variance: FloatArray,
        usd: FloatArray,
    ) -> FloatArray:
        """Value with the tolls so far."""
        tolls = self.tolls
        if tolls.per_ms.any():
            value = value + tolls.per_ms[of] * (mean + tolls.curve[of] * variance)
        return value + tolls.per_usd[of] * usd if tolls.per_usd.any() else value

    def at(self, index: IntArray) -> Pruning:
        """For some of the askers."""
        return Pruning(self.tolls.at(index), self.worth.at(index), self.most[index])

    def below(self, cutoff: float) -> Pruning:
        """For a cutoff higher by so much."""
        return dataclasses.replace(self, most=self.most + cutoff)


def prune(
    programme: Programme,
    choices: Sequence[Choice],
    moving: Moving,
    asks: Asks,
    tables: Sequence[Transitions],
) -> tuple[IntArray, Pruning | None]:
    """The askers who may still find a plan below their cutoff, and what ends their labels.

    Where nobody guessed tolls, it is tried without, and who is left then tries a few.
    """
    assert asks.cutoff is not None
    index = np.flatnonzero(asks.start >= 0).astype(np.int64)
    if not len(index):
        return index, None
    part = asks.at(index)
    per_ms, per_usd = (np.zeros(len(index)),) * 2 if part.tolls is None else part.tolls
    problem = _Problem(programme, choices, moving, asks, tables)
    found, least = problem.tried(index, per_ms, per_usd)
    keep = np.flatnonzero(least < 0).astype(np.int64)
    if not len(keep) or part.tolls is not None:
        return index[keep], found.at(keep)
    index, per_ms, per_usd, least = index[keep], per_ms[keep], per_usd[keep], least[keep]
    part = asks.at(index)
    assert part.cutoff is not None
    for late, dear in _GUESSES:
        guess = (
            _guess(late, part.cutoff, part.latency_ms),
            _guess(dear, part.cutoff, part.usd),
        )
        if not (guess[0].any() and programme.is_chain) and not guess[1].any():
            continue
        sharper = problem.tried(index, guess[0], guess[1])[1]
        better = sharper > least
        per_ms, per_usd = np.where(better, guess[0], per_ms), np.where(better, guess[1], per_usd)
        least = np.maximum(least, sharper)
    if not (per_ms.any() or per_usd.any()):
        return index, found.at(keep)
    keep = np.flatnonzero(least < 0).astype(np.int64)
    if not len(keep):
        return index[keep], None
    return index[keep], problem.tried(index[keep], per_ms[keep], per_usd[keep])[0]


def attempts(
    programme: Programme,
    choices: Sequence[Choice],
    moving: Moving,
    asks: Asks,
    tables: Sequence[Transitions],
) -> Iterator[tuple[float, Pruning]]:
    """Guesses what the best plan of a single asker is worth, a little too high if they are right.

    First without tolls, then at the sharpest ones.
    """
    problem = _Problem(
        programme, choices, moving, dataclasses.replace(asks, cutoff=np.zeros(1)), tables
    )
    one: IntArray = np.zeros(1, dtype=np.int64)
    tolls: tuple[FloatArray, FloatArray] = (np.zeros(1), np.zeros(1))
    pruning, least = problem.tried(one, *tolls)
    best = float(least[0])
    if not 0 < best < _DEAREST:
        return
    yield best * _CLOSE, pruning.below(best * _CLOSE)
    limits = (float(asks.latency_ms[0]) if programme.is_chain else np.inf, float(asks.usd[0]))
    units = [best / limit if 0 < limit < np.inf else 0.0 for limit in limits]
    for turn in range(_TURNS):
        which = turn % 2
        if not units[which]:
            continue
        steps = _COARSE * units[which]
        held = np.repeat(tolls[1 - which], len(steps))
        least = problem.tried(
            np.repeat(one, len(steps)), *((steps, held) if which == 0 else (held, steps))
        )[1]
        at = int(np.argmax(least))
        if least[at] > best:
            best = float(least[at])
            tolls = (steps[at : at + 1], tolls[1]) if which == 0 else (tolls[0], steps[at : at + 1])
    if best < _DEAREST:
        pruning = problem.tried(one, *tolls)[0]
        for wide in (_CLOSE, _WIDE):
            yield best * wide, pruning.below(best * wide)


def _guess(factor: float, cutoff: FloatArray, limit: FloatArray) -> FloatArray:
    usable = np.isfinite(cutoff) & np.isfinite(limit) & (limit > 0)
    cutoff, limit = np.where(usable, cutoff, 0.0), np.where(usable, limit, 1.0)
    with np.errstate(over="ignore"):
        return np.asarray(factor * cutoff / limit)


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is asked, by all askers."""

    programme: Programme
    choices: Sequence[Choice]
    moving: Moving
    asks: Asks
    tables: Sequence[Transitions]

    def tried(
        self, index: IntArray, per_ms: FloatArray, per_usd: FloatArray
    ) -> tuple[Pruning, FloatArray]:
        """Bounds at these tolls for some askers, and `(m,)` how far above what they may pay."""
        asks, choices, moving = self.asks.at(index), self.choices, self.moving
        assert asks.cutoff is not None
        if len(index) != len(self.asks.start):
            choices = [dataclasses.replace(c, value=c.value[index]) for c in choices]
            moving = moving.at(index)
        z = percentile_factor(self.programme.query.slo.percentile)
        late = asks.latency_ms * (1 + TOLERANCE)
        dear = asks.usd * (1 + TOLERANCE)
        # Where limits are absurdly small or large products may not be numbers: no tolls then.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            curve = z * z / late
            timed = self.programme.is_chain & np.isfinite(asks.cutoff) & _usable(per_ms, late)
            timed &= np.isfinite(curve) & (curve < _DEAREST)
            frugal = np.isfinite(asks.cutoff) & _usable(per_usd, dear)
        tolls = Tolls(
            per_ms=np.where(timed, per_ms, 0.0),
            curve=np.where(timed, curve, 0.0),
            per_usd=np.where(frugal, per_usd, 0.0),
        )
        most = asks.cutoff + tolls.per_ms * np.where(timed, late, 0.0)
        most += tolls.per_usd * np.where(frugal, dear, 0.0)
        worth = remaining_value(self.programme, choices, moving, self.tables, tolls)
        pruning = Pruning(tolls, worth, most)
        return pruning, _least(self.programme, moving, asks, pruning) - most


def _usable(toll: FloatArray, limit: FloatArray) -> npt.NDArray[np.bool_]:
    fine = np.isfinite(limit) & np.isfinite(toll * limit) & (toll > 0)
    return np.asarray(fine & np.isfinite(toll) & (toll < _DEAREST))


def _least(programme: Programme, moving: Moving, asks: Asks, pruning: Pruning) -> FloatArray:
    """`(m,)` lower bound over all plans, tolls included."""
    hops, size = programme.entry[0]
    count = len(programme.devices)
    slots: IntArray = np.arange(count, dtype=np.int64)
    late = hops.ms((slots,), np.full(count, size))
    some = np.flatnonzero(np.isfinite(late)).astype(np.int64)
    each = np.arange(len(asks.start), dtype=np.int64)[:, None]
    tolls = pruning.tolls
    start = pruning.worth.head[0].of(asks.start[:, None], some[None, :], each)
    way = size * (moving.entry[0][:, some] + tolls.per_usd[:, None] * hops.usd_per_byte[some])
    found = (start + way + tolls.per_ms[:, None] * late[some]).min(axis=1, initial=np.inf)
    return np.where(np.isfinite(found), found, np.finfo(float).max)
