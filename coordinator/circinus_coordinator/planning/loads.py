"""The ledger: what is used of machines and links, and what is left.

Per-second resources add up linearly. Memory does not: an instance of (implementation, config,
batch) on a device is shared by everybody who uses it, and is replicated as its load demands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from circinus.scenario import Scenario
from circinus_coordinator.planning.holding import Holding, Instance, tokens, units_held, units_of
from circinus_coordinator.planning.latency import Station, Wait, lengthened, occupied, wait
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
FloatArray = npt.NDArray[np.float64]
K = TypeVar("K")
V = TypeVar("V")


def replicas_for(busy: float, scenario: Scenario) -> int:
    """Fewest workers that stay within `max_utilisation` when `busy` are kept busy.

    Replicas are there to keep waiting short. Without queueing nothing waits, and one holds all.
    """
    if not scenario.queueing:
        return 1
    return max(1, math.ceil(busy / scenario.max_utilisation * (1 - SLACK)))


class Ledger:
    """Loads of everything, updated plan by plan; an undo restores them to the last bit."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.linear: dict[Resource, float] = {}
        self.instances: dict[str, dict[InstanceKey, Instance]] = {}
        self.stations: dict[Resource, Station] = {}
        self.waits: dict[object, tuple[float, float]] = {}  # known until the next change
        self._holdings: dict[object, Holding] = {}  # likewise
        self._worker: dict[Resource, InstanceKey] = {}

    def forget(self) -> None:
        """The loads have changed."""
        self.waits.clear()
        self._holdings.clear()

    def capacity(self, resource: Resource) -> float:
        """What may be planned of a resource."""
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

    def devices(self) -> list[str]:
        """Devices that carry anything, sorted."""
        return sorted(device for device, found in self.instances.items() if found)

    def add(self, use: Use, rate_rps: float, streams: float = 1) -> Undo:
        """Add a plan that serves `rate_rps` requests per second from `streams` equal sources."""
        undo = Undo(self, use)
        self.forget()
        for resource, amount in use.linear.items():
            self.linear[resource] = self.linear.get(resource, 0.0) + amount * rate_rps
        for step in use.steps:
            self._add_step(step, rate_rps, use.scv, streams)
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

    def violations(self, resources: Iterable[Resource]) -> list[tuple[Resource, float]]:
        """The overloaded ones of `resources` with load / capacity, worst first."""
        found = []
        for resource in resources:
            load, capacity = self.load(resource), self.capacity(resource)
            if load > capacity * (1 + SLACK):
                found.append((resource, load / capacity if capacity > 0 else math.inf))
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def instance_wait(self, key: InstanceKey) -> tuple[float, float]:
        """Mean (ms) and variance (ms²) of waiting for a worker of the instance.

        A worker that waits for its device is taken meanwhile.
        """
        if key not in self.waits:
            found = self.instances[key[0]][key]
            delays = [self.device_wait((name, key[0]), key) for name in found.compute]
            delay = max(delays, default=(0.0, 0.0))
            sums = {name: np.array(getattr(found.station, name)) for name in SUMS}
            sums = lengthened(sums, Wait(np.array(delay[0]), np.array(delay[1])))
            replicas = self.replicas(found)
            self.waits[key] = _wait(sums, replicas, float(sums["busy"]) / replicas, key[3])
        return self.waits[key]

    def device_wait(self, resource: Resource, key: InstanceKey) -> tuple[float, float]:
        """Mean and variance of a worker's waiting for its share of a per-second resource.

        Where the workers of a device can all run at once nobody waits. Otherwise a worker meets
        all others; its own queue keeps nobody waiting here, being before it.
        """
        if (resource, key) not in self.waits:
            self.waits[resource, key] = self._device_wait(resource, key)
        return self.waits[resource, key]

    def _device_wait(self, resource: Resource, key: InstanceKey) -> tuple[float, float]:
        holding, station = self.holding(resource), self.stations.get(resource)
        if station is None or station.busy <= 0 or key not in holding.kinds:
            return 0.0, 0.0
        if holding.most <= holding.size:
            return 0.0, 0.0
        if holding.mean >= holding.size:
            return math.inf, 0.0
        units, workers, busy = holding.kinds[key]
        others = occupied(holding.but(key), units, workers - 1, busy * (workers - 1) / workers)
        return _wait(
            {name: np.array(getattr(station, name)) for name in SUMS},
            holding.size * station.busy / holding.mean,
            (holding.mean - units * busy / workers) / holding.size,
            1,
            float(others[holding.size - units + 1 :].sum()),
        )

    def needed(self, name: str, device: str) -> float:
        """Units of a resource held if all workers of the device ran at once."""
        return math.fsum(
            self.replicas(i) * tokens(i.compute.get(name, 0.0), i.station.busy)
            for i in self.instances.get(device, {}).values()
        )

    def holding(self, resource: Resource) -> Holding:
        """Who holds how much of a per-second resource of a device."""
        key = ("holding", resource)
        if key not in self._holdings:
            name, device = resource
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
            self._holdings[key] = Holding(units_of(name, amount), kinds)
        return self._holdings[key]


def _wait(
    sums: Mapping[str, FloatArray],
    servers: float,
    utilisation: float,
    batch: float,
    chance: float | None = None,
) -> tuple[float, float]:
    if sums["busy"] <= 0 or utilisation <= 0:
        return 0.0, 0.0
    found = wait(
        **sums,
        servers=np.array(servers),
        utilisation=np.array(utilisation),
        batch=np.array(batch),
        chance=None if chance is None else np.array(chance),
    )
    return float(found.mean), float(found.variance)


class Undo:
    """What the ledger held before a plan was added."""

    def __init__(self, ledger: Ledger, use: Use) -> None:
        self._ledger = ledger
        self._linear = {r: ledger.linear.get(r) for r in use.linear}
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
        ledger.forget()
        _restore(ledger.linear, self._linear)
        _restore(ledger.stations, self._stations)
        for key, held in self._instances.items():
            _restore(ledger.instances[key[0]], {key: held})


def _restore(current: dict[K, V], before: Mapping[K, V | None]) -> None:
    for key, value in before.items():
        if value is None:
            current.pop(key, None)
        else:
            current[key] = value
