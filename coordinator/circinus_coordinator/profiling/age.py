"""How old samples are, and what that makes of them.

Devices age, get dusty and are moved, links get other neighbours: what was measured once is true for
a while. Accuracy on a labelled data set is not among that: operators, their versions and the data
set are part of its key.

While the coordinator runs its time is monotonic (`Core.epoch_s`), so that nothing happens when
somebody sets the clock. What survives a restart is Unix time, and the clock may have jumped since:
`settled` makes of it what can be believed. Nothing has a negative age; a jump forward makes much
of it stale at once, but `due` hands out only a few at a time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from circinus_coordinator.profiling.keys import AccuracyKey, Key
from circinus_coordinator.profiling.sequences import Interval
from circinus_coordinator.profiling.summary import Summary, Take

__all__ = ["age_s", "due", "settled", "stale", "widened"]

# 2020-01-01: before, nobody can have measured; a machine without a battery begins in 1970.
_EARLIEST_S = 1_577_836_800.0
# Of the number itself: equal samples leave no distance that could be stretched.
_LEAST_DISTANCE = 0.05
# Nothing is known by such an interval any more.
_MOST_STRETCH = 4.0


def settled(takes: Iterable[Take], now_s: float) -> list[Take]:
    """Takes of an earlier run: what was to come is of now, what is beyond belief is unknown."""
    return [
        dataclasses.replace(
            take,
            time_s=_believed(take.time_s, now_s),
            confirmed_s=_believed(take.confirmed_s, now_s),
        )
        for take in takes
    ]


def _believed(time_s: float | None, now_s: float) -> float | None:
    if time_s is None or not time_s >= _EARLIEST_S:  # NaN is not
        return None
    return min(time_s, now_s)


def age_s(takes: Sequence[Take], now_s: float) -> float | None:
    """Half of the samples are at least so old; None where nobody knows of that half.

    Samples that what is served agrees with are no older than that.

    Args:
        now_s: Unix time.
    """
    known = [(-math.inf if t.last_s is None else t.last_s, t.samples) for t in takes]
    half = sum(samples for _, samples in known) / 2
    seen = 0
    for time_s, samples in sorted(known):
        seen += samples
        if seen >= half:
            return max(now_s - time_s, 0.0) if time_s > -math.inf else None
    return None


def stale(age: float | None, limit_s: float | None) -> bool:
    """Too old to go by without a new look; what is of unknown age is not.

    Args:
        limit_s: None for what does not age.
    """
    return age is not None and limit_s is not None and age > limit_s


def widened(interval: Interval, value: float, age: float | None, limit_s: float | None) -> Interval:
    """What an interval has become, beyond `limit_s`.

    What wanders off by chance is after four times as long twice as far away (a random walk), so
    the ends move away from `value` with the root of the age, up to four times as far. Nothing
    here is negative.
    """
    if not stale(age, limit_s):
        return interval
    assert age is not None
    assert limit_s is not None
    stretch = min(math.sqrt(age / limit_s), _MOST_STRETCH)
    least = (stretch - 1) * _LEAST_DISTANCE * abs(value)
    below, above = (
        max((stretch - 1) * d, least) for d in (value - interval.low, interval.high - value)
    )
    return dataclasses.replace(
        interval, low=max(interval.low - below, 0.0), high=interval.high + above
    )


def due(
    rows: Mapping[Key, Summary], now_s: float, *, limit_s: float | None, at_once: int
) -> list[Key]:
    """What should be measured again: the oldest that is stale first, and no more than `at_once`."""
    ages: dict[Key, float] = {
        key: age
        for key, row in rows.items()
        if not isinstance(key, AccuracyKey) and (age := age_s(row.takes, now_s)) is not None
    }
    old = [key for key, age in ages.items() if stale(age, limit_s)]
    return sorted(old, key=lambda key: -ages[key])[:at_once]
