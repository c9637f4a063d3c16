"""Making room: a newcomer displaces who is in its way, where that serves more in the end.

Whoever comes early may keep its machines from everybody who comes later, though it be worth little:
a small query filled to its latency limit lets nobody wait there a moment longer. So a query that is
not served whole is put where it would go, those whom this makes too late or finds no room for are
taken out, and what was taken out is admitted anew as well as it goes ("ruin and recreate": Schrimpf
et al., J. Computational Physics 159, 2000; accepted up to a deviation from the record: Dueck,
J. Computational Physics 104, 1993).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from circinus.query import Query
from circinus_coordinator.planning.alike import way_of
from circinus_coordinator.planning.guide import Guide
from circinus_coordinator.planning.guided import Admission, shaken
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.selection import (
    LEAST_SHARE,
    Selection,
    linear_limit,
    rounded,
    splittable,
)
from circinus_coordinator.planning.tenants import Tenant
from circinus_coordinator.planning.uses import Resource

__all__ = ["Displacing"]

# Parts of what is left of its traffic that a newcomer comes with.
_PARTS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05)
# What may be taken out for a newcomer, in parts of its worth; some of it finds room elsewhere.
_MOST_GONE = 1.3
# A query that cannot be served, however much it is worth, must not keep everybody else from coming:
# none comes more often than so many times the one in the middle.
_LARGEST = 20.0
# Others who are not served whole and get another chance each time.
_OTHERS = 3
# How far orders and victims are moved about, on a logarithmic scale.
_SHAKE = 0.5
# A selection goes on as the present one though it serves less than the best, by this part.
_DEVIATION = 0.005
# Halvings of a share until a plan is in time on an empty fleet.
_HALVINGS = 4
# A share that is all of it, but for what is not worth a newcomer.
_WHOLE = 1 - 1e-3


class Displacing:
    """Improves a selection, one newcomer after the other.

    Args:
        guide: What plans are worth trying.
        chosen: The selection; changed.
        queries: Who may be served.
        worth: Of each query, for the order in which they are admitted.
        generator: Decides who comes, and where.
        closed: Devices nothing may be placed on.

    Attributes:
        best: The plans and shares that serve most, of all so far.
        goodput_rps: Weighted rate they serve.
    """

    def __init__(
        self,
        guide: Guide,
        chosen: Selection,
        queries: Sequence[Query],
        worth: Mapping[str, float],
        generator: random.Random,
        closed: frozenset[str] = frozenset(),
    ) -> None:
        self._guide, self._chosen, self._closed = guide, chosen, closed
        self._queries = [q for q in queries if q.demand_rps > 0]
        self._worth, self._random = worth, generator
        self._vain: set[tuple[object, ...]] = set()  # newcomers for whom there is no room now
        self._touchy: dict[Tenant, int] = {}  # how often somebody could not come for their sake
        self._alone: dict[tuple[int, int, tuple[str, ...]], float] = {}
        self._now = self._served()
        self.goodput_rps = self._now
        self.best = self._plans()

    def attempt(self) -> None:
        """One newcomer; all is as before if that serves too little."""
        chosen = self._chosen
        open_ = [q for q in self._queries if chosen.share_of(q.id) < _WHOLE]
        if not open_:
            return
        rests = [q.demand_rps * (1 - chosen.share_of(q.id)) for q in open_]
        most = _LARGEST * sorted(rests)[len(rests) // 2]
        rests = [min(rest, most) for rest in rests]
        query, *others = self._random.choices(open_, rests, k=1 + _OTHERS)
        found = self._newcomer(query)
        if found is None:
            return
        key = (query.id, way_of(found[0].plan), found[1])
        if key in self._vain:
            return
        chosen.begin()
        gone = self._made_room(*found)
        if gone is None:
            self._vain.add(key)
        else:
            again = {q.id: q for q in (query, *gone, *others)}
            worth = shaken({k: self._worth[k] for k in again}, self._random, _SHAKE)
            order = sorted(again.values(), key=lambda q: -worth[q.id])
            Admission(self._guide, chosen, self._closed).serve(order, {})
            after = self._served()
            if after >= self.goodput_rps * (1 - _DEVIATION):
                chosen.keep()
                self._now = after
                self._vain.clear()
                if after > self.goodput_rps:
                    self.goodput_rps, self.best = after, self._plans()
                return
        chosen.take_back()

    def _served(self) -> float:
        return math.fsum(tenant.worth for tenant in self._chosen.tenants)

    def _plans(self) -> list[tuple[PlacedPlan, float]]:
        return [(tenant.placed, tenant.share) for tenant in self._chosen.tenants]

    def _newcomer(self, query: Query) -> tuple[PlacedPlan, float] | None:
        """A plan for a query and the share that it comes with."""
        position = self._guide.position[query.id]
        advised = self._guide.candidates(position)
        if not advised:
            return None
        advice = self._random.choice(advised)
        admission = Admission(self._guide, self._chosen, self._closed)
        bindings = list(admission.bindings(advice))
        if not bindings:
            return None
        devices = self._random.choice(bindings)
        placed = self._guide.binder.placed(position, advice.kind, advice.template, devices)
        unit = 0.0 if splittable(self._chosen.catalogue, query) else 1.0 / query.count
        alone = self._most_alone(placed, (position, advice.template, devices), unit)
        rest = 1 - self._chosen.share_of(query.id)
        share = rounded(min(alone, rest * self._random.choice(_PARTS)), unit)
        if share > min(alone, rest) * (1 + 1e-9) or share < LEAST_SHARE:
            return None
        return placed, share

    def _most_alone(
        self, placed: PlacedPlan, key: tuple[int, int, tuple[str, ...]], unit: float
    ) -> float:
        """A share that the plan manages on an empty fleet; 0 where there is none."""
        if key not in self._alone:
            empty = Selection(self._chosen.catalogue, Ledger(self._chosen.catalogue.scenario))
            share = rounded(min(1.0, linear_limit(empty, placed)), unit)
            for _ in range(_HALVINGS):
                if share <= 1 and empty.judge(placed, share) is None:
                    break
                share = rounded(share / 2, unit)
            else:
                share = 0.0
            self._alone[key] = share
        return self._alone[key]

    def _made_room(self, placed: PlacedPlan, share: float) -> list[Query] | None:
        """Admit a plan and take out whoever is in its way; None where they are worth too much."""
        chosen = self._chosen
        tenant = chosen.admit(placed, share)
        left = placed.query.demand_rps * share * _MOST_GONE
        gone: list[Query] = []

        def take_out(victim: Tenant) -> bool:
            nonlocal left
            left -= victim.worth
            if left >= 0:
                chosen.withdraw(victim)
                gone.append(victim.placed.query)
            return left >= 0

        while over := chosen.ledger.violations(chosen.ledger.resources(placed.use)):
            users = self._least_first(self._users(tenant, over[0][0]))
            if not users or not take_out(users[0]):
                return None
        near = [other for other in chosen.near(placed) if other is not tenant]
        # Nobody worth too much may be late: asked first, as this is what mostly decides.
        for other in sorted(near, key=self._touched, reverse=True):
            if other.worth > left and other.watch.late(chosen.ledger):
                self._touchy[other] = self._touchy.get(other, 0) + 1
                return None
        # Who is in time stays so as others go.
        for other in self._least_first([(t, 1.0) for t in near if t.worth <= left]):
            if other.watch.late(chosen.ledger) and not take_out(other):
                return None
        while tenant.watch.late(chosen.ledger):
            beside = self._least_first(self._neighbours(tenant))
            if not beside or not take_out(beside[0]):
                return None
        return gone

    def _touched(self, tenant: Tenant) -> int:
        return self._touchy.get(tenant, 0)

    def _least_first(self, tenants: Sequence[tuple[Tenant, float]]) -> list[Tenant]:
        """By worth for what they take, shaken."""
        keys = [t.worth / amount * self._shaken() for t, amount in tenants]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return [tenants[k][0] for k in order]

    def _shaken(self) -> float:
        return math.exp(self._random.uniform(-_SHAKE, _SHAKE))

    def _users(self, tenant: Tenant, resource: Resource) -> list[tuple[Tenant, float]]:
        """Others that use a resource, and how much of it."""
        found = []
        for other in self._chosen.tenants:
            if other is not tenant and resource in self._chosen.ledger.resources(other.placed.use):
                query = other.placed.query
                rate = query.rate_rps * query.count * other.share
                amount = other.placed.use.linear.get(resource, 0.0) * rate
                found.append((other, amount if amount > 0 else 1e-9))
        return found

    def _neighbours(self, tenant: Tenant) -> list[tuple[Tenant, float]]:
        """Others on the machines of a plan, and how many workers they keep busy there."""
        devices = {step.device for step in tenant.placed.use.steps}
        found = []
        for other in self._chosen.tenants:
            query = other.placed.query
            rate = query.rate_rps * query.count * other.share
            busy = math.fsum(
                step.erlang_ms / 1e3 * rate
                for step in other.placed.use.steps
                if step.device in devices
            )
            if busy > 0 and other is not tenant:
                found.append((other, busy))
        return found
