"""Queries turned away that find room after all, once everybody else is settled.

Admission tries what the relaxation advises. Explaining a refusal looks for plans that keep clear of
what is full, and now and then one of them fits as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circinus.query import Query
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.explain import WHOLE, thorough
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.proposals import within_objectives
from circinus_coordinator.planning.selection import Selection

__all__ = ["Latecomers", "Within", "latecomers"]


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

    assigned: Sequence[tuple[PlacedPlan, float]]
    within: Within


def latecomers(
    catalogue: Catalogue, assigned: Sequence[tuple[PlacedPlan, float]], refused: Sequence[Query]
) -> Latecomers:
    """Take in, by worth, all of each query that a plan has room for.

    Args:
        catalogue: Compiled queries.
        assigned: Who is served.
        refused: Who is not, or not in full.
    """
    chosen, some = Selection.of(catalogue, assigned), list(refused)
    within: dict[str, Sequence[PlacedPlan | None]] = {}
    for _ in range(_PASSES):
        within = _pass(chosen, [q for q in some if q.demand_rps > 0], thorough(some))
        left = [query for query in some if chosen.share_of(query.id) < WHOLE]
        if len(left) == len(some):
            break
        some = left
    came = len(some) < len(refused)
    return Latecomers(chosen.assigned if came else assigned, within)


def _pass(
    chosen: Selection, refused: Sequence[Query], thorough: bool
) -> dict[str, Sequence[PlacedPlan | None]]:
    """Take in who fits; of the others the plans that were looked for since the last one came."""
    rests = {query.id: 1 - chosen.share_of(query.id) for query in refused}
    within: dict[str, Sequence[PlacedPlan | None]] = {}
    for query in sorted(refused, key=lambda q: -q.demand_rps * rests[q.id]):
        rest = rests[query.id]
        plans = within_objectives(chosen.catalogue, chosen.ledger, query, rest, thorough=thorough)
        fits = (p for p in plans if p is not None and chosen.judge(p, rest) is None)
        placed = next(fits, None)
        if placed is None:
            within[query.id] = plans
        else:
            chosen.admit(placed, rest)
            within = {}
    return within
