"""Who is turned away where nothing waits, and what each of them lacks on real machines."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.advice import percent
from circinus.decision import Rejection, Relaxation
from circinus.query import Query
from circinus_coordinator.planning.decomposition.classes import Market, QueryClass
from circinus_coordinator.planning.decomposition.nearest import Nearest, beyond
from circinus_coordinator.planning.decomposition.placement import Placed
from circinus_coordinator.planning.decomposition.recipes import Recipe
from circinus_coordinator.planning.decomposition.room import Check, Room
from circinus_coordinator.planning.decomposition.solve import Solution
from circinus_coordinator.planning.decomposition.worth import named
from circinus_coordinator.planning.loads import SLACK, Ledger
from circinus_coordinator.planning.relaxation import Explanation, worded
from circinus_coordinator.planning.remedies import SOME_RPS, Refusals, worth_something
from circinus_coordinator.planning.scene import Scene
from circinus_coordinator.planning.shortage import more_than
from circinus_coordinator.planning.uses import describe, link

__all__ = ["Refusing"]

IntArray = npt.NDArray[np.int64]
# Parts of a query's traffic below this are told in fractions of a percent.
# Sites whose plans' values are looked at in one go.
_CHUNK = 4096


@dataclass(slots=True)
class _Group:
    """Refused queries that start alike and want the same.

    Attributes:
        queries: Positions in the scenario.
        kind: Number of their class.
        template: The plan they would have; -1 where it is none of the known ones.
        recipe: What it takes.
        devices: Where it would run: for each position of the layout.
        checks: What is left of all that it takes there.
        changes: To their objectives.
        binding: What is in the way, where it is not the first thing that is short.
        reason: In words.
        price: What a request's resources are worth.
    """

    queries: list[int]
    kind: int
    template: int
    recipe: Recipe
    nodes: tuple[int, ...]
    devices: tuple[str, ...]
    checks: Sequence[Check]
    changes: tuple[Relaxation, ...]
    binding: str
    reason: str
    price: float


class Refusing:
    """Explains who is turned away, many at a time."""

    def __init__(self, market: Market, solution: Solution, placed: Sequence[Placed]) -> None:
        self._market, self._solution = market, solution
        self._scenario = market.catalogue.scenario
        self._room = Room(market)
        self._alone = Refusals(Scene(market.catalogue, Ledger(self._scenario), []))
        self._found: list[_Group] = []
        self._singles: dict[object, Explanation] = {}
        for p in placed:
            self._room.put(self._recipe(p.kind, p.template), p.devices, p.rate)

    def spare(self, left: npt.NDArray[np.float64], *, give: bool = True) -> list[Placed]:
        """Plans for queries that fit as they are, after all.

        Args:
            left: `(queries,)` requests per second that are not served; taken from.
            give: None are given where not; then this is for `rejections` alone.
        """
        found: list[Placed] = []
        self._found = list(self._groups(self._refused(left)))
        if not give:
            return found
        for group in self._found:
            least = min((r for q in group.queries if (r := float(left[q])) > 0), default=0.0)
            if group.changes or not least or any(c.use * least > c.free for c in group.checks):
                continue
            room = self._room.filling.limit(group.recipe, group.devices)
            for query in sorted(group.queries, key=lambda q: left[q]):
                rate = float(left[query])
                if not 0 < rate <= room or self._market.weight[query] <= 0:
                    continue
                devices = group.devices
                self._room.put(group.recipe, devices, rate)
                found.append(Placed(query, group.kind, group.template, devices, rate))
                left[query] = 0.0
                group.devices = self._room.bound(group.nodes, group.recipe)
                room = self._room.filling.limit(group.recipe, group.devices)
        for group in self._found if found else ():  # others have taken what was free
            group.devices = self._room.bound(group.nodes, group.recipe)
            group.checks = self._room.checks(group.recipe, group.devices)
        return found

    def rejections(self, left: npt.NDArray[np.float64]) -> list[Rejection]:
        """In the order of the scenario's queries; after `spare`.

        Args:
            left: `(queries,)` requests per second that are not served.
        """
        refused = self._refused(left)
        found: dict[int, Rejection] = {}
        for group in self._found:
            told: dict[tuple[float, float, float], Rejection] = {}
            for query in group.queries:
                if not refused[query]:
                    continue
                rate, weight = float(self._market.rate[query]), float(self._market.weight[query])
                key = (float(left[query]), rate, weight)
                name = self._scenario.queries[query].id
                known = told.get(key)
                if known is None:
                    known = told[key] = self._crowded(group, query, float(left[query]))
                found[query] = known if known.query == name else _for(known, name)
        for query in np.flatnonzero(refused):
            if int(query) not in found:
                found[int(query)] = self._single(self._scenario.queries[int(query)])
        return [found[query] for query in sorted(found)]

    def _refused(self, left: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Who is not served in full; what is worth nothing is never placed."""
        return np.asarray((left > 0) | (self._market.rate * self._market.weight <= 0))

    def _recipe(self, kind: int, template: int) -> Recipe:
        options = self._market.classes[kind].templates.found[template].options
        return self._room.filling.recipe(kind, options)

    def _groups(self, wanted: npt.NDArray[np.bool_]) -> Iterator[_Group]:
        for number, kind in self._market.of_class():
            mine = np.flatnonzero(wanted[kind.query])
            if not len(mine):
                continue
            order = mine[np.lexsort((kind.query[mine], kind.ask[mine], kind.site[mine]))]
            site, ask = kind.site[order], kind.ask[order]
            edges = np.flatnonzero((np.diff(site) != 0) | (np.diff(ask) != 0)) + 1
            starts = np.concatenate([[0], edges, [len(order)]]).astype(np.int64)
            first = site[starts[:-1]], ask[starts[:-1]]
            best, nearest = self._best(kind, *first), Nearest(kind)
            lost = [int(k) for k in first[1][best < 0]]
            if nearest.look(lost, len(self._market.capacity)):
                best = self._best(kind, *first)
            for k, (a, b) in enumerate(itertools.pairwise(starts)):
                queries = [int(q) for q in kind.query[order[a:b]]]
                at = (number, int(site[a]), int(ask[a]))
                found = self._group(queries, at, int(best[k]), nearest)
                if found is not None:
                    yield found

    def _best(self, kind: QueryClass, site: IntArray, ask: IntArray) -> IntArray:
        """`(groups,)` the cheapest plan at the prices, -1 where none meets the ask."""
        found = np.full(len(site), -1, dtype=np.int64)
        if not len(kind.templates):
            return found
        meeting = kind.templates.meeting(kind.asks)
        usd = self._solution.usd * kind.templates.usd
        for start in range(0, len(site), _CHUNK):
            part = slice(start, start + _CHUNK)
            value = self._solution.prices[kind.rows[site[part]]] @ kind.templates.use.T + usd
            value[~meeting[ask[part]]] = np.inf
            best = np.argmin(value, axis=1)
            finite = np.isfinite(value[np.arange(len(best)), best])
            found[part] = np.where(finite, best, -1)
        return found

    def _group(
        self, queries: list[int], at: tuple[int, int, int], template: int, near: Nearest
    ) -> _Group | None:
        number, site, ask = at
        kind = self._market.classes[number]
        nodes = kind.sites[site].nodes
        if template >= 0:
            steps = self._recipe(number, template)
            changes: tuple[Relaxation, ...] = ()
            binding, price = self._dearest(kind, site, template)
            reason = ""
        else:
            nearest = near.choose(ask)
            if nearest is None:
                return None
            template, changes = nearest
            steps = self._recipe(number, template)
            first = self._scenario.queries[queries[0]]
            binding, price = changes[0].what, 0.0
            reason = beyond(first.slo, changes)
        devices = self._room.bound(nodes, steps)
        checks = self._room.checks(steps, devices)
        known = number, template, steps, nodes, devices, checks
        return _Group(queries, *known, changes, binding, reason, price)

    def _dearest(self, kind: QueryClass, site: int, template: int) -> tuple[str, float]:
        """The resource that a plan pays most for, and all that it pays."""
        rows = kind.rows[site]
        paid = kind.templates.use[template] * self._solution.prices[rows]
        feature = int(np.argmax(paid))
        if paid[feature] <= 0:
            return "", 0.0
        name, one, two = self._market.sites.resources.key(int(rows[feature]))
        members = self._market.sites.members
        if name == "link":
            what = describe(link(*named(members, (one, two))))
        elif len(members[one]) > 1:
            what = f"{name} of the {len(members[one])} machines like {members[one][0]}"
        else:
            what = describe((name, members[one][0]))
        return what, float(paid.sum())

    def _crowded(self, group: _Group, position: int, left: float) -> Rejection:
        query = self._scenario.queries[position]
        changes, worthless = list(group.changes), ""
        if query.demand_rps == 0:
            extra = worth_something(query)
            changes = [*extra, *changes]
            worthless = f"its {extra[0].what} is 0: serving it is worth nothing"
            left = left or SOME_RPS * query.count
        pipeline = self._scenario.pipelines[query.pipeline]
        changes += self._room.speed(pipeline, group.recipe, group.devices, left)
        short = []
        for check in group.checks:
            lack = check.use * left - check.free
            if lack > check.most * SLACK:
                short.append(check.resource)
                planned = check.most + lack
                changes.append(more_than(check.have, self._scenario, check.resource, planned))
        share = 1 - left / float(self._market.rate[position]) if not worthless else 0.0
        names = ", ".join(describe(resource) for resource in short)
        lacking = f"there is too little left: {names}" if short else ""
        dear = (
            ""
            if group.price <= query.weight
            else (
                f"others make more of {group.binding}: what a request of it takes is worth "
                f"{group.price:.3g}, and it is worth {query.weight:g}"
            )
        )
        reason = worthless or group.reason or dear or lacking
        reason = reason or "the search has missed its room: plan again"
        if group.changes and lacking:
            reason = f"{reason}; {lacking}"
        if share > 1e-9:
            reason = f"{percent(1 - share)} of its traffic is not served: {reason}"
        binding = group.binding if dear or group.changes else ""
        binding = changes[0].what if worthless else binding
        return Rejection(
            query=query.id,
            reason=reason,
            binding=binding or (describe(short[0]) if short else "search"),
            relaxation=worded(changes),
            relaxations=tuple(changes),
        )

    def _single(self, query: Query) -> Rejection:
        """A query that lacks more than objectives and amounts: asked on the empty fleet.

        What its plan takes of machines that others use is added.
        """
        starts = tuple(query.source[s] for s in self._scenario.pipelines[query.pipeline].sources)
        key = (query.pipeline, query.slo, starts, query.rate_rps, query.count, query.weight)
        if key not in self._singles:
            told, placed = self._alone.explain(query, 0.0, thorough=True)
            if placed is not None:
                rate = (query.rate_rps or SOME_RPS) * query.count
                changes = self._room.beside(told.relaxations, placed, rate)
                told = dataclasses.replace(told, relaxations=changes, relaxation=worded(changes))
            self._singles[key] = told
        told = self._singles[key]
        return Rejection(
            query=query.id,
            reason=told.reason,
            binding=told.binding or "",
            relaxation=told.relaxation,
            relaxations=told.relaxations,
        )


def _for(known: Rejection, query: str) -> Rejection:
    """The same for another query."""
    return Rejection(
        query=query,
        reason=known.reason,
        binding=known.binding,
        relaxation=known.relaxation,
        relaxations=known.relaxations,
    )
