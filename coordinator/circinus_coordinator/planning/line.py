"""The line before a device: who is next holds everybody up until it fits.

Workers ask for their share of a device and get it in the order of asking, as in the agents'
runtime. Who comes finds what others hold, each taken as busy independently of the others, and
where that is too much waits until enough of it is given back. Meanwhile nobody else starts, so

    P(still waiting after t) = P(those of the others that run on after t hold too much),

a convolution at every t. What runs on is what stationary renewal theory says (residual lives). A
narrow worker that would fit may stand behind a wide one that does not: the line is then a queue
with Poisson arrivals, and the work found in it is the mean of the squares (Brumelle, "On the
relation between customer and time averages in queues", J. Appl. Prob. 8, 1971).

While a worker waits, requests pile up behind it. A spell of length X, longer than the gaps, thus
keeps those waiting that come within it, and after it until the pile is gone; all moments of the
wait grow by 1 / (1 - load), as for a server that breaks down (White and Christie, "Queuing with
preemptive priorities or with breakdown", Oper. Res. 6, 1958).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.special import xlog1py, xlogy

__all__ = ["ENDLESS", "NOTHING", "Delay", "Kind", "delays"]

FloatArray = npt.NDArray[np.float64]

# Times at which the chance to wait on is worked out, besides 0: on a geometric grid.
_TIMES = 14
_STEPS = np.linspace(0.0, 1.0, _TIMES)
# The last of them, in mean residual lives of those who hold longest.
_LONGEST = 10.0
# Exponential lives, nearly: the exponent of the survival function stays finite.
_MOST_VARIABLE = 0.98
# Chances smaller than this are rounding, which long services would make seconds² of.
_ROUNDING = 1e-12
# How far the others' loads keep up with a pile, and with one behind a worker that is no faster; by
# comparison with simulation.
_CROWDED, _PACED = 0.9, 0.3
# Times closer than this part of a gap, or a service, are the same.
_SAME = 1e-6
# Rarer waits are not looked into.
_RARE = 0.02
# Units of a resource that are told apart; a machine of more is cut into so many parts.
_MOST_UNITS = 512
# Of so many workers the ways to choose some are still a float.
_COUNTABLE = 1000


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


@dataclass(frozen=True, slots=True)
class Delay:
    """What the line costs a request.

    Attributes:
        mean, second: First (ms) and second (ms²) moment of the wait, with those who do not.
        chance: That it waits at all.
        held: How much longer a worker is taken per job, ms.
    """

    mean: float
    second: float
    chance: float
    held: float

    @property
    def variance(self) -> float:
        """Of the wait, ms²."""
        return max(self.second - self.mean * self.mean, 0.0)


NOTHING = Delay(0.0, 0.0, 0.0, 0.0)
ENDLESS = Delay(math.inf, math.inf, 1.0, math.inf)


def delays(kinds: Sequence[Kind], sizes: Sequence[int]) -> list[Delay]:
    """The delay of each kind; nothing for those that need none of the resources.

    Args:
        kinds: All that run on a device; one without load is a newcomer who keeps nobody waiting.
        sizes: Units there are of each contended resource.
    """
    return list(_delays(tuple(kinds), tuple(sizes)))


# Plans are tried and taken back, so that devices come to the same loads again and again.
@functools.lru_cache(maxsize=4096)
def _delays(kinds: tuple[Kind, ...], sizes: tuple[int, ...]) -> tuple[Delay, ...]:
    rate = np.array([k.rate for k in kinds])
    busy = np.array([k.busy for k in kinds])
    workers = np.array([k.workers for k in kinds], dtype=np.float64)
    mean = np.divide(busy, rate, out=np.zeros(len(kinds)), where=rate > 0)
    if not (mean > 0).any():
        return (NOTHING,) * len(kinds)
    times, running = _running(mean, np.array([k.scv for k in kinds]), busy / workers)
    contended = [
        _coarser([k.units[r] for k in kinds], [k.workers for k in kinds], size)
        for r, size in enumerate(sizes)
        if sum(k.units[r] * k.workers for k in kinds) > size  # not all fit at once
    ]
    fits, beside = np.ones(running.shape), np.ones(running.shape)
    for units, many, size in contended:
        alone = _fitting(units, many, running, size)
        for k, kind in enumerate(kinds):
            if kind.phase and units[k] and (ages := _ages(k, kind.phase, kinds)):
                going = {other: _going(kinds[other], ms, times) for other, ms in ages.items()}
                alone[k] = _beside(k, units, many, running, size, going)
        fits *= alone
        near = [
            k
            for k, kind in enumerate(kinds)
            if units[k] and kind.phase is None
            and (kind.beside or (kind.after and alone[k, 0] < 1 - _RARE))
        ]  # fmt: skip
        if near:
            begun = [_begun(kinds[k], kinds, times, running, many) for k in near]
            alone[near] = _each_beside(near, units, many, begun, size)
        beside *= alone
    late, more = _chances(1.0 - fits), _chances(fits - beside)
    first, second, third = _moments(times, late)
    chance = late[:, 0]
    # Who would fit waits behind the share of others who do not.
    wider = 1.0 - chance[:, None] / np.maximum(chance[None, :], 1e-300)
    wider = np.where(chance[None, :] > 0, np.clip(wider, 0.0, 1.0), 0.0)
    needing = np.array([any(k.units) for k in kinds])
    extra = [more[:, 0], *_moments(times, more)[:2]]
    chance = np.where(needing, np.minimum(chance + wider @ (rate * first), 1.0), 0.0)
    found = first + wider @ (rate * second) / 2
    square = second + wider @ (rate * third) / 3
    for k, kind in enumerate(kinds):  # twins are let in before, and so waited for
        for other, part in kind.beside:
            if any(kind.units) and any(kinds[other].units):
                extra[1][k] += part * found[other]
                extra[2][k] += part * square[other]
    again = _again(kinds, contended, times, running, np.array([chance, first]))
    columns = (chance, found, square, *extra, *again, mean, np.array([k.load for k in kinds]))
    return tuple(
        _piled(row[:3], row[3:6], row[6:8], row[8], row[9]) if there else NOTHING
        for there, row in zip(needing.tolist(), np.array(columns).T.tolist(), strict=True)
    )


_Contended = tuple[list[int], list[int], int]
"""Of a resource what each kind's workers hold, how many they are, and the units there are."""


