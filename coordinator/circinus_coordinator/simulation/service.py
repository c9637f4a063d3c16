"""Service times: a positive distribution through what a profile row knows.

A row has a mean and up to three quantiles. Between known quantiles the quantile function is taken
as linear in ``-ln(1 - p)``, beyond p99 it goes on as from p95 to p99 (an exponential tail), and the
lowest value is set such that the mean is met. A row of an exponential distribution thus gives back
that very distribution.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.pipeline import Config
from circinus.profile import LatencyStats

__all__ = ["Draw", "ServiceKey", "ServiceTime", "draws", "generator", "resample"]

FloatArray = npt.NDArray[np.float64]
Draw = Callable[[], float]

ServiceKey = tuple[str, Config, str, int]
"""(operator as the profile row qualifies it, config, device class, batch)."""

# Draws are made by the thousand, fewer at first: many instances serve little.
FIRST_DRAWS, MOST_DRAWS = 64, 8192
Z95, Z99 = 1.6448536269514722, 2.3263478740408408  # standard normal quantiles
# The mean of -ln(1-p) / ln 2 over p in [0, 1/2].
_LOW = (0.5 - 0.5 * math.log(2)) / (0.5 * math.log(2))


def _area(p: float) -> float:
    """Integral of -ln(1-p) from 0."""
    return (1 - p) * math.log1p(-p) + p


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTime:
    """A quantile function in milliseconds.

    Attributes:
        lowest, p50, p95, p99: Its knots.
        tail: Mean excess over p99.
        bend: Where above 0, exponent of the part below the median, for means lower than the
            quantiles alone would have it.
    """

    lowest: float
    p50: float
    p95: float
    p99: float
    tail: float
    bend: float = 0.0

    @classmethod
    def of(cls, stats: LatencyStats) -> ServiceTime:
        """The distribution through a row's quantiles, with its mean where they leave room.

        Missing quantiles are those of the lognormal with the row's mean and the highest quantile
        that it has. Quantiles are always met; the mean is not where it lies so low that even
        with everything below the median at 0 it would not be.
        """
        if stats.deterministic:
            value = stats.mean
            return cls(lowest=value, p50=value, p95=value, p99=value, tail=0.0)
        p50, p95, p99 = _completed(stats)
        upper = sum(
            (q - p) * low + (high - low) * _share(p, q)
            for p, q, low, high in ((0.5, 0.95, p50, p95), (0.95, 0.99, p95, p99))
        )
        tail = (p99 - p95) / math.log(5)
        below = (stats.mean - upper - 0.01 * (p99 + tail)) / 0.5
        if below > p50:  # more than the body can hold: outliers
            return cls(lowest=p50, p50=p50, p95=p95, p99=p99, tail=tail + (below - p50) * 50)
        if below < p50 * _LOW:  # first do without a tail
            spare = min(0.01 * tail, 0.5 * (p50 * _LOW - below))
            tail, below = tail - 100 * spare, below + 2 * spare
        lowest = (below - p50 * _LOW) / (1 - _LOW)
        if lowest >= -1e-9 * p50:
            return cls(lowest=max(0.0, lowest), p50=p50, p95=p95, p99=p99, tail=tail)
        # Below the median p50 x (2p)^bend, of mean p50 / (bend + 1).
        bend = min(p50 / below - 1, 1e3) if below > 0 else 1e3
        return cls(lowest=0.0, p50=p50, p95=p95, p99=p99, tail=tail, bend=bend)

    @property
    def deterministic(self) -> bool:
        """True where every draw is the same."""
        return self.lowest == self.p99 and self.tail == 0

    def quantile(self, p: FloatArray) -> FloatArray:
        """Values at probabilities in [0, 1), element by element."""
        y = -np.log1p(-p)
        knots = -np.log1p(-np.array([0.0, 0.5, 0.95, 0.99]))
        values = np.interp(y, knots, [self.lowest, self.p50, self.p95, self.p99])
        if self.bend > 0:
            values = np.where(p < 0.5, self.p50 * (2 * np.minimum(p, 0.5)) ** self.bend, values)
        return np.asarray(values + self.tail * np.maximum(0.0, y - knots[-1]))


def _share(p: float, q: float) -> float:
    """Integral over [p, q] of how far -ln(1-u) has come between its values at p and q."""
    low, high = -math.log1p(-p), -math.log1p(-q)
    return (_area(q) - _area(p) - low * (q - p)) / (high - low)


def _completed(stats: LatencyStats) -> tuple[float, float, float]:
    """p50, p95 and p99, the missing ones from a lognormal, never out of order."""
    known = [(z, v) for z, v in ((Z99, stats.p99), (Z95, stats.p95)) if v is not None]
    z, value = known[0] if known else (0.0, stats.p50 or 0.0)
    sigma = 0.0
    if stats.mean > 0 and value > 0:
        ratio = math.log(value / stats.mean)
        # ln(quantile / mean) = z sigma - sigma^2 / 2
        sigma = z - math.sqrt(max(0.0, z * z - 2 * ratio)) if z else math.sqrt(max(0.0, -2 * ratio))
        sigma = max(0.0, sigma)
    median = stats.mean * math.exp(-sigma * sigma / 2)
    p50 = stats.p50 if stats.p50 is not None else median
    p95 = stats.p95 if stats.p95 is not None else median * math.exp(Z95 * sigma)
    p99 = stats.p99 if stats.p99 is not None else median * math.exp(Z99 * sigma)
    if stats.p99 is None:
        p99 = max(p99, p95)
    if stats.p95 is None:
        p95 = min(max(p95, p50), p99) if stats.p99 is not None else max(p95, p50)
        p99 = max(p99, p95)
    if stats.p50 is None:
        p50 = min(p50, p95)
    return p50, p95, p99


def generator(seed: int, *names: object) -> np.random.Generator:
    """A random generator of its own for what is named."""
    text = "\x1f".join(str(name) for name in names)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "big")])


def draws(time: ServiceTime, rng: np.random.Generator) -> Draw:
    """A function that draws one service time (ms) after another."""
    if time.deterministic:
        return itertools.repeat(time.lowest).__next__
    return _blocks(lambda n: time.quantile(rng.random(n))).__next__


def resample(samples_ms: FloatArray, rng: np.random.Generator) -> Draw:
    """A function that draws from measured service times (ms)."""
    return _blocks(lambda n: rng.choice(samples_ms, n)).__next__


def _blocks(block: Callable[[int], FloatArray]) -> Iterator[float]:
    size = FIRST_DRAWS
    while True:
        yield from block(size).tolist()
        size = min(2 * size, MOST_DRAWS)
