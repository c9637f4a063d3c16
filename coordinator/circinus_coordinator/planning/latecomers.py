"""Queries turned away that find room after all, once everybody else is settled.

Admission tries what the relaxation advises. Explaining a refusal looks for plans that keep clear of
what is full, and now and then one of them fits as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circinus.query import Query
from circinus_coordinator.planning.alike import shape_of, together, way_of
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.explain import thorough
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.proposals import within_objectives
from circinus_coordinator.planning.selection import Selection

__all__ = ["Latecomers", "Within", "joined", "latecomers"]


Assigned = Sequence[tuple[PlacedPlan, float]]
Within = Mapping[str, Sequence[PlacedPlan | None]]
"""Of queries the plans within their objectives, None for each that is not there."""

# Who comes changes where plans for the others are looked for, so all are asked again.
_PASSES = 4


@dataclass(frozen=True, slots=True)
class Latecomers:
    """Who is served in the end.

    Attributes:
        assigned: Plans and shares of all.
        within: Of queries, plans within their objectives, looked for at these very loads.
    """

    assigned: Assigned
    within: Within


def latecomers(catalogue: Catalogue, assigned: Assigned, refused: Sequence[Query]) -> Latecomers:
    """Take in, by worth, all of each query that a plan has room for.

    Args:
        catalogue: Compiled queries.
        assigned: Who is served.
        refused: Who is not, or not in full.
    """
    chosen, some = Selection.of(catalogue, together(assigned)[0]), list(refused)
    rests = {query.id: 1.0 for query in refused}
    for placed, share in assigned:
        if placed.query.id in rests:
            rests[placed.query.id] -= share
    came: list[tuple[PlacedPlan, float]] = []
    within: dict[str, Sequence[PlacedPlan | None]] = {}
    for _ in range(_PASSES):
        within, more = _pass(chosen, some, rests)
        came += more
        there = {placed.query.id for placed, _ in more}
        some = [query for query in some if query.id not in there]
        if not more:
            break
    return Latecomers(joined(assigned, came), within)


def joined(assigned: Assigned, more: Assigned) -> list[tuple[PlacedPlan, float]]:
    """All of these, with shares of the same plan of a query added up."""
    found: dict[tuple[object, ...], tuple[PlacedPlan, float]] = {}
    for placed, share in (*assigned, *more):
        key = (placed.query.id, way_of(placed.plan))
        found[key] = placed, share + (found[key][1] if key in found else 0.0)
    return list(found.values())


def _pass(
    chosen: Selection, refused: Sequence[Query], rests: Mapping[str, float]
) -> tuple[dict[str, Sequence[PlacedPlan | None]], list[tuple[PlacedPlan, float]]]:
    """Take in who fits; of the others the plans that were looked for since the last one came."""
    fully = thorough(refused)
    within: dict[str, Sequence[PlacedPlan | None]] = {}
    came: list[tuple[PlacedPlan, float]] = []
    known: dict[tuple[object, ...], Sequence[PlacedPlan | None]] = {}  # of who does not fit
    for query in sorted(refused, key=lambda q: -q.demand_rps * rests[q.id]):
        rest = rests[query.id]
        if query.demand_rps <= 0:
            continue
        key = (*shape_of(query), query.count, rest)
        if key in known:
            within[query.id] = known[key]
            continue
        plans = within_objectives(chosen.catalogue, chosen.ledger, query, rest, thorough=fully)
        fits = (p for p in plans if p is not None and chosen.judge(p, rest) is None)
        placed = next(fits, None)
        if placed is None:
            within[query.id] = known[key] = plans
        else:
            chosen.admit(placed, rest)
            came.append((placed, rest))
            within, known = {}, {}
    return within, came
