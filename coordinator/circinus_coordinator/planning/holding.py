"""What workers hold of a device while they run: whole cores, parts of accelerators.

The agents' runtime lets a batch start when its threads' cores are free, and keeps them from others
until it is through, however little it computes meanwhile.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from circinus.fleet import CORES
from circinus.profile import PARTS, whole_cores, whole_parts
from circinus_coordinator.planning.latency import Station
from circinus_coordinator.planning.packing import crowded
from circinus_coordinator.planning.uses import InstanceKey

__all__ = [
    "Holding",
    "Instance",
    "at_least",
    "meeting",
    "occupied",
    "units_held",
    "units_of",
]

# Parts of more accelerators than this are taken together.
_APART = 8
# Longer sums are left to numpy, which adds in pairs and so loses less.
_PAIRWISE = 8


@dataclass(slots=True)
class Instance:
    """All workers of one (implementation, config, batch) on a device."""

    memory_mb: float = 0.0
    stateful: bool = False
    factors: tuple[float, ...] = (1.0,)  # of the last user
    station: Station = field(default_factory=Station)
    compute: dict[str, float] = field(default_factory=dict)  # resource -> held per second
    users: int = 0
    twins: dict[InstanceKey, float] = field(default_factory=dict)  # starts/ms beside theirs
    along: dict[InstanceKey, float] = field(default_factory=dict)  # of plans that use both
    after: dict[InstanceKey, float] = field(default_factory=dict)  # just behind theirs
    urgency: dict[float, float] = field(default_factory=dict)  # busy workers by time to spare, ms

    def copy(self) -> Instance:
        """An independent copy."""
        return Instance(
            self.memory_mb,
            self.stateful,
            self.factors,
            self.station.copy(),
            dict(self.compute),
            self.users,
            dict(self.twins),
            dict(self.along),
            dict(self.after),
            dict(self.urgency),
        )


class Holding:
    """What the workers on a device hold of one of its resources, in whole units.

    Args:
        size: Units there are.
        kinds: Of each instance the units a worker holds, the workers, and how many are busy.
    """

    def __init__(self, size: int, kinds: Mapping[InstanceKey, tuple[int, int, float]]) -> None:
        self.size = size
        self.kinds = kinds
        self.most = sum(units * workers for units, workers, _ in kinds.values())
        self.mean = math.fsum(units * busy for units, _, busy in kinds.values())
        self._before: list[list[float]] = []  # by the first kinds, where anybody asks
        self._but: dict[InstanceKey | None, list[float]] = {}
        self._at = {key: k for k, key in enumerate(kinds)}
        self._crowded: float | None = None

    def crowded(self) -> float:
        """The part that is taken on average, with what nobody can use beside those who run."""
        if self._crowded is None:
            units, _, busy = zip(*self.kinds.values(), strict=True) if self.kinds else ((), (), ())
            self._crowded = crowded(units, busy, self.size)
        return self._crowded

    def but(self, key: InstanceKey | None) -> list[float]:
        """`(size + 2,)` probabilities of what all but one instance hold; None leaves none out."""
        if key not in self._but:
            kinds = list(self.kinds.values())
            if not self._before:
                self._before.append([1.0] + [0.0] * (self.size + 1))
            at = len(kinds) if key is None else self._at.get(key, len(kinds))
            for kind in kinds[len(self._before) - 1 : at]:
                self._before.append(occupied(self._before[-1], *kind))
            held = self._before[at]
            for kind in kinds[at + 1 :]:
                held = occupied(held, *kind)
            self._but[key] = held
        return self._but[key]


def occupied(held: list[float], units: int, workers: int, busy: float) -> list[float]:
    """How much is held when `workers` more are there, `busy` of them on average.

    Args:
        held: `(size + 2,)` probabilities that 0, 1, ... size units are held, and of more.
        units: What each holds while it is busy.
        workers: How many there are.
        busy: Of them, on average.
    """
    share = min(1.0, busy / workers) if workers else 0.0
    if share <= 0 or units <= 0:
        return held
    last = len(held) - 1
    chances = _binomial(workers, share)
    found = [chances[0] * chance for chance in held]
    for k, chance in enumerate(chances[1:], 1):
        shift = min(k * units, last)
        for to, before in enumerate(held[: last + 1 - shift], shift):
            found[to] += chance * before
        found[last] += chance * at_least(held, last + 1 - shift)
    return found


def at_least(held: list[float], units: int) -> float:
    """The chance that so many units are held or more."""
    tail = held[units:]
    if len(tail) >= _PAIRWISE:
        return float(np.array(tail).sum())
    total = 0.0
    for chance in tail:
        total += chance
    return total


@functools.lru_cache(maxsize=4096)
def _binomial(count: int, share: float) -> tuple[float, ...]:
    if share >= 1:
        return (*(0.0,) * count, 1.0)
    a, b, top = math.log(share), math.log1p(-share), math.lgamma(count + 1)
    return tuple(
        math.exp(top - math.lgamma(k + 1) - math.lgamma(count - k + 1) + k * a + (count - k) * b)
        for k in range(count + 1)
    )


def meeting(
    holding: Holding, key: InstanceKey, row: tuple[str, float], load: tuple[float, float, int]
) -> tuple[float, float, float, float]:
    """What a worker of an instance finds held once the instance carries a load.

    Args:
        holding: What is held before.
        key: The instance, which may be there already.
        row: The resource's name and amount.
        load: Of the instance then: held per second, busy workers, workers.

    Returns:
        Units held on average by all and by all other workers, the chance of finding too much
        held, and the units there are.
    """
    before = holding.kinds.get(key)
    _, busy, workers = load
    units = units_held(*row, load[0], busy)
    was = (before[0] * before[1], before[0] * before[2]) if before else (0, 0.0)
    most = holding.most - was[0] + units * workers
    mean = holding.mean - was[1] + units * busy
    others = mean - units * busy / workers
    if most <= holding.size:
        return mean, others, 0.0, holding.size
    if mean >= holding.size:
        return mean, others, 1.0, holding.size
    rest = holding.but(key if before else None)
    rest = occupied(rest, units, workers - 1, busy * (workers - 1) / workers)
    return mean, others, at_least(rest, holding.size - units + 1), holding.size


def units_of(name: str, amount: float) -> int:
    """Units a resource is handed out in: whole cores, accelerators in parts."""
    return max(1, int(amount) if name == CORES else round(min(amount, _APART) * PARTS))


def units_held(name: str, amount: float, held_per_second: float, busy: float) -> int:
    """Units a worker holds while it runs, no more than there are."""
    size = units_of(name, amount)
    if name == CORES:
        return min(size, whole_cores(held_per_second, busy))
    held = whole_parts(held_per_second, busy)
    return min(size, held if amount <= _APART else math.ceil(held * _APART / amount))
