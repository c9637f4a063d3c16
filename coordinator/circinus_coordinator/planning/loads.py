"""The ledger: what is used of machines and links, and what is left.

Per-second resources add up linearly. Memory does not: an instance of (implementation, config,
batch) on a device is shared by everybody who uses it, and is replicated as its load demands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from circinus.scenario import Scenario
from circinus_coordinator.planning.batches import sojourn
from circinus_coordinator.planning.holding import (
    Holding,
    Instance,
    at_least,
    tokens,
    units_held,
    units_of,
)
from circinus_coordinator.planning.latency import Station, lengthened_one, less, wait_one
from circinus_coordinator.planning.tails import chances
from circinus_coordinator.planning.uses import (
    LINK,
    MEMORY,
    UPLINK,
    WORKER,
    InstanceKey,
    Resource,
    StepUse,
    Use,
)
from circinus_coordinator.planning.wires import Before, Wires

__all__ = [
    "SLACK",
    "SUMS",
    "Instance",
    "Ledger",
    "Undo",
    "replicas_for",
    "tokens",
]

# Slack on capacities, relative: shares are computed by division.
SLACK = 1e-9
SUMS = ("rate", "busy", "second", "third", "scv", "squares")
K = TypeVar("K")
V = TypeVar("V")


def replicas_for(busy: float, scenario: Scenario) -> int:
    """Fewest workers that stay within `max_utilisation` when `busy` are kept busy.

    Replicas are there to keep waiting short. Without queueing nothing waits, and one holds all.
    """
    if not scenario.queueing:
        return 1
    return max(1, math.ceil(busy / scenario.max_utilisation * (1 - SLACK)))


@dataclass(slots=True)
class Known:
    """What has been computed for a device, valid until its loads change."""

    instance: dict[InstanceKey, tuple[float, float]] = field(default_factory=dict)
    device: dict[str, dict[InstanceKey, tuple[float, float]]] = field(default_factory=dict)
    holding: dict[str, Holding] = field(default_factory=dict)
    chances: dict[str, dict[InstanceKey, float]] = field(default_factory=dict)
    step: dict[tuple[object, ...], tuple[float, float]] = field(default_factory=dict)


class Ledger:
    """Loads of everything, updated plan by plan; an undo restores them to the last bit."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.linear: dict[Resource, float] = {}
        self.instances: dict[str, dict[InstanceKey, Instance]] = {}
        self.stations: dict[Resource, Station] = {}
        self.known: dict[str, Known] = {}  # by device
        self.wires = Wires()
        self._worker: dict[Resource, InstanceKey] = {}
        self._capacity: dict[Resource, float] = {}

    def on(self, scenario: Scenario) -> Ledger:
        """The same loads on another fleet: shared, so what is added to one is added to both."""
        other = Ledger(scenario)
        other.linear, other.instances, other.stations = self.linear, self.instances, self.stations
        other._worker, other.wires = self._worker, self.wires
        return other

    def capacity(self, resource: Resource) -> float:
        """What may be planned of a resource."""
        if resource not in self._capacity:
            self._capacity[resource] = self._capacity_of(resource)
        return self._capacity[resource]

    def _capacity_of(self, resource: Resource) -> float:
        scenario, kind = self.scenario, resource[0]
        if kind == LINK:
            found = scenario.network.between(resource[1], resource[2])
            return found.bandwidth_mbps * scenario.max_utilisation if found else 0.0
        if kind == UPLINK:
            uplink = scenario.device[resource[1]].uplink_mbps
            return math.inf if uplink is None else uplink
        if kind == MEMORY:
            return scenario.class_of(resource[1]).memory_mb
        if kind == WORKER:
            return scenario.max_utilisation
        amounts = scenario.class_of(resource[1]).resources
        return amounts.get(kind, 0.0) * scenario.max_utilisation

    def load(self, resource: Resource) -> float:
        """What is used of a resource."""
        if resource[0] == MEMORY:
            return math.fsum(
                i.memory_mb * self.replicas(i) for i in self.instances.get(resource[1], {}).values()
            )
        if resource in self._worker:  # busy with everybody's requests, not the stateful ones' only
            key = self._worker[resource]
            found = self.instances[key[0]].get(key)
            return found.station.busy if found else 0.0
        return self.linear.get(resource, 0.0)

    def resources(self, use: Use) -> set[Resource]:
        """All that a plan on the ledger loads, single workers it shares with others included."""
        single = {s.worker for s in use.steps if self.instances[s.device][s.key].stateful}
        return {*use.linear, *((MEMORY, step.device) for step in use.steps), *single}

    def free(self, resource: Resource) -> float:
        """What is left of a resource, not below zero."""
        return max(0.0, self.capacity(resource) - self.load(resource))

    def replicas(self, instance: Instance) -> int:
        """Workers of an instance at its present load."""
        if instance.stateful:
            return 1
        return replicas_for(instance.station.busy, self.scenario)

    def replicas_of(self, key: InstanceKey) -> int:
        """Workers of the instance `key`."""
        return self.replicas(self.instances[key[0]][key])

    def fillings(self, use: Use, rate_rps: float, share: float) -> list[float]:
        """Shares, sorted, at which the replicas that `share` of `rate_rps` needs are full."""
        own: dict[InstanceKey, float] = {}  # erlang of the whole rate
        for step in use.steps:
            own[step.key] = own.get(step.key, 0.0) + step.erlang_ms / 1e3 * rate_rps
        found = []
        for key, busy in own.items():
            held = self.instances.get(key[0], {}).get(key, Instance()).station.busy
            replicas = replicas_for(held + busy * share, self.scenario)
            if busy > 0:
                found.append((replicas * self.scenario.max_utilisation - held) / busy)
        return sorted(found)

    def in_use(self, device: str) -> bool:
        """True where something is placed on the device."""
        return bool(self.instances.get(device))

    def devices(self) -> list[str]:
        """Devices that carry anything, sorted."""
        return sorted(device for device, found in self.instances.items() if found)

    def add(self, use: Use, rate_rps: float, streams: float = 1) -> Undo:
        """Add a plan that serves `rate_rps` requests per second from `streams` equal sources."""
        undo = Undo(self, use)
        for resource, amount in use.linear.items():
            self.linear[resource] = self.linear.get(resource, 0.0) + amount * rate_rps
        for step in use.steps:
            self._add_step(step, rate_rps, use.scv, streams)
        undo.wires = self.wires.add(use.sent, rate_rps, use.scv, streams)
        return undo

    def _add_step(self, step: StepUse, rate_rps: float, scv: float, streams: float) -> None:
        found = self.instances.setdefault(step.device, {}).setdefault(step.key, Instance())
        found.users += 1
        found.memory_mb = max(found.memory_mb, step.memory_mb)
        found.stateful |= step.stateful
        if step.stateful:
            self._worker[step.worker] = step.key
        if rate_rps <= 0:
            return
        rate = rate_rps / 1e3 / step.batch
        moments = (rate, step.service_ms, step.variance, scv, streams)
        found.station.add(*moments)
        for name, seconds in step.compute_s.items():
            if seconds > 0:
                found.compute[name] = found.compute.get(name, 0.0) + seconds * rate_rps
                self.stations.setdefault((name, step.device), Station()).add(*moments)

    def remove(self, use: Use, rate_rps: float, streams: float = 1) -> Undo:
        """Take back what `add` was told, whenever that was.

        Sums are right but for rounding. Memory and the one worker of an instance that had a
        stateful user stay as they were until its last user is gone.
        """
        undo = Undo(self, use)
        for resource, amount in use.linear.items():
            self.linear[resource] = less(self.linear[resource], amount * rate_rps)
        for step in use.steps:
            self._remove_step(step, rate_rps, use.scv, streams)
        undo.wires = self.wires.remove(use.sent, rate_rps, use.scv, streams)
        return undo

    def _remove_step(self, step: StepUse, rate_rps: float, scv: float, streams: float) -> None:
        found = self.instances[step.device][step.key]
        found.users -= 1
        moments = (rate_rps / 1e3 / step.batch, step.service_ms, step.variance, scv, streams)
        for name, seconds in step.compute_s.items() if rate_rps > 0 else ():
            if seconds > 0:
                found.compute[name] = less(found.compute[name], seconds * rate_rps)
                self.stations[name, step.device].remove(*moments)
        if found.users == 0:
            del self.instances[step.device][step.key]
        elif rate_rps > 0:
            found.station.remove(*moments)

    def violations(self, resources: Iterable[Resource]) -> list[tuple[Resource, float]]:
        """The overloaded ones of `resources` with load / capacity, worst first."""
        found = []
        for resource in resources:
            load, capacity = self.load(resource), self.capacity(resource)
            if load > capacity * (1 + SLACK):
                found.append((resource, load / capacity if capacity > 0 else math.inf))
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def through(self, step: StepUse, mean: float, variance: float) -> tuple[float, float]:
        """Mean (ms) and variance (ms²) of waiting and service together.

        Args:
            step: One that is on the ledger.
            mean, variance: Of its service, or of a full batch's.
        """
        names = tuple(name for name, seconds in step.compute_s.items() if seconds > 0)
        # Pipelines that share an instance may have profiles of their own.
        asked = (step.key, names, step.factors, mean, variance)
        known = self._known(step.device).step
        if asked not in known:
            if step.batch > 1:
                known[asked] = self.served(step, mean, variance)
            else:
                wait = self.instance_wait(step.key)
                at_device = [self.device_wait((name, step.device), step.key) for name in names]
                known[asked] = (
                    mean + wait[0] + max((m for m, _ in at_device), default=0.0),
                    variance + wait[1] + max((v for _, v in at_device), default=0.0),
                )
        return known[asked]

    def entering(self, step: StepUse) -> float:
        """About the least mean wait of a step that comes new: nobody waits less than that.

        What its workers wait for the device where there are some already, or what the first
        would find held there, its own load left out.
        """
        if step.key in self.instances.get(step.device, {}):
            return max(
                (
                    self.device_wait((name, step.device), step.key)[0]
                    for name, seconds in step.compute_s.items()
                    if seconds > 0
                ),
                default=0.0,
            )
        longest = 0.0
        for name, seconds in step.compute_s.items():
            holding = self.holding((name, step.device))
            amount = self.scenario.class_of(step.device).resources.get(name, 0.0)
            if seconds <= 0 or holding.mean <= 0 or step.erlang_ms <= 0 or amount <= 0:
                continue
            units = units_held(name, amount, seconds, step.erlang_ms / 1e3)
            if holding.most + units <= holding.size:
                continue
            if holding.mean >= holding.size:
                return math.inf
            station = self.stations[name, step.device]
            mean, _ = wait_one(
                station,
                servers=holding.size * station.busy / holding.mean,
                utilisation=holding.mean / holding.size,
                chance=at_least(holding.but(None), holding.size - units + 1),
            )
            longest = max(longest, mean)
        return longest

    def affected(self, device: str, keys: Iterable[InstanceKey]) -> Iterable[InstanceKey]:
        """Instances of a device whose users may wait longer after a load was added to `keys`.

        All of them, unless all workers of the device can run at once: then only `keys`.
        """
        found = self.instances.get(device, {})
        names = dict.fromkeys(name for instance in found.values() for name in instance.compute)
        if any((h := self.holding((name, device))).most > h.size for name in names):
            return found
        return dict.fromkeys(keys)

    def instance_wait(self, key: InstanceKey) -> tuple[float, float]:
        """Mean (ms) and variance (ms²) of waiting for a worker of the instance.

        A worker that waits for its device is taken meanwhile.
        """
        known = self._known(key[0]).instance
        if key not in known:
            found = self.instances[key[0]][key]
            delays = [self.device_wait((name, key[0]), key) for name in found.compute]
            station = lengthened_one(found.station, max(delays, default=(0.0, 0.0)))
            replicas = self.replicas(found)
            known[key] = wait_one(
                station, servers=replicas, utilisation=station.busy / replicas, batch=key[3]
            )
        return known[key]

    def device_wait(self, resource: Resource, key: InstanceKey) -> tuple[float, float]:
        """Mean and variance of a worker's waiting for its share of a per-second resource.

        Where the workers of a device can all run at once nobody waits. Otherwise a worker meets
        all others; its own queue keeps nobody waiting here, being before it.
        """
        known = self._known(resource[1]).device.setdefault(resource[0], {})
        if key not in known:
            known[key] = self._device_wait(resource, key)
        return known[key]

    def _device_wait(self, resource: Resource, key: InstanceKey) -> tuple[float, float]:
        holding, station = self.holding(resource), self.stations.get(resource)
        if station is None or station.busy <= 0 or key not in holding.kinds:
            return 0.0, 0.0
        if holding.most <= holding.size:
            return 0.0, 0.0
        if holding.mean >= holding.size * (1 - SLACK):
            return math.inf, 0.0
        units, workers, busy = holding.kinds[key]
        known = self._known(resource[1]).chances
        if resource[0] not in known:
            known[resource[0]] = chances(holding)
        return wait_one(
            station,
            servers=holding.size * station.busy / holding.mean,
            utilisation=(holding.mean - units * busy / workers) / holding.size,
            chance=known[resource[0]][key],
        )

    def served(self, step: StepUse, mean: float, variance: float) -> tuple[float, float]:
        """Mean (ms) and variance (ms²) of waiting and service where batches need not be full.

        Args:
            step: Where it is not on the ledger, nothing waits.
            mean, variance: Of a full batch's service.
        """
        found = self.instances.get(step.device, {}).get(step.key)
        if found is None:
            return mean, variance
        delays = [self.device_wait((name, step.device), step.key) for name in found.compute]
        delay = max(delays, default=(0.0, 0.0))
        if math.isinf(delay[0]):
            return math.inf, 0.0
        station = lengthened_one(found.station, delay)
        whole = sojourn(station, self.replicas(found), step.factors, (mean, variance))
        return whole[0] + delay[0], whole[1] + delay[1]

    def holding(self, resource: Resource) -> Holding:
        """Who holds how much of a per-second resource of a device."""
        name, device = resource
        known = self._known(device).holding
        if name not in known:
            amount = self.scenario.class_of(device).resources.get(name, 0.0)
            kinds = {
                k: (
                    units_held(name, amount, held, i.station.busy),
                    self.replicas(i),
                    i.station.busy,
                )
                for k, i in self.instances.get(device, {}).items()
                if (held := i.compute.get(name, 0.0)) > 0
            }
            known[name] = Holding(units_of(name, amount), kinds)
        return known[name]

    def _known(self, device: str) -> Known:
        known = self.known.get(device)
        if known is None:
            known = self.known[device] = Known()
        return known


