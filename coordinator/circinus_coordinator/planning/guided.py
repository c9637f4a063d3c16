"""Admitting plans one by one where they keep each other waiting, led by the relaxation's prices.

The relaxation knows which plans are good and who is worth serving, but nothing of waiting. Here
its candidates are put on the ledger in the order of their worth; a plan stands only if it and
everybody it shares a machine with keep their SLOs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence

from circinus.decision import Plan
from circinus.query import Query
from circinus_coordinator.planning.guide import Advice, Guide
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.selection import (
    FINE,
    LEAST_SHARE,
    Selection,
    admit,
    largest,
    linear_limit,
    readmit,
    rounded,
    splittable,
)
from circinus_coordinator.planning.uses import InstanceKey

__all__ = ["Admission", "guided", "shaken"]

# Machines of a group that one query is spread over by one plan, at most.
_MACHINES = 64
# Parts of what is left of the traffic that a plan is tried with; what stands is then raised.
_PARTS = (1.0, 0.2)
# How exactly a share is raised, relative, once queries are more than this many: the room that is
# left over goes to others.
_ROUGH, _MANY = 0.02, 24


def guided(
    guide: Guide,
    order: Sequence[Query],
    previous: Mapping[str, Sequence[tuple[float, Plan]]],
    *,
    closed: frozenset[str] = frozenset(),
    keep: bool = False,
    headroom: float = 1.0,
) -> Selection:
    """Admit queries in this order, each by the plans the guide advises.

    Args:
        guide: The advice.
        order: Queries, first come first served.
        previous: For each query the shares and plans it had; tried first.
        closed: Devices nothing may be placed on.
        keep: Take previous plans over before anybody else is served.
        headroom: Part of their latency SLOs that plans are admitted within: who comes with no time
            to spare keeps everybody else away.
    """
    catalogue = guide.market.catalogue
    chosen = Selection(catalogue, Ledger(catalogue.scenario))
    for query in order if keep else ():
        for share, plan in previous.get(query.id, ()):
            readmit(chosen, query, share, plan)
    chosen.headroom = headroom
    Admission(guide, chosen, closed).serve(order, previous)
    chosen.headroom = 1.0
    return chosen


class Admission:
    """Admits queries to a selection; what was refused once is not tried again, as loads only grow.

    Args:
        guide: The advice.
        chosen: What is admitted so far.
        closed: Devices nothing may be placed on.
    """

    def __init__(
        self, guide: Guide, chosen: Selection, closed: frozenset[str] = frozenset()
    ) -> None:
        self._guide, self._chosen, self._closed = guide, chosen, closed
        many = len(chosen.catalogue.scenario.queries) > _MANY
        self._precision = _ROUGH if many else FINE
        # For the instances of a plan the least rate that was too much for others.
        self._refused: dict[tuple[InstanceKey, ...], float] = {}

    def serve(
        self, order: Iterable[Query], previous: Mapping[str, Sequence[tuple[float, Plan]]]
    ) -> None:
        """Admit queries, first come first served, each by its previous plans first."""
        chosen = self._chosen
        for query in order:
            for share, plan in previous.get(query.id, ()):
                if chosen.share_of(query.id) + share <= 1 + 1e-6:
                    readmit(chosen, query, share, plan)
            if query.demand_rps > 0:
                self._admit(query)
            else:  # worth nothing, so the relaxation has nothing to say of it
                pricing = Pricing(usd=self._guide.solution.usd, closed=self._closed)
                admit(chosen, query, pricing)

    def _admit(self, query: Query) -> None:
        guide, chosen = self._guide, self._chosen
        position = guide.position[query.id]
        unit = 0.0 if splittable(chosen.catalogue, query) else 1.0 / query.count
        rest = 1.0 - chosen.share_of(query.id)
        if rest < max(unit * (1 - 1e-6), LEAST_SHARE):
            return
        for advice in guide.candidates(position):
            # One machine of a group after another, as long as the query gets more from it.
            for _ in range(_MACHINES):
                before = rest
                for devices in self.bindings(advice):
                    placed = guide.binder.placed(position, advice.kind, advice.template, devices)
                    rest -= self._admit_share(placed, rest, unit)
                    if rest < max(unit * (1 - 1e-6), LEAST_SHARE):
                        return
                if rest == before:
                    break

    def _admit_share(self, placed: PlacedPlan, rest: float, unit: float) -> float:
        """Admit as much of `rest` as the plan takes; how much that is."""
        chosen = self._chosen
        most = min(rest, linear_limit(chosen, placed))
        if most < LEAST_SHARE * 1e-4 or chosen.hopeless(placed):
            return 0.0
        keys = tuple(step.key for step in placed.use.steps)
        rate = placed.query.rate_rps * placed.query.count
        tried: set[float] = set()
        for part in _PARTS:
            share = rounded(most * part, unit)
            if share in tried or share > most * (1 + 1e-9) or share < LEAST_SHARE * 1e-4:
                continue
            tried.add(share)
            if share * rate >= self._refused.get(keys, math.inf):
                continue
            verdict = chosen.judge(placed, share)
            if verdict is None:
                if part < 1:
                    share = largest(chosen, placed, share, rest, unit, precision=self._precision)
                chosen.admit(placed, share)
                return share
            if verdict[0] == "resource":
                self._refused[keys] = share * rate
        return 0.0

    def bindings(self, advice: Advice) -> Iterator[tuple[str, ...]]:
        """Machines for the candidate's positions: the fullest in use, then the freest."""
        members, chosen = self._guide.market.sites.members, self._chosen
        devices = [members[node][0] for node in advice.nodes]
        groups = [at for at in advice.slots if len(members[advice.nodes[at]]) > 1]
        fixed = {devices[at] for at in advice.slots if at not in groups}
        if fixed & self._closed:
            return
        seen: set[tuple[str, ...]] = set()
        for packed in (True, False):
            taken, some = set(fixed), list(devices)
            for at in groups:
                free = chosen.free_cores(members[advice.nodes[at]], taken | self._closed)
                if not free:
                    return
                used = [d for d, left in free.items() if left > 0 and chosen.ledger.in_use(d)]
                device = min(used, key=free.__getitem__) if packed and used else ""
                some[at] = device or max(free, key=free.__getitem__)
                taken.add(some[at])
            binding = tuple(some)
            if binding not in seen:
                seen.add(binding)
                yield binding


def shaken(worth: Mapping[str, float], generator: random.Random, by: float) -> dict[str, float]:
    """The same worths, each moved about by up to `by` either way, on a logarithmic scale."""
    return {k: v * math.exp(generator.uniform(-by, by)) for k, v in worth.items()}
