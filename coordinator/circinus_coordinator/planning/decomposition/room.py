"""Real machines as a decision leaves them where nothing waits, and what a plan lacks there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from circinus.decision import Relaxation
from circinus.pipeline import Pipeline
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.recipes import Instance, Recipe
from circinus_coordinator.planning.loads import SLACK
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.relaxation import round_up
from circinus_coordinator.planning.shortage import amount_of, more_of
from circinus_coordinator.planning.uses import LINK, MEMORY, UPLINK, WORKER, Resource, link

__all__ = ["Check", "Room"]


@dataclass(frozen=True, slots=True)
class Check:
    """A resource of a plan, and what a request takes of it.

    Attributes:
        resource: Which.
        have: What there is.
        free: What is left of what may be planned.
        most: What may be planned.
        use: Per request.
    """

    resource: Resource
    have: float
    free: float
    most: float
    use: float


class Room:
    """Machines with all that was placed on them."""

    def __init__(self, market: Market) -> None:
        self._market, self._scenario = market, market.catalogue.scenario
        self.filling = Filling(market)
        self._column = {name: k for k, name in enumerate(market.catalogue.resources)}
        self._busy: dict[tuple[str, Instance], float] = {}
        self._stateful: set[tuple[str, Instance]] = set()
        self._have: dict[Resource, float] = {}
        self._freest: dict[tuple[int, tuple[int, ...]], list[str]] = {}
        self._any_stateful = any(
            spec.stateful
            for pipeline in self._scenario.pipelines.values()
            for spec in pipeline.operators.values()
        )

    def put(self, steps: Recipe, devices: Sequence[str], rate_rps: float) -> None:
        """Place a plan."""
        self.filling.put(steps, devices, rate_rps)
        self._freest.clear()
        for at, instance, seconds, stateful in steps.workers if self._any_stateful else ():
            key = (devices[at], instance)
            if stateful:
                self._stateful.add(key)
            self._busy[key] = self._busy.get(key, 0.0) + seconds * rate_rps

    def bound(self, nodes: Sequence[int], steps: Recipe) -> tuple[str, ...]:
        """The freest machine of each pool for what a plan uses there."""
        members = self._market.sites.members
        taken = {members[node][0] for node in nodes if len(members[node]) == 1}
        devices = [members[node][0] for node in nodes]
        for at, use in steps.compute.items():
            if len(members[nodes[at]]) > 1:
                ranked = self._ranked(nodes[at], tuple(r for r, _ in use), len(taken) + 1)
                devices[at] = next(d for d in ranked if d not in taken)
        return tuple(devices)

    def _ranked(self, node: int, columns: tuple[int, ...], count: int) -> list[str]:
        """The freest machines of a pool."""
        key = (node, columns)
        known = self._freest.get(key, [])
        members = self._market.sites.members[node]
        if len(known) < min(count, len(members)):
            free = {device: self.filling.free(device) for device in members}
            known = sorted(members, key=lambda d: -min((free[d][r] for r in columns), default=0.0))
            known = self._freest[key] = known[: max(count, 4)]
        return known

    def checks(self, steps: Recipe, devices: Sequence[str]) -> list[Check]:
        """All resources that a plan takes on these machines."""
        scenario, filling = self._scenario, self.filling
        names = self._market.catalogue.resources
        use: dict[Resource, float] = {}
        memory: dict[str, dict[Instance, float]] = {}
        for at, compute in steps.compute.items():
            for r, seconds in compute:
                key = (names[r], devices[at])
                use[key] = use.get(key, 0.0) + seconds
        for at, instances in steps.instances.items():
            memory.setdefault(devices[at], {}).update(instances)
        for a, b, megabits in steps.moves:
            one, two = devices[a], devices[b]
            for way in (link(one, two), (UPLINK, one), (UPLINK, two)) if one != two else ():
                use[way] = use.get(way, 0.0) + megabits
        found = []
        for resource, amount in use.items():
            have = self._have.get(resource)
            if have is None:
                have = self._have[resource] = amount_of(scenario, resource)
            if have == math.inf:
                continue
            most = have if resource[0] == UPLINK else have * scenario.max_utilisation
            found.append(Check(resource, have, self.free(resource), most, amount))
        for device, wanted in memory.items():
            lack = filling.lacking(device, wanted.items()) - filling.memory_mb(device)
            if lack > 0:  # the same at every rate
                most = scenario.class_of(device).memory_mb
                found.append(Check((MEMORY, device), most, -lack, most, 0.0))
        return found

    def speed(
        self, pipeline: Pipeline, steps: Recipe, devices: Sequence[str], rate_rps: float
    ) -> list[Relaxation]:
        """Single workers that would have too much to do, and how much faster they must be."""
        if not self._any_stateful:
            return []
        more: dict[tuple[str, Instance], float] = {}
        single = set()
        for at, instance, seconds, stateful in steps.workers:
            key = (devices[at], instance)
            more[key] = more.get(key, 0.0) + seconds * rate_rps
            if stateful or key in self._stateful:
                single.add(key)
        found = []
        for key in sorted(single, key=str):
            busy = self._busy.get(key, 0.0) + more[key]
            if busy > self._scenario.max_utilisation * (1 + SLACK):
                name = next(
                    n for n, s in pipeline.operators.items() if s.implementation == key[1][0]
                )
                factor = round_up(busy / self._scenario.max_utilisation)
                found.append(Relaxation(what="speed", to=factor, devices=(key[0],), operator=name))
        return found

    def free(self, resource: Resource) -> float:
        """What is left of a resource."""
        if resource[0] == UPLINK:
            return self.filling.uplink(resource[1])
        if resource[0] == LINK:
            return self.filling.on_link((resource[1], resource[2]))
        return self.filling.free(resource[1])[self._column[resource[0]]]

    def beside(
        self, changes: Sequence[Relaxation], placed: PlacedPlan, rate_rps: float
    ) -> tuple[Relaxation, ...]:
        """Changes that admit a plan on the empty fleet, with what others use on top."""
        scenario = self._scenario
        kept = {(c.what, c.devices, c.operator): c for c in changes if c.what != "speed"}
        wanted: dict[Resource, float] = {}
        for resource, amount in placed.use.linear.items():
            have = amount_of(scenario, resource) if resource[0] != WORKER else math.inf
            known = kept.get((resource[0], tuple(resource[1:]), None))
            if not math.isfinite(have) or (known is not None and known.amount is None):
                continue
            most = have if resource[0] == UPLINK else have * scenario.max_utilisation
            load = most - self.free(resource) + amount * rate_rps
            if load > most * (1 + SLACK):
                wanted[resource] = load
        memory: dict[str, dict[Instance, float]] = {}
        for step in placed.use.steps:
            memory.setdefault(step.device, {})[step.key[1:]] = step.memory_mb
        for device, instances in memory.items():
            lack = self.filling.lacking(device, instances.items()) - self.filling.memory_mb(device)
            if lack > 0:
                wanted[MEMORY, device] = scenario.class_of(device).memory_mb + lack
        for resource, planned in wanted.items():
            more = more_of(scenario, resource, planned)
            old = kept.get((more.what, more.devices, None))
            if old is None or (old.to or 0.0) < (more.to or 0.0):
                kept[more.what, more.devices, None] = more
        faster = {(c.devices, c.operator): c for c in changes if c.what == "speed"}
        for name, step in zip(placed.plan, placed.use.steps, strict=True):
            key = (step.device, step.key[1:])
            old = faster.get(((step.device,), name))
            # The plan was found where it runs faster already.
            sped = 1.0 if old is None or old.to is None else old.to
            busy = self._busy.get(key, 0.0) + step.erlang_ms / 1e3 * sped * rate_rps
            if not (step.stateful or key in self._stateful) or busy <= scenario.max_utilisation:
                continue
            factor = max(sped, round_up(busy / scenario.max_utilisation))
            faster[(step.device,), name] = Relaxation(
                what="speed", to=factor, devices=(step.device,), operator=name
            )
        return (*faster.values(), *kept.values())
