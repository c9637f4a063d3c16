"""The lines before a device: in each, who is next holds everybody up until it fits.

Workers ask for their share of a device's resources and get it in the order of asking, as in the
agents' runtime: each resource has a line, and a worker passes those of the accelerators before that
of the cores, keeping what it has got. Who comes finds what others hold, each taken as busy
independently of the others, and where that is too much waits until enough of it is given back.
Meanwhile nobody else in this line starts, so

    P(still waiting after t) = P(those of the others that run on after t hold too much),

a convolution at every t. What runs on is what stationary renewal theory says (residual lives). A
narrow worker that would fit may stand behind a wide one that does not: the line is then a queue
with Poisson arrivals, and the work found in it is the mean of the squares (Brumelle, "On the
relation between customer and time averages in queues", J. Appl. Prob. 8, 1971).

Lines in a row are taken from the last one forwards: what a worker waits there, it keeps its part of
the resources before for longer. Waits add up.

While a worker waits, requests pile up behind it. A spell of length X, longer than the gaps, thus
keeps those waiting that come within it, and after it until the pile is gone; all moments of the
wait grow by 1 / (1 - load), as for a server that breaks down (White and Christie, "Queuing with
preemptive priorities or with breakdown", Oper. Res. 6, 1958).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.lives import Kind, ages, begun, crowd, going, survival
from circinus_coordinator.planning.packing import crowded
from circinus_coordinator.planning.room import beside, coarser, each_beside, fitting
from circinus_coordinator.planning.spells import (
    NO_SPELL,
    Delay,
    Spell,
    endless,
    longer,
    piled,
)

__all__ = ["Line", "delays"]

FloatArray = npt.NDArray[np.float64]

# Chances smaller than this are rounding, which long services would make seconds² of.
_ROUNDING = 1e-12
# Rarer waits are not looked into.
_RARE = 0.02


@dataclass(frozen=True, slots=True)
class Line:
    """The line for one resource.

    Attributes:
        size: Units there are.
        few: Few workers fit at once, so that those count who stand ahead in the line. Where many
            do, and they are narrow, the model without them is nearer to simulations.
        full: It grows for ever.
    """

    size: int
    few: bool = False
    full: bool = False


def delays(kinds: Sequence[Kind], lines: Sequence[Line]) -> list[Delay]:
    """The delay of each kind; nothing for those that need none of the resources.

    Args:
        kinds: All that run on a device; one without load is a newcomer who keeps nobody waiting.
        lines: For each contended resource, in the order in which they are passed.
    """
    return list(_delays(tuple(kinds), tuple(lines)))


# Plans are tried and taken back, so that devices come to the same loads again and again.
@functools.lru_cache(maxsize=4096)
def _delays(kinds: tuple[Kind, ...], lines: tuple[Line, ...]) -> tuple[Delay, ...]:
    now, total = list(kinds), [NO_SPELL] * len(kinds)
    waits: list[list[float]] = []
    stuck = [False] * len(kinds)
    for r in reversed(range(len(lines))):
        users = [k for k, kind in enumerate(kinds) if kind.units[r]]
        # Who never gets on keeps what he has got so far.
        if lines[r].full or any(stuck[k] for k in users):
            for k in users:
                stuck[k] = True
            waits.append([math.inf if kind.units[r] else 0.0 for kind in kinds])
            continue
        found = _line(now, [kind.units[r] for kind in kinds], lines[r])
        waits.append([spell.mean + spell.twin_mean for spell in found])
        for k in users:
            stuck[k] |= math.isinf(found[k].mean)
            total[k] = found[k].then(total[k])
            now[k] = now[k] if stuck[k] else longer(now[k], found[k])
    each = list(zip(*reversed(waits), strict=True)) or [()] * len(kinds)
    return tuple(
        endless(own) if no_end else piled(spell, kind, own)
        for kind, spell, no_end, own in zip(kinds, total, stuck, each, strict=True)
    )


def _line(kinds: Sequence[Kind], units: Sequence[int], line: Line) -> list[Spell]:
    """What the line of one resource costs a job of each kind.

    Args:
        units: What a worker of each kind holds of it while it runs.
    """
    rate = np.array([k.rate for k in kinds])
    busy = np.array([k.busy for k in kinds])
    workers = np.array([k.workers for k in kinds], dtype=np.float64)
    service = np.divide(busy, rate, out=np.zeros(len(kinds)), where=rate > 0)
    fit_at_once = sum(k.workers * held for k, held in zip(kinds, units, strict=True)) <= line.size
    if fit_at_once or not (service > 0).any():
        return [NO_SPELL] * len(kinds)
    times, running = survival(service, np.array([k.scv for k in kinds]), busy / workers)
    units, many, size = coarser(units, [k.workers for k in kinds], line.size)
    alone = fitting(units, many, running, size)
    for k, kind in enumerate(kinds):
        if kind.phase and units[k] and (known := ages(k, kind.phase, kinds)):
            jobs = {other: going(kinds[other], ms, times) for other, ms in known.items()}
            alone[k] = beside(k, units, many, running, size, jobs)
    met = alone.copy()
    near = [
        k
        for k, kind in enumerate(kinds)
        if units[k] and kind.phase is None
        and (kind.beside or (kind.after and alone[k, 0] < 1 - _RARE))
    ]  # fmt: skip
    if near:
        fresh = [begun(kinds[k], kinds, times, running, many) for k in near]
        met[near] = each_beside(near, units, many, fresh, size)
    late, more = _chances(1.0 - alone), _chances(alone - met)
    first, second, third = _moments(times, late)
    chance = late[:, 0]
    # Who would fit waits behind the share of others who do not.
    wider = 1.0 - chance[:, None] / np.maximum(chance[None, :], 1e-300)
    wider = np.where(chance[None, :] > 0, np.clip(wider, 0.0, 1.0), 0.0)
    behind = np.array([wider @ (rate * first), wider @ (rate * second) / 2,
                       wider @ (rate * third) / 3])  # fmt: skip
    queue: FloatArray = np.zeros((3, len(kinds)))
    if line.few:
        load = crowded(units, busy.tolist(), size)
        queue = _queue(rate, workers, load, late[:, 0], first, second)
    behind = np.maximum(behind, queue)
    chance = np.minimum(chance + behind[0], 1.0)
    found, square = first + behind[1], second + behind[2]
    twins = [more[:, 0], *_moments(times, more)[:2]]
    for k, kind in enumerate(kinds):  # twins are let in before, and so waited for
        for other, part in kind.beside:
            if units[k] and units[other]:
                twins[1][k] += part * found[other]
                twins[2][k] += part * square[other]
    usual = np.array([chance, first])
    held = _again(kinds, (units, many, size), times, running, usual) + queue[1] + twins[1]
    columns = np.array([chance, found, square, *twins, held]).T.tolist()
    return [Spell(*row) if units[k] else NO_SPELL for k, row in enumerate(columns)]


def _queue(
    rate: FloatArray,
    workers: FloatArray,
    load: float,
    chance: FloatArray,
    first: FloatArray,
    second: FloatArray,
) -> FloatArray:
    """What jobs wait for those ahead of them in the line; chance, mean and second moment.

    A line that never empties lets `rate / load` jobs through. So whoever comes waits as long as
    this takes for those he finds there, which are as many as come during a wait (Little's law);
    of his own worker's none.

    Args:
        rate, workers: Of each kind.
        load: Of the line; 1 is full.
        chance, first, second: Of waiting where nobody is ahead.
    """
    found: FloatArray = np.zeros((3, len(rate)))
    total = rate.sum()
    mean = rate @ first / total
    if mean <= 0 or load <= 0:
        return found
    part = rate * load / total
    alone = 1 + part / workers
    rest = 1 - (part / alone).sum()
    if rest <= 0:
        return np.full_like(found, np.inf)
    ahead = (part * first / alone).sum() / rest
    found[0] = (1 - chance) * load * (rate @ chance / total)
    found[1] = np.maximum((first + ahead) / alone - first, 0.0)
    # As much longer as the wait is, it is spread.
    found[2] = rate @ second / total * ((1 + found[1] / mean) ** 2 - 1)
    return found


def _chances(found: FloatArray) -> FloatArray:
    """Differences of chances, those out of rounding taken as none."""
    return np.where(found > _ROUNDING, np.minimum(found, 1.0), 0.0)


def _again(
    kinds: Sequence[Kind],
    contended: tuple[Sequence[int], Sequence[int], int],
    times: FloatArray,
    running: FloatArray,
    usual: FloatArray,
) -> FloatArray:
    """Mean wait of a job that a worker takes up while requests pile up before it; `(kinds,)`.

    Who starts from the pile finds the line again as it is, if spells are short; long ones are
    over, and then so many begin during its service as at any time.

    Args:
        contended: What each kind's workers hold, how many they are, and the units there are.
        usual: Chance and mean of waiting at any time, `(2, kinds)`: the least there is.
    """
    units, many, size = contended
    found = usual.copy()
    those = [
        k
        for k in np.flatnonzero(usual[0] > _RARE).tolist()
        if units[k] and running[k, 0] > 0
        and not kinds[k].phase and (kinds[k].along or kinds[k].workers > 1)
    ]  # fmt: skip
    if those:
        crowds = [crowd(k, kinds, running) for k in those]
        late = _chances(1.0 - each_beside(those, units, many, crowds, size))
        found[:, those] = np.maximum(found[:, those], [late[:, 0], _moments(times, late)[0]])
    chance, mean = found
    service = np.array([k.busy / k.rate if k.rate > 0 else 0.0 for k in kinds])
    begin = service * chance / np.maximum(1 - chance, 1e-300)
    return np.asarray(np.minimum(mean, np.where(chance < 1, begin, np.inf)))


def _moments(times: FloatArray, late: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """First three moments of waits with these survival functions, each `(kinds,)`."""
    step = np.diff(times)

    def area(values: FloatArray) -> FloatArray:
        return np.asarray(((values[:, 1:] + values[:, :-1]) / 2) @ step)

    return area(late), 2 * area(late * times), 3 * area(late * times**2)
