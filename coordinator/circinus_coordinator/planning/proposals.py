"""Plans that a query turned away might be served by, if something changed."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from circinus.query import Query
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.labels import Aim, Limits, solve
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Choice, Moving, Pricing, offers
from circinus_coordinator.planning.placed import PlacedPlan, arrival_scv, place, plan_of, streams
from circinus_coordinator.planning.programme import Programme
from circinus_coordinator.planning.scene import Scene
from circinus_coordinator.planning.search import bound_slots, limits_of
from circinus_coordinator.planning.uses import MEMORY, Resource

__all__ = ["proposals", "within_objectives"]

_ANY = -1.0  # in place of an accuracy floor: none
# Machines of a group that are told apart: what is in use, and what is free.
_SLOTS = 2
# Price of a resource: how full it is, to this power. Only what is nearly full matters then.
_POWER = 4


def proposals(
    scene: Scene,
    query: Query,
    share: float,
    *,
    thorough: bool,
    within: Sequence[PlacedPlan | None] | None = None,
) -> Iterator[PlacedPlan]:
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
        within: Those within its objectives, where they are known.
    """
    seen: list[PlacedPlan] = []
    asked = _Asked(scene.catalogue, scene.ledger, query, share)
    if within is None:
        within = asked.within(thorough)
    for plan in (*within, *_beyond(asked, thorough, any(plan is not None for plan in within))):
        if plan is not None and all(plan.plan != known.plan for known in seen):
            seen.append(plan)
            yield plan


def within_objectives(
    catalogue: Catalogue, ledger: Ledger, query: Query, share: float, *, thorough: bool
) -> list[PlacedPlan | None]:
    """The first of the `proposals`, None for each that is not there."""
    return _Asked(catalogue, ledger, query, share).within(thorough)


def _beyond(asked: _Asked, thorough: bool, possible: bool) -> Iterator[PlacedPlan | None]:
    """Plans that leave objectives behind; fewer where there are some that do not."""
    if possible and not thorough:
        return
    query, limits, floor, clear = asked.query, asked.limits, asked.floor, asked.clear_of_full
    for pricing, loaded in ((clear, False), (clear, True))[: 2 if thorough else 1]:
        if possible and not loaded:
            continue
        slo = query.slo
        if slo.latency_ms is not None:
            yield asked.best(Limits(usd=limits.usd), floor, Aim.LATENCY, pricing, loaded)
        if slo.cost_usd_per_1000 is not None:
            free = dataclasses.replace(limits, usd=np.inf)
            yield asked.best(free, floor, Aim.VALUE, asked.cheapest, loaded)
            yield asked.best(free, floor, Aim.VALUE, pricing, loaded)
        if slo.accuracy is not None:
            yield asked.most_accurate(limits, floor, pricing, loaded)
            yield asked.best(limits, _ANY, Aim.VALUE, pricing, loaded)
        yield from asked.anything(pricing, loaded)


_Offered = tuple[Sequence[str], Sequence[Choice], Moving]


class _Asked:
    """One query's programme, asked in many ways."""

    def __init__(self, catalogue: Catalogue, ledger: Ledger, query: Query, share: float) -> None:
        self.catalogue, self.ledger, self.query, self.share = catalogue, ledger, query, share
        self.limits = limits_of(query.slo)
        self.floor = _ANY if query.slo.accuracy is None else query.slo.accuracy
        self._empty = Ledger(catalogue.scenario)
        self.cheapest = Pricing()
        self._known: dict[tuple[int, bool], _Offered] = {}  # by price list, which are all kept

    def within(self, thorough: bool) -> list[PlacedPlan | None]:
        """Plans within the query's objectives, at several prices; some may be the same."""
        prices = [self.cheapest, self.clear_of_full, *([self.taking_little] if thorough else [])]
        return [self.best(self.limits, self.floor, Aim.VALUE, pricing) for pricing in prices]

    @functools.cached_property
    def clear_of_full(self) -> Pricing:
        """Prices that make what is nearly full dear, and dollars nearly nothing."""
        ledger = self.ledger
        full: dict[Resource, float] = {}
        for resource in [*ledger.linear, *((MEMORY, d) for d in ledger.devices())]:
            capacity = ledger.capacity(resource)
            if 0 < capacity < np.inf:
                full[resource] = (ledger.load(resource) / capacity) ** _POWER / capacity
        return Pricing(usd=1e-9, of=full)

    @functools.cached_property
    def taking_little(self) -> Pricing:
        """Prices that make a machine's worth of everything equally dear."""
        scenario, ledger = self.catalogue.scenario, self.ledger
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
        catalogue, query = self.catalogue, self.query
        programme = catalogue.programme(query, slots=_SLOTS, floor=floor)
        bound, choices, moving = self._offered(programme, pricing, loaded)
        programme = programme.bind(bound)
        found = solve(programme, choices, moving, limits, aim=aim)
        if found is None:
            return None
        placed = place(catalogue, query, plan_of(programme, found))
        # Over a link without bandwidth nothing ever arrives.
        return placed if math.isfinite(placed.latency_ms()) else None

    def _offered(self, programme: Programme, pricing: Pricing, loaded: bool) -> _Offered:
        """Machines and prices, which are the same for every accuracy floor."""
        key = (id(pricing), loaded)
        if key not in self._known:
            bound = bound_slots(programme, self.ledger, pricing)
            query = self.query
            choices, moving = offers(
                bound,
                self.ledger if loaded else self._empty,
                pricing,
                rate_rps=query.rate_rps * query.count * self.share if loaded else 0.0,
                streams=streams(query, self.share) if loaded else 1.0,
                scv=arrival_scv(query),
            )
            self._known[key] = bound.devices, choices, moving
        return self._known[key]

    def most_accurate(
        self, limits: Limits, floor: float, pricing: Pricing, loaded: bool
    ) -> PlacedPlan | None:
        """The highest accuracy within the other objectives; feasibility is monotone in it.

        More than `floor` is not looked for: the answer is mostly near the first level asked.
        """
        levels = self.catalogue.accuracy(self.query.pipeline).levels()
        low = max(0, sum(level >= floor for level in levels) - 1)
        best, high, step = None, len(levels), 1  # the answer lies in levels[low:high]
        while low < high:
            at = min(low + step - 1, high - 1) if best is None else (low + high) // 2
            found = self.best(limits, levels[at], Aim.VALUE, pricing, loaded)
            if found is None:
                low, step = at + 1, 2 * step
            else:
                best, high = found, at
        return best

    def anything(self, pricing: Pricing, loaded: bool) -> Iterator[PlacedPlan | None]:
        """Plans that leave several objectives behind."""
        accurate = self.most_accurate(Limits(), math.inf, pricing, loaded)
        floor = _ANY if accurate is None or accurate.accuracy is None else accurate.accuracy
        wanted = self.query.slo.accuracy
        floor = floor if wanted is None else min(floor, wanted)
        yield self.best(Limits(), floor, Aim.LATENCY, pricing, loaded)
        yield self.best(Limits(), floor, Aim.VALUE, self.cheapest, loaded)
        yield self.best(Limits(), _ANY, Aim.LATENCY, pricing, loaded)
