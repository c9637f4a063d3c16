"""Figures and tables as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from benchmarks._planner.figures import Spread, spread

__all__ = ["grid", "number", "part", "parts", "seconds", "times"]


def times(value: Spread | None) -> str:
    """A ratio: its median, and the range where there are several."""
    if value is None:
        return "-"
    if value.count == 1:
        return _factor(value.median)
    return f"{_factor(value.median)} [{_factor(value.low)}, {_factor(value.high)}]"


def _factor(value: float) -> str:
    if math.isinf(value):
        return "inf"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def part(values: Iterable[float]) -> str:
    """The median as per cent."""
    found = spread(values)
    return "-" if found is None else f"{found.median:.1%}"


def parts(values: Iterable[float]) -> str:
    """Median and range as per cent."""
    found = spread(values)
    if found is None:
        return "-"
    if found.count == 1:
        return f"{found.median:.1%}"
    return f"{found.median:.1%} [{found.low:.1%}, {found.high:.1%}]"


def seconds(values: Iterable[float | None]) -> str:
    """The median of those known, to three digits."""
    found = spread(value for value in values if value is not None)
    if found is None:
        return "-"
    return f"{found.median:.3f}" if found.median < 1 else f"{found.median:#.3g}".removesuffix(".")


def number(values: Iterable[float]) -> str:
    """The median, to four digits."""
    found = spread(values)
    return "-" if found is None else f"{found.median:.4g}"


def grid(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they need; what stands last in a short row may run on."""
    full = [headers, *rows]
    widths = [
        max(
            (len(row[k]) for row in full if len(row) == len(headers) or k < len(row) - 1),
            default=0,
        )
        for k in range(len(headers))
    ]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in full
    ]
