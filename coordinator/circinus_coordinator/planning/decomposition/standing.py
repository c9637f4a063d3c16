"""Who stands where, while queries come and go: machines, those served, and those who wait."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.asked import (
    LEAST_SHARE,
    Asked,
    Way,
    alike,
    merged,
    rates,
)
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.joining import Joining
from circinus_coordinator.planning.decomposition.levels import Levels
from circinus_coordinator.planning.decomposition.ranks import Ranks
from circinus_coordinator.planning.decomposition.recipes import Recipe

__all__ = ["Standing"]

FloatArray = npt.NDArray[np.float64]
# Plans a query tries at most, and how much dearer than its cheapest they may be, as a part of a
# request's worth.
_TRIES, _NEAR = 8, 0.3
# Machines of a group that are compared at a time.
_TRIED = 4
# How much more of its worth a query has to take than the one that takes its room, and how many
# may have to go for each at most.
_DEARER, _DISLODGED = 0.02, 4
# Of what may be split, the smallest part that is placed by itself.
_PIECE = 1e-2
# So small a part of a query's rate is a rounding error.
_PART = 1e-6


class Standing:
    """Machines, and everybody's place on them.

    Attributes:
        asked: All queries by id.
        worth: Weighted requests per second served of each.
        prices: `(rows,)`.
        usd: Value of a US dollar.
        levels: What is left of each resource.
        waiting: Those who wait for a resource, cheapest first.
        users: Those who use a resource, dearest first.
        freed: Resources that somebody left since `place` was done last.
        served_rps: Requests per second of all that runs.
    """

    def __init__(self, market: Market, joining: Joining, prices: FloatArray, usd: float) -> None:
        self.market, self.prices, self.usd = market, prices, usd
        self._joining, self._filling, self.levels = joining, Filling(market, _TRIED), Levels(market)
        self.asked: dict[str, Asked] = {}
        self.worth: dict[str, float] = {}
        self.waiting = Ranks(self._lacks)
        self.users = Ranks(self._uses, dearest_first=True)
        self.freed: set[int] = set()
        self.served_rps = 0.0
        self._before: dict[str, list[Way]] = {}
        self._loose = {
            name: not any(spec.stateful for spec in pipeline.operators.values())
            for name, pipeline in market.catalogue.scenario.pipelines.items()
        }

    def start(self, everybody: Iterable[tuple[Asked, Sequence[Way]]]) -> None:
        """Put everybody where they are, and those who lack something wherever there is room."""
        lacking = []
        for number, kind in self.market.of_class():
            for found in kind.templates.found:  # a change is to find all of it ready
                self._filling.recipe(number, found.options)
        for asked, ways in everybody:
            name = asked.query.id
            self.asked[name] = asked
            for way in ways:
                self._add(asked, way)
            if not asked.served_whole() and asked.query.demand_rps > 0 and asked.price < math.inf:
                lacking.append(name)
            self._settled(asked, set())
        self._place(lacking, 0)
        self._before.clear()

    def grow(self) -> None:
        """Know the resources that only new sites use; they have no price yet."""
        self.levels.grow()
        new = len(self.levels.left) - len(self.prices)
        self.prices = np.append(self.prices, np.zeros(new))

    def leave(self, names: Collection[str]) -> None:
        """Queries go for good."""
        for name in names:
            self._take_out(self.asked[name])
            del self.asked[name], self.worth[name], self._before[name]

    def place(self, names: Sequence[str], also: int) -> None:
        """Place queries as far as there is room.

        Those that take least of their worth come first. Served ones that take more may lose their
        places, and are looked after next.

        Args:
            names: Who has to be placed.
            also: How many are asked as well of those who wait for what became free.
        """
        self._place(names, _DISLODGED * len(names))
        free = [row for row in sorted(self.freed) if self.levels.some(row)]
        hopeful = itertools.islice(self.waiting.leave(free), also)
        self._place(list(dict.fromkeys(hopeful)), 0)

    def touched(self) -> list[Asked]:
        """Whoever was asked, or lost something, since `changed`."""
        return [self.asked[name] for name in self._before]

    def gone_rps(self, instead: Mapping[str, Mapping[int, float]] | None = None) -> float:
        """Requests per second that no longer take the plan they took, since `changed`.

        Args:
            instead: Rates of templates that queries would have in place of what they have.
        """
        gone, instead = [], instead or {}
        for name in {**self._before, **instead}:
            asked = self.asked[name]
            was, now = rates(self._before.get(name, asked.ways)), instead.get(name)
            now = rates(asked.ways) if now is None else now
            gone += [max(0.0, rate - now.get(template, 0.0)) for template, rate in was.items()]
        return math.fsum(gone)

    def served(self) -> list[str]:
        """Whoever is served in full since `changed`, and was not before."""
        return [
            name
            for name, before in self._before.items()
            if (asked := self.asked[name]).in_full
            and math.fsum(rate for _, _, rate in before) < asked.rate * (1 - _PIECE * _PIECE)
        ]

    def changed(self) -> dict[str, list[Way]]:
        """What runs now of whoever runs otherwise than when this was asked last."""
        found = {}
        for name, before in self._before.items():
            asked = self.asked[name]
            if not alike(merged(before), merged(asked.ways)):
                found[name] = asked.running()
        self._before.clear()
        self.freed.clear()
        return found

    def splits(self, asked: Asked) -> bool:
        """Whether its traffic may go several ways."""
        return asked.query.splittable and self._loose[asked.query.pipeline]

    def plans(self, asked: Asked) -> list[int]:
        """What a query may have, cheapest first."""
        if asked.joined is None or asked.query.demand_rps <= 0:
            return []
        if asked.plans is None:
            found, value = self._joining.choices(
                asked.joined, asked.query.slo, self.prices, self.usd
            )
            near = value <= value.min(initial=math.inf) + _NEAR * asked.query.weight
            asked.plans = found[near][:_TRIES].tolist()
            asked.values = value[near][:_TRIES].tolist()
        return asked.plans

    def remembers(self, asked: Asked, template: int) -> bool:
        """Whether those machines of a plan that have no like have the memory for it."""
        joined, members = asked.joined, self.market.sites.members
        assert joined is not None
        nodes = self.market.classes[joined.kind].sites[joined.site].nodes
        return all(
            self._filling.lacking(some[0], held) <= self._filling.memory_mb(some[0])
            for at, held in self._recipe(asked, template).instances.items()
            if len(some := members[nodes[at]]) == 1
        )

    def give_up(self, asked: Asked, most: Mapping[int, float]) -> None:
        """Take from a query what goes beyond these rates of its templates."""
        self._before.setdefault(asked.query.id, list(asked.ways))
        rows, left = self._used(asked), dict(most)
        ways, asked.ways = asked.ways, []
        for template, devices, rate in ways:
            keep = min(rate, left.get(template, 0.0))
            keep = keep if keep >= asked.rate * _PIECE * _PIECE else 0.0
            left[template] = left.get(template, 0.0) - keep
            if keep < rate:
                self._remove(asked, (template, devices, rate))
                asked.were.append((template, devices, rate - keep))
            if 0 < keep < rate:
                self._add(asked, (template, devices, keep))
            elif keep:
                asked.ways.append((template, devices, rate))
        self._settled(asked, rows)

    def raise_to(self, asked: Asked, rates: Mapping[int, float]) -> None:
        """Let a query that may be split have these rates of its templates, or as much of others."""
        rows, least = self._used(asked), asked.rate * _PIECE * _PIECE
        for template, wanted in rates.items():
            has = math.fsum(way[2] for way in asked.ways if way[0] == template)
            more = min(wanted - has, asked.left)
            if asked.left - more <= asked.rate * _PART:
                more = asked.left  # a programme's rates are rounded
            if more > least:
                self._pour(asked, template, more, whole=False)
        lacking = min(math.fsum(rates.values()) - (asked.rate - asked.left), asked.left)
        if lacking > least and asked.joined is not None:
            some = self.levels.fitting(asked.joined, self.plans(asked), lacking * _PIECE)
            for template in some:
                if lacking > least:
                    lacking = self._pour(asked, template, lacking, whole=False)
        self._settled(asked, rows)

    def fill_up(self, asked: Asked) -> None:
        """Let a query have of any of its plans what it lacks, first of those it gave up."""
        rows = self._used(asked)
        self._put(asked)
        self._settled(asked, rows)

    def _place(self, queue: Sequence[str], budget: int) -> None:
        line: list[tuple[float, str]] = []
        lined: set[str] = set()
        for name in queue:
            self._line_up(name, line, lined)
        while line:
            _, name = heapq.heappop(line)
            lined.discard(name)
            asked = self.asked[name]
            rows = self._used(asked)
            done = self._put(asked)
            while not done and budget > 0:
                out = self._dearest(asked)
                if out is None:
                    break
                budget -= 1
                self._take_out(self.asked[out])
                self._line_up(out, line, lined)
                done = self._put(asked)
            self._settled(asked, rows)

    def _line_up(self, name: str, line: list[tuple[float, str]], lined: set[str]) -> None:
        asked = self.asked[name]
        asked.lacks = None
        if self.plans(asked) and not asked.ways:
            asked.price = asked.values[0] / asked.query.weight
        if name not in lined:
            lined.add(name)
            heapq.heappush(line, (asked.price, name))

    def _put(self, asked: Asked) -> bool:
        """Whether all of a query is served."""
        joined, query = asked.joined, asked.query
        if joined is None:
            return False
        self._before.setdefault(query.id, list(asked.ways))
        whole = not self.splits(asked)
        self._back(asked, whole=whole)
        least = query.rate_rps if whole else asked.left * _PIECE
        for template in self.levels.fitting(joined, self.plans(asked), least):
            while asked.left > 0:
                part = query.rate_rps if whole else asked.left
                if self._pour(asked, template, part, whole=whole) > 0:
                    break
        return asked.left <= 0

    def _pour(self, asked: Asked, template: int, rate: float, *, whole: bool) -> float:
        """Let a query have so much of a plan; what there was no room for."""
        joined = asked.joined
        assert joined is not None
        nodes = self.market.classes[joined.kind].sites[joined.site].nodes
        pieces, rest = self._filling.place(
            self._recipe(asked, template), nodes, rate, whole=whole, parts=(_PIECE,)
        )
        for devices, each in pieces:
            asked.ways.append((template, devices, each))
            self.levels.take(joined, template, each)
            self.served_rps += each
        asked.left -= rate - rest
        asked.served_whole()
        return rest

    def _back(self, asked: Asked, *, whole: bool) -> None:
        """Put a query where it was, as far as there is room."""
        for template, devices, rate in asked.were:
            rate = min(rate, asked.left)
            most = min(rate, self._filling.limit(self._recipe(asked, template), devices))
            if most > 0 and most >= rate * (1.0 if whole else LEAST_SHARE):
                self._add(asked, (template, devices, most))
        asked.were.clear()
        asked.served_whole()

    def _add(self, asked: Asked, way: Way) -> None:
        """Let something run; no questions asked."""
        template, devices, rate = way
        assert asked.joined is not None
        self._filling.put(self._recipe(asked, template), devices, rate)
        self.levels.take(asked.joined, template, rate)
        self.served_rps += rate
        asked.ways.append(way)
        asked.left -= rate

    def _remove(self, asked: Asked, way: Way) -> None:
        """Give back what something that ran has taken."""
        template, devices, rate = way
        assert asked.joined is not None
        self._filling.release(self._recipe(asked, template), devices, rate)
        self.levels.take(asked.joined, template, -rate)
        self.served_rps -= rate
        self.freed.update(self.levels.rows(asked.joined, template))
        self._filling.reopen(set(devices))
        asked.left += rate

    def _settled(self, asked: Asked, rows: set[int]) -> None:
        """Remember what a query has and lacks; it used these rows before."""
        name = asked.query.id
        self.worth[name] = asked.worth
        for row in self._used(asked) - rows:
            self.users.add(row, asked.price, name)
        asked.lacks = None
        if asked.left > 0 and asked.plans and asked.joined is not None:
            asked.lacks = next(iter(self.levels.scarcest(asked.joined, asked.plans[0])), -1)
            self.waiting.add(asked.lacks, asked.price, name)

    def _dearest(self, asked: Asked) -> str | None:
        """Who takes most of their worth of what a query lacks most, if that is more than it."""
        plans = self.plans(asked)
        if not plans or asked.joined is None:
            return None
        for row in self.levels.scarcest(asked.joined, plans[0]):
            first = self.users.first(row)
            if first is not None:
                return first[1] if first[0] > asked.price + _DEARER else None
        return None

    def _take_out(self, asked: Asked) -> None:
        self._before.setdefault(asked.query.id, list(asked.ways))
        asked.were, asked.ways = asked.ways, []
        for way in asked.were:
            self._remove(asked, way)
        asked.left = asked.rate
        self.worth[asked.query.id] = 0.0

    def _lacks(self, name: str, row: int, price: float) -> bool:
        asked = self.asked.get(name)
        return asked is not None and asked.lacks == row and asked.price == price

    def _uses(self, name: str, row: int, price: float) -> bool:
        asked = self.asked.get(name)
        return asked is not None and asked.price == price and row in self._used(asked)

    def _used(self, asked: Asked) -> set[int]:
        """Resources that a query uses."""
        if asked.joined is None:
            return set()
        some = {way[0] for way in asked.ways}
        return {row for template in some for row in self.levels.rows(asked.joined, template)}

    def _recipe(self, asked: Asked, template: int) -> Recipe:
        assert asked.joined is not None
        kind = asked.joined.kind
        options = self.market.classes[kind].templates.found[template].options
        return self._filling.recipe(kind, options)
