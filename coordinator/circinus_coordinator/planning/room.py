"""Whether who asks for a resource fits beside those who run: convolutions of what they hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import xlog1py, xlogy

__all__ = ["beside", "coarser", "each_beside", "fitting"]

FloatArray = npt.NDArray[np.float64]

# Units of a resource that are told apart; a machine of more is cut into so many parts.
_MOST_UNITS = 512
# Of so many workers the ways to choose some are still a float.
_COUNTABLE = 1000


def coarser(
    units: Sequence[int], workers: Sequence[int], size: int
) -> tuple[list[int], list[int], int]:
    """Very many units taken together: fewer and larger workers, which meet more often.

    Args:
        units: What each kind's workers hold.
        workers: How many they are.
        size: Units there are.
    """
    if size <= _MOST_UNITS:
        return list(units), list(workers), size
    part = size / _MOST_UNITS
    coarse = [max(1, round(held / part)) if held else 0 for held in units]
    return (
        coarse,
        [
            max(1, round(held * count / part / wide)) if wide else count
            for held, count, wide in zip(units, workers, coarse, strict=True)
        ],
        _MOST_UNITS,
    )


def fitting(
    units: Sequence[int], workers: Sequence[int], running: FloatArray, size: int
) -> FloatArray:
    """The chance that a worker of each kind fits beside the others; `(kinds, times)`."""
    fits = np.ones(running.shape)
    mine = [k for k, held in enumerate(units) if held > 0]
    if not mine:
        return fits
    nothing: FloatArray = np.zeros((size + 1, running.shape[1]))
    nothing[0] = 1.0
    before, after = [nothing], [nothing]
    for k in mine[:-1]:
        before.append(_with(before[-1], units[k], workers[k], running[k]))
    for k in mine[:0:-1]:
        after.append(_with(after[-1], units[k], workers[k], running[k]))
    others = np.array(after[::-1])
    for n, k in enumerate(mine):
        if workers[k] > 1:
            others[n] = _with(others[n], units[k], workers[k] - 1, running[k])
    # By the room that the others before leave: what those after hold must fit there.
    room = np.array([size - units[k] for k in mine])[:, None] - np.arange(size + 1)
    within = np.cumsum(others, axis=1)[np.arange(len(mine))[:, None], np.maximum(room, 0)]
    fits[mine] = (np.array(before) * within * (room >= 0)[:, :, None]).sum(axis=1)
    return fits


def beside(
    k: int,
    units: Sequence[int],
    workers: Sequence[int],
    running: FloatArray,
    size: int,
    going: Mapping[int, FloatArray],
) -> FloatArray:
    """`fitting` of one kind; `(times,)`. Of some others the jobs that may be going are known."""
    held: FloatArray = np.zeros((size + 1, running.shape[1]))
    held[0] = 1.0
    for other, wanted in enumerate(units):
        if not wanted:
            continue
        if other in going:
            for job in going[other]:
                held = _with(held, wanted, 1, job)
        else:
            held = _with(held, wanted, workers[other] - (other == k), running[other])
    return np.asarray(held[: size - units[k] + 1].sum(axis=0))


def each_beside(
    those: Sequence[int],
    units: Sequence[int],
    workers: Sequence[int],
    running: Sequence[FloatArray],
    size: int,
) -> FloatArray:
    """`beside` of some kinds, each with a `running` of its own; `(those, times)`."""
    chances = np.array(running)
    for n, k in enumerate(those):  # who asks does not run
        chances[n, k] *= (workers[k] - 1) / workers[k]
    held: FloatArray = np.zeros((size + 1, len(those), chances.shape[2]))
    held[0] = 1.0
    for other, wanted in enumerate(units):
        if wanted:
            held = _with(held, wanted, workers[other], chances[:, other])
    room = [size - units[k] for k in those]
    found = np.cumsum(held, axis=0)[room, range(len(those))]
    return np.asarray(np.where(np.array([units[k] for k in those])[:, None] > 0, found, 1.0))


def _with(held: FloatArray, units: int, workers: int, running: FloatArray) -> FloatArray:
    """`(size + 1, times)` chances of what is held, with so many more workers; more is left out."""
    if workers <= 0:
        return held
    idle = 1.0 - running
    found: FloatArray = held * (idle if workers == 1 else idle**workers)
    for n in range(1, min(workers, (len(held) - 1) // units) + 1):
        chance = running if workers == 1 else _chance(workers, n, running)
        found[n * units :] += held[: len(held) - n * units] * chance
    return found


def _chance(workers: int, n: int, running: FloatArray) -> FloatArray:
    """That `n` of the workers run, each with this chance; `(times,)`."""
    if workers <= _COUNTABLE:
        return np.asarray(math.comb(workers, n) * running**n * (1.0 - running) ** (workers - n))
    ways = math.lgamma(workers + 1) - math.lgamma(n + 1) - math.lgamma(workers - n + 1)
    return np.asarray(np.exp(ways + xlogy(n, running) + xlog1py(workers - n, -running)))
