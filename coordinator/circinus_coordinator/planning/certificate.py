"""An upper bound on goodput, for every assignment there is.

A query that has no plan meeting its SLOs alone on the empty, unloaded fleet has none on a
shared one: load only adds waiting. And no query can be served faster than all devices together
can run its scarcest operator. The sum of what remains is a proof, though a weak one: it does
not see that queries compete.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from circinus.query import Query
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.programme import Programme

__all__ = ["Alone", "above", "capacity_rps", "upper_bound"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """A query by itself on the empty fleet.

    Attributes:
        query: The query.
        best: Its cheapest plan within the SLOs, unloaded; None where there is none.
        share: No assignment can serve a larger share of its traffic.
    """

    query: Query
    best: PlacedPlan | None
    share: float

    @property
    def bound_rps(self) -> float:
        """Most it can contribute to goodput."""
        return self.query.demand_rps * self.share if self.best is not None else 0.0


def capacity_rps(
    programme: Programme, members: Mapping[int, tuple[str, ...]], empty: Ledger
) -> float:
    """Requests per second at which the whole fleet is busy with the scarcest operator alone.

    Args:
        programme: The compiled query.
        members: All machines each slot stands for.
        empty: Knows the capacities.
    """
    most = math.inf
    for step in programme.steps:
        for column, resource in enumerate(programme.resources):
            served = 0.0
            for slot in np.unique(step.slot):
                use = float(step.compute[step.slot == slot, column].min())
                if use <= 0:
                    served = math.inf
                    break
                served += (
                    math.fsum(empty.capacity((resource, device)) for device in members[int(slot)])
                    / use
                )
            most = min(most, served)
    return most


def upper_bound(queries: list[Alone]) -> float:
    """Weighted requests per second no assignment can exceed, rounded up."""
    total = math.fsum(query.bound_rps for query in queries)
    return math.nextafter(total * (1 + 1e-12), math.inf) if total > 0 else 0.0


def above(bound_rps: float, goodput_rps: float) -> float:
    """A bound that goodput may touch by rounding.

    Raises:
        AssertionError: If goodput exceeds it by more: then one of the two is wrong, and neither
            may be claimed.
    """
    if goodput_rps > bound_rps * (1 + 1e-6) + 1e-9:
        raise AssertionError(
            f"goodput {goodput_rps} exceeds its bound {bound_rps}: please report the scenario"
        )
    return max(bound_rps, goodput_rps)
