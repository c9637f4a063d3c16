"""How busy everything was between two times, to the millisecond."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from circinus.scenario import Scenario
from circinus_coordinator.simulation.report import InstanceReport
from circinus_coordinator.simulation.routes import Network
from circinus_coordinator.simulation.stages import Stage, Step
from circinus_coordinator.simulation.world import World

__all__ = ["Meter"]


@dataclass(slots=True)
class _Reading:
    busy: dict[int, float] = field(default_factory=dict)  # of steps, by id()
    wires: dict[tuple[str, str], float] = field(default_factory=dict)
    uplinks: dict[tuple[str, str], float] = field(default_factory=dict)
    stages: list[tuple[int, int, float]] = field(default_factory=list)


class Meter:
    """Reads the counters at both ends of the window.

    What runs at a reading counts up to it: a batch is counted in full when it starts, and what is
    left of it is taken off.
    """

    def __init__(self, world: World, network: Network, window_ms: tuple[float, float]) -> None:
        self._world = world
        self._network = network
        self._window_ms = window_ms[1] - window_ms[0]
        self._readings: list[_Reading] = []
        for time in window_ms:
            world.at(time, self._read)

    def _read(self, now: float, _: Any, __: Any) -> None:
        network, reading = self._network, _Reading()
        for stage in network.stages.values():
            batches = stage.batches if not stage.plain else stage.requests
            reading.stages.append((stage.requests, batches, stage.waited))
            for step in stage.steps:
                reading.busy[id(step)] = step.busy
        for event in self._world.agenda:
            ending = getattr(event[2], "__self__", None)
            if isinstance(ending, Step):
                reading.busy[id(ending)] -= event[0] - now
        reading.wires = {ends: w.busy_until(now) for ends, w in network.wires.items()}
        reading.uplinks = {key: w.busy_until(now) for key, w in network.uplinks.items()}
        self._readings.append(reading)

    def _busy_ms(self, step: Step) -> float:
        before, after = self._readings
        return after.busy[id(step)] - before.busy[id(step)]

    def devices(self, scenario: Scenario) -> dict[str, dict[str, float]]:
        """By device and resource, use / offer; an ``uplink`` counts its busier direction."""
        before, after = self._readings
        found: dict[str, dict[str, float]] = {}
        use: dict[str, dict[str, float]] = {name: {} for name in sorted(self._network.machines)}
        for stage in self._network.stages.values():
            used = use[stage.machine.id]
            for step in stage.steps:
                for resource, units in step.units.items():
                    used[resource] = used.get(resource, 0.0) + units * self._busy_ms(step)
        for name, used in use.items():
            offered = scenario.class_of(name).resources
            found[name] = {
                resource: used.get(resource, 0.0) / (amount * self._window_ms)
                for resource, amount in offered.items()
                if amount > 0
            }
        for (name, _), ms in after.uplinks.items():
            share = (ms - before.uplinks[name, _]) / self._window_ms
            device = found.setdefault(name, {})
            device["uplink"] = max(device.get("uplink", 0.0), share)
        return found

    def links(self) -> dict[tuple[str, str], float]:
        """By (from, to), time busy / window."""
        before, after = self._readings
        return {
            ends: (after.wires[ends] - before.wires[ends]) / self._window_ms
            for ends in sorted(after.wires)
        }

    def instances(self) -> tuple[InstanceReport, ...]:
        """Every instance, by device and operator."""
        before, after = self._readings
        stages = list(self._network.stages.values())
        found = [
            self._instance(stage, b, a)
            for stage, b, a in zip(stages, before.stages, after.stages, strict=True)
        ]
        return tuple(sorted(found, key=lambda i: (i.device, i.operator, i.config, i.batch)))

    def _instance(
        self, stage: Stage, before: tuple[int, int, float], after: tuple[int, int, float]
    ) -> InstanceReport:
        requests = after[0] - before[0]
        busy = sum(self._busy_ms(step) for step in stage.steps)
        return InstanceReport(
            device=stage.machine.id,
            operator=stage.name[0],
            config=stage.name[1],
            batch=stage.batch,
            replicas=stage.replicas,
            utilisation=busy / (stage.replicas * self._window_ms),
            requests=requests,
            batches=after[1] - before[1],
            mean_wait_ms=(after[2] - before[2]) / requests if requests else 0.0,
        )
