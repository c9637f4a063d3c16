"""Each source by itself: what its queries do at the prices of everything else.

The relaxation knows nothing of memory and of queries that stay whole. Both matter most at the
sources, small machines with a few queries each. There a small programme decides: a source's own
cores, uplinks and memory are limits, all else is paid for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.blocks import Block, Holding, Option, solve
from circinus_coordinator.planning.decomposition.choices import Choices
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.mixed import Mixed
from circinus_coordinator.planning.decomposition.recipes import Instance
from circinus_coordinator.planning.decomposition.solve import Solution

__all__ = ["Piece", "Sources"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Piece = tuple[int, int, int, float]
"""(query, unit, template, requests per second)."""
# Branches of a source's programme, and the gap that will do, where sources are few or many.
_NODES, _GAP = 50, 1e-3
_NODES_OF_MANY, _GAP_OF_MANY = 1, 5e-3
_MANY = 1_000
_LEAST_SHARE = 1e-9
# Parts of a unit's rate too small to make room in memory for: interior points are full of them.
_NOTICED = 1e-6
# How fast prices follow what sources asked for so far, against what the mixture asks.
_PACE = 2.0
_AHEAD = 0.25


class Sources:
    """The sources of a market, and what the mixture does there."""

    def __init__(self, market: Market, solution: Solution, filling: Filling) -> None:
        self.market, self.solution, self._filling = market, solution, filling
        units = solution.units
        self.first = np.zeros(len(units), dtype=np.int64)
        for number, kind in market.of_class():
            mine = units.kind == number
            nodes = np.array([site.nodes[0] for site in kind.sites], dtype=np.int64)
            self.first[mine] = nodes[units.site[mine]]
        order = np.argsort(self.first, kind="stable")
        nodes, start = np.unique(self.first[order], return_index=True)
        parts = np.split(order, start[1:]) if len(nodes) else []
        self.units = {int(n): part for n, part in zip(nodes, parts, strict=True)}
        self._own: dict[int, list[int]] = defaultdict(list)
        for row, (_, one, two) in enumerate(market.sites.resources.keys):
            if one == two and len(market.sites.members[one]) == 1:
                self._own[one].append(row)

        self.single = np.zeros(len(market.capacity), dtype=np.bool_)
        for rows in self._own.values():
            self.single[rows] = True

    def own(self, node: int) -> list[int]:
        """Rows of a node of one machine."""
        return self._own[node]

    def starts(self, unit: int) -> Sequence[int]:
        """Nodes of a unit's sources."""
        units = self.solution.units
        kind = self.market.classes[int(units.kind[unit])]
        return kind.sites[int(units.site[unit])].nodes[: kind.layout.sources]

    def memory_mb(self, node: int) -> float:
        """Of the one machine of a node."""
        scenario = self.market.catalogue.scenario
        return scenario.class_of(self.market.sites.members[node][0]).memory_mb

    def overcommitted(self) -> dict[int, list[int]]:
        """Nodes of one machine that the mixture asks too much memory of, with all their units."""
        solution = self.solution
        pool, units = solution.pool, solution.units
        total: dict[int, dict[Instance, float]] = defaultdict(dict)
        for c in np.flatnonzero(solution.mixture.rate > units.rate[pool.unit] * _NOTICED):
            for node, held in self.held(int(pool.unit[c]), int(pool.template[c])).items():
                for key, mb in held:
                    total[node][key] = max(mb, total[node].get(key, 0.0))
        found: dict[int, list[int]] = {
            node: [] for node, held in total.items() if sum(held.values()) > self.memory_mb(node)
        }
        if found:
            for unit in range(len(units)):
                kind = self.market.classes[int(units.kind[unit])]
                for node in kind.sites[int(units.site[unit])].nodes:
                    if node in found:
                        found[node].append(unit)
        return found

    def held(self, unit: int, template: int) -> dict[int, list[tuple[Instance, float]]]:
        """By node of one machine: what the plan holds there."""
        number = int(self.solution.units.kind[unit])
        kind = self.market.classes[number]
        nodes = kind.sites[int(self.solution.units.site[unit])].nodes
        steps = self._filling.recipe(number, kind.templates.found[template].options)
        members = self.market.sites.members
        return {
            nodes[at]: held for at, held in steps.instances.items() if len(members[nodes[at]]) == 1
        }

    def crowded_out(self, choices: Choices) -> set[tuple[int, int]]:
        """(unit, template) pairs to do without, so that memory holds the others."""
        refused: set[tuple[int, int]] = set()
        units = self.solution.units
        for node, among in sorted(self.overcommitted().items()):
            programme = _Programme(self, node, self.solution.prices)
            for unit in among:
                programme.add(unit, choices.of(unit), float(units.rate[unit]), 1, whole=False)
            parts = programme.solved()
            if parts is None:
                continue
            open_ = programme.used(parts)
            for unit in among:
                known = self.market.classes[int(units.kind[unit])].templates
                for template in range(len(known)):
                    held = self.held(unit, template).get(node, ())
                    if any(key not in open_ for key, _ in held):
                        refused.add((unit, template))
        return refused

    def whole(
        self,
        choices: Choices,
        wanted: npt.NDArray[np.bool_],
        order: Sequence[int],
        *,
        margin: float,
    ) -> list[Piece]:
        """Plans for queries that stay whole.

        Prices follow what the sources before have asked for: where it is more than the mixture
        would have them, the next ones pay more.

        Args:
            choices: Plans.
            wanted: `(units,)` which units are meant.
            order: All first sources, in the order in which they choose.
            margin: Prices are raised by this part, as whole queries leave gaps in machines.
        """
        market, prices = self.market, self.solution.prices
        capacity = np.maximum(market.capacity, 1e-12)
        mixed = Mixed(self.solution, self.units, self.starts, self._own, self.single)
        asked = np.zeros(len(capacity))
        share = np.zeros(len(capacity))
        # What the mixture lets queries of several sources use at any but their first.
        kept = sum((mixed.elsewhere(node) for node in order), np.zeros(len(capacity)))
        pieces: list[Piece] = []
        decided: set[int] = set()
        for node in order:
            kept -= mixed.elsewhere(node)
            mine = self.units[node]
            mine = mine[wanted[mine]]
            ahead = np.clip((asked - share) / capacity, -_AHEAD, _AHEAD)
            factor = (1 + margin) * np.exp(_PACE * ahead)
            room = market.capacity - asked
            programme = _Programme(self, node, prices * factor, room=room - kept)
            decided.add(node)
            for other in sorted({n for unit in mine for n in self.starts(int(unit))} & decided):
                programme.limit(self.own(other), room)
            for query, unit, template, rate in self._decided(programme, mine, choices):
                kind = market.classes[int(self.solution.units.kind[unit])]
                rows = kind.rows[self.solution.units.site[unit]]
                pieces.append((query, unit, template, rate))
                asked[rows] += rate * kind.templates.use[template]
            share += mixed.load(node)
        return pieces

    def _decided(self, programme: _Programme, mine: IntArray, choices: Choices) -> list[Piece]:
        units, rates = self.solution.units, self.market.rate
        members: list[tuple[int, int]] = []
        for unit in mine.tolist():
            for query in units.query[units.start[unit] : units.start[unit + 1]].tolist():
                programme.add(
                    unit, choices.of(unit), float(rates[query]), self._count(query), whole=True
                )
                members.append((query, unit))
        return [
            (*members[chooser], template, float(rates[members[chooser][0]]) * share)
            for chooser, template, share in programme.taken(programme.solved())
        ]

    def _count(self, query: int) -> int:
        queries = self.market.catalogue.scenario.queries
        return 1 if self.market.splittable[query] else queries[query].count


