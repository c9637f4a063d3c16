"""Sharing a mixture out among the machines of a group, as a liquid.

For queries that may be split. A group's machines are filled one after another with parts of the
columns that use it; of what could go next that is taken which keeps the machine's resources
running out together. Where a machine is full its last column goes on in the next, so that hardly
more columns are split than there are machines, and those that share an instance stay together.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["Links", "Part", "Vessel", "joined", "pour"]

# A machine with less than this part of a resource left is full of it.
_FULL = 1e-9
_NOTHING = 1e-12


@dataclass(slots=True)
class Part:
    """A column's part in one group.

    Attributes:
        rate: Requests per second still to be placed.
        use: [(resource, amount per request), ...], more than none of each.
        instances: [(instance, MB), ...].
        links: [(the machine at the other end, megabits per request), ...].
        put: [(machine, requests per second), ...] so far.
    """

    rate: float
    use: Sequence[tuple[int, float]]
    instances: Sequence[tuple[object, float]]
    links: Sequence[tuple[str, float]]
    put: list[tuple[str, float]] = field(default_factory=list)


@dataclass(slots=True)
class Vessel:
    """What is left of a machine.

    Attributes:
        name: Device.
        free: Of each resource.
        memory_mb: Of memory.
        held: Instances that are there already.
    """

    name: str
    free: list[float]
    memory_mb: float
    held: set[object]

    def take(self, part: Part, rate: float, links: Links) -> None:
        """Let a part have this many requests per second."""
        for r, each in part.use:
            self.free[r] -= each * rate
        for key, mb in part.instances:
            if key not in self.held:
                self.held.add(key)
                self.memory_mb -= mb
        for other, megabits in part.links:
            links.take(self.name, other, megabits * rate)
        part.put.append((self.name, rate))
        part.rate -= rate


class Links:
    """What is left between pairs of machines, asked for once and then kept count of."""

    def __init__(self, room: Callable[[tuple[str, str]], float]) -> None:
        self._room, self._left = room, dict[tuple[str, str], float]()

    def left(self, one: str, two: str) -> float:
        """Megabits per second."""
        pair = (one, two) if one < two else (two, one)
        if pair not in self._left:
            self._left[pair] = self._room(pair)
        return self._left[pair]

    def take(self, one: str, two: str, megabits: float) -> None:
        """Use some of it."""
        self._left[(one, two) if one < two else (two, one)] = self.left(one, two) - megabits


def pour(parts: Iterable[Part], vessels: Sequence[Vessel], links: Links) -> None:
    """Place the parts; what finds no room stays in their `rate`."""
    parts = list(parts)
    demand = [0.0] * max((len(vessel.free) for vessel in vessels), default=0)
    for part in parts:
        for r, amount in part.use:
            demand[r] += amount * part.rate
    # By what is used at all and by what is used most, relative to what all use of it.
    queues: dict[tuple[tuple[int, ...], int], deque[Part]] = {}
    for part in sorted(parts, key=lambda part: [str(key) for key, _ in part.instances]):
        most = max(part.use, key=lambda pair: pair[1] / demand[pair[0]], default=(-1, 0.0))[0]
        queues.setdefault((tuple(r for r, _ in part.use), most), deque()).append(part)
    order = [(*key, queues[key]) for key in sorted(queues)]
    for vessel in vessels:
        _fill(vessel, order, demand, links)


def _fill(
    vessel: Vessel,
    queues: Sequence[tuple[tuple[int, ...], int, deque[Part]]],
    demand: list[float],
    links: Links,
) -> None:
    free = vessel.free
    least = [_FULL * amount for amount in free]
    full = {r for r, amount in enumerate(free) if amount <= 0}
    late: list[tuple[deque[Part], Part]] = []
    while True:
        found = _next(free, full, queues, demand)
        if not found:
            break
        queue = found[0]
        part = queue[0]
        amount = _amount(vessel, part, links)
        if len(found) > 1:
            amount = min(amount, _balanced(free, part, found[1][0]))
        if amount > _NOTHING:
            for r, each in part.use:
                demand[r] -= each * amount
            vessel.take(part, amount, links)
            full.update(r for r, _ in part.use if free[r] <= least[r])
        if part.rate <= _NOTHING:
            queue.popleft()
        elif all(r not in full for r, _ in part.use):
            # Its links or its instances have no room here.
            late.append((queue, queue.popleft()))
    for queue, part in reversed(late):
        queue.appendleft(part)


def _next(
    free: Sequence[float],
    full: set[int],
    queues: Sequence[tuple[tuple[int, ...], int, deque[Part]]],
    demand: Sequence[float],
) -> list[deque[Part]]:
    """The parts that use most of what the machine has most of, against what is asked for.

    And those that use most of what it has least of, where there are such.
    """
    level: dict[int, float] = {}
    best: dict[int, deque[Part]] = {}
    for used, most, queue in queues:
        if queue and not any(r in full for r in used):
            best.setdefault(most, queue)
            level[most] = free[most] / max(demand[most], _NOTHING) if most >= 0 else 0.0
    order = sorted(best, key=lambda r: -level[r])
    return [best[r] for r in (order[:1] + order[1:][-1:])]


def _balanced(free: Sequence[float], part: Part, other: Part) -> float:
    """How much of a part leaves just as much as another part can use up."""
    one, two = dict(part.use), dict(other.use)
    if not one or not two:
        return math.inf
    first = max(one, key=lambda r: one[r] / free[r])
    second = max(two, key=lambda r: two[r] / free[r])
    a, b = one[first], two.get(first, 0.0)
    c, d = one.get(second, 0.0), two[second]
    rest = a * d - b * c
    if first == second or rest <= 0:
        return math.inf
    amount = (free[first] * d - free[second] * b) / rest
    return amount if amount > _NOTHING else math.inf


def _amount(vessel: Vessel, part: Part, links: Links) -> float:
    """Requests per second of a part that go to a machine."""
    new = sum(mb for key, mb in part.instances if key not in vessel.held)
    if new > vessel.memory_mb:
        return 0.0
    amount = part.rate
    for r, each in part.use:
        amount = min(amount, vessel.free[r] / each)
    for other, megabits in part.links:
        amount = min(amount, links.left(vessel.name, other) / megabits)
    return amount


def joined(
    puts: Sequence[Sequence[tuple[str, float]]], rate: float
) -> Iterator[tuple[tuple[str, ...], float]]:
    """A column's ways through several groups: a machine of each, and requests per second."""
    at = [0] * len(puts)
    left = [put[0][1] if put else 0.0 for put in puts]
    while rate > _NOTHING and all(k < len(put) for k, put in zip(at, puts, strict=True)):
        amount = min([rate, *left])
        if amount > _NOTHING:
            yield tuple(put[k][0] for k, put in zip(at, puts, strict=True)), amount
        rate -= amount
        for g, put in enumerate(puts):
            left[g] -= amount
            if left[g] <= _NOTHING:
                at[g] += 1
                left[g] = put[at[g]][1] if at[g] < len(put) else 0.0
