"""Queries that differ in nothing but their names are planned, and judged, as one of so many.

What several plans of identical queries send the same way is one stream of requests, as it is for a
query that stands for several (`count`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from circinus.decision import Plan
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.whatif import unchecked

__all__ = ["Alike", "Previous", "alike", "shape_of", "together", "way_of"]

Assigned = Sequence[tuple[PlacedPlan, float]]
Previous = Mapping[str, Sequence[tuple[float, Plan]]]
"""For each query the shares and plans it had."""

# How much more of a crowd is looked at than could be served alone.
_ROOM = 1.1
# Less than this part of a query is rounding.
_NOTHING = 1e-9


def shape_of(query: Query) -> tuple[object, ...]:
    """All of a query but its name and count: equal for queries that are the same."""
    source = tuple(sorted(query.source.items()))
    more = (query.rate_rps, query.weight, query.splittable, query.tenant)
    return (query.pipeline, source, *more, query.slo, query.input, query.output)


def way_of(plan: Plan) -> tuple[object, ...]:
    """A plan as something that can be looked up."""
    return tuple((name, s.device, s.config, s.batch) for name, s in sorted(plan.items()))


def together(assigned: Assigned) -> tuple[list[tuple[PlacedPlan, float]], list[int]]:
    """Plans with those of identical queries taken as one; and for each plan its number there."""
    numbers: dict[tuple[object, ...], int] = {}
    at = [
        numbers.setdefault((shape_of(placed.query), way_of(placed.plan)), len(numbers))
        for placed, _ in assigned
    ]
    if len(numbers) == len(at):
        return list(assigned), at
    groups: list[list[tuple[PlacedPlan, float]]] = [[] for _ in numbers]
    for number, pair in zip(at, assigned, strict=True):
        groups[number].append(pair)
    return [_one(group) for group in groups], at


def _one(group: Assigned) -> tuple[PlacedPlan, float]:
    placed, share = group[0]
    if len(group) == 1:
        return placed, share
    count = sum(p.query.count for p, _ in group)
    served = math.fsum(p.query.count * s for p, s in group)
    name = f"{placed.query.id[:100]}@{len(group)}"  # not to be taken for the first of them
    query = dataclasses.replace(placed.query, id=name, count=count)
    return dataclasses.replace(placed, query=query), served / count


@dataclass(frozen=True, slots=True)
class Alike:
    """A scenario in which one query stands for all that are the same.

    Attributes:
        scenario: With fewer queries.
        members: Of each of them those it stands for.
    """

    scenario: Scenario
    members: Mapping[str, Sequence[Query]]

    def no_more_than(self, shares: Mapping[str, float]) -> Alike:
        """Without what the fleet could not serve even of these queries alone.

        Shares of a crowd of which hardly anybody fits would be too small to be told apart.

        Args:
            shares: The most that can be served of each query's traffic.
        """
        queries = [
            dataclasses.replace(
                q, count=min(q.count, math.ceil(q.count * shares[q.id] * _ROOM) + 1)
            )
            if q.count > 1
            else q
            for q in self.scenario.queries
        ]
        return Alike(unchecked(self.scenario, queries=tuple(queries)), self.members)

    def previous(self, plans: Previous) -> dict[str, list[tuple[float, Plan]]]:
        """What the queries had, as what those that stand for them had."""
        found: dict[str, list[tuple[float, Plan]]] = {}
        for query in self.scenario.queries:
            had: dict[tuple[object, ...], tuple[float, Plan]] = {}
            for member in self.members[query.id]:
                for share, plan in plans.get(member.id, ()):
                    before = had.get(way_of(plan), (0.0, plan))[0]
                    had[way_of(plan)] = before + share * member.count / query.count, plan
            if had:
                found[query.id] = list(had.values())
        return found

    def dealt(self, assigned: Assigned, plans: Previous) -> list[tuple[PlacedPlan, float]]:
        """Plans dealt to the members, to those first who had them before.

        Args:
            assigned: Plans and shares of the queries that stand for them.
            plans: What each member had.
        """
        by_query: dict[str, list[tuple[PlacedPlan, float]]] = {}
        for placed, share in assigned:
            by_query.setdefault(placed.query.id, []).append((placed, share))
        return [pair for name, some in by_query.items() for pair in self._deal(name, some, plans)]

    def _deal(
        self, name: str, assigned: Assigned, plans: Previous
    ) -> Iterable[tuple[PlacedPlan, float]]:
        members = self.members[name]
        if members == [assigned[0][0].query]:
            yield from assigned
            return
        room = {member.id: float(member.count) for member in members}
        given: dict[tuple[int, str], float] = {}
        left = [share * placed.query.count for placed, share in assigned]
        if not members[0].splittable:
            left = [float(round(amount)) for amount in left]
        before = {
            (member.id, way_of(plan)): share * member.count
            for member in members
            for share, plan in plans.get(member.id, ())
        }
        for sticky in (True, False):
            waiting = iter(members)
            member = next(waiting, None)
            for k, (placed, _) in enumerate(assigned):
                way = way_of(placed.plan)
                some = members if sticky and before else ()
                for other in some:
                    had = before.get((other.id, way), 0.0)
                    _give(room, given, left, k, other.id, had)
                while not sticky and left[k] > _NOTHING and member is not None:
                    _give(room, given, left, k, member.id, math.inf)
                    if room[member.id] <= _NOTHING:
                        member = next(waiting, None)
        by_id = {member.id: member for member in members}
        for (k, which), amount in given.items():
            query = by_id[which]
            placed = dataclasses.replace(assigned[k][0], query=query)
            yield placed, min(1.0, amount / query.count)


def _give(
    room: dict[str, float],
    given: dict[tuple[int, str], float],
    left: list[float],
    plan: int,
    member: str,
    most: float,
) -> None:
    """As much of a plan as is left of it, and of the member's traffic."""
    amount = min(room[member], left[plan], most)
    if amount > _NOTHING:
        given[plan, member] = given.get((plan, member), 0.0) + amount
        room[member] -= amount
        left[plan] -= amount


def alike(scenario: Scenario) -> Alike | None:
    """Identical queries taken together; None where each is a single one of its kind."""
    members: dict[tuple[object, ...], list[Query]] = {}
    for query in scenario.queries:
        members.setdefault(shape_of(query), []).append(query)
    if len(members) == len(scenario.queries) and all(q.count == 1 for q in scenario.queries):
        return None
    queries = [
        dataclasses.replace(some[0], count=sum(q.count for q in some)) if len(some) > 1 else some[0]
        for some in members.values()
    ]
    found = unchecked(scenario, queries=tuple(queries))
    return Alike(found, {q.id: some for q, some in zip(queries, members.values(), strict=True)})
