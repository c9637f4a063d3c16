"""How much of a resource can be used at all by workers that hold whole units of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["crowded"]

# Ways to count what workers take: as held, in halves, thirds and quarters.
_PACKINGS = 4
# Jobs of different sizes leave more empty than a random sum of them, as a large one waits for
# several to end; by comparison with simulations of full lines.
_RAGGED = 0.2
# Of more units some are taken together.
_MOST_UNITS = 512


def crowded(units: Sequence[int], busy: Sequence[float], size: int) -> float:
    """The part that is taken on average, with what nobody can use beside those who run.

    Of workers that hold more than half of it only one runs at a time; and while who is next in the
    line does not fit, what is left stays empty.

    Args:
        units: What a worker of each kind holds while it runs.
        busy: Of them, on average.
        size: Units there are.
    """
    held = [(u, b) for u, b in zip(units, busy, strict=True) if u > 0 and b > 0]
    if not held:
        return 0.0
    mean = math.fsum(u * b for u, b in held)
    packed = max(math.fsum(b * _part(u, size, n) for u, b in held) for n in range(_PACKINGS))
    return max(packed, mean / size / (1 - _empty(held, size)))


def _part(units: int, size: int, packing: int) -> float:
    """How much of a resource a worker takes, counted so that all who fit take 1 at most.

    A dual feasible function (Fekete and Schepers, "New classes of fast lower bounds for bin
    packing problems", Math. Program. 91, 2001, theorem 1); with 0, just what it holds.
    """
    whole, rest = divmod((packing + 1) * units, size)
    return whole / packing if packing and rest else units / size


def _empty(held: Sequence[tuple[int, float]], size: int) -> float:
    """The part that is left empty by jobs that are put in one after another until one does not fit.

    What is left is the age of a renewal process at `size` (Feller, "An Introduction to Probability
    Theory and Its Applications", vol. 1, 3rd ed. 1968, ch. 13); jobs are met as often as they run.
    """
    total = math.fsum(b for _, b in held)
    weights: dict[int, float] = {}
    coarser, size = max(1.0, size / _MOST_UNITS), min(size, _MOST_UNITS)
    for wanted, busy in held:
        units = max(1, round(wanted / coarser))
        weights[units] = weights.get(units, 0.0) + busy / total
    reached = [1.0] + [0.0] * size
    for level in range(1, size + 1):
        reached[level] = sum(w * reached[level - u] for u, w in weights.items() if u <= level)
    left = math.fsum(
        (size - level) * chance * sum(w for u, w in weights.items() if u > size - level)
        for level, chance in enumerate(reached)
        if chance > 0
    )
    differ = 1 - math.fsum(w * w for w in weights.values())
    return left / size * (1 + _RAGGED * differ)
