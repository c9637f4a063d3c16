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
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.lives import Kind, ages, begun, crowd, going, survival
from circinus_coordinator.planning.room import beside, coarser, each_beside, fitting

__all__ = ["NOTHING", "Delay", "delays"]

FloatArray = npt.NDArray[np.float64]

# Chances smaller than this are rounding, which long services would make seconds² of.
_ROUNDING = 1e-12
# Rarer waits are not looked into.
_RARE = 0.02


@dataclass(frozen=True, slots=True)
class Delay:
    """What the lines cost a request.

    Attributes:
        mean, second: First (ms) and second (ms²) moment of the wait, with those who do not.
        chance: That it waits at all.
        held: How much longer a worker is taken per job, ms.
        lines: Of each line how long a job waits in it where nothing piles up, ms.
    """

    mean: float
    second: float
    chance: float
    held: float
    lines: tuple[float, ...] = ()

    @property
    def variance(self) -> float:
        """Of the wait, ms²."""
        return max(self.second - self.mean * self.mean, 0.0)


NOTHING = Delay(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Spell:
    """What a line costs a job, before anything piles up; moments as in `Delay`.

    Attributes:
        chance, mean, second: Of waiting for others.
        twin_chance, twin_mean, twin_second: What its twins, let in before it, add.
        held: Mean wait of a job that a worker takes up while requests pile up before it.
    """

    chance: float = 0.0
    mean: float = 0.0
    second: float = 0.0
    twin_chance: float = 0.0
    twin_mean: float = 0.0
    twin_second: float = 0.0
    held: float = 0.0

    def then(self, other: _Spell) -> _Spell:
        """This and another one, in a row."""
        return _Spell(
            1 - (1 - self.chance) * (1 - other.chance),
            self.mean + other.mean,
            self.second + other.second + 2 * self.mean * other.mean,
            1 - (1 - self.twin_chance) * (1 - other.twin_chance),
            self.twin_mean + other.twin_mean,
            self.twin_second + other.twin_second + 2 * self.twin_mean * other.twin_mean,
            self.held + other.held,
        )


_NONE = _Spell()


def delays(
    kinds: Sequence[Kind], sizes: Sequence[int], endless: Sequence[bool] = ()
) -> list[Delay]:
    """The delay of each kind; nothing for those that need none of the resources.

    Args:
        kinds: All that run on a device; one without load is a newcomer who keeps nobody waiting.
        sizes: Units there are of each contended resource, in the order of their lines.
        endless: Of which of them the line grows for ever; of none unless given.
    """
    return list(_delays(tuple(kinds), tuple(sizes), tuple(endless) or (False,) * len(sizes)))


# Plans are tried and taken back, so that devices come to the same loads again and again.
@functools.lru_cache(maxsize=4096)
def _delays(
    kinds: tuple[Kind, ...], sizes: tuple[int, ...], endless: tuple[bool, ...]
) -> tuple[Delay, ...]:
    now, total = list(kinds), [_NONE] * len(kinds)
    lines: list[list[float]] = []
    stuck = [False] * len(kinds)
    for r in reversed(range(len(sizes))):
        users = [k for k, kind in enumerate(kinds) if kind.units[r]]
        # Who never gets on keeps what he has got so far.
        if endless[r] or any(stuck[k] for k in users):
            for k in users:
                stuck[k] = True
            lines.append([math.inf if kind.units[r] else 0.0 for kind in kinds])
            continue
        found = _line(now, [kind.units[r] for kind in kinds], sizes[r])
        lines.append([spell.mean + spell.twin_mean for spell in found])
        for k in users:
            total[k] = found[k].then(total[k])
            now[k] = _longer(now[k], found[k])
    each = list(zip(*reversed(lines), strict=True)) or [()] * len(kinds)
    return tuple(
        _endless(waits) if no_end else _piled(spell, kind, waits)
        for kind, spell, no_end, waits in zip(kinds, total, stuck, each, strict=True)
    )


def _endless(lines: tuple[float, ...]) -> Delay:
    return Delay(math.inf, math.inf, 1.0, math.inf, lines)


def _longer(kind: Kind, spell: _Spell) -> Kind:
    """The kind as those see it who stand in a line before the one where it waits."""
    extra = spell.held
    if extra <= 0 or kind.rate <= 0 or kind.busy <= 0:
        return kind
    mean = kind.busy / kind.rate
    # The wait varies as it does for any job.
    square = (spell.second + spell.twin_second) * extra / max(spell.mean + spell.twin_mean, extra)
    variance = kind.scv * mean**2 + max(square - extra**2, 0.0)
    ratio = 1 + extra / mean
    return replace(
        kind, busy=kind.busy * ratio, load=kind.load * ratio, scv=variance / (mean + extra) ** 2
    )


def _line(kinds: Sequence[Kind], units: Sequence[int], size: int) -> list[_Spell]:
    """What the line of one resource costs a job of each kind.

    Args:
        units: What a worker of each kind holds of it while it runs.
        size: Units there are.
    """
    rate = np.array([k.rate for k in kinds])
    busy = np.array([k.busy for k in kinds])
    workers = np.array([k.workers for k in kinds], dtype=np.float64)
    service = np.divide(busy, rate, out=np.zeros(len(kinds)), where=rate > 0)
    fit_at_once = sum(k.workers * held for k, held in zip(kinds, units, strict=True)) <= size
    if fit_at_once or not (service > 0).any():
        return [_NONE] * len(kinds)
    times, running = survival(service, np.array([k.scv for k in kinds]), busy / workers)
    units, many, size = coarser(units, [k.workers for k in kinds], size)
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
    chance = np.minimum(chance + wider @ (rate * first), 1.0)
    found = first + wider @ (rate * second) / 2
    square = second + wider @ (rate * third) / 3
    twins = [more[:, 0], *_moments(times, more)[:2]]
    for k, kind in enumerate(kinds):  # twins are let in before, and so waited for
        for other, part in kind.beside:
            if units[k] and units[other]:
                twins[1][k] += part * found[other]
                twins[2][k] += part * square[other]
    held = _again(kinds, (units, many, size), times, running, np.array([chance, first])) + twins[1]
    columns = np.array([chance, found, square, *twins, held]).T.tolist()
    return [_Spell(*row) if units[k] else _NONE for k, row in enumerate(columns)]


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


def _piled(spell: _Spell, kind: Kind, lines: tuple[float, ...]) -> Delay:
    """With the requests that pile up. Twins every request has."""
    mean = spell.mean + spell.twin_mean
    if mean <= 0:  # their chance alone may be more than rounding
        return NOTHING
    service = kind.busy / kind.rate if kind.rate > 0 else 0.0
    load = kind.load * (1 + spell.held / service if service > 0 else 1.0)
    if load >= 1:
        return _endless(lines)
    # Short spells leave no pile but longer service; a quarter, by comparison with simulation.
    lasting = 1 - min(1.0, spell.held / mean) / 4
    piled = 1 + lasting * load / (1 - load)
    return Delay(
        spell.mean * piled + spell.twin_mean,
        spell.second * piled + spell.twin_second,
        min(1.0, spell.chance * piled + spell.twin_chance),
        spell.held,
        lines,
    )


def _moments(times: FloatArray, late: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """First three moments of waits with these survival functions, each `(kinds,)`."""
    step = np.diff(times)

    def area(values: FloatArray) -> FloatArray:
        return np.asarray(((values[:, 1:] + values[:, :-1]) / 2) @ step)

    return area(late), 2 * area(late * times), 3 * area(late * times**2)
