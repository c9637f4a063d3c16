"""The ledger: what is used of machines and links, and what is left.

Per-second resources add up linearly. Memory does not: an instance of (implementation, config,
batch) on a device is shared by everybody who uses it, and is replicated as its load demands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from circinus.fleet import CORES
from circinus.scenario import Scenario
from circinus_coordinator.planning.batches import running, sojourn
from circinus_coordinator.planning.holding import (
    Holding,
    Instance,
    units_held,
    units_of,
)
from circinus_coordinator.planning.latency import (
    SUMS,
    Station,
    dealt_scv,
    lengthened_one,
    less,
    wait_with_chance,
)
from circinus_coordinator.planning.line import Line, delays
from circinus_coordinator.planning.lives import Kind
from circinus_coordinator.planning.promise import Moments, Waiting
from circinus_coordinator.planning.spacing import waited
from circinus_coordinator.planning.spells import NOTHING, Delay
from circinus_coordinator.planning.urgency import urgency
from circinus_coordinator.planning.uses import (
    LINK,
    MEMORY,
    UPLINK,
    WORKER,
    InstanceKey,
    Resource,
    StepUse,
    Use,
    taken,
)
from circinus_coordinator.planning.wires import Before, Wires

__all__ = [
    "SLACK",
    "SUMS",
    "Instance",
    "Ledger",
    "Undo",
    "replicas_for",
]

# Fewer busy workers than this are none; their square would underflow.
IDLE = 1e-150
# Slack on capacities, relative: shares are computed by division.
SLACK = 1e-9
# Of a machine whose workers cannot all run at once no more than this part may be held on average.
# A line shorter than `line` says is one thing, one without end another: simulated, plans at 0.95
# queued for minutes. Not tuned: where most is served depends on the scenario.
_MOST_HELD = 0.9
K = TypeVar("K")
V = TypeVar("V")


def replicas_for(busy: float, scenario: Scenario) -> int:
    """Fewest workers that stay within `max_utilisation` when `busy` are taken on average.

    Replicas are there to keep waiting short. Without queueing nothing waits, and one holds all.
    """
    if not scenario.queueing:
        return 1
    return max(1, math.ceil(busy / scenario.max_utilisation * (1 - SLACK)))


@dataclass(slots=True)
class Known:
    """What has been computed for a device, valid until its loads change."""

    instance: dict[InstanceKey, Waiting] = field(default_factory=dict)
    holding: dict[str, Holding] = field(default_factory=dict)
    line: dict[InstanceKey, Delay] | None = None
    step: dict[tuple[object, ...], tuple[float, float]] = field(default_factory=dict)
    waits: dict[tuple[InstanceKey, float], tuple[Waiting, ...]] = field(default_factory=dict)


class Ledger:
    """Loads of everything, updated plan by plan; an undo restores them to the last bit."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.linear: dict[Resource, float] = {}
        self.instances: dict[str, dict[InstanceKey, Instance]] = {}
        self.stations: dict[Resource, Station] = {}
        self.known: dict[str, Known] = {}  # by device
        self._base: tuple[Scenario, Callable[[str], Known]] | None = None  # what `on` was asked of
        self.wires = Wires()
        self._worker: dict[Resource, InstanceKey] = {}
        self._capacity: dict[Resource, float] = {}

    def on(self, scenario: Scenario) -> Ledger:
        """The same loads on another fleet: shared, so what is added to one is added to both."""
        other = Ledger(scenario)
        other.linear, other.instances, other.stations = self.linear, self.instances, self.stations
        other._worker, other.wires = self._worker, self.wires
        other._base = self.scenario, self._known
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
        return replicas_for(instance.station.busy * taken(instance.compute), self.scenario)

    def replicas_of(self, key: InstanceKey) -> int:
        """Workers of the instance `key`."""
        return self.replicas(self.instances[key[0]][key])

    def fillings(self, use: Use, rate_rps: float, share: float) -> list[float]:
        """Shares, sorted, at which the replicas that `share` of `rate_rps` needs are full."""
        own: dict[InstanceKey, float] = {}  # erlang of the whole rate
        longest: dict[InstanceKey, float] = {}
        for step in use.steps:
            own[step.key] = own.get(step.key, 0.0) + step.erlang_ms / 1e3 * rate_rps
            longest[step.key] = max(longest.get(step.key, 1.0), taken(step.compute_s))
        found = []
        for key, busy in own.items():
            there = self.instances.get(key[0], {}).get(key, Instance())
            times = max(longest[key], taken(there.compute))
            held, busy = there.station.busy * times, busy * times
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
            self._add_step(step, rate_rps, use, streams)
        undo.wires = self.wires.add(use.sent, rate_rps, use.scv, streams)
        return undo

    def _add_step(self, step: StepUse, rate_rps: float, use: Use, streams: float) -> None:
        found = self.instances.setdefault(step.device, {}).setdefault(step.key, Instance())
        found.users += 1
        found.memory_mb = max(found.memory_mb, step.memory_mb)
        found.stateful |= step.stateful
        found.factors = step.factors
        if step.stateful:
            self._worker[step.worker] = step.key
        if rate_rps <= 0:
            return
        rate = rate_rps / 1e3 / step.batch
        moments = self._moments(step, rate_rps, use.scv, streams)
        found.station.add(*moments)
        urgent = found.urgency.get(step.spare_ms, 0.0)
        found.urgency[step.spare_ms] = urgent + rate * step.service_ms
        for others, key, often in _others(found, step, rate):
            others[key] = others.get(key, 0.0) + often
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
            self._remove_step(step, rate_rps, use, streams)
        undo.wires = self.wires.remove(use.sent, rate_rps, use.scv, streams)
        return undo

    def _remove_step(self, step: StepUse, rate_rps: float, use: Use, streams: float) -> None:
        found = self.instances[step.device][step.key]
        found.users -= 1
        rate = rate_rps / 1e3 / step.batch
        moments = self._moments(step, rate_rps, use.scv, streams)
        for name, seconds in step.compute_s.items() if rate_rps > 0 else ():
            if seconds > 0:
                found.compute[name] = less(found.compute[name], seconds * rate_rps)
                self.stations[name, step.device].remove(*moments)
        if found.users == 0:
            del self.instances[step.device][step.key]
        elif rate_rps > 0:
            found.station.remove(*moments)
            busy = rate * step.service_ms
            found.urgency[step.spare_ms] = less(found.urgency[step.spare_ms], busy)
            for others, key, often in _others(found, step, rate):
                others[key] = less(others[key], often)

    def _moments(
        self, step: StepUse, rate_rps: float, scv: float, streams: float
    ) -> tuple[float, float, float, float, float, float]:
        """What a step adds to its station."""
        rate = rate_rps / 1e3
        before = waited(step.passed, step.erlang_ms, rate, self.scenario.max_utilisation)
        before *= dealt_scv(scv, streams)
        return rate / step.batch, step.service_ms, step.variance, scv, streams, before

    def violations(self, resources: Iterable[Resource]) -> list[tuple[Resource, float]]:
        """The overloaded ones of `resources` with load / capacity, worst first."""
        found = []
        for resource in resources:
            load, capacity = self.load(resource), self.capacity(resource)
            if load > capacity * (1 + SLACK):
                found.append((resource, load / capacity if capacity > 0 else math.inf))
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def through(
        self, step: StepUse, mean: float, variance: float
    ) -> tuple[Moments, tuple[Waiting, ...]]:
        """Service, and waits before it; with batches all of it is service.

        Args:
            step: One that is on the ledger.
            mean, variance: Of its service, or of a full batch's, ms and ms².
        """
        if step.batch == 1:
            return (mean, variance), self.waits(step.key, step.spare_ms)
        # Pipelines that share an instance may have profiles of their own.
        asked = (step.key, step.factors, mean, variance)
        known = self._known(step.device).step
        if asked not in known:
            known[asked] = self.served(step, mean, variance)
        return known[asked], ()

    def waits(self, key: InstanceKey, spare_ms: float) -> tuple[Waiting, ...]:
        """For a worker, by urgency, and in the line before the device; not for batches."""
        known = self._known(key[0]).waits
        asked = (key, spare_ms)
        if asked not in known:
            found, line = self.instances[key[0]][key], self.line(key)
            mean, variance, chance = self._instance_wait(key)
            ratio = urgency(found.urgency, spare_ms, self.replicas(found), mean, chance)
            own = (mean * ratio, variance * ratio * ratio, chance)
            known[asked] = own, (line.mean, line.variance, line.chance)
        return known[asked]

    def entering(self, step: StepUse) -> Waiting:
        """About the least wait of a step that comes new: nobody waits less than that.

        In the line before the device; its own load is left out where it has none there.
        """
        if step.key in self.instances.get(step.device, {}):
            line = self.line(step.key)
        else:
            line = self._line(step.device, step)[-1]
        return line.mean, line.variance, line.chance

    def affected(self, device: str, keys: Iterable[InstanceKey]) -> Iterable[InstanceKey]:
        """Instances of a device whose users may wait longer after a load was added to `keys`.

        Those that stand in line with them, or with others who do.
        """
        found = self.instances.get(device, {})
        lines, hit = set(self._contended(device)), dict.fromkeys(keys)
        reached: set[str] = set()
        while more := {n for key in hit for n in found[key].compute if n in lines} - reached:
            reached |= more
            hit.update((key, None) for key, i in found.items() if not more.isdisjoint(i.compute))
        return hit

    def instance_wait(self, key: InstanceKey) -> tuple[float, float]:
        """Mean (ms) and variance (ms²) of waiting for a worker of the instance.

        A worker that waits for its device is taken meanwhile.
        """
        return self._instance_wait(key)[:2]

    def _instance_wait(self, key: InstanceKey) -> Waiting:
        known = self._known(key[0]).instance
        if key not in known:
            found = self.instances[key[0]][key]
            held = self.line(key).held
            station = lengthened_one(found.station, (held, held * held))
            replicas = self.replicas(found)
            known[key] = wait_with_chance(
                station, servers=replicas, utilisation=station.busy / replicas, batch=key[3]
            )
        return known[key]

    def line_wait(self, resource: Resource, key: InstanceKey) -> float:
        """Mean wait (ms) of an instance's jobs in the line for a resource of its device.

        Without what piles up before a worker meanwhile.
        """
        name, device = resource
        delay = self.line(key)
        lines = self._contended(device)
        return delay.lines[lines.index(name)] if delay.lines and name in lines else 0.0

    def line(self, key: InstanceKey) -> Delay:
        """What the line before its device costs the requests of an instance.

        Where the workers of a device can all run at once nobody waits.
        """
        known = self._known(key[0])
        if known.line is None:
            found = self.instances.get(key[0], {})
            known.line = dict(zip(found, self._line(key[0]), strict=True))
        return known.line.get(key, NOTHING)

    def _line(self, device: str, newcomer: StepUse | None = None) -> list[Delay]:
        """The delays of all instances on a device, and of one who comes without load."""
        found = self.instances.get(device, {})
        wanted: dict[str, int] = {}
        if newcomer is not None and newcomer.erlang_ms > 0:
            amounts = self.scenario.class_of(device).resources
            wanted = {
                name: units_held(name, amount, seconds, newcomer.erlang_ms / 1e3)
                for name, seconds in newcomer.compute_s.items()
                if seconds > 0 and (amount := amounts.get(name, 0.0)) > 0
            }
        names = self._contended(device, wanted)
        if not names:
            return [NOTHING] * (len(found) + (newcomer is not None))
        holdings = [self.holding((name, device)) for name in names]
        at = {key: k for k, key in enumerate(found)}
        kinds = [self._kind(key, holdings, at) for key in found]
        if newcomer is not None:
            units = tuple(wanted.get(name, 0) for name in names)
            kinds.append(Kind(units, 1, 0.0, 0.0, 0.0, 0.0))
        lines = [
            Line(h.size, few=name != CORES, full=h.crowded() > _MOST_HELD)
            for name, h in zip(names, holdings, strict=True)
        ]
        return delays(kinds, lines)

    def _contended(self, device: str, wanted: Mapping[str, int] | None = None) -> list[str]:
        """Resources of a device that not all its workers can hold at once, in order of the lines.

        Args:
            wanted: Units that one more worker would hold.
        """
        instances = self.instances.get(device, {}).values()
        names = {name for instance in instances for name in instance.compute}
        found = []
        for name in sorted(names, key=lambda name: (name == CORES, name)):
            holding = self.holding((name, device))
            if holding.most + (wanted or {}).get(name, 0) > holding.size:
                found.append(name)
        return found

    def _kind(
        self, key: InstanceKey, holdings: list[Holding], at: Mapping[InstanceKey, int]
    ) -> Kind:
        found = self.instances[key[0]][key]
        station = found.station
        busy, rate, workers = station.busy, station.rate, self.replicas(found)
        load = busy / workers
        scv = max(station.second * rate / busy**2 - 1, 0.0) if busy > IDLE else 0.0
        if key[3] > 1:
            busy, rate = running(station, workers, found.factors)
        return Kind(
            units=tuple(h.kinds[key][0] if key in h.kinds else 0 for h in holdings),
            workers=workers,
            busy=busy,
            rate=rate,
            scv=scv,
            load=load,
            beside=_parts(found.twins, station.rate, at, key),
            along=tuple(
                (k, min(1.0, found.along[other] / theirs))
                for other, k in at.items()
                if other in found.along
                and (theirs := self.instances[key[0]][other].station.rate) > 0
            ),
            after=_parts(found.after, station.rate, at, key),
            phase=_phase(found),
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
        delay = self.line(step.key)
        if math.isinf(delay.mean):
            return math.inf, 0.0
        whole = sojourn(
            found.station, self.replicas(found), step.factors, (mean, variance), delay.held
        )
        return whole[0] + delay.mean, whole[1] + delay.variance

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
            known = self.known[device] = self._known_of(device)
        return known

    def _known_of(self, device: str) -> Known:
        """What the ledger that this one was made from knows, where the device is no other."""
        if self._base is None:
            return Known()
        before, known = self._base
        same = self.scenario.class_of(device) == before.class_of(device)
        return known(device) if same else Known()


def _others(
    found: Instance, step: StepUse, rate: float
) -> Iterator[tuple[dict[InstanceKey, float], InstanceKey, float]]:
    """What a step of this rate adds to what is known of an instance's neighbours."""
    for twin in step.twins:
        yield found.twins, twin, rate
    for other in dict.fromkeys(step.along):
        yield found.along, other, rate
    for before in step.after:
        yield found.after, before, rate / len(step.after)


def _phase(found: Instance) -> tuple[float, float] | None:
    """Gap and time in it of the only stream of an instance, if that is like clockwork."""
    station = found.station
    if found.users > 1 or len(found.factors) > 1 or station.clock < station.rate**2 * (1 - SLACK):
        return None
    spare = max((ms for ms, busy in found.urgency.items() if busy > 0), default=0.0)
    return (1 / station.rate, -spare) if station.rate > 0 else None


def _parts(
    often: Mapping[InstanceKey, float],
    rate: float,
    at: Mapping[InstanceKey, int],
    but: InstanceKey,
) -> tuple[tuple[int, float], ...]:
    return tuple(
        (at[key], min(1.0, times / rate))
        for key, times in often.items()
        if rate > 0 and key in at and key != but
    )


class Undo:
    """What the ledger held and knew before a plan was added; what it knew is taken from it."""

    def __init__(self, ledger: Ledger, use: Use) -> None:
        self._ledger = ledger
        self.wires: Before = {}, {}
        self._linear = {r: ledger.linear.get(r) for r in use.linear}
        self._known = {step.device: ledger.known.get(step.device) for step in use.steps}
        ledger.known.update((device, Known()) for device in self._known)
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
