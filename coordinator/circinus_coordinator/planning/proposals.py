"""Plans that a query turned away might be served by, if something changed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from circinus.query import Query
from circinus_coordinator.planning.labels import Aim, Limits, solve
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing, offers
from circinus_coordinator.planning.placed import PlacedPlan, arrival_scv, place, plan_of, streams
from circinus_coordinator.planning.search import bound_slots, limits_of
from circinus_coordinator.planning.shortage import Scene
from circinus_coordinator.planning.uses import MEMORY, Resource

__all__ = ["proposals"]

_ANY = -1.0  # in place of an accuracy floor: none
# Machines of a group that are told apart: what is in use, and what is free.
_SLOTS = 2
# Price of a resource: how full it is, to this power. Only what is nearly full matters then.
_POWER = 4


def proposals(scene: Scene, query: Query, share: float, *, thorough: bool) -> Iterator[PlacedPlan]:
    """Plans for `share` of the query, none of them twice.

    Within its objectives: the cheapest, the one that keeps clear of what is full, and the one
    that takes least of the machines. With one objective given up: the cheapest, the fastest, the
    most accurate. At last with all given up.

    Args:
        scene: What is served.
        query: Whose plans.
        share: Of its traffic.
        thorough: Also the one that takes least, and those that fit at present loads if an
            objective gives way.
    """
    seen: list[PlacedPlan] = []
    asked = _Asked(scene, query, share)
    for plan in _all(asked, thorough):
        if plan is not None and all(plan.plan != known.plan for known in seen):
            seen.append(plan)
            yield plan


def _all(asked: _Asked, thorough: bool) -> Iterator[PlacedPlan | None]:
    query, limits, floor = asked.query, asked.limits, asked.query.slo.accuracy
    floor = _ANY if floor is None else floor
    clear = asked.clear_of_full()
    prices = (Pricing(), clear, *([asked.taking_little()] if thorough else []))
    within = [asked.best(limits, floor, Aim.VALUE, p) for p in prices]
    yield from within
    possible = any(plan is not None for plan in within)
    if possible and not thorough:
        return
    for pricing, loaded in ((clear, False), (clear, True))[: 2 if thorough else 1]:
        if possible and not loaded:
            continue
        slo = query.slo
        if slo.latency_ms is not None:
            yield asked.best(Limits(usd=limits.usd), floor, Aim.LATENCY, pricing, loaded)
        if slo.cost_usd_per_1000 is not None:
            free = dataclasses.replace(limits, usd=np.inf)
            yield asked.best(free, floor, Aim.VALUE, Pricing(), loaded)
            yield asked.best(free, floor, Aim.VALUE, pricing, loaded)
        if slo.accuracy is not None:
            yield asked.most_accurate(limits, pricing, loaded)
            yield asked.best(limits, _ANY, Aim.VALUE, pricing, loaded)
        yield from asked.anything(pricing, loaded)


class _Asked:
    """One query's programme, asked in many ways."""

    def __init__(self, scene: Scene, query: Query, share: float) -> None:
        self.scene, self.query, self.share = scene, query, share
        self.limits = limits_of(query.slo)
        self._empty = Ledger(scene.scenario)

    def clear_of_full(self) -> Pricing:
        """Prices that make what is nearly full dear, and dollars nearly nothing."""
        ledger = self.scene.ledger
        full: dict[Resource, float] = {}
        for resource in [*ledger.linear, *((MEMORY, d) for d in ledger.devices())]:
            capacity = ledger.capacity(resource)
            if 0 < capacity < np.inf:
                full[resource] = (ledger.load(resource) / capacity) ** _POWER / capacity
        return Pricing(usd=1e-9, of=full)

    def taking_little(self) -> Pricing:
        """Prices that make a machine's worth of everything equally dear."""
        scenario, ledger = self.scene.scenario, self.scene.ledger
        wanted: list[Resource] = [
            (name, device.id)
            for device in scenario.devices
            for name in scenario.class_of(device.id).resources
        ]
        each = {r: ledger.capacity(r) for r in dict.fromkeys([*ledger.linear, *wanted])}
        return Pricing(usd=1e-9, of={r: 1 / most for r, most in each.items() if 0 < most < np.inf})

    def best(
        self, limits: Limits, floor: float, aim: Aim, pricing: Pricing, loaded: bool = False
    ) -> PlacedPlan | None:
        """The best plan for one aim, at present loads or as if there were none."""
        catalogue, query = self.scene.catalogue, self.query
        programme = catalogue.programme(query, slots=_SLOTS, floor=floor)
        programme = bound_slots(programme, self.scene.ledger, pricing)
        choices, moving = offers(
            programme,
            self.scene.ledger if loaded else self._empty,
            pricing,
            rate_rps=query.rate_rps * query.count * self.share if loaded else 0.0,
            streams=streams(query, self.share) if loaded else 1.0,
            scv=arrival_scv(query),
        )
        found = solve(programme, choices, moving, limits, aim=aim)
        if found is None:
            return None
        placed = place(catalogue, query, plan_of(programme, found))
        # Over a link without bandwidth nothing ever arrives.
        return placed if math.isfinite(placed.latency_ms()) else None

    def most_accurate(self, limits: Limits, pricing: Pricing, loaded: bool) -> PlacedPlan | None:
        """The highest accuracy within the other objectives; feasibility is monotone in it."""
        levels = self.scene.catalogue.accuracy(self.query.pipeline).levels()
        low, high = 0, len(levels)  # the answer lies in levels[low:high]
        best = None
        while low < high:
            middle = (low + high) // 2
            found = self.best(limits, levels[middle], Aim.VALUE, pricing, loaded)
            if found is None:
                low = middle + 1
            else:
                best, high = found, middle
        return best

    def anything(self, pricing: Pricing, loaded: bool) -> Iterator[PlacedPlan | None]:
        """Plans that leave several objectives behind."""
        accurate = self.most_accurate(Limits(), pricing, loaded)
        floor = _ANY if accurate is None or accurate.accuracy is None else accurate.accuracy
        wanted = self.query.slo.accuracy
        floor = floor if wanted is None else min(floor, wanted)
        yield self.best(Limits(), floor, Aim.LATENCY, pricing, loaded)
        yield self.best(Limits(), floor, Aim.VALUE, Pricing(), loaded)
        yield self.best(Limits(), _ANY, Aim.LATENCY, pricing, loaded)
