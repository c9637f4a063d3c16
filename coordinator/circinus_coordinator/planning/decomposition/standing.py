"""Who stands where, while queries come and go: machines, those served, and those who wait."""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from circinus.query import Query
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.joining import Joined, Joining
from circinus_coordinator.planning.decomposition.recipes import Recipe
from circinus_coordinator.planning.uses import LINK, UPLINK

__all__ = ["Asked", "Standing", "Way"]

FloatArray = npt.NDArray[np.float64]
_LEAST_SHARE = 1e-9
# Plans a query tries at most, and how much dearer than its cheapest they may be, as a part of a
# request's worth.
_TRIES, _NEAR = 8, 0.3
# How much more of its worth a query has to take than the one that takes its room, and how many
# may have to go for each at most.
_DEARER, _DISLODGED = 0.02, 4
# Machines of a pool that are looked at.
_LOOK = 64
Way = tuple[int, tuple[str, ...], float]
"""Template, device of each position, requests per second."""


@dataclass(slots=True)
class Asked:
    """A query, and what runs for it.

    Attributes:
        joined: Its class and site; None where it has no plan.
        left: Requests per second that are not served.
        price: What its cheapest plan takes, as a part of its worth.
        ways: What runs.
        were: What ran before it lost its place.
        lacks: The resource it waits for, -1 for none in particular; None where it does not wait.
    """

    query: Query
    joined: Joined | None
    left: float
    price: float = math.inf
    ways: list[Way] = field(default_factory=list)
    were: list[Way] = field(default_factory=list)
    lacks: int | None = None

    @property
    def rate(self) -> float:
        """Requests per second it asks for."""
        return self.query.rate_rps * self.query.count