def _coarser(units: Sequence[int], workers: Sequence[int], size: int) -> _Contended:
    """Very many units taken together: fewer and larger workers, which meet more often."""
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


def _chances(found: FloatArray) -> FloatArray:
    """Differences of chances, those out of rounding taken as none."""
    return np.where(found > _ROUNDING, np.minimum(found, 1.0), 0.0)


def _begun(
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


def _ages(k: int, phase: tuple[float, float], kinds: Sequence[Kind]) -> dict[int, list[float]]:
    """Of the kinds that serve the same clockwork plan, how old their jobs are when one comes."""
    gap, came = phase
    twins = {other for other, _ in kinds[k].beside}
    inputs = {other for other, _ in kinds[k].after}
    found = {}
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


def _going(kind: Kind, ages: Sequence[float], times: FloatArray) -> FloatArray:
    """The chance that jobs of these ages go on for so long; `(jobs, times)`."""
    mean = kind.busy / kind.rate if kind.rate > 0 else 0.0
    # The way here varies about as much as the job itself.
    spread = max(math.sqrt(2 * kind.scv), _SAME) * mean
    left = mean - np.array(ages)[:, None] - times[None, :]
    return np.asarray(special.ndtr(left / max(spread, 1e-300)))


def _again(
    kinds: Sequence[Kind],
    contended: Sequence[_Contended],
    times: FloatArray,
    running: FloatArray,
    usual: FloatArray,
) -> FloatArray:
    """Chance and mean of waiting while requests pile up; `(2, kinds)`, at least the usual ones."""
    found = usual.copy()
    those = [
        k
        for k in np.flatnonzero(usual[0] > _RARE).tolist()
        if running[k, 0] > 0 and not kinds[k].phase and (kinds[k].along or kinds[k].workers > 1)
    ]
    if those:
        crowds = [_crowded(k, kinds, running) for k in those]
        fits = np.ones((len(those), len(times)))
        for units, many, size in contended:
            fits *= _each_beside(those, units, many, crowds, size)
        late = _chances(1.0 - fits)
        found[:, those] = np.maximum(found[:, those], [late[:, 0], _moments(times, late)[0]])
    return found


def _crowded(k: int, kinds: Sequence[Kind], running: FloatArray) -> FloatArray:
    """`running` while requests pile up before the workers of a kind.

    These never pause then, and as much more of their requests comes to the other workers, less so
    where what comes before them held the requests up already.
    """
    load = kinds[k].load
    paced = any(kinds[before].load >= load for before, _ in kinds[k].after)
    keeping = _PACED if paced else _CROWDED
    crowd = running.copy()
    crowd[k] = running[k] / running[k, 0]
    for other, part in kinds[k].along:
        more = 1 - part + part / load
        top = running[other, 0]
        if top > 0:
            crowd[other] = running[other] * (1 + keeping * (min(more, 1 / top) - 1))
    return crowd


def _piled(
    spell: list[float], twin: list[float], busier: list[float], service: float, load: float
) -> Delay:
    """With the requests that pile up.

    Who starts from the pile finds the line again as it is, if spells are short; long ones are
    over, and then so many begin during its service as at any time. Twins every request has.

    Args:
        spell: Chance, mean and second moment of waiting for others.
        twin: What one's twins add to them.
        busier: Chance and mean of waiting for others while requests pile up.
        service: Mean, ms.
        load: Of a worker.
    """
    chance, mean, second = spell
    if mean + twin[1] <= 0:  # their chance alone may be more than rounding
        return NOTHING
    again = service * busier[0] / (1 - busier[0]) if busier[0] < 1 else math.inf
    held = min(busier[1], again) + twin[1]
    load *= 1 + held / service if service > 0 else 1.0
    if load >= 1:
        return ENDLESS
    # Short spells leave no pile but longer service; a quarter, by comparison with simulation.
    lasting = 1 - min(1.0, held / (mean + twin[1])) / 4
    piled = 1 + lasting * load / (1 - load)
    return Delay(
        mean * piled + twin[1], second * piled + twin[2], min(1.0, chance * piled + twin[0]), held
    )


def _running(mean: FloatArray, scv: FloatArray, load: FloatArray) -> tuple[FloatArray, FloatArray]:
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


def _fresh(times: FloatArray, mean: float, scv: float) -> FloatArray:
    """The chance that a service that begins now lasts so long; constant or exponential, mixed."""
    varied = min(scv, 1.0)
    lasting = np.exp(-times / mean) if mean > 0 else np.zeros(len(times))
    return np.asarray((1 - varied) * (times < mean) + varied * lasting)


def _fitting(
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


def _beside(
    k: int,
    units: Sequence[int],
    workers: Sequence[int],
    running: FloatArray,
    size: int,
    going: Mapping[int, FloatArray],
) -> FloatArray:
    """`_fitting` of one kind; `(times,)`. Of some others the jobs that may be going are known."""
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


def _each_beside(
    those: Sequence[int],
    units: Sequence[int],
    workers: Sequence[int],
    running: Sequence[FloatArray],
    size: int,
) -> FloatArray:
    """`_beside` of some kinds, each with a `running` of its own; `(those, times)`."""
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


def _moments(times: FloatArray, late: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """First three moments of waits with these survival functions, each `(kinds,)`."""
    step = np.diff(times)

    def area(values: FloatArray) -> FloatArray:
        return np.asarray(((values[:, 1:] + values[:, :-1]) / 2) @ step)

    return area(late), 2 * area(late * times), 3 * area(late * times**2)
