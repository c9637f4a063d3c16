"""Random draws that come out the same on every machine."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Dice", "figure"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def figure(value: float, digits: int = 4) -> float:
    """`value` to so many significant digits.

    Every number of a scenario passes through here: a difference in the last bit between two
    machines' arithmetic is rounded away.
    """
    return float(f"{value:.{digits}g}")


class Dice:
    """One stream of draws; each part of a scenario has its own, so parts change independently.

    Only uniform doubles of PCG64 are used: numpy keeps those stable over its versions, and not
    the algorithms of its distributions (NEP 19).
    """

    def __init__(self, seed: int, *labels: str) -> None:
        words = [seed, *(zlib.crc32(label.encode()) for label in labels)]
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))

    def uniforms(self, count: int) -> FloatArray:
        """`(count,)` draws from [0, 1)."""
        return self._generator.random(count)

    def between(self, low: float, high: float) -> float:
        """A draw from [low, high)."""
        return low + (high - low) * float(self._generator.random())

    def indices(self, count: int, upper: int) -> IntArray:
        """`(count,)` draws from 0 to `upper` - 1."""
        return np.minimum((self.uniforms(count) * upper).astype(np.int64), upper - 1)

    def weighted(self, count: int, weights: Sequence[float]) -> IntArray:
        """`(count,)` indices drawn in proportion to `weights`."""
        edges = np.cumsum(np.asarray(weights, dtype=np.float64))
        found = np.searchsorted(edges, self.uniforms(count) * edges[-1], side="right")
        return np.asarray(np.minimum(found, len(edges) - 1), dtype=np.int64)

    def order(self, count: int) -> IntArray:
        """A permutation of 0 to `count` - 1."""
        return np.argsort(self.uniforms(count), kind="stable").astype(np.int64)
