"""Placing plans on real machines, one after another, within their capacities and memory.

For scenarios without queueing: nothing waits, every instance has one worker, and what fits is a
matter of sums. The ledger judges the same, plan by plan and more slowly.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.recipes import Instance, Recipe, recipe

__all__ = ["Filling", "Piece"]

Piece = tuple[tuple[str, ...], float]
"""Device of each position (unused ones too), and requests per second that go this way."""
# Machines of a group that are compared at a time.
_TRIES = 16
# Smallest pieces, as parts of what is to be placed.
_PIECES = (1e-3, 1e-5, 1e-7)
# A machine with less than this part of a capacity left is full.
_FULL = 1e-7


class Filling:
    """Machines being filled."""

    def __init__(self, market: Market, tries: int = _TRIES) -> None:
        """Start with nothing on them; `tries` machines of a group are compared at a time."""
        self._tries = tries
        scenario = market.catalogue.scenario
        self._market, self._scenario = market, scenario
        names = market.catalogue.resources
        self.resources = len(names)
        use = scenario.max_utilisation
        self._free: dict[str, list[float]] = {}
        self._most: dict[str, list[float]] = {}
        self._memory: dict[str, float] = {}
        self._uplink: dict[str, float] = {}
        # By machine and instance: how many use it, and its MB, the largest of theirs.
        self._held: dict[str, dict[Instance, tuple[int, float]]] = {}
        self._busy: dict[tuple[str, Instance], float] = {}
        self._single: set[tuple[str, Instance]] = set()
        self._stateful = any(
            spec.stateful for p in scenario.pipelines.values() for spec in p.operators.values()
        )
        self._link: dict[tuple[str, str], float] = {}
        for device in scenario.devices:
            kind = scenario.class_of(device.id)
            amounts = kind.resources
            self._most[device.id] = [amounts.get(name, 0.0) * use for name in names]
            self._free[device.id] = list(self._most[device.id])
            self._memory[device.id] = kind.memory_mb
            self._held[device.id] = {}
            if device.uplink_mbps is not None:
                self._uplink[device.id] = device.uplink_mbps
        # By node and by what is asked of its machines: those that have some of all of it left.
        self._open: dict[tuple[int, tuple[int, ...]], list[str]] = {}
        self._members: dict[int, frozenset[str]] = {}
        self._recipes: dict[tuple[int, tuple[int, ...]], Recipe] = {}

    def recipe(self, kind: int, options: tuple[int, ...]) -> Recipe:
        """The recipe of a template, worked out once."""
        key = (kind, options)
        if key not in self._recipes:
            self._recipes[key] = recipe(self._market.classes[kind], options)
        return self._recipes[key]

    def place(
        self,
        steps: Recipe,
        nodes: Sequence[int],
        rate_rps: float,
        *,
        whole: bool,
        parts: Sequence[float] = _PIECES,
    ) -> tuple[list[Piece], float]:
        """Place up to `rate_rps`; the pieces, and what found no room.

        Args:
            steps: What to place.
            nodes: Node of each position.
            rate_rps: Requests per second.
            whole: All in one piece or not at all.
            parts: Of the rate: smallest pieces, the next one where there is room for none.
        """
        pieces: list[Piece] = []
        rest = rate_rps
        # A query may be worth thousands of machines: then a machine's worth is a small piece.
        for part in (1.0,) if whole else parts:
            least = rate_rps * part
            while rest > least * 0.5:
                devices = self._choose(steps, nodes, min(least, rest))
                if devices is None:
                    break
                most = min(rest, self.limit(steps, devices))
                if most < min(least, rest) * (1 - 1e-9):
                    break
                self.put(steps, devices, most)
                pieces.append((devices, most))
                rest -= most
            if pieces:
                break
        return pieces, max(0.0, rest)

    def _choose(self, steps: Recipe, nodes: Sequence[int], least: float) -> tuple[str, ...] | None:
        members = self._market.sites.members
        devices = [members[node][0] for node in nodes]
        taken = {devices[k] for k, node in enumerate(nodes) if len(members[node]) == 1}
        for at, use in steps.compute.items():
            if len(members[nodes[at]]) == 1:
                if not self._has(devices[at], use, steps.instances[at], least):
                    return None
                continue
            some = self._fitting(nodes[at], use, steps.instances[at], least, taken)
            if not some:
                return None
            devices[at] = max(some, key=lambda device: self._fit(device, use))
        return tuple(devices)

    def _fitting(
        self,
        node: int,
        use: Sequence[tuple[int, float]],
        instances: Sequence[tuple[Instance, float]],
        least: float,
        taken: set[str],
    ) -> list[str]:
        """A few machines of a group that have room; those being filled come first."""
        candidates = self._candidates(node, use)
        for end in range(len(candidates), 0, -self._tries):
            some = [
                device
                for device in candidates[max(0, end - self._tries) : end]
                if device not in taken and self._has(device, use, instances, least)
            ]
            if some:
                return some
        return []

    def _candidates(self, node: int, use: Sequence[tuple[int, float]]) -> list[str]:
        """Machines of a group that are not full of what is used, the one being filled last."""
        key = (node, tuple(r for r, _ in use))
        if key not in self._open:
            self._open[key] = list(self._market.sites.members[node])
        candidates = self._open[key]
        for device in candidates[-self._tries :]:
            if self._full(device, use):
                candidates[:] = [one for one in candidates if not self._full(one, use)]
                break
        return candidates

    def _fit(self, device: str, use: Sequence[tuple[int, float]]) -> float:
        """How well what is asked for matches what is left: the cosine between the two.

        Keeps the resources of a machine running out together (Grandl et al., "Multi-resource
        packing for cluster schedulers", SIGCOMM 2014, section 3).
        """
        # Asked for every machine looked at: sums by hand take half the time.
        free, most = self._free[device], self._most[device]
        left = asked = 0.0
        for f, m in zip(free, most, strict=True):
            if m > 0:
                left += (f / m) ** 2
        for r, seconds in use:
            asked += free[r] / most[r] * seconds / most[r]
        return asked / math.sqrt(left) if left > 0 else 0.0

    def _has(
        self,
        device: str,
        use: Sequence[tuple[int, float]],
        instances: Sequence[tuple[Instance, float]],
        least: float,
    ) -> bool:
        """Whether one position's part of a plan may have so many requests per second there."""
        free, least = self._free[device], least * (1 - 1e-9)
        for r, seconds in use:
            if free[r] < least * seconds:
                return False
        return self.lacking(device, instances) <= self._memory[device]

    def lacking(self, device: str, instances: Iterable[tuple[Instance, float]]) -> float:
        """MB that a machine would have to find for these."""
        held = self._held[device]
        new = 0.0
        for key, mb in instances:
            if key not in held:
                new += mb
            elif mb > held[key][1]:
                new += mb - held[key][1]
        return new

    def free(self, device: str) -> list[float]:
        """What is left of each resource."""
        return list(self._free[device])

    def memory_mb(self, device: str) -> float:
        """What is left of memory."""
        return self._memory[device]

    def holding(self, device: str) -> Collection[Instance]:
        """The instances on a machine."""
        return self._held[device].keys()

    def uplink(self, device: str) -> float:
        """Megabits per second left; infinite where there is no limit."""
        return self._uplink.get(device, math.inf)

    def limit(self, steps: Recipe, devices: Sequence[str]) -> float:
        """Requests per second that the whole plan may still have."""
        most = math.inf
        demand: dict[tuple[str, int], float] = {}
        memory: dict[str, dict[Instance, float]] = {}
        for at, use in steps.compute.items():
            device = devices[at]
            for r, seconds in use:
                demand[device, r] = demand.get((device, r), 0.0) + seconds
            memory.setdefault(device, {}).update(steps.instances[at])
        for (device, r), seconds in demand.items():
            most = min(most, self._free[device][r] / seconds)
        for device, wanted in memory.items():
            if self.lacking(device, wanted.items()) > self._memory[device]:
                return 0.0
        most = min(most, self._workers(steps, devices)) if self._stateful else most
        return min(most, self._way(steps, devices))

    def _workers(self, steps: Recipe, devices: Sequence[str]) -> float:
        """What single workers leave: those of instances that somebody's stateful step uses."""
        most = math.inf
        busy: dict[tuple[str, Instance], float] = {}
        single = set(self._single)
        for at, key, seconds, stateful in steps.workers:
            place = (devices[at], key)
            busy[place] = busy.get(place, 0.0) + seconds
            if stateful:
                single.add(place)
        for place, seconds in busy.items():
            if place in single and seconds > 0:
                room = self._scenario.max_utilisation - self._busy.get(place, 0.0)
                most = min(most, max(0.0, room) / seconds)
        return most

    def _way(self, steps: Recipe, devices: Sequence[str]) -> float:
        load: dict[tuple[str, str] | str, float] = {}
        most = math.inf
        for a, b, megabits in steps.moves:
            one, two = devices[a], devices[b]
            if one == two:
                continue
            pair = (one, two) if one < two else (two, one)
            ends: tuple[tuple[str, str] | str, ...] = (pair, one, two)
            for key in ends:
                load[key] = load.get(key, 0.0) + megabits
        for key, megabits in load.items():
            if isinstance(key, tuple):
                most = min(most, self.on_link(key) / megabits)
            elif key in self._uplink:
                most = min(most, self._uplink[key] / megabits)
        return most

    def on_link(self, pair: tuple[str, str]) -> float:
        """Megabits per second left between two machines, named in order."""
        if pair not in self._link:
            found = self._scenario.network.between(*pair)
            width = found.bandwidth_mbps if found else 0.0
            self._link[pair] = width * self._scenario.max_utilisation
        return self._link[pair]

    def put(self, steps: Recipe, devices: Sequence[str], rate_rps: float) -> None:
        """Take what a plan uses; no questions asked."""
        self._add(steps, devices, rate_rps)
        for at, instances in steps.instances.items():
            device = devices[at]
            held = self._held[device]
            for key, mb in instances:
                users, size = held.get(key, (0, 0.0))
                self._memory[device] -= max(0.0, mb - size)
                held[key] = (users + 1, max(mb, size))
        for at, key, _, stateful in steps.workers if self._stateful else ():
            if stateful:
                self._single.add((devices[at], key))

    def release(self, steps: Recipe, devices: Sequence[str], rate_rps: float) -> None:
        """Give back what `put` took."""
        self._add(steps, devices, -rate_rps)
        for at, instances in steps.instances.items():
            device = devices[at]
            held = self._held[device]
            for key, _ in instances:
                users, size = held[key]
                if users > 1:
                    held[key] = (users - 1, size)
                else:
                    del held[key]
                    self._memory[device] += size

    def reopen(self, devices: Collection[str]) -> None:
        """Offer these again, which may no longer be full after `release`."""
        for (node, _), candidates in self._open.items():
            if node not in self._members:
                self._members[node] = frozenset(self._market.sites.members[node])
            some = self._members[node].intersection(devices)
            if some:
                candidates += sorted(some.difference(candidates))

    def _add(self, steps: Recipe, devices: Sequence[str], rate_rps: float) -> None:
        for at, use in steps.compute.items():
            free = self._free[devices[at]]
            for r, seconds in use:
                free[r] -= seconds * rate_rps
        for at, key, seconds, _ in steps.workers if self._stateful else ():
            place = (devices[at], key)
            self._busy[place] = self._busy.get(place, 0.0) + seconds * rate_rps
        for a, b, megabits in steps.moves:
            one, two = devices[a], devices[b]
            if one != two:
                pair = (one, two) if one < two else (two, one)
                self._link[pair] = self.on_link(pair) - megabits * rate_rps
                for end in pair:
                    if end in self._uplink:
                        self._uplink[end] -= megabits * rate_rps

    def _full(self, device: str, use: Sequence[tuple[int, float]]) -> bool:
        free, most = self._free[device], self._most[device]
        for r, _ in use:  # noqa: SIM110 -- asked for every machine looked at: `any` is slower
            if free[r] <= _FULL * most[r]:
                return True
        return False
