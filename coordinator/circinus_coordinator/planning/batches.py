"""Batches that start when a worker is free, full or not.

As in the agents' runtime: a free worker takes what waits, at most a full batch. The queue is looked
at when a batch ends; what waits then, and what comes during the next batch, makes a Markov chain
(Bailey, "On queueing processes with bulk service", J. Roy. Stat. Soc. B 16, 1954, with the next
batch starting at once). Waits are those of its stationary state: their mean by Little's law, their
second moment by its distributional form, as those behind a request come after it (Keilson and
Servi, "A distributional form of Little's law", Oper. Res. Letters 7, 1988). Several workers count
as one that starts batches so much more often.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.latency import Station, variability

__all__ = ["Factors", "factors", "running", "sojourn"]

FloatArray = npt.NDArray[np.float64]
Factors = tuple[float, ...]
"""Length of a batch of 1, 2, ... requests / of a full one."""

# Grid of utilisations at which the chain is solved, and how finely variability is told apart.
_GRID, _VARIABILITY = 25, 0.05
# Fewer busy workers keep nobody waiting; their square would underflow.
_IDLE = 1e-150
# How finely it is told apart how much longer workers are taken, in lengths of a full batch.
_HELD = 0.1
_TOP = (_GRID - 1) / _GRID


def factors(sizes: Sequence[int], means: Sequence[float]) -> Factors:
    """Between the measured sizes, ascending, the last being a full batch."""
    full = means[-1]
    if full <= 0:
        return (1.0,) * sizes[-1]
    at = np.arange(1, sizes[-1] + 1)
    return tuple(float(f) for f in np.interp(at, sizes, means) / full)


def sojourn(
    station: Station,
    servers: float,
    scale: Factors,
    service: tuple[float, float],
    held: float = 0.0,
) -> tuple[float, float]:
    """Mean (ms) and variance (ms²) of a request's wait for a worker and service together.

    Grows with the station's load.

    Args:
        station: Its jobs are full batches.
        servers: Workers.
        scale: Of its batches.
        service: Mean and variance of a full batch's service.
        held: How much longer a worker is taken for each batch, ms.
    """
    if station.busy <= _IDLE or service[0] <= 0:
        return service[0] * scale[0], service[1] * scale[0] ** 2
    parts = held * station.rate / station.busy / _HELD
    low = int(parts)
    found = _sojourn(station, servers, scale, service, low)
    if parts <= low or math.isinf(found[0]):
        return found
    above = _sojourn(station, servers, scale, service, low + 1)
    part = parts - low
    if math.isinf(above[0]):  # the grid's end, not the queue's
        return found if station.busy * (1 + _HELD * parts) < servers else above
    return tuple(a + part * (b - a) for a, b in zip(found, above, strict=True))  # type: ignore[return-value]


def _sojourn(
    station: Station, servers: float, scale: Factors, service: tuple[float, float], parts: int
) -> tuple[float, float]:
    """`sojourn` where batches take so many parts of a full one's length longer."""
    mean, variance = service
    extra = parts * _HELD
    load = station.busy / servers * (1 + extra)
    if load >= 1:
        return math.inf, 0.0
    cv2 = max(station.second * station.rate / station.busy**2 - 1, 0.0)
    cv2 = round(cv2 / (1 + extra) ** 2 / _VARIABILITY) * _VARIABILITY
    length = station.busy / station.rate * (1 + extra)
    scale = tuple((one + extra) / (1 + extra) for one in scale)
    wait, square, taken, varied, both, *_ = _at(scale, cv2, min(load, _TOP), servers)
    if (lacking := 1 - min(1.0, variability(station, load))) > 0:
        fluid = _in_step(scale, station.rate * length * len(scale) / servers)
        wait, taken = (a + lacking * (b - a) for a, b in zip((wait, taken), fluid, strict=True))
        square += lacking * (fluid[0] ** 2 / 3 - square)
        varied, both = varied * (1 - lacking), both * (1 - lacking)
    longer = (1 - _TOP) / (1 - load) if load > _TOP else 1.0
    wait, square = wait * longer, square * longer**2
    taken, own = taken * (1 + extra) - extra, (1 + extra) * mean  # without what it is held
    spread = square * length**2 + varied * own**2 + 2 * both * longer * length * own
    return wait * length + taken * mean, max(spread + variance * (varied + taken**2), 0.0)


def running(station: Station, servers: float, scale: Factors) -> tuple[float, float]:
    """Workers that are busy, and starts per millisecond, batches not being full."""
    load = station.busy / servers
    if station.busy <= _IDLE or load >= 1:
        return station.busy, station.rate
    cv2 = max(station.second * station.rate / station.busy**2 - 1, 0.0)
    cv2 = round(cv2 / _VARIABILITY) * _VARIABILITY
    *_, size, length = _at(scale, cv2, min(load, _TOP), servers)
    starts = station.rate * len(scale) / size
    return min(starts * length * station.busy / station.rate, servers * load**0.5), starts


