"""A plan's latency at a percentile, from the distributions of all its delays.

Services and waits are taken as independent and their distributions convolved; at joins the
distribution functions of the branches are multiplied. The search for plans adds means and variances
up instead (`latency`), as it has to compare unfinished plans; what is promised is this.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from circinus_coordinator.planning.distributions import (
    CELLS,
    Spread,
    latest,
    of_service,
    of_wait,
    percentile,
    plus,
)
from circinus_coordinator.planning.latency import percentile_ms

__all__ = ["NO_WAIT", "Arrival", "Delays", "Moments", "Waiting", "added", "promised_ms"]

Moments = tuple[float, float]
"""Mean (ms) and variance (ms²)."""

Waiting = tuple[float, float, float]
"""Mean (ms) and variance (ms²) of a wait, and the chance that there is any."""

Arrival = tuple[int, float, Waiting]
"""Position of the producer (-1 the source), ms of the transfer, and its wait for the link."""

NO_WAIT: Waiting = (0.0, 0.0, 0.0)

# The grid reaches so far beyond the percentile that means and variances alone suggest.
_BEYOND = 1.4
# Twice as far this often at most; 16 of them pass any finite variance.
_DOUBLINGS = 24


@dataclass(frozen=True, slots=True)
class Delays:
    """One operator on the request's way.

    Attributes:
        arrivals: Of its inputs.
        service: With batches, all of waiting and service.
        waits: Before it.
    """

    arrivals: tuple[Arrival, ...]
    service: Moments
    waits: tuple[Waiting, ...]


def promised_ms(steps: Sequence[Delays], exits: Sequence[Arrival], percent: float) -> float:
    """Latency at `percent`, ms; infinite where a queue grows for ever.

    Args:
        steps: In an order in which producers come first.
        exits: What is delivered, as arrivals.
    """
    return _promised_ms(tuple(steps), tuple(exits), percent)


# Plans are asked after every change nearby, most of which leave their delays as they were.
@functools.lru_cache(maxsize=4096)
def _promised_ms(steps: tuple[Delays, ...], exits: tuple[Arrival, ...], percent: float) -> float:
    rough = percentile_ms(*added(steps, exits), percent)
    if not 0 < rough < math.inf:
        return rough
    cell = _BEYOND * rough / CELLS
    for _ in range(_DOUBLINGS):
        found = percentile(_whole(steps, exits, cell), percent, cell)
        if found is not None:
            return found
        cell *= 2
    return math.inf


def added(steps: Sequence[Delays], exits: Sequence[Arrival]) -> Moments:
    """Means and variances along the way; a join takes the larger of each."""
    done: list[Moments] = []

    def last(arrivals: Sequence[Arrival]) -> Moments:
        mean = variance = 0.0
        for producer, transfer, wait in arrivals:
            before = done[producer] if producer >= 0 else (0.0, 0.0)
            mean = max(mean, before[0] + transfer + wait[0])
            variance = max(variance, before[1] + wait[1])
        return mean, variance

    for step in steps:
        mean, variance = last(step.arrivals)
        for part in (step.service, *step.waits):
            mean, variance = mean + part[0], variance + part[1]
        done.append((mean, variance))
    return last(exits)


def _whole(steps: Sequence[Delays], exits: Sequence[Arrival], cell: float) -> Spread:
    done: list[Spread] = []

    def last(arrivals: Sequence[Arrival]) -> Spread:
        found = []
        for producer, transfer, wait in arrivals:
            before = done[producer] if producer >= 0 else Spread(0.0)
            before = Spread(before.fixed + transfer, before.varying)
            found.append(plus(before, of_wait(*wait, cell)) if wait[0] > 0 else before)
        return latest(found, cell)

    for step in steps:
        spent = plus(last(step.arrivals), of_service(*step.service, cell))
        for wait in step.waits:
            if wait[0] > 0:
                spent = plus(spent, of_wait(*wait, cell))
        done.append(spent)
    return last(exits)
