"""From evidence to intervals: all values against which too little was ever found."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from circinus.errors import InvalidInput
from circinus_coordinator.profiling.sequences.bounded import Betting, Evidence, Mixture

__all__ = ["Interval", "mean_interval", "quantile_interval", "unbounded_mean_interval"]

# Which is sharpest where: benchmarks.sequences.
_BETTING = Betting()
_MIXTURE = Mixture()

_STEPS = 40  # halvings: 1e-12 of the range


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Holds the truth, with a chance of at least 1 - delta at all times together.

    Attributes:
        low: -inf or the least possible value where nothing is known yet.
        high: inf or the largest possible value where nothing is known yet.
        asymptotic: It holds only in the limit of many samples.
    """

    low: float
    high: float
    asymptotic: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"{self.low} > {self.high}")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def width(self) -> float:
        """From end to end."""
        return self.high - self.low


def mean_interval(samples: ArrayLike, *, delta: float, family: Evidence = _BETTING) -> Interval:
    """Where the mean of samples in [0, 1] lies.

    Args:
        samples: Shape (n,), in the order taken; none at all is allowed.
        delta: Chance of a wrong interval, ever.

    Raises:
        InvalidInput: If a sample is outside [0, 1], or not a number.
    """
    x = _in_unit(samples)
    high = 1 - _low_end(1 - x, delta / 2, family)
    low = _low_end(x, delta / 2, family)
    # Both ends can pass one another only where the assumptions do not hold: they change places.
    return Interval(low=min(low, high), high=max(low, high))


def quantile_interval(
    samples: ArrayLike, part: float, *, delta: float, family: Evidence = _MIXTURE
) -> Interval:
    """Where a quantile of any distribution lies, ties and infinite means included.

    A value is too large if more than `part` of the samples are evidently at most as large, and
    too small if less than `part` are evidently smaller: two questions about means of zeros and
    ones (Howard and Ramdas, "Sequential estimation of quantiles", Bernoulli 28, 2022, section 3).

    Args:
        samples: Shape (n,), any finite numbers, in the order taken.
        part: 0.95 for the p95.
        delta: Chance of a wrong interval, ever.

    Raises:
        InvalidInput: If a sample is no finite number, or `part` not strictly between 0 and 1.
    """
    x = _finite(samples)
    if not 0 < part < 1:
        raise InvalidInput(f"{part!r} is not between 0 and 1", key="part")
    needed = math.log(2 / delta)
    values = np.unique(x)

    def too_large(value: float) -> bool:
        return _most(family.above((x <= value).astype(float), part, delta / 2)) >= needed

    def too_small(value: float) -> bool:
        return _most(family.above((x >= value).astype(float), 1 - part, delta / 2)) >= needed

    # Among sorted values the small ones are too small, the large ones too large.
    first_large = _first(len(values), lambda i: too_large(float(values[i])))
    past_small = _first(len(values), lambda i: not too_small(float(values[i])))
    high = float(values[first_large]) if first_large < len(values) else math.inf
    low = float(values[past_small - 1]) if past_small > 0 else -math.inf
    return Interval(low=min(low, high), high=high)


def unbounded_mean_interval(samples: ArrayLike, *, delta: float, sharpest_at: int = 30) -> Interval:
    """Where the mean of samples without a bound lies, in the limit of many samples.

    No interval can hold for the mean of samples of which one in a million may be enormous, so
    nothing is promised on this: it tells how well a load is known. Needs a finite variance.
    Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence sequences",
    Annals of Statistics 52 (2024), theorem 2.2.

    Args:
        samples: Shape (n,), any finite numbers.
        sharpest_at: The number of samples at which it should be narrowest.
    """
    x = _finite(samples)
    n = len(x)
    if n < 2:
        return Interval(low=-math.inf, high=math.inf, asymptotic=True)
    log = -2 * math.log(delta)
    rho2 = (log + math.log(log) + 1) / sharpest_at if log > 1 else 1 / sharpest_at
    half = math.sqrt(
        2 * (n * rho2 + 1) / (n * n * rho2) * math.log(math.sqrt(n * rho2 + 1) / delta)
    ) * float(np.std(x, ddof=1))
    middle = float(np.mean(x))
    return Interval(low=middle - half, high=middle + half, asymptotic=True)


def _low_end(x: NDArray[np.float64], delta: float, family: Evidence) -> float:
    """The largest mean known to be exceeded; 0 where none is."""
    needed = math.log(1 / delta)
    low, high = 0.0, 1.0
    if not len(x) or _most(family.above(x, low, delta)) < needed:
        return 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _most(family.above(x, middle, delta)) >= needed:
            low = middle
        else:
            high = middle
    return low


def _most(evidence: NDArray[np.float64]) -> float:
    """What was found once stays found, however the wealth went on."""
    return float(np.max(evidence, initial=-math.inf))


def _first(n: int, holds: Callable[[int], bool]) -> int:
    """The first of n positions from which on it holds; n if nowhere."""
    return bisect.bisect_left(range(n), True, key=holds)


def _finite(samples: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 1 or not np.isfinite(x).all():
        raise InvalidInput("samples must be finite numbers, in one row", key="samples")
    return x


def _in_unit(samples: ArrayLike) -> NDArray[np.float64]:
    x = _finite(samples)
    if len(x) and not (x.min() >= 0 and x.max() <= 1):
        raise InvalidInput("samples must be between 0 and 1", key="samples")
    return x