class Undo:
    """What the ledger held and knew before a plan was added; what it knew is taken from it."""

    def __init__(self, ledger: Ledger, use: Use) -> None:
        self._ledger = ledger
        self.wires: Before = {}
        self._linear = {r: ledger.linear.get(r) for r in use.linear}
        self._known = {d: ledger.known.pop(d, None) for d in {step.device for step in use.steps}}
        self._instances: dict[InstanceKey, Instance | None] = {}
        self._stations: dict[Resource, Station | None] = {}
        for step in use.steps:
            held = ledger.instances.get(step.device, {}).get(step.key)
            self._instances[step.key] = held.copy() if held else None
            for name in step.compute_s:
                station = ledger.stations.get((name, step.device))
                self._stations[name, step.device] = station.copy() if station else None

    def __call__(self) -> None:
        """Take the plan back; undos must be called in reverse order."""
        ledger = self._ledger
        _restore(ledger.known, self._known)
        _restore(ledger.linear, self._linear)
        ledger.wires.restore(self.wires)
        _restore(ledger.stations, self._stations)
        for key, held in self._instances.items():
            _restore(ledger.instances[key[0]], {key: held})


def _restore(current: dict[K, V], before: Mapping[K, V | None]) -> None:
    for key, value in before.items():
        if value is None:
            current.pop(key, None)
        else:
            current[key] = value
