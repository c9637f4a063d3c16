"""Who is admitted, and who of them may have to wait for whom."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.uses import InstanceKey, Resource
from circinus_coordinator.planning.watch import Watch

__all__ = ["Admitted", "Tenant", "Tenants"]


@dataclass(frozen=True, slots=True)
class Admitted:
    """A plan with the share of the query's traffic it carries."""

    placed: PlacedPlan
    share: float


class Tenant:
    """A plan that is admitted, with the share of the query's traffic it carries."""

    __slots__ = ("placed", "share", "watch")

    def __init__(self, placed: PlacedPlan, share: float) -> None:
        self.placed, self.share, self.watch = placed, share, Watch(placed)

    @property
    def places(self) -> list[str | Resource]:
        """Devices it runs on, and wires it sends over; none twice."""
        use = self.placed.use
        return [*dict.fromkeys(step.device for step in use.steps), *use.wires]

    @property
    def worth(self) -> float:
        """Weighted rate it serves."""
        return self.placed.query.demand_rps * self.share


class Tenants:
    """Everybody who is admitted, in the order they came, by query, instance and wire."""

    def __init__(self) -> None:
        # Dictionaries in place of sets, whose order is not the same from run to run.
        self._all: dict[Tenant, None] = {}
        self._of: dict[str, dict[Tenant, None]] = {}
        self._users: dict[InstanceKey, dict[Tenant, None]] = {}
        self._senders: dict[Resource, dict[Tenant, None]] = {}

    def __iter__(self) -> Iterator[Tenant]:
        return iter(self._all)

    def __contains__(self, tenant: Tenant) -> bool:
        return tenant in self._all

    def like(self, placed: PlacedPlan) -> Tenant | None:
        """Who has this very plan for the query, if anybody."""
        for tenant in self._of.get(placed.query.id, ()):
            if tenant.placed.plan == placed.plan:
                return tenant
        return None

    def add(self, tenant: Tenant) -> None:
        """Take a tenant in, last of all."""
        self._all[tenant] = None
        self._of.setdefault(tenant.placed.query.id, {})[tenant] = None
        for step in tenant.placed.use.steps:
            self._users.setdefault(step.key, {})[tenant] = None
        for wire in tenant.placed.use.wires:
            self._senders.setdefault(wire, {})[tenant] = None

    def drop(self, tenant: Tenant) -> None:
        """Take a tenant out."""
        del self._all[tenant]
        del self._of[tenant.placed.query.id][tenant]
        for step in tenant.placed.use.steps:
            self._users[step.key].pop(tenant, None)
        for wire in tenant.placed.use.wires:
            del self._senders[wire][tenant]

    def share_of(self, query: str) -> float:
        """Share of the query's traffic."""
        return math.fsum(tenant.share for tenant in self._of.get(query, ()))

    def of(self, query: str) -> Collection[Tenant]:
        """The query's plans."""
        return self._of.get(query, {})

    def using(self, key: InstanceKey) -> Collection[Tenant]:
        """Who uses an instance."""
        return self._users.get(key, {})

    def sending(self, wire: Resource) -> Collection[Tenant]:
        """Who sends over a wire."""
        return self._senders.get(wire, {})
