"""Asking the exact programme for the plan of least price, and what its answer proves."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.fleet import SECONDS_PER_HOUR
from circinus_coordinator.planning.decomposition.pricing import exact
from circinus_coordinator.planning.renting.demand import Demand

__all__ = ["Cut", "Prices", "ask"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_AT_ONCE = 256
# Relative error of a least value: it is a sum of some dozens of products.
_ROUNDING = 1e-12
# Of the known plans, the cheapest so many of a unit go into the choice.
_CHEAPEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices, US dollars per hour for one unit per second.

    Attributes:
        rows: `(rows,)` of core-seconds and megabits; rent included.
        links: `(links,)` of requests.
        goodput: Of weighted requests: what one more is worth.
    """

    rows: FloatArray
    links: FloatArray
    goodput: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What is known of all plans: none of unit u is cheaper than `least[u]` at these prices."""

    rows: FloatArray
    links: FloatArray
    least: FloatArray


def ask(demand: Demand, prices: Prices) -> tuple[Cut, IntArray, IntArray, int]:
    """Price every unit exactly.

    Returns:
        What is proved; columns worth adding, as (unit, template); and how many plans are new.
    """
    units = demand.units
    least = np.full(len(units), np.inf)
    worth = prices.goodput * units.weight
    pairs: list[tuple[int, int]] = []
    new = 0
    edges = np.flatnonzero(np.diff(units.kind, prepend=-1, append=-1))
    for a, b in itertools.pairwise(edges):
        number = int(units.kind[a])
        kind, templates = demand.market.classes[number], demand.market.classes[number].templates
        for unit in range(a, b):
            value = demand.values(unit, prices.rows, prices.links)
            value[~demand.meeting(unit)] = np.inf
            least[unit] = min(float(value.min(initial=np.inf)), worth[unit])
            some = np.argsort(value, kind="stable")[:_CHEAPEST]
            pairs += [(unit, int(t)) for t in some if value[t] <= worth[unit]]
        for start in range(a, b, _AT_ONCE):
            some = np.arange(start, min(b, start + _AT_ONCE), dtype=np.int64)
            found = exact(
                kind,
                prices.rows,
                SECONDS_PER_HOUR,
                units.site[some],
                units.ask[some],
                least[some],
                extra=_extra(demand, number, some, prices.links),
                tables=demand.ways[number].tables,
            )
            new += templates.add(found)
            for unit, plan in zip(some.tolist(), found, strict=True):
                if plan is not None:
                    least[unit] = min(least[unit], plan.value)
                    pairs.append((unit, templates.number(plan)))
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    cut = Cut(rows=prices.rows, links=prices.links, least=least * (1 - _ROUNDING))
    return cut, columns[:, 0], columns[:, 1], new


def _extra(demand: Demand, number: int, units: IntArray, links: FloatArray) -> list[FloatArray]:
    """For each step `(units, options)`: links' prices, less what the rent covers."""
    way, steps = demand.ways[number], demand.market.classes[number].programme.steps
    padded = np.append(links, 0.0)
    found = []
    for k, step in enumerate(steps):
        extra = np.repeat(-SECONDS_PER_HOUR * way.machine[k][None], len(units), axis=0)
        for i, unit in enumerate(units.tolist() if demand.linked else ()):
            group = demand.groups(unit)[step.slot]
            link = demand.first[unit] + k * len(demand.bill.members) + group
            extra[i] += padded[np.where(group >= 0, link, -1)]
        found.append(extra)
    return found
