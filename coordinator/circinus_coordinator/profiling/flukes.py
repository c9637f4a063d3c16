"""One sample that has nothing in common with the others.

A machine that was suspended, or stalled for minutes, leaves one sample of 162 s among fifty of
40 ms. Quantiles do not feel it, but the mean becomes 80 times what nearly every request takes,
and with it the load a plan is thought to bring. One sample is no evidence of how often such a
thing happens, two are.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["fluke", "without_fluke"]

# Samples of one operator differ by less, or by as much more than once.
_TIMES = 10.0
# It happened to at most one in so many, so that nothing promised at the 95th percentile, which is
# what a query gets that says nothing else, can rest on it.
_RARE = 20


def fluke(samples: Sequence[float]) -> int | None:
    """Where the one sample is that is ten times as large as any other; None where none is."""
    if len(samples) < _RARE:
        return None
    largest = max(range(len(samples)), key=samples.__getitem__)
    others = max(value for i, value in enumerate(samples) if i != largest)
    return largest if others > 0 and samples[largest] > _TIMES * others else None


def without_fluke(samples: Sequence[float]) -> list[float]:
    """All samples but that one. It is kept where they are kept, and counts once there are two."""
    place = fluke(samples)
    return [value for i, value in enumerate(samples) if i != place]
