"""Arrival rates and bandwidths from measured series in files."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_arrivals", "read_bandwidth"]


def read_arrivals(path: str | Path, *, window_s: float = 60.0) -> tuple[float, ...]:
    """Relative intensity of each window of a trace, its mean 1."""
    raise NotImplementedError


def read_bandwidth(path: str | Path) -> tuple[float, ...]:
    """The 10th, 50th and 90th percentile in time of a series of bandwidths, Mbit/s."""
    raise NotImplementedError