def _in_step(scale: Factors, often: float) -> tuple[float, float]:
    """Mean wait and service where requests come like clockwork, in lengths of a full batch.

    Batches are then as large as what comes during one, and start when the one before ends.

    Args:
        often: Requests per length of a full batch and worker.
    """
    if often * scale[0] <= 1:
        return 0.0, scale[0]
    for size, length in enumerate(scale[1:], 2):
        if often * length <= size:
            before = scale[size - 2]
            # Where `often x length` meets the size, lengths being straight in between.
            slope = length - before
            at = (size - 1 - often * before) / (often * slope - 1) if often * slope != 1 else 0.0
            found = before + min(max(at, 0.0), 1.0) * slope
            return found / 2, found
    return scale[-1] / 2, scale[-1]


def _at(scale: Factors, cv2: float, load: float, servers: float) -> tuple[float, ...]:
    """Between the neighbours on the grid."""
    at = min(max(load * _GRID, 0.0), _GRID - 1.0)
    low = int(at)
    part = at - low
    found = _solved(scale, cv2, low, servers)
    if part <= 0:
        return found
    above = _solved(scale, cv2, low + 1, servers)
    return tuple(a + part * (b - a) for a, b in zip(found, above, strict=True))


@functools.lru_cache(maxsize=4096)
def _solved(scale: Factors, cv2: float, step: int, servers: float) -> tuple[float, ...]:
    """What is to be known of a station, in lengths of a full batch.

    Wait (mean, variance) and service (mean, variance between batches) of a request, their
    covariance; requests in a batch, and its length.
    """
    if step == 0:
        return 0.0, 0.0, scale[0], 0.0, 0.0, 1.0, scale[0]
    full = len(scale)
    rate = step / _GRID * full * servers
    lengths = np.array(scale) / servers  # from one start to the next
    states = 6 * full + 60
    come = np.array([_arrivals(rate * s, cv2, states) for s in lengths])
    queue = np.arange(states + 1)
    size = np.clip(queue, 1, full)
    left = np.maximum(queue - size, 0)
    weight = _stationary(come, size, left)
    first, s2 = lengths[size - 1], lengths[size - 1] ** 2 * (1 + cv2)
    s3 = lengths[size - 1] ** 3 * (1 + cv2) * (1 + 2 * cv2)
    time = weight @ (first + (queue == 0) / rate)
    served = weight @ size
    wait = weight @ (left * first + rate * s2 / 2) / time / rate
    behind = left * (left - 1) * first + 2 * left * rate * s2 / 2 + rate**2 * s3 / 3
    square = weight @ behind / time / rate**2
    service = np.array(scale)[size - 1]
    taken = weight @ (size * service) / served
    varied = weight @ (size * service**2) / served - taken**2
    both = _together(come, size, left, weight, np.array(scale), lengths) / served - wait * taken
    return tuple(
        float(x)
        for x in (
            wait,
            max(square - wait**2, 0),
            taken,
            max(varied, 0),
            max(both, 0),
            served,
            weight @ service,
        )
    )


def _stationary(come: FloatArray, size: FloatArray, left: FloatArray) -> FloatArray:
    """Chances of the queues that a batch's end leaves, `(states,)`."""
    states = len(size)
    moves = np.zeros((states, states))
    for q in range(states):
        moves[q, int(left[q]) :] = come[int(size[q]) - 1][: states - int(left[q])]
    moves[:, -1] += np.maximum(1 - moves.sum(axis=1), 0.0)
    system = moves.T - np.eye(states)
    system[-1] = 1.0
    known = np.zeros(states)
    known[-1] = 1.0
    return np.asarray(np.maximum(np.linalg.solve(system, known), 0.0))


def _together(
    come: FloatArray,
    size: FloatArray,
    left: FloatArray,
    weight: FloatArray,
    scale: FloatArray,
    lengths: FloatArray,
) -> float:
    """Sum over the requests of a batch of wait x service, those left over waiting half more."""
    total = 0.0
    full = len(scale)
    for q in np.flatnonzero(weight > 1e-12):
        length, stay = lengths[int(size[q]) - 1], min(int(left[q]), full)
        arrived = np.arange(come.shape[1])
        taken = np.clip(arrived + stay, 1, full)
        waited = np.minimum(arrived, taken - stay) * length / 2 + stay * 1.5 * length
        total += weight[q] * float(come[int(size[q]) - 1] @ (waited * scale[taken - 1]))
    return total


def _arrivals(mean: float, cv2: float, most: int) -> FloatArray:
    """Chances of 0 to `most` Poisson arrivals in a gamma-distributed time."""
    k = np.arange(1, most + 1)
    if cv2 <= 0:
        ratios = mean / k
        none = math.exp(-mean)
    else:
        shape = 1 / cv2
        ratios = (k - 1 + shape) / k * mean / (shape + mean)
        none = (shape / (shape + mean)) ** shape
    return np.asarray(none * np.concatenate(([1.0], np.cumprod(ratios))))
