"""Workers on a device, and how long those that run go on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["Kind", "ages", "begun", "crowd", "going", "survival"]

FloatArray = npt.NDArray[np.float64]

# Times at which the chance to wait on is worked out, besides 0: on a geometric grid.
_TIMES = 14
_STEPS = np.linspace(0.0, 1.0, _TIMES)
# The last of them, in mean residual lives of those who hold longest.
_LONGEST = 10.0
# Exponential lives, nearly: the exponent of the survival function stays finite.
_MOST_VARIABLE = 0.98
# A chance is 1, but for rounding.
_ROUNDING = 1e-12
# How far the others' loads keep up with a pile, and with one behind a worker that is no faster; by
# comparison with simulation.
_CROWDED, _PACED = 0.9, 0.3
# Times closer than this part of a gap, or a service, are the same.
_SAME = 1e-6


@dataclass(frozen=True, slots=True)
class Kind:
    """The workers of one instance.

    Attributes:
        units: Of each contended resource, what a worker holds while it runs.
        workers: How many there are.
        busy: Of them, on average.
        rate: Starts per millisecond.
        scv: Squared coefficient of variation of the time for which one is busy.
        load: Of a worker, were all batches full.
        beside: Kinds of which one starts at the same instant, just before, with the chance that
            this is so: inputs of one request that are worked on by the same device.
        along: Kinds that serve requests of this one too, with their part of what those start.
        after: Kinds of which one ended just before, with the chance that this is so.
        phase: Of a kind that serves one plan whose source is like clockwork, the gap and when in it
            a request comes, both ms. All such kinds in `along` serve the same plan.
    """

    units: tuple[int, ...]
    workers: int
    busy: float
    rate: float
    scv: float
    load: float
    beside: tuple[tuple[int, float], ...] = ()
    along: tuple[tuple[int, float], ...] = ()
    after: tuple[tuple[int, float], ...] = ()
    phase: tuple[float, float] | None = None


def survival(mean: FloatArray, scv: FloatArray, load: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Times, and the chance that a worker that is looked at runs on for so long; `(kinds, times)`.

    A busy one's residual life has mean (1 + scv) / 2 of a service; its survival function
    (1 - t / top)^a is exact for constant and for exponential service.
    """
    a = 1 / (1 - np.minimum(scv, _MOST_VARIABLE))
    residual = mean * (1 + scv) / 2
    top = residual * (a + 1)
    some = residual[residual > 0]
    first, last = some.min() / 4, min(top.max(), _LONGEST * some.max())
    times = np.concatenate([[0.0], first * (last / first) ** _STEPS])
    left = 1 - times[None, :] / np.maximum(top[:, None], 1e-300)
    return times, np.minimum(load, 1.0)[:, None] * np.maximum(left, 0.0) ** a[:, None]


def begun(
    kind: Kind,
    kinds: Sequence[Kind],
    times: FloatArray,
    running: FloatArray,
    many: Sequence[int],
) -> FloatArray:
    """`running` when a request comes, as its twins and those behind it have just begun."""

    def lasting(other: int) -> FloatArray:
        mean = kinds[other].busy / kinds[other].rate if kinds[other].rate > 0 else 0.0
        return _fresh(times, mean, kinds[other].scv)

    fresh = running.copy()
    for other, part in kind.after:  # the next one begins there, if any waits
        fresh[other] = np.maximum(running[other], part * running[other, 0] * lasting(other))
    for other, part in kind.beside:
        fresh[other] = np.maximum(running[other], part * lasting(other) / many[other])
    return fresh


def ages(k: int, phase: tuple[float, float], kinds: Sequence[Kind]) -> dict[int, list[float]]:
    """Of the kinds that serve the same clockwork plan, how old their jobs are when one comes."""
    gap, came = phase
    twins = {other for other, _ in kinds[k].beside}
    inputs = {other for other, _ in kinds[k].after}
    found: dict[int, list[float]] = {}
    for other, part in ((k, 1.0), *kinds[k].along):
        theirs = kinds[other].phase
        if theirs is None or part < 1 - _ROUNDING:
            continue
        age = (came - theirs[1]) % gap
        if min(age, gap - age) < gap * _SAME:
            age = 0.0 if other in twins else gap
        jobs = [age + n * gap for n in range(kinds[other].workers - (other == k))]
        if other in inputs:  # its own and those before it have ended
            jobs = [ms for ms in jobs if ms < came - theirs[1] - gap * _SAME]
        found[other] = jobs
    return found if len(found) > 1 else {}


def going(kind: Kind, jobs: Sequence[float], times: FloatArray) -> FloatArray:
    """The chance that jobs of these ages go on for so long; `(jobs, times)`."""
    mean = kind.busy / kind.rate if kind.rate > 0 else 0.0
    # The way here varies about as much as the job itself.
    spread = max(math.sqrt(2 * kind.scv), _SAME) * mean
    left = mean - np.array(jobs)[:, None] - times[None, :]
    return np.asarray(special.ndtr(left / max(spread, 1e-300)))


def crowd(k: int, kinds: Sequence[Kind], running: FloatArray) -> FloatArray:
    """`running` while requests pile up before the workers of a kind.

    These never pause then, and as much more of their requests comes to the other workers, less so
    where what comes before them held the requests up already.
    """
    load = kinds[k].load
    paced = any(kinds[before].load >= load for before, _ in kinds[k].after)
    keeping = _PACED if paced else _CROWDED
    busier = running.copy()
    busier[k] = running[k] / running[k, 0]
    for other, part in kinds[k].along:
        more = 1 - part + part / load
        top = running[other, 0]
        if top > 0:
            busier[other] = running[other] * (1 + keeping * (min(more, 1 / top) - 1))
    return busier


def _fresh(times: FloatArray, mean: float, scv: float) -> FloatArray:
    """The chance that a service that begins now lasts so long; constant or exponential, mixed."""
    varied = min(scv, 1.0)
    lasting = np.exp(-times / mean) if mean > 0 else np.zeros(len(times))
    return np.asarray((1 - varied) * (times < mean) + varied * lasting)
