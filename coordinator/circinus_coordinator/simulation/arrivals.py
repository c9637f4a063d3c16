"""When requests come, and which plan takes them."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circinus.errors import InvalidInput
from circinus.query import Query
from circinus_coordinator.simulation.service import generator

__all__ = ["REFUSED", "Split", "arrival_times", "at_rates", "deal"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

REFUSED = -1
# Shares come from divisions: ten times 0.1 makes 0.9999999 and refuses nobody.
SLACK = 1e-6


class Split(enum.Enum):
    """How a query's requests are dealt to its plans."""

    ROUND_ROBIN = "round-robin"  # smooth and weighted, as the runtime does
    RANDOM = "random"


def at_rates(rates_rps: npt.ArrayLike, seed: int, *, step_s: float = 1.0) -> FloatArray:
    """Arrival times of a Poisson process whose rate is given for each step of time.

    Args:
        rates_rps: ``(n,)`` requests per second, for `step_s` each.

    Returns:
        ``(m,)`` float64, seconds, ascending.
    """
    rates = np.asarray(rates_rps, dtype=np.float64)
    if rates.ndim != 1 or not np.all(np.isfinite(rates)) or np.any(rates < 0):
        raise InvalidInput("must be a row of numbers of at least 0", key="rates_rps")
    rng = generator(seed, "rates")
    counts = rng.poisson(rates * step_s)
    starts = np.repeat(np.arange(len(rates)) * step_s, counts)
    return np.sort(starts + rng.random(len(starts)) * step_s)


def arrival_times(query: Query, seconds: float, seed: int) -> tuple[FloatArray, IntArray]:
    """Arrivals of all `count` streams of a query, as its `input.arrivals` says.

    Returns:
        Times in seconds, ascending, and the stream of each, 0 to count - 1; both ``(n,)``.
    """
    rng = generator(seed, "arrivals", query.id)
    rate = query.rate_rps
    if rate <= 0:
        return np.empty(0), np.empty(0, dtype=np.int64)
    if query.input.arrivals == "uniform":
        per_stream = int(np.ceil(seconds * rate))
        # Each stream has its own phase, as sources that were switched on one by one.
        phase = rng.random(query.count)
        times = (np.arange(per_stream)[:, None] + phase[None, :]).ravel() / rate
        streams = np.tile(np.arange(query.count), per_stream)
        order = np.argsort(times, kind="stable")
        order = order[times[order] < seconds]
        return times[order], streams[order]
    # Independent Poisson streams together are one, each request of any stream equally likely.
    times = _poisson(rng, rate * query.count, seconds)
    streams = np.zeros(len(times), dtype=np.int64)
    if query.count > 1:
        streams = rng.integers(0, query.count, len(times))
    return times, streams


def _poisson(rng: np.random.Generator, rate: float, seconds: float) -> FloatArray:
    """Gap by gap, so that a longer simulation begins as a shorter one does."""
    parts: list[FloatArray] = []
    last = 0.0
    while last < seconds:
        gaps = rng.exponential(1 / rate, 1024)
        part = last + np.cumsum(gaps)
        parts.append(part)
        last = float(part[-1])
    times = np.concatenate(parts) if parts else np.empty(0)
    return times[times < seconds]


def deal(
    query: Query, shares: Sequence[float], streams: IntArray, seed: int, split: Split
) -> IntArray:
    """The plan that takes each request, `REFUSED` for what the shares leave over.

    Args:
        shares: Of each plan.
        streams: ``(n,)``, of the arrivals in order of time.

    Returns:
        ``(n,)`` int64, positions in `shares`.
    """
    left = 1.0 - sum(shares)
    weights = [max(0.0, share) for share in shares] + [left if left > SLACK else 0.0]
    ids = np.array([*range(len(shares)), REFUSED], dtype=np.int64)
    used = [k for k, weight in enumerate(weights) if weight > 0]
    if len(used) == 1:
        return np.full(len(streams), ids[used[0]])
    total = sum(weights)
    if not query.splittable and query.count > 1:
        # Whole streams: the boundaries between plans fall on multiples of 1 / count.
        ends = np.rint(np.cumsum(weights) / total * query.count)
        return np.asarray(ids[np.searchsorted(ends, streams, side="right")])
    if split is Split.RANDOM:
        rng = generator(seed, "split", query.id)
        return np.asarray(rng.choice(ids, len(streams), p=np.array(weights) / total))
    return ids[_round_robin([weights[k] for k in used], len(streams), used)]


def _round_robin(weights: list[float], count: int, names: list[int]) -> IntArray:
    """Smooth weighted round robin: the plan with most credit is taken and pays for all."""
    total = sum(weights)
    credit = [0.0] * len(weights)
    places = range(len(weights))
    found = []
    for _ in range(count):
        best, most = 0, -1e300
        for k in places:
            value = credit[k] + weights[k]
            credit[k] = value
            if value > most:
                best, most = k, value
        credit[best] -= total
        found.append(names[best])
    return np.array(found, dtype=np.int64)
