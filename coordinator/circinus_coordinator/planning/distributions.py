"""Sums and maxima of delays, as distributions on a grid.

A delay is a constant part and a varying one, whose chances stand at multiples of a cell; what lies
beyond the grid is left out. A chance between two multiples is split so that the mean stays exact.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["CELLS", "Spread", "latest", "of_service", "of_wait", "percentile", "plus"]

FloatArray = npt.NDArray[np.float64]

CELLS = 128
# Service varies as a gamma of at most this shape, moved: see `latency`.
_SHAPE = 4.0
# Waits are taken as at most so regular: constant ones as a gamma of this shape.
_REGULAR = 16.0
# Delays shorter than this part of a cell count as constant.
_SMALL = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """A delay.

    Attributes:
        fixed: Its constant part, ms.
        varying: `(CELLS,)` chances of 0, 1, ... cells more; None where nothing varies.
    """

    fixed: float
    varying: FloatArray | None = None


def of_service(mean: float, variance: float, cell: float) -> Spread:
    """A gamma of shape 4, moved so that mean and variance are met; of less, where it varies more.

    Its quantile at any percentile is thus mean + K sqrt(variance), as a single step is fitted.
    """
    if variance <= (_SMALL * cell) ** 2:
        return Spread(mean)
    shape = min(_SHAPE, mean * mean / variance)
    scale = math.sqrt(variance / shape)
    return Spread(mean - shape * scale, _moved(shape, scale / cell))


def of_wait(mean: float, variance: float, chance: float, cell: float) -> Spread:
    """None at all, or with this chance a gamma, at most as variable as an exponential one."""
    if mean <= _SMALL * cell and variance <= (_SMALL * cell) ** 2:
        return Spread(mean)
    square = variance + mean * mean
    least = mean * mean / square
    chance = min(1.0, max(chance, least * (1 + 1 / _REGULAR), 1e-9))
    if chance >= 2 * least or chance >= 1:  # more chance than an exponential wait leaves
        chance = min(1.0, 2 * least)
        return Spread(0.0, _waiting(chance, mean / chance / cell))
    typical = mean / chance
    shape = typical * typical / (square / chance - typical * typical)
    found: FloatArray = chance * _moved(_rounded(shape), typical / shape / cell)
    found[0] += 1 - chance
    return Spread(0.0, found)


def plus(one: Spread, two: Spread) -> Spread:
    """The sum of two independent delays."""
    fixed = one.fixed + two.fixed
    if one.varying is None or two.varying is None:
        return Spread(fixed, two.varying if one.varying is None else one.varying)
    return Spread(
        fixed, np.asarray(np.convolve(one.varying, two.varying)[:CELLS], dtype=np.float64)
    )


def latest(delays: Sequence[Spread], cell: float) -> Spread:
    """The largest of independent delays."""
    if len(delays) == 1:
        return delays[0]
    if all(d.varying is None for d in delays):
        return Spread(max(d.fixed for d in delays))
    fixed = max(d.fixed for d in delays)  # none ends before
    product: FloatArray = np.ones(CELLS)
    for delay in delays:
        product = product * np.cumsum(_from(delay, fixed, cell))
    return Spread(fixed, np.diff(product, prepend=0.0))


def percentile(delay: Spread, percent: float, cell: float) -> float | None:
    """The delay at `percent`, ms; None where it lies beyond the grid."""
    if delay.varying is None:
        return delay.fixed
    total = np.cumsum(delay.varying)
    target = percent / 100
    if total[-1] < target:
        return None
    at = total - delay.varying / 2  # half of what is split to a cell lies before it
    k = int(np.searchsorted(at, target))
    if k == 0:
        return delay.fixed
    if k == CELLS:
        return delay.fixed + (CELLS - 1) * cell
    part = (target - at[k - 1]) / (at[k] - at[k - 1])
    return float(delay.fixed + (k - 1 + part) * cell)


def _from(delay: Spread, fixed: float, cell: float) -> FloatArray:
    """Chances counted from a later constant part; what ends before ends there."""
    varying = np.zeros(CELLS)
    if delay.varying is None:
        varying[0] = 1.0
        return varying
    back = (fixed - delay.fixed) / cell
    whole = int(back)
    part = back - whole
    held = delay.varying
    if whole + 1 >= CELLS:
        varying[0] = held.sum()
        return varying
    varying[: CELLS - whole] = (1 - part) * held[whole:]
    varying[: CELLS - whole - 1] += part * held[whole + 1 :]
    varying[0] += held[:whole].sum() + part * held[whole]
    return varying


def _waiting(chance: float, mean: float) -> FloatArray:
    """Exponential with some chance; mean in cells."""
    step = math.exp(-1 / mean) if mean > 1e-3 else 0.0
    # Of e^(-x / mean) / mean against hats of width 1 on both sides.
    peak = mean * (1 / step - 2 + step) if step > 0 else 0.0
    found: FloatArray = chance * peak * step**_COUNT
    found[0] = 1.0 - chance + chance * (1.0 - mean * (1 - step))
    return found


_COUNT = np.arange(CELLS, dtype=np.float64)


def _rounded(shape: float) -> float:
    """A shape of those that are tabled."""
    return float(min(_REGULAR, max(0.25, round(shape * 4) / 4)))


def _moved(shape: float, scale: float) -> FloatArray:
    """A gamma of this shape and scale (cells), by the integral of its distribution function.

    This keeps the mean.
    """
    x, area = _area(shape)
    at = _BEFORE / scale
    values = np.interp(at, x, area) + np.maximum(at - x[-1], 0.0)
    steps = values[1:] - values[:-1]
    found: FloatArray = np.empty(CELLS)
    found[0] = values[1]
    np.subtract(steps[1:], steps[:-1], out=found[1:])
    found *= scale
    return np.maximum(found, 0.0, out=found)


@functools.lru_cache(maxsize=1024)
def _area(shape: float) -> tuple[FloatArray, FloatArray]:
    """Integral of the distribution function of a gamma of scale 1, up to where it is 1."""
    top = shape + 12 * math.sqrt(shape) + 12
    x = np.asarray(top * np.linspace(0.0, 1.0, 2000) ** 2, dtype=np.float64)
    return x, x * special.gammainc(shape, x) - shape * special.gammainc(shape + 1, x)


_BEFORE = np.arange(CELLS + 1, dtype=np.float64)
