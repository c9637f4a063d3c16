"""Latency histograms with relative precision, small enough to send every second.

Buckets grow geometrically, so that any quantile is known within 1 % of its value; only
buckets with counts are kept. The scheme is that of DDSketch (Masson, Rim, Lee, VLDB 2019,
section 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

__all__ = ["Histogram"]

RELATIVE_ERROR = 0.01
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA = math.log(_GAMMA)
# Everything at or below a microsecond shares a bucket.
_SMALLEST_MS = 1e-3
# Up to some 10**14 ms; what is beyond cannot have been counted, and would overflow a float.
_LAST_INDEX = 2000


class Histogram:
    """Counts of durations in milliseconds.

    Args:
        counts: Bucket index to count, as `counts` of another histogram gives it. Indices that
            no duration has are ignored: the counts may come from anywhere.
    """

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = {
            index: n for index, n in (counts or {}).items() if abs(index) <= _LAST_INDEX
        }

    def add(self, value_ms: float) -> None:
        """Count one duration."""
        index = math.ceil(math.log(max(value_ms, _SMALLEST_MS)) / _LOG_GAMMA)
        self.counts[index] = self.counts.get(index, 0) + 1

    def merge(self, other: Histogram) -> None:
        """Add another histogram's counts."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    def since(self, earlier: Histogram) -> Histogram:
        """What was counted after `earlier`, a previous state of the same histogram."""
        rest = {i: n - earlier.counts.get(i, 0) for i, n in self.counts.items()}
        return Histogram({i: n for i, n in rest.items() if n > 0})

    def values(self) -> Iterator[tuple[float, int]]:
        """Durations in ms, each within 1 %, and how often they were counted; ascending."""
        for index in sorted(self.counts):
            yield 2 * _GAMMA**index / (1 + _GAMMA), self.counts[index]

    @property
    def total(self) -> int:
        """Number of durations counted."""
        return sum(self.counts.values())

    def quantile(self, q: float) -> float | None:
        """The `q`-quantile (nearest rank) in ms, within 1 %; None while empty."""
        rank = max(1, math.ceil(q * self.total))
        for index in sorted(self.counts):
            rank -= self.counts[index]
            if rank <= 0:
                return 2 * _GAMMA**index / (1 + _GAMMA)
        return None

    def below(self, limit_ms: float) -> float:
        """Fraction at or below `limit_ms`, within the precision; 1.0 while empty."""
        total = self.total
        if not total:
            return 1.0
        top = math.ceil(math.log(max(limit_ms, _SMALLEST_MS)) / _LOG_GAMMA)
        return sum(n for i, n in self.counts.items() if i <= top) / total

    @property
    def mean(self) -> float | None:
        """Mean in ms, within 1 %; None while empty."""
        if not self.counts:
            return None
        return sum(n * 2 * _GAMMA**i / (1 + _GAMMA) for i, n in self.counts.items()) / self.total
