"""Arrival rates and bandwidths from measured series in files."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from circinus.errors import InvalidInput

__all__ = ["read_arrivals", "read_bandwidth"]

_QUANTILES = (0.1, 0.5, 0.9)
# Distinct intensities kept: queries of like rates stay alike.
_LEVELS = 32


def read_arrivals(path: str | Path, *, window_s: float = 60.0) -> tuple[float, ...]:
    """Relative intensity of the windows of a trace, rising, at most 32 of them, their mean 1.

    Two formats are known: CSV with a column `TIMESTAMP` (one row per request, as Azure's LLM
    inference traces), and JSON with counts per second by stream and kind (OctopInf's
    `object_count.json`).

    Args:
        path: The file.
        window_s: Length of a window.

    Raises:
        InvalidInput: Naming the file, and the key or line.
    """
    name, data = str(path), _read(path)
    if data.lstrip()[:1] == b"{":
        counts = _counted(_json(data, name), name, int(max(1, window_s)))
    else:
        counts = _stamped(data.decode("utf-8", "replace"), name, window_s)
    if sum(counts) <= 0:
        raise InvalidInput("has no arrivals", file=name, remedy="give a trace with requests in it")
    ordered = sorted(counts)
    if len(ordered) > _LEVELS:
        bounds = [round(i * len(ordered) / _LEVELS) for i in range(_LEVELS + 1)]
        ordered = [sum(ordered[a:b]) / (b - a) for a, b in itertools.pairwise(bounds) if b > a]
    mean = sum(ordered) / len(ordered)
    return tuple(float(f"{count / mean:.3g}") for count in ordered)


def read_bandwidth(path: str | Path) -> tuple[float, ...]:
    """The 10th, 50th and 90th percentile in time of a series of bandwidths, Mbit/s.

    The file is OctopInf's ``{"bandwidth_limits": [{"time": s, "mbps": x}, ...]}``; each value
    holds until the next, the last as long as the others do on average. Values of 0 count as
    0.1: a link that never carries anything would not be there.

    Raises:
        InvalidInput: Naming the file and the key.
    """
    name = str(path)
    found = _json(_read(path), name)
    rows = found.get("bandwidth_limits") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not rows:
        raise InvalidInput(
            "is missing or empty", file=name, key="bandwidth_limits",
            remedy='write {"bandwidth_limits": [{"time": 0, "mbps": 50}, ...]}',
        )  # fmt: skip
    points = [(_number(row, "time", i, name), _number(row, "mbps", i, name))
              for i, row in enumerate(rows)]  # fmt: skip
    points.sort()
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(points)]
    gaps.append(sum(gaps) / len(gaps) if gaps else 1.0)
    held = sorted((max(mbps, 0.1), gap) for (_, mbps), gap in zip(points, gaps, strict=True))
    return tuple(_held_quantile(held, q) for q in _QUANTILES)


def _held_quantile(held: Sequence[tuple[float, float]], q: float) -> float:
    total = math.fsum(gap for _, gap in held)
    passed = 0.0
    for value, gap in held:
        passed += gap
        if passed >= q * total:
            return value
    return held[-1][0]


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", file=str(path)) from error


def _json(data: bytes, name: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"is not valid JSON: {error}", file=name) from None


def _number(row: Any, key: str, i: int, name: str) -> float:
    value = row.get(key) if isinstance(row, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise InvalidInput(
            "needs a number of at least 0", file=name, key=f"bandwidth_limits[{i}].{key}"
        )
    return float(value)


def _stamped(text: str, name: str, window_s: float) -> list[float]:
    """Requests per window of a CSV with time stamps."""
    reader = csv.DictReader(io.StringIO(text))
    if "TIMESTAMP" not in (reader.fieldnames or ()):
        raise InvalidInput(
            "has no column TIMESTAMP", file=name,
            remedy="CSV with one row per request, or JSON with counts per second",
        )  # fmt: skip
    seconds = sorted(_seconds(row["TIMESTAMP"], reader.line_num, name) for row in reader)
    if not seconds:
        return []
    windows = [0.0] * (int((seconds[-1] - seconds[0]) // window_s) + 1)
    for second in seconds:
        windows[int((second - seconds[0]) // window_s)] += 1
    # The last window is cut off somewhere; it counts only where it is all there is.
    return windows[:-1] or windows


def _seconds(stamp: str, line: int, name: str) -> float:
    # Python 3.10 takes 3 or 6 decimals only, the traces have 7.
    whole, _, decimals = stamp.strip().partition(".")
    try:
        # Only differences count, so any zone will do.
        time = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc)
        return time.timestamp() + float(f"0.{decimals or 0}")
    except (TypeError, ValueError):
        raise InvalidInput(f"line {line}: {stamp!r} is not a time", file=name) from None


def _counted(found: Any, name: str, window: int) -> list[float]:
    """Counts per window of every stream, kinds added up; equal streams are copies, taken once."""
    seen: dict[tuple[float, ...], None] = {}
    for stream, kinds in found.items():
        if not isinstance(kinds, Mapping):
            raise InvalidInput("is not a map from kind to counts", file=name, key=stream)
        series = [_counts(counts, f"{stream}.{kind}", name) for kind, counts in kinds.items()]
        seen[tuple(map(sum, zip(*series, strict=False)))] = None
    return [float(sum(s[i : i + window])) for s in seen for i in range(0, len(s), window)]


def _counts(raw: Any, key: str, name: str) -> list[float]:
    if not isinstance(raw, list) or not all(_countable(value) for value in raw):
        raise InvalidInput("is not a list of counts", file=name, key=key)
    return raw


def _countable(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
