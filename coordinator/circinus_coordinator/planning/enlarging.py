"""Machines and links enlarged step by step until a newcomer makes nobody late."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from circinus.decision import Relaxation
from circinus_coordinator.planning.labels import TOLERANCE
from circinus_coordinator.planning.placed import PlacedPlan, place, stream
from circinus_coordinator.planning.scene import Scene
from circinus_coordinator.planning.tenants import Tenant
from circinus_coordinator.planning.uses import LINK, UPLINK, Resource, planned
from circinus_coordinator.planning.whatif import grown

__all__ = ["Enlarging"]

# Of the waits on a request's way, those of this part of the longest.
_MATTERS = 0.1


class Enlarging:
    """A scene that a newcomer joined, on a fleet that may grow.

    The scene's own ledger carries the newcomer until `leave`; what a step does not enlarge is not
    worked out again.

    Args:
        scene: Who is served.
        placed: The newcomer's plan.
        share: Of its query's traffic.
    """

    def __init__(self, scene: Scene, placed: PlacedPlan, share: float) -> None:
        self._scene = scene
        self._own = Tenant(placed, share)
        self._ledger = scene.ledger
        self._undos: list[Callable[[], None]] = []
        self._more: Mapping[Resource, Relaxation] = {}
        self._instead: dict[Tenant, Tenant] = {}  # looked up again over wider links
        self._add(self._own)

    def leave(self) -> None:
        """The scene is as it was."""
        for undo in reversed(self._undos):
            undo()
        self._undos.clear()

    def overloads(self) -> list[tuple[Resource, float]]:
        """Resources without room for the newcomer on the fleet as it is, scarcest first; loads."""
        ledger = self._ledger
        over = ledger.violations(ledger.resources(self._own.placed.use))
        return [(resource, ledger.load(resource)) for resource, _ in over]

    def grow(self, more: Mapping[Resource, Relaxation]) -> None:
        """With so much of some resources; `more` only grows from call to call.

        Transfers take less time over a wider link, so all who use it are looked up again.
        """
        wider = {
            resource
            for resource, change in more.items()
            if resource[0] in (LINK, UPLINK) and self._more.get(resource) != change
        }
        fleet = grown(self._scene.scenario, more.values())
        self._ledger, self._more = self._ledger.on(fleet), dict(more)
        if not wider:
            return
        users = dict.fromkeys(
            tenant
            for wire in self._scene.at
            if not isinstance(wire, str) and planned(wire) in wider
            for tenant in self._scene.at[wire]
        )
        if any(planned(wire) in wider for wire in self._own.placed.use.wires):
            users[self._own] = None
        for tenant in users:
            now = self._instead.get(tenant, tenant)
            self._undos.append(self._ledger.remove(now.placed.use, *stream(now.placed, now.share)))
            again = place(self._scene.catalogue, now.placed.query, now.placed.plan, network=fleet)
            self._instead[tenant] = Tenant(again, now.share)
        for tenant in users:
            self._add(self._instead[tenant])

    def _add(self, tenant: Tenant) -> None:
        add = self._ledger.add(tenant.placed.use, *stream(tenant.placed, tenant.share))
        self._undos.append(add)

    @property
    def _placed(self) -> PlacedPlan:
        return self._instead.get(self._own, self._own).placed

    def latency_ms(self) -> float:
        """Of the newcomer."""
        return self._placed.latency_ms(self._ledger)

    def hurt(self) -> list[PlacedPlan]:
        """Who of those served on the plan's machines and links would be late."""
        found = dict.fromkeys(
            tenant for where in self._own.places for tenant in self._scene.at.get(where, ())
        )
        there = [self._instead.get(tenant, tenant) for tenant in found]
        return [tenant.placed for tenant in there if tenant.watch.late(self._ledger)]

    def narrow(self, late: Iterable[PlacedPlan]) -> list[Resource]:
        """Resources of the newcomer that those who are late wait for most."""
        ledger, use = self._ledger, self._placed.use
        devices, wires = {step.device for step in use.steps}, use.wires
        found: dict[Resource, float] = {}
        for plan in late:
            for step in plan.use.steps:
                if step.device not in devices:
                    continue
                for name, seconds in step.compute_s.items():
                    resource = (name, step.device)
                    wait = ledger.line_wait(resource, step.key) if seconds > 0 else 0.0
                    found[resource] = max(wait, found.get(resource, 0.0))
            for wire in plan.use.wires.keys() & wires.keys():
                wait = ledger.wires.wait((wire,), regular=plan.use.scv == 0)[0]
                found[planned(wire)] = max(wait, found.get(planned(wire), 0.0))
        most = max(found.values(), default=0.0)
        return sorted(r for r, wait in found.items() if wait > 0 and wait >= most * _MATTERS)

    def step(self, limit_ms: float) -> tuple[float, list[PlacedPlan], list[Resource]]:
        """The newcomer's latency, who else is late, and what to enlarge next."""
        ms, hurt = self.latency_ms(), self.hurt()
        in_time = ms <= limit_ms * (1 + TOLERANCE) and math.isfinite(ms)
        return ms, hurt, self.narrow(hurt if in_time else [*hurt, self._placed])
