"""Faults carried out: what runs, waits and travels is lost or slowed."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from circinus.errors import InvalidInput
from circinus.scenario import Scenario
from circinus_coordinator.simulation.faults import Fault
from circinus_coordinator.simulation.lines import Wire, change_speed, lost
from circinus_coordinator.simulation.stages import Stage, Step
from circinus_coordinator.simulation.tokens import Machine
from circinus_coordinator.simulation.world import Event, World

__all__ = ["Outages"]


class Outages:
    """Puts faults on the agenda.

    Args:
        stages: All of them.
        machines: In use, by device id.
        wires: In use, by (from, to).
    """

    def __init__(
        self,
        world: World,
        stages: Collection[Stage],
        machines: Mapping[str, Machine],
        wires: Mapping[tuple[str, str], Wire],
    ) -> None:
        self._world = world
        self._stages = stages
        self._machines = machines
        self._wires = wires

    def schedule(self, scenario: Scenario, faults: Sequence[Fault]) -> None:
        """Have all faults begin and end in time."""
        for i, fault in enumerate(faults):
            for device in fault.link or (fault.device,):
                if device not in scenario.device:
                    raise InvalidInput(f"unknown device {device!r}", key=f"events[{i}]")
            self._world.at(fault.start_s * 1e3, self._begin, fault)
            if math.isfinite(fault.end_s):
                self._world.at(fault.end_s * 1e3, self._end, fault)

    def _wires_of(self, fault: Fault) -> list[Wire]:
        if fault.link is not None:
            pair = set(fault.link)
            return [wire for ends, wire in self._wires.items() if set(ends) == pair]
        return [wire for ends, wire in self._wires.items() if fault.device in ends]

    def _on(self, machine: Machine) -> list[Stage]:
        return [stage for stage in self._stages if stage.machine is machine]

    def _begin(self, now: float, fault: Fault, _: Any) -> None:
        if fault.slowdown is not None:
            self._slow(now, fault, add=True)
            return
        wires = self._wires_of(fault)
        for wire in wires:
            wire.down += 1
        cut = set(wires)
        self._world.revise(lambda event: None if lost(self._world, event, cut) else event)
        for wire in wires:
            wire.cut(now)
        machine = self._machines.get(fault.device or "")
        if machine is not None:
            machine.down += 1
            self._stop(now, machine)

    def _end(self, now: float, fault: Fault, _: Any) -> None:
        if fault.slowdown is not None:
            self._slow(now, fault, add=False)
            return
        for wire in self._wires_of(fault):
            wire.down -= 1
        machine = self._machines.get(fault.device or "")
        if machine is not None:
            machine.down -= 1
            if not machine.down:
                for stage in self._on(machine):
                    stage.idle = stage.replicas

    # ---- failures ---------------------------------------------------------------------------

    def _stop(self, now: float, machine: Machine) -> None:
        """All requests on the machine are lost; without idle replicas nothing starts."""
        world = self._world
        world.revise(functools.partial(_without, world, machine, now))
        for stage in self._on(machine):
            for _, _, _, r, _ in stage.queue:
                world.fail(r)
            for step in stage.steps:
                for r in step.came:
                    world.fail(r)
                step.came.clear()
            stage.queue.clear()
            stage.idle = stage.passed = 0
            stage.parked = stage.lingering = False
        machine.reset()

    # ---- slow-downs -------------------------------------------------------------------------

    def _slow(self, now: float, fault: Fault, *, add: bool) -> None:
        factor = fault.slowdown or 1.0
        if fault.link is not None:
            for wire in self._wires_of(fault):
                change_speed(self._world, wire, _changed(wire.slowdowns, factor, add=add), now)
            return
        machine = self._machines.get(fault.device or "")
        if machine is not None:
            slow = _changed(machine.slowdowns, factor, add=add)
            change = functools.partial(_stretched, machine, slow / machine.slow, now)
            self._world.revise(change)
            machine.slow = slow


def _changed(slowdowns: list[float], factor: float, *, add: bool) -> float:
    """All slow-downs together, with one more or less."""
    if add:
        slowdowns.append(factor)
    else:
        slowdowns.remove(factor)
    return math.prod(slowdowns)


def _running(event: Event, machine: Machine) -> Step | None:
    """The step whose batch ends with the event, if it runs on the machine."""
    step = getattr(event[2], "__self__", None)
    return step if isinstance(step, Step) and step.stage.machine is machine else None


def _without(world: World, machine: Machine, now: float, event: Event) -> Event | None:
    time, _, _, a, _ = event
    if isinstance(a, Stage) and a.machine is machine:
        return None  # its wait for a fuller batch
    step = _running(event, machine)
    if step is None:
        return event
    step.busy -= time - now
    for r in [a] if isinstance(a, int) else [r for r, _ in a]:
        world.fail(r)
    return None


def _stretched(machine: Machine, ratio: float, now: float, event: Event) -> Event:
    step = _running(event, machine)
    if step is None:
        return event
    time, order, handler, a, ms = event
    more = (time - now) * (ratio - 1)
    step.busy += more
    return (time + more, order, handler, a, ms + more)