class Standing:
    """Machines, and everybody's place on them.

    Attributes:
        asked: All queries by id.
        prices: `(rows,)`.
    """

    def __init__(self, market: Market, joining: Joining, prices: FloatArray, usd: float) -> None:
        self.market, self.prices, self._usd = market, prices, usd
        self._joining, self._filling = joining, Filling(market)
        self.asked: dict[str, Asked] = {}
        # By resource: (price, id) of those who wait for it, and of those who use it, in order.
        self._waiting: dict[int, list[tuple[float, str]]] = defaultdict(list)
        self._freed: set[int] = set()
        self._users: dict[int, list[tuple[float, str]]] = defaultdict(list)
        self._columns = {name: k for k, name in enumerate(market.catalogue.resources)}
        self._loose = {
            name: not any(spec.stateful for spec in pipeline.operators.values())
            for name, pipeline in market.catalogue.scenario.pipelines.items()
        }

    def start(self, everybody: Iterable[tuple[Asked, Sequence[Way]]]) -> None:
        """Put everybody where they are, and those who lack something wherever there is room."""
        lacking = []
        for asked, ways in everybody:
            self.asked[asked.query.id] = asked
            for template, devices, rate in ways:
                self._filling.put(self._recipe(asked, template), devices, rate)
                asked.left -= rate
            asked.ways += ways
            for row in self._used(asked):
                self._users[row].append((asked.price, asked.query.id))
            if asked.left <= _LEAST_SHARE * asked.rate:
                asked.left = 0.0
            elif asked.query.demand_rps > 0 and asked.price < math.inf:
                lacking.append(asked.query.id)
        for users in self._users.values():
            users.sort()
        self._place(lacking, 0)

    def leave(self, names: Collection[str]) -> None:
        """Queries go for good."""
        for name in names:
            self._take_out(self.asked[name])
            self._call(self.asked[name])
            del self.asked[name]

    def place(self, names: Sequence[str], also: int) -> list[str]:
        """Place queries as far as there is room; who is served in full now.

        Those that take least of their worth come first. Served ones that take more may lose their
        places, and are looked after next.

        Args:
            names: Who has to be placed.
            also: How many are asked as well of those who wait for what became free.
        """
        freed = [self._waiting[row] for row in self._freed if self._waiting[row]]
        hopeful = [name for _, name in itertools.islice(heapq.merge(*freed), also)]
        self._freed.clear()
        return self._place([*names, *hopeful], _DISLODGED * len(names))

    def _place(self, queue: Sequence[str], budget: int) -> list[str]:
        line: list[tuple[float, str]] = []
        plans: dict[str, list[int]] = {}
        for name in queue:
            self._line_up(name, line, plans)
        while line:
            price, name = heapq.heappop(line)
            asked = self.asked[name]
            rows = self._used(asked)
            done = self._put(asked, plans[name])
            while not done and budget > 0:
                out = self._dearest(asked, plans[name])
                if out is None:
                    break
                budget -= 1
                self._take_out(self.asked[out])
                self._line_up(out, line, plans)
                done = self._put(asked, plans[name])
            for row in self._used(asked) - rows:
                bisect.insort(self._users[row], (price, name))
            if not done and plans[name]:
                room = self._rooms(asked, plans[name][0])
                asked.lacks = min(room, key=lambda row: room[row], default=-1)
                bisect.insort(self._waiting[asked.lacks], (price, name))
        return [name for name in queue if self.asked[name].left <= 0]

    def _line_up(
        self, name: str, line: list[tuple[float, str]], plans: dict[str, list[int]]
    ) -> None:
        asked = self.asked[name]
        self._call(asked)
        if name not in plans:
            plans[name] = self._plans(asked)
        if (asked.price, name) not in line:
            heapq.heappush(line, (asked.price, name))

    def _plans(self, asked: Asked) -> list[int]:
        """What a query may have, cheapest first."""
        if asked.joined is None or asked.query.demand_rps <= 0:
            return []
        found, value = self._joining.choices(asked.joined, asked.query.slo, self.prices, self._usd)
        if not len(found):
            return []
        weight = asked.query.weight
        if not asked.ways:
            asked.price = float(value[0]) / weight
        near = found[value <= value[0] + _NEAR * weight]
        return [int(template) for template in near[:_TRIES]]

    def _put(self, asked: Asked, templates: Sequence[int]) -> bool:
        """Whether all of a query is served."""
        joined, query = asked.joined, asked.query
        if joined is None:
            return False
        nodes = self.market.classes[joined.kind].sites[joined.site].nodes
        whole = not (query.splittable and self._loose[query.pipeline])
        self._back(asked, whole=whole)
        for template in templates:
            steps = self._recipe(asked, template)
            while asked.left > 0:
                part = query.rate_rps if whole else asked.left
                pieces, rest = self._filling.place(steps, nodes, part, whole=whole)
                asked.ways += [(template, devices, rate) for devices, rate in pieces]
                asked.left -= part - rest
                if asked.left <= _LEAST_SHARE * asked.rate:
                    asked.left = 0.0
                if rest > 0:
                    break
        return asked.left <= 0

    def _back(self, asked: Asked, *, whole: bool) -> None:
        """Put a query where it was, as far as there is room."""
        for template, devices, rate in asked.were:
            steps = self._recipe(asked, template)
            most = min(rate, self._filling.limit(steps, devices))
            if most >= rate * (1.0 if whole else _LEAST_SHARE):
                self._filling.put(steps, devices, most)
                asked.ways.append((template, devices, most))
                asked.left -= most
        asked.were.clear()
        if asked.left <= _LEAST_SHARE * asked.rate:
            asked.left = 0.0

    def _dearest(self, asked: Asked, templates: Sequence[int]) -> str | None:
        """Who takes most of their worth of what a query lacks most, if that is more than it."""
        if not templates or asked.joined is None:
            return None
        room = self._rooms(asked, templates[0])
        scarce = [row for row in room if self._users[row]]
        if not scarce:
            return None
        price, name = self._users[min(scarce, key=lambda row: room[row])][-1]
        return name if price > asked.price + _DEARER else None

    def _rooms(self, asked: Asked, template: int) -> dict[int, float]:
        """Requests per second that each resource has room for."""
        assert asked.joined is not None
        kind = self.market.classes[asked.joined.kind]
        use, rows = kind.templates.use[template], kind.rows[asked.joined.site]
        return {int(rows[f]): self._room(int(rows[f])) / use[f] for f in np.flatnonzero(use > 0)}

    def _call(self, asked: Asked) -> None:
        """Let a query wait no longer."""
        if asked.lacks is not None:
            _remove(self._waiting[asked.lacks], (asked.price, asked.query.id))
            asked.lacks = None

    def _room(self, row: int) -> float:
        """What is left of a resource; of a large pool, about."""
        name, one, two = self.market.sites.resources.key(row)
        some, others = self.market.sites.members[one], self.market.sites.members[two]
        if name == LINK:
            pairs = [(a, b) if a < b else (b, a) for a in some[:_LOOK] for b in others[:_LOOK]]
            left = sum(self._filling.on_link(pair) for pair in pairs if pair[0] != pair[1])
            return left * len(some) * len(others) / len(pairs)
        if name == UPLINK:
            return sum(map(self._filling.uplink, some[:_LOOK])) * len(some) / len(some[:_LOOK])
        column = self._columns[name]
        left = sum(self._filling.free(device)[column] for device in some[:_LOOK])
        return left * len(some) / len(some[:_LOOK])

    def _take_out(self, asked: Asked) -> None:
        for row in self._used(asked):
            _remove(self._users[row], (asked.price, asked.query.id))
            self._freed.add(row)
        for template, devices, rate in asked.ways:
            self._filling.release(self._recipe(asked, template), devices, rate)
        self._filling.reopen({device for _, devices, _ in asked.ways for device in devices})
        asked.were = asked.ways
        asked.ways = []
        asked.left = asked.rate

    def _used(self, asked: Asked) -> set[int]:
        """Resources that a query uses."""
        return {row for way in asked.ways for row in self._rows(asked, way[0])}

    def _rows(self, asked: Asked, template: int) -> list[int]:
        assert asked.joined is not None
        kind = self.market.classes[asked.joined.kind]
        rows = kind.rows[asked.joined.site]
        return [int(row) for row in rows[kind.templates.use[template] > 0]]

    def _recipe(self, asked: Asked, template: int) -> Recipe:
        assert asked.joined is not None
        kind = asked.joined.kind
        options = self.market.classes[kind].templates.found[template].options
        return self._filling.recipe(kind, options)


def _remove(ordered: list[tuple[float, str]], entry: tuple[float, str]) -> None:
    at = bisect.bisect_left(ordered, entry)
    if ordered[at : at + 1] == [entry]:
        del ordered[at]