class _Programme:
    """The programme of one source."""

    def __init__(
        self, sources: Sources, node: int, prices: FloatArray, *, room: FloatArray | None = None
    ) -> None:
        self._sources, self._node = sources, node
        self._prices = prices.copy()
        self._own: dict[int, int] = {}
        self._room: list[float] = []
        self.limit(sources.own(node), sources.market.capacity if room is None else room)
        self._options: list[Option] = []
        self._template: list[int] = []
        self._parts: list[int] = []
        self._whole: list[bool] = []
        self._users: dict[Instance, list[int]] = defaultdict(list)
        self._size: dict[Instance, float] = {}

    def limit(self, rows: Sequence[int], room: FloatArray) -> None:
        """Take these rows as limits rather than as things to pay for."""
        for row in rows:
            if row not in self._own:
                self._own[row] = len(self._room)
                self._room.append(max(0.0, float(room[row])))
                self._prices[row] = 0.0

    def add(self, unit: int, templates: IntArray, rate: float, parts: int, *, whole: bool) -> None:
        market, solution = self._sources.market, self._sources.solution
        units = solution.units
        chooser = len(self._parts)
        self._parts.append(parts)
        self._whole.append(whole)
        kind = market.classes[int(units.kind[unit])]
        rows = kind.rows[units.site[unit]]
        known = kind.templates
        use = known.use[templates]
        left = units.weight[unit] - use @ self._prices[rows] - solution.usd * known.usd[templates]
        own = [(f, self._own[int(row)]) for f, row in enumerate(rows) if int(row) in self._own]
        one = rate / parts
        memory_mb = self._sources.memory_mb(self._node)
        for k, template in enumerate(templates):
            held = self._sources.held(unit, int(template)).get(self._node, ())
            if left[k] <= 0 or any(mb > memory_mb for _, mb in held):
                continue
            number = len(self._options)
            for key, mb in held:
                self._users[key].append(number)
                self._size[key] = max(mb, self._size.get(key, 0.0))
            mine = [(row, float(use[k, f]) * one) for f, row in own if use[k, f] > 0]
            self._options.append(Option(chooser, float(left[k]) * one, mine))
            self._template.append(int(template))

    def solved(self) -> list[float] | None:
        memory_mb = self._sources.memory_mb(self._node)
        short = sum(self._size.values()) > memory_mb
        held = [(self._size[key], users) for key, users in self._users.items()]
        block = Block(
            options=self._options,
            parts=self._parts,
            whole=self._whole,
            room=self._room,
            holdings=[Holding(memory_mb, held)] if short else [],
        )
        if len(self._sources.units) > _MANY:
            return solve(block, nodes=_NODES_OF_MANY, gap=_GAP_OF_MANY)
        return solve(block, nodes=_NODES, gap=_GAP)

    def used(self, parts: Sequence[float]) -> set[Instance]:
        """Instances that the parts taken need."""
        return {
            key
            for key, users in self._users.items()
            if any(parts[k] > _LEAST_SHARE * self._parts[self._options[k].chooser] for k in users)
        }

    def taken(self, parts: Sequence[float] | None) -> list[tuple[int, int, float]]:
        """(chooser, template, share of its demand)."""
        return [
            (option.chooser, self._template[k], part / self._parts[option.chooser])
            for k, (option, part) in enumerate(zip(self._options, parts or (), strict=False))
            if part > _LEAST_SHARE
        ]
