"""How sure the numbers of a profile are: intervals that hold at every number of samples.

Each interval is wrong with a chance of at most `delta` by itself, whenever one looks
(`sequences`). Which kind a number has:

- quantiles of latency, medians of links: quantile sequences, of every k-th sample where samples
  resemble their neighbours;
- accuracy: the labelled data set is drawn from without putting back, so that after all of it the
  accuracy is known; where nobody told how large it is, an endless stream of scores;
- means of what has no bound (latency, core seconds, bytes, US dollars): of blocks of samples, and
  marked as asymptotic. No promise rests on one.

An interval is open (infinite) where the samples say nothing yet.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from circinus_coordinator.profiling.flukes import without_fluke
from circinus_coordinator.profiling.sequences import (
    Betting,
    Interval,
    Mixture,
    block_means,
    census_evidence,
    independent_length,
    thinned,
    unbounded_mean_interval,
)

__all__ = ["DELTA", "Sure", "accuracy", "mean", "mean_accuracy", "median", "quantile"]

Floats = NDArray[np.float64]

DELTA = 0.05
_MIXTURE, _BETTING = Mixture(), Betting()
# Below, the spread that an asymptotic interval rests on is itself a guess.
_LEAST_BLOCKS = 8
_STEPS = 24  # halvings: 1e-7 of the range
_APART = 1.5  # looks at scores
_KEPT = 4096  # series; a table of 500 rows has some 3,000
_RANKS = 1 << 15  # numbers of samples, times two, times quantiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Sure:
    """A number, and where the truth is.

    Attributes:
        value: As in the profile.
        interval: Holds the value, and the truth.
        samples: It rests on.
        worth: Independent samples those are worth.
    """

    value: float
    interval: Interval
    samples: int
    worth: int


@functools.lru_cache(_KEPT)
def quantile(samples: tuple[float, ...], part: float, *, delta: float = DELTA) -> Sure:
    """A quantile of latency: nearest rank, one fluke set aside; the interval leaves out none.

    Args:
        samples: At least one, in the order taken, at least 0.
        part: 0.95 for the p95.
    """
    ordered = sorted(without_fluke(samples))
    value = ordered[max(0, math.ceil(part * len(ordered)) - 1)]
    return _ranked(samples, part, value, delta)


@functools.lru_cache(_KEPT)
def median(samples: tuple[float, ...], *, delta: float = DELTA) -> Sure:
    """The lower median of at least one sample, as of links."""
    return _ranked(samples, 0.5, sorted(samples)[(len(samples) - 1) // 2], delta)


@functools.lru_cache(_KEPT)
def mean(samples: tuple[float, ...], *, delta: float = DELTA) -> Sure:
    """The mean of what has no bound, one fluke set aside; the interval leaves out none.

    It reaches at least to where one unseen sample of twice the mean would bring it: what is rarer
    than one sample in all of them cannot have been seen, however alike they are.

    Args:
        samples: At least one, in the order taken, at least 0.
    """
    kept = without_fluke(samples)
    value, whole = math.fsum(kept) / len(kept), math.fsum(samples) / len(samples)
    blocks = block_means(samples, _length(samples))
    if len(blocks) < _LEAST_BLOCKS:
        found = Interval(low=0.0, high=math.inf, asymptotic=True)
    else:
        found = unbounded_mean_interval(blocks, delta=delta)
        least = whole / len(blocks)
        found = dataclasses.replace(
            found,
            low=min(found.low, value - least),
            high=max(found.high, value + least, whole),  # the last block may have been left out
        )
    return _sure(value, found, len(samples), len(blocks))


@functools.lru_cache(_KEPT)
def accuracy(
    scores: tuple[float, ...], population: int | None = None, *, delta: float = DELTA
) -> Sure:
    """The mean score on a labelled data set.

    Args:
        scores: At least one, in [0, 1], of inputs in random order.
        population: Inputs of the data set; None where nobody told.
    """
    x = np.asarray(scores, dtype=np.float64)
    value = math.fsum(scores) / len(scores)
    if population is None or population < len(x):  # it is not the one that was scored
        found = _between(
            lambda least: float(np.max(_BOTH.above(x, least, delta / 2))),
            lambda least: float(np.max(_BOTH.above(1 - x, least, delta / 2))),
            delta,
        )
    elif population == len(x):
        found = Interval(low=value, high=value)
    elif all(score in (0.0, 1.0) for score in scores):
        found = _counted(len(scores), sum(scores), population, delta)
    else:
        found = _census(x, population, delta)
    return _sure(value, found, len(scores), len(scores))


@functools.lru_cache(_KEPT)
def mean_accuracy(value: float, samples: int, *, delta: float = DELTA) -> Sure:
    """The same where nothing but the mean of at least one score was kept.

    As if each were right or wrong, which has the largest spread of all scores with that mean.
    """
    found = _between(
        lambda least: float(_MIXTURE.after(samples, samples * value, least)),
        lambda least: float(_MIXTURE.after(samples, samples * (1 - value), least)),
        delta,
    )
    return _sure(value, found, samples, samples)


class _Both:
    """Half of the money bet one way, half the other: as sharp as the sharper one, but for log 2."""

    def above(self, samples: Floats, mean: float, delta: float) -> Floats:
        """See `sequences.Evidence.above`; of as many samples as there are looks."""
        n = _looks(len(samples))
        mixed = _MIXTURE.after(n, np.cumsum(samples)[n - 1], mean)
        bet = _BETTING.above(samples, mean, delta)[n - 1]
        both: Floats = np.logaddexp(mixed, bet) - math.log(2)
        return both


_BOTH = _Both()


def _looks(samples: int) -> NDArray[np.int64]:
    """Numbers of samples to look after: the last, and that by 1.5, 2.25, and so on.

    What holds at every number of samples holds at these, and is there in a tenth of the time.
    """
    count = 1 + math.floor(math.log(max(samples, 1)) / math.log(_APART))
    found: NDArray[np.int64] = np.unique(np.ceil(samples / _APART ** np.arange(count))).astype(int)
    return found[found > 0]


def _ranked(samples: tuple[float, ...], part: float, value: float, delta: float) -> Sure:
    """As `sequences.quantile_interval`, in a hundredth of the time.

    How many samples must be below a value for it to be evidently too large depends on nothing but
    how many there are, so that after each one a rank is all there is to pick.
    """
    x = thinned(samples, _length(samples)).tolist()
    low, high = -math.inf, math.inf
    ordered: list[float] = []
    for n, sample in enumerate(x, 1):
        bisect.insort(ordered, sample)
        if (below := _telling(n, part, delta)) is not None:
            high = min(high, ordered[below - 1])
        if (above := _telling(n, 1 - part, delta)) is not None:
            low = max(low, ordered[n - above])
    return _sure(value, Interval(low=min(low, high), high=high), len(samples), len(x))


@functools.lru_cache(_RANKS)
def _telling(n: int, part: float, delta: float) -> int | None:
    """So many of n tell that more than `part` of all are like them; None where not even all do."""
    needed = math.log(2 / delta)
    found = bisect.bisect_left(
        range(n + 1), True, key=lambda k: bool(_MIXTURE.after(n, k, part) >= needed)
    )
    return found if found <= n else None


@functools.lru_cache(_KEPT)
def _length(samples: tuple[float, ...]) -> int:
    return independent_length(samples)


@functools.lru_cache(_KEPT)
def _counted(n: int, right: float, population: int, delta: float) -> Interval:
    """The census of what is right or wrong: its order tells nothing."""
    return _census(np.arange(n) < right, population, delta)


def _census(scores: ArrayLike, population: int, delta: float) -> Interval:
    x = np.asarray(scores, dtype=np.float64)
    return _between(
        lambda least: census_evidence(x, population, least, delta / 2),
        lambda least: census_evidence(1 - x, population, least, delta / 2),
        delta,
    )


def _sure(value: float, found: Interval, samples: int, worth: int) -> Sure:
    """Nothing here is negative; and the value, of all samples, is never outside."""
    interval = dataclasses.replace(
        found, low=max(min(found.low, value), 0.0), high=max(found.high, value)
    )
    return Sure(value=value, interval=interval, samples=samples, worth=worth)


def _between(
    above: Callable[[float], float], below: Callable[[float], float], delta: float
) -> Interval:
    """Means in [0, 1] against which too little was found.

    Args:
        above: Log wealth of who bets that the mean is above this one.
        below: The same of one minus the mean.
    """
    needed = math.log(2 / delta)
    low, high = _exceeded(above, needed), 1 - _exceeded(below, needed)
    return Interval(low=min(low, high), high=max(low, high))


def _exceeded(evidence: Callable[[float], float], needed: float) -> float:
    """The largest mean that is evidently exceeded; 0 where none is."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if evidence(middle) >= needed:
            low = middle
        else:
            high = middle
    return low
