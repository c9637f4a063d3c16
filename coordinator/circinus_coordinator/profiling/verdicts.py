"""Whether an objective is met, as soon as the samples make it certain.

Both an accuracy floor and a latency percentile ask whether a mean in [0, 1] reaches a least value:
the mean score, or the part of requests that are in time. Short of it by less than the *zone* is
near enough: telling those apart would take thousands of samples, and refusing them all makes the
chosen plans needlessly dear. So there are two questions, is it above `least - zone` and is it below
`least`, and whichever has its answer first ends the probe.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circinus_coordinator.profiling.sequences import Betting, Mixture, census_evidence

__all__ = ["Target", "Verdict", "samples_to_go", "verdict"]

Floats = NDArray[np.float64]
_BETTING, _MIXTURE = Betting(), Mixture()
_OPTIMISM = 2.0  # standard errors


class Verdict(enum.Enum):
    """What the samples say."""

    MET = "met"
    MISSED = "missed"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A mean that is to be reached.

    Attributes:
        least: In [0, 1].
        zone: Short of it by less is near enough.
    """

    least: float
    zone: float


def verdict(
    samples: Floats, target: Target, *, accept: float, reject: float, population: int | None = None
) -> Verdict:
    """What is certain of a mean, by the last of the samples.

    Args:
        samples: Shape (n,), in [0, 1], in the order taken.
        target: What it should reach.
        accept: Chance of ever saying MET where the mean is `zone` or more below `least`, however
            often one asks.
        reject: Chance of ever saying MISSED where it is at or above `least`.
        population: Size of the set that is drawn from without putting back, whose mean it is
            about; None for an endless stream.
    """
    if target.least <= 0:
        return Verdict.MET
    if not len(samples):
        return Verdict.OPEN
    floor = target.least - target.zone
    # Where both are true either would do; what is near enough is taken.
    if floor < 0 or _found(samples, floor, accept, population):
        return Verdict.MET
    if _found(1 - samples, 1 - target.least, reject, population):
        return Verdict.MISSED
    return Verdict.OPEN


def samples_to_go(samples: Floats, target: Target, *, accept: float) -> float:
    """How many more it takes to say MET if the mean is as high as it can well be; inf for never.

    Wealth grows at best by the relative entropy between the mean and the one bet against, per
    sample (Kelly 1956), and by less while the mean is still being learnt.
    """
    floor = max(target.least - target.zone, 0.0)
    n = len(samples)
    # One sample of each kind more: no mean is exactly 0 or 1 (Agresti and Coull 1998).
    mean = (float(np.sum(samples)) + 1) / (n + 2)
    high = min(mean + _OPTIMISM * math.sqrt(mean * (1 - mean) / (n + 2)), 1 - 1e-9)
    if high <= floor:
        return math.inf
    rate = (1 - high) * math.log((1 - high) / (1 - floor))
    rate += high * math.log(high / floor) if floor > 0 else math.inf
    grown = math.log(1 / accept) + 0.5 * math.log(n + 1)
    return max(grown / rate - n, 1.0)


def _found(samples: Floats, mean: float, delta: float, population: int | None) -> bool:
    """Whether the mean is evidently above `mean`.

    Of an endless stream half of the money is bet one way, half the other: as sharp as the sharper
    one, but for log 2.
    """
    needed = math.log(1 / delta)
    if population is not None:
        return census_evidence(samples, population, mean, delta) >= needed
    evidence = float(_MIXTURE.after(len(samples), samples.sum(), mean))
    if not ((samples == 0) | (samples == 1)).all():
        bet = float(_BETTING.above(samples, mean, delta)[-1])
        evidence = float(np.logaddexp(evidence, bet)) - math.log(2)
    return evidence >= needed
