"""Every query by itself on the empty fleet, worked out once per class and ask.

The same as `certificate.alone` of each query, but queries of one class differ only in the names
of their machines, so that one run of the programme answers for all asks of a class.
"""

from __future__ import annotations

import math

import numpy as np

from circinus_coordinator.planning.binding import Binder
from circinus_coordinator.planning.certificate import Alone, capacity_rps
from circinus_coordinator.planning.decomposition.classes import Market, QueryClass
from circinus_coordinator.planning.decomposition.pricing import exact
from circinus_coordinator.planning.loads import Ledger

__all__ = ["all_alone"]


def all_alone(market: Market, binder: Binder) -> dict[str, Alone]:
    """Each query's cheapest plan where nothing else runs; plans found join the templates.

    Returns:
        By query id, in the order of the scenario's queries.
    """
    queries = market.catalogue.scenario.queries
    found = {q.id: Alone(query=q, best=None, share=0.0) for q in queries}
    empty = Ledger(market.catalogue.scenario)
    for number, kind in market.of_class():
        best = _cheapest(market, kind)
        rates = [_most_rps(market, kind, site, empty) for site in range(len(kind.sites))]
        for position, site, ask in zip(kind.query, kind.site, kind.ask, strict=True):
            query, template = queries[position], best[int(ask)]
            if template is None:
                continue
            rate = query.rate_rps * query.count
            share = min(1.0, rates[site] / rate * (1 + 1e-9)) if rate > 0 else 1.0
            if not market.splittable[position]:
                share = math.floor(share * query.count * (1 + 1e-9)) / query.count
            devices = _machines(market, kind, int(site))
            placed = binder.placed(int(position), number, template, devices)
            found[query.id] = Alone(query=query, best=placed, share=share)
    return found


def _cheapest(market: Market, kind: QueryClass) -> list[int | None]:
    """For each ask the cheapest plan within it, wherever its queries start."""
    asks = np.arange(len(kind.asks), dtype=np.int64)
    free = np.zeros(len(market.capacity))
    plans = exact(kind, free, 1.0, np.zeros_like(asks), asks, np.full(len(asks), np.inf))
    kind.templates.add(plans)
    return [None if plan is None else kind.templates.number(plan) for plan in plans]


def _machines(market: Market, kind: QueryClass, site: int) -> tuple[str, ...]:
    """One machine for each node of a site, no source standing for others like it."""
    nodes, sources = kind.sites[site].nodes, kind.layout.sources
    members = market.sites.members
    starts = {members[node][0] for node in nodes[:sources]}
    return tuple(
        members[node][0] if k < sources else next(m for m in members[node] if m not in starts)
        for k, node in enumerate(nodes)
    )


def _most_rps(market: Market, kind: QueryClass, site: int, empty: Ledger) -> float:
    """Requests per second at which all machines are busy with the scarcest operator alone."""
    members = market.sites.members
    slots = {k: members[node] for k, node in enumerate(kind.sites[site].nodes)}
    return capacity_rps(kind.programme, slots, empty)
