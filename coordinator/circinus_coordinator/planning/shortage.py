"""What a query lacks that has a plan, but no room for it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from circinus.query import Query
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.certificate import Alone
from circinus_coordinator.planning.labels import solve
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing, offers
from circinus_coordinator.planning.placed import (
    PlacedPlan,
    arrival_scv,
    meets,
    place,
    plan_of,
    streams,
)
from circinus_coordinator.planning.relaxation import Explanation, round_up
from circinus_coordinator.planning.search import limits_of
from circinus_coordinator.planning.uses import LINK, MEMORY, UPLINK, WORKER, Resource, describe

__all__ = ["crowded_out"]


def crowded_out(catalogue: Catalogue, ledger: Ledger, solo: Alone, share: float) -> Explanation:
    """A query that would be served if others left it room, or the fleet were larger."""
    query, rest = solo.query, 1.0 - share
    attempts = [
        _attempt(query, ledger, plan, rest) for plan in _alternatives(catalogue, solo, ledger, rest)
    ]
    _, binding, reason, relaxation = min(attempts)
    if share > 0:
        reason = f"{rest:.0%} of its traffic is not served: {reason}"
    return Explanation(
        query=query.id, share=share, binding=binding, reason=reason, relaxation=relaxation
    )


def _alternatives(
    catalogue: Catalogue, solo: Alone, ledger: Ledger, rest: float
) -> Iterable[PlacedPlan]:
    """The plan it would take alone, and the one that keeps clear of what is full."""
    assert solo.best is not None
    yield solo.best
    query = solo.query
    full: dict[Resource, float] = {
        r: (load / capacity) ** 4 / capacity
        for r, load in ledger.linear.items()
        if 0 < (capacity := ledger.capacity(r)) < np.inf
    }
    memory: dict[Resource, float] = {
        (MEMORY, d): (ledger.load((MEMORY, d)) / capacity) ** 4 / capacity
        for d in ledger.devices()
        if (capacity := ledger.capacity((MEMORY, d))) > 0
    }
    programme = catalogue.programme(query, slots=2)
    rate = query.rate_rps * query.count * rest
    choices, moving = offers(
        programme,
        Ledger(catalogue.scenario),
        Pricing(usd=1e-9, of={**full, **memory}),
        rate_rps=rate,
        streams=streams(query, rest),
        scv=arrival_scv(query),
    )
    found = solve(programme, choices, moving, limits_of(query.slo))
    if found is not None:
        yield place(catalogue, query, plan_of(programme, found))


def _attempt(
    query: Query, ledger: Ledger, placed: PlacedPlan, share: float
) -> tuple[float, str, str, str]:
    """(relative shortage, binding, reason, relaxation) of adding this plan to the loads."""
    undo = ledger.add(placed.use, query.rate_rps * query.count * share, streams(query, share))
    try:
        over = ledger.violations(ledger.resources(placed.use))
        if over:
            names = ", ".join(describe(resource) for resource, _ in over)
            lacking = " and ".join(_lacking(ledger, resource) for resource, _ in over)
            return (
                sum(ratio - 1 for _, ratio in over),
                describe(over[0][0]),
                f"there is too little left: {names}",
                f"needs {lacking}",
            )
        if meets(query, placed.estimate(ledger)) == "latency":
            late = placed.latency_ms(ledger) - (query.slo.latency_ms or 0.0)
            if not math.isfinite(late):
                return (
                    math.inf,
                    "latency",
                    "at the planned load its requests would pile up",
                    "needs a lower rate, or a lower max_utilisation for all",
                )
            return (
                late / (query.slo.latency_ms or 1.0),
                "latency",
                "at the planned load it would wait too long",
                f"needs {round_up(late)} ms more latency",
            )
        device = max((s.device for s in placed.use.steps), key=lambda d: ledger.load(("cores", d)))
        return (
            0.0,
            describe(("cores", device)),
            "the waiting it causes would break the latency of queries already served",
            f"needs a less loaded machine beside {device}, or a lower rate",
        )
    finally:
        undo()


def _lacking(ledger: Ledger, resource: Resource) -> str:
    short = ledger.load(resource) - ledger.capacity(resource)
    kind = resource[0]
    if kind == MEMORY:
        return f"{round_up(short)} MB more on {resource[1]}"
    if kind == UPLINK:
        return f"{round_up(short)} Mbit/s more uplink on {resource[1]}"
    if kind == WORKER:
        return f"a faster {resource[2]} on {resource[1]} or a lower rate"
    # Only a part of these may be planned, so the machine or link must grow by more.
    grown = round_up(short / ledger.scenario.max_utilisation)
    if kind == LINK:
        return f"{grown} Mbit/s more between {resource[1]} and {resource[2]}"
    return f"{grown} more {kind} on {resource[1]}"
