"""In which order queries are taken in, and the best of several orders.

Much of what tells planners apart is admission order alone, so each baseline is measured as it
is, first come first served, and in the best of these.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circinus.query import Query

__all__ = ["BEST", "FIRST_COME", "Footprint", "Order", "arranged"]


class Order(enum.Enum):
    """What comes first."""

    FIRST_COME = "first come"
    VALUE_PER_COST = "weight per dollar"
    VALUE_PER_LOAD = "weight per share of a machine"
    SMALLEST = "smallest demand for machines"
    WORTHIEST = "largest weighted rate"


FIRST_COME = (Order.FIRST_COME,)
BEST = tuple(Order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a request of a query takes by the plan it would choose first, alone.

    Attributes:
        usd: Cost.
        load: Machine time, as a part of a machine.
    """

    usd: float
    load: float


def arranged(
    queries: Sequence[Query], order: Order, footprints: Mapping[str, Footprint]
) -> list[Query]:
    """The queries in this order; ties stay first come first served."""
    if order is Order.FIRST_COME:
        return list(queries)
    return sorted(queries, key=lambda query: _rank(query, order, footprints[query.id]))


def _rank(query: Query, order: Order, footprint: Footprint) -> float:
    if order is Order.VALUE_PER_COST:
        return -query.weight / footprint.usd if footprint.usd > 0 else -math.inf
    if order is Order.VALUE_PER_LOAD:
        return -query.weight / footprint.load if footprint.load > 0 else -math.inf
    if order is Order.SMALLEST:
        return footprint.load * query.rate_rps * query.count
    return -query.demand_rps
