"""Placing a few queries anew, all at once, while everybody else stays.

A neighbourhood is a set of queries that compete: those of one source. What they take is given
back, and a small mixed-integer programme places them again, over the plans that are good at the
relaxation's prices and the machines of each group that have most room. It starts from what was
there, so nothing is lost.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.blocks import Block, Holding, Option, solve
from circinus_coordinator.planning.decomposition.choices import Choices
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.recipes import Instance, Recipe
from circinus_coordinator.planning.decomposition.solve import Solution

__all__ = ["Neighbourhoods", "Way"]

FloatArray = npt.NDArray[np.float64]
_NODES = 30
_GAP = 1e-3
# Machines of a group to choose from, for each of its resources.
_MACHINES = 2
# Ways to place one plan.
_WAYS = 6
# Part of the worth of what is pooled that is counted: of two plans the one that leaves more to
# others, but no request for it.
_THRIFT = 0.02
_BETTER = 1e-9


@dataclass(frozen=True, slots=True)
class Way:
    """Parts of a query that go one way."""

    template: int
    devices: tuple[str, ...]
    parts: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    query: int
    template: int
    steps: Recipe
    devices: tuple[str, ...]
    gain: float


class Neighbourhoods:
    """What is placed, by query, and how to place some of it better."""

    def __init__(
        self,
        market: Market,
        solution: Solution,
        filling: Filling,
        choices: Choices,
        ways: dict[int, list[Way]],
    ) -> None:
        self._market, self._solution = market, solution
        self._filling, self._choices = filling, choices
        self.ways = ways
        units = solution.units
        unit_of = np.repeat(np.arange(len(units)), np.diff(units.start))
        self._unit = dict(zip(units.query.tolist(), unit_of.tolist(), strict=True))

    def unit(self, query: int) -> int:
        """The unit of a query."""
        return int(self._unit[query])

    def part(self, query: int) -> float:
        """Requests per second of one part of a query."""
        return float(self._market.rate[query]) / self._parts(query)

    def goodput_rps(self) -> float:
        """Weighted, of all that is placed."""
        return sum(self._worth(query) for query in self.ways)

    def _parts(self, query: int) -> int:
        market = self._market
        return 1 if market.splittable[query] else market.catalogue.scenario.queries[query].count

    def _worth(self, query: int) -> float:
        taken = sum(way.parts for way in self.ways.get(query, ()))
        return taken * self.part(query) * float(self._market.weight[query])

    def improve(self, queries: Sequence[int]) -> bool:
        """Place these anew; says whether anything is better.

        Args:
            queries: Which.
        """
        before = {query: self.ways.get(query, []) for query in queries}
        for query in queries:
            self._move(query, before[query], release=True)
        candidates, start = self._candidates(queries, before)
        parts = self._solved(queries, candidates, start)
        if parts is None or self._gain(candidates, parts) <= self._gain(candidates, start) * (
            1 + _BETTER
        ):
            self._restore(before)
            return False
        for candidate, count in zip(candidates, parts, strict=True):
            if count <= _BETTER:
                continue
            rate = self.part(candidate.query) * count
            if self._filling.limit(candidate.steps, candidate.devices) < rate * (1 - _BETTER):
                for query in queries:
                    self._move(query, self.ways.get(query, []), release=True)
                self._restore(before)
                return False
            self._filling.put(candidate.steps, candidate.devices, rate)
            way = Way(candidate.template, candidate.devices, count)
            self.ways[candidate.query] = [*self.ways.get(candidate.query, []), way]
        return True

    def _restore(self, before: Mapping[int, list[Way]]) -> None:
        for query, ways in before.items():
            self._move(query, ways, release=False)

    def _move(self, query: int, ways: Sequence[Way], *, release: bool) -> None:
        change = self._filling.release if release else self._filling.put
        for way in ways:
            steps, _ = self._recipe(query, way.template)
            change(steps, way.devices, way.parts * self.part(query))
        if release:
            self.ways.pop(query, None)
        elif ways:
            self.ways[query] = list(ways)

    def _recipe(self, query: int, template: int) -> tuple[Recipe, tuple[int, ...]]:
        units = self._solution.units
        unit = self._unit[query]
        number = int(units.kind[unit])
        kind = self._market.classes[number]
        steps = self._filling.recipe(number, kind.templates.found[template].options)
        return steps, kind.sites[int(units.site[unit])].nodes

    @staticmethod
    def _gain(candidates: Sequence[_Candidate], parts: Sequence[float]) -> float:
        return sum(c.gain * n for c, n in zip(candidates, parts, strict=True))

    def _candidates(
        self,
        queries: Sequence[int],
        before: Mapping[int, list[Way]],
    ) -> tuple[list[_Candidate], list[float]]:
        """Ways to place the queries, and the parts that go each of them at present."""
        groups: dict[int, Sequence[str]] = {}
        found: list[_Candidate] = []
        start: list[float] = []
        for query in queries:
            known = {(way.template, way.devices): way.parts for way in before[query]}
            templates = dict.fromkeys(
                [
                    *(way.template for way in before[query]),
                    *self._choices.of(self._unit[query]),
                ]
            )
            for template in templates:
                steps, nodes = self._recipe(query, int(template))
                gain = self._value(query, int(template)) * self.part(query)
                ways = dict.fromkeys(
                    [
                        *(d for t, d in known if t == template),
                        *self._places(steps, nodes, self.part(query), groups),
                    ]
                )
                for devices in ways:
                    found.append(_Candidate(query, int(template), steps, devices, gain))
                    start.append(known.get((int(template), devices), 0.0))
        return found, start

    def _value(self, query: int, template: int) -> float:
        """Worth of a request, less a little of what it uses of what is pooled."""
        unit, solution = self._unit[query], self._solution
        kind = self._market.classes[int(solution.units.kind[unit])]
        paid = kind.templates.use[template] @ solution.prices[kind.rows[solution.units.site[unit]]]
        paid += solution.usd * kind.templates.usd[template]
        return float(solution.units.weight[unit]) * (1 - _THRIFT) + _THRIFT * float(
            solution.units.weight[unit] - paid
        )

    def _places(
        self,
        steps: Recipe,
        nodes: Sequence[int],
        rate: float,
        groups: dict[int, Sequence[str]],
    ) -> list[tuple[str, ...]]:
        """Machines to place a plan on, those with most room first."""
        members = self._market.sites.members
        single = {members[nodes[at]][0] for at in steps.instances if len(members[nodes[at]]) == 1}
        many = [at for at in steps.instances if len(members[nodes[at]]) > 1]
        for at in many:
            if nodes[at] not in groups:
                groups[nodes[at]] = self._roomiest(nodes[at])
        devices = [members[node][0] for node in nodes]
        found = []
        for machines in itertools.product(*(groups[nodes[at]] for at in many)):
            for at, machine in zip(many, machines, strict=True):
                devices[at] = machine
            if single.isdisjoint(machines) and self._filling.limit(steps, devices) >= rate:
                found.append(tuple(devices))
                if len(found) >= _WAYS:
                    break
        return found

    def _roomiest(self, node: int) -> list[str]:
        members = self._market.sites.members[node]
        found: dict[str, None] = {}
        room = [(device, self._filling.free(device)) for device in members]
        for r in range(self._filling.resources):
            best = sorted(room, key=lambda pair: -pair[1][r])[:_MACHINES]
            found.update((device, None) for device, free in best if free[r] > 0)
        return list(found)

    def _solved(
        self, queries: Sequence[int], candidates: Sequence[_Candidate], start: Sequence[float]
    ) -> list[float] | None:
        chooser = {query: k for k, query in enumerate(queries)}
        rows = _Limits(self._filling)
        options = [
            Option(chooser[c.query], c.gain, rows.use(k, c, self.part(c.query)))
            for k, c in enumerate(candidates)
        ]
        block = Block(
            options=options,
            parts=[self._parts(query) for query in queries],
            whole=[not bool(self._market.splittable[query]) for query in queries],
            room=rows.room,
            holdings=rows.holdings(),
            start=start,
        )
        return solve(block, nodes=_NODES, gap=_GAP)


class _Limits:
    """The limits that some candidates share."""

    def __init__(self, filling: Filling) -> None:
        self._filling = filling
        self._row: dict[tuple[str, int], int] = {}
        self.room: list[float] = []
        self._users: dict[str, dict[Instance, tuple[float, list[int]]]] = defaultdict(dict)

    def use(self, number: int, candidate: _Candidate, rate: float) -> list[tuple[int, float]]:
        """A candidate's use by row."""
        found: dict[int, float] = defaultdict(float)
        steps, devices = candidate.steps, candidate.devices
        for at, use in steps.compute.items():
            for r, seconds in use:
                found[self._of(devices[at], r)] += seconds * rate
        for a, b, megabits in steps.moves:
            if devices[a] != devices[b]:
                for end in (devices[a], devices[b]):
                    if np.isfinite(self._filling.uplink(end)):
                        found[self._of(end, -1)] += megabits * rate
        for at, instances in steps.instances.items():
            held = self._users[devices[at]]
            for key, mb in instances:
                new = self._filling.lacking(devices[at], [(key, mb)])
                if new > 0:
                    size, users = held.get(key, (0.0, []))
                    held[key] = (max(size, new), [*users, number])
        return list(found.items())

    def _of(self, device: str, r: int) -> int:
        key = (device, r)
        if key not in self._row:
            self._row[key] = len(self.room)
            room = self._filling.uplink(device) if r < 0 else self._filling.free(device)[r]
            self.room.append(max(room, 0.0))
        return self._row[key]

    def holdings(self) -> list[Holding]:
        """Machines that cannot hold all that might be asked of them."""
        found = []
        for device, held in self._users.items():
            left = self._filling.memory_mb(device)
            if sum(size for size, _ in held.values()) > left > 0:
                found.append(Holding(left, list(held.values())))
        return found
