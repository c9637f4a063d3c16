"""From scenario and decision to machines, wires and the ways through them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.decision import Assignment
from circinus.decision import Step as Placed
from circinus.errors import InvalidInput
from circinus.pipeline import Config, Deliver, Pipeline
from circinus.profile import OperatorProfile
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.simulation.judge import Judge
from circinus_coordinator.simulation.lines import Transfer, Wire
from circinus_coordinator.simulation.service import (
    Draw,
    ServiceKey,
    ServiceTime,
    draws,
    generator,
    resample,
)
from circinus_coordinator.simulation.stages import Stage, Step
from circinus_coordinator.simulation.tokens import Machine
from circinus_coordinator.simulation.world import Go, World

__all__ = ["Network", "Way"]

FloatArray = npt.NDArray[np.float64]
InstanceKey = tuple[str, str, Config, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """An assignment, ready to take requests.

    Attributes:
        enter: Where a request enters.
        keeps: Whether the plan meets the SLOs on accuracy and cost.
    """

    enter: Go
    keeps: bool


class Network:
    """Builds machines, wires and ways as assignments ask for them; equal instances are shared."""

    def __init__(
        self,
        scenario: Scenario,
        world: World,
        seed: int,
        services: Mapping[ServiceKey, FloatArray],
    ) -> None:
        self.machines: dict[str, Machine] = {}
        self.wires: dict[tuple[str, str], Wire] = {}
        self.uplinks: dict[tuple[str, str], Wire] = {}
        self.stages: dict[InstanceKey, Stage] = {}
        self._scenario = scenario
        self._world = world
        self._seed = seed
        self._services = services
        self._judge = Judge(scenario)
        self._draws: dict[tuple[str, ServiceKey], Draw] = {}
        self._rows: dict[tuple[str, Config, str], dict[int, OperatorProfile]] = {}
        for row in scenario.profiles:
            known = self._rows.setdefault((row.qualified, row.config, row.device_class), {})
            known[row.batch] = row

    def add(self, assignment: Assignment, query: Query) -> Way:
        """An assignment's way through the network.

        Raises:
            InvalidInput: The plan does not fit the scenario; the key says where.
        """
        scenario, plan = self._scenario, assignment.plan
        pipeline = scenario.pipelines[query.pipeline]
        for name in pipeline.operators:
            if name not in plan or plan[name].device not in scenario.device:
                raise InvalidInput("not placed on a known device", key=f"plan.{name}")
        rows = {name: self._row(query.pipeline, name, plan[name]) for name in pipeline.operators}
        steps = {name: self._step(pipeline, name, plan[name], rows[name]) for name in rows}
        moves: list[tuple[str, str, float]] = []
        entries = self._entries(query, pipeline, assignment, steps, moves)
        self._connect(query, pipeline, assignment, steps, rows, moves)
        cost = self._judge.cost_usd(plan, rows, moves)
        return Way(enter=_all_of(entries), keeps=self._judge.keeps(query, plan, cost))

    # ---- steps ------------------------------------------------------------------------------

    def _row(self, pipeline: str, name: str, placed: Placed) -> OperatorProfile:
        kind = self._scenario.device[placed.device].device_class
        for operator in (f"{pipeline}/{name}", name):
            row = self._rows.get((operator, placed.config, kind), {}).get(placed.batch)
            if row is not None:
                return row
        raise InvalidInput(
            f"no profile of {placed.config}, batch {placed.batch}, on {kind}",
            key=f"plan.{name}",
            remedy="simulate a decision with the scenario it was made for",
        )

    def _step(self, pipeline: Pipeline, name: str, placed: Placed, row: OperatorProfile) -> Step:
        spec = pipeline.operators[name]
        machine = self._machine(placed.device)
        key = (placed.device, spec.implementation, placed.config, placed.batch)
        stage = self.stages.get(key)
        if stage is None:
            stage = self.stages[key] = Stage(
                self._world,
                machine,
                (spec.implementation, str(placed.config)),
                self._factors(row),
            )
        stage.hold(row.held)
        stage.replicas = stage.idle = max(stage.replicas, placed.replicas)
        if placed.replicas < 1:
            raise InvalidInput("at least one replica is needed", key=f"plan.{name}.replicas")
        return Step(stage, self._draw(placed.device, row), row.busy, len(spec.needs))

    def _factors(self, row: OperatorProfile) -> list[float]:
        """Length of a batch of 1, 2, ... requests / of a full one, between the measured sizes."""
        if row.batch == 1:
            return [1.0]
        known = self._rows[row.qualified, row.config, row.device_class]
        sizes = sorted(size for size in known if size <= row.batch)
        means = [known[size].latency_ms.mean for size in sizes]
        full = row.latency_ms.mean
        return [
            float(np.interp(n, sizes, means)) / full if full > 0 else 1.0
            for n in range(1, row.batch + 1)
        ]

    def _draw(self, device: str, row: OperatorProfile) -> Draw:
        """Service times of a row on a device; all who share them take turns."""
        key: ServiceKey = (row.qualified, row.config, row.device_class, row.batch)
        if (device, key) not in self._draws:
            rng = generator(self._seed, "service", device, *key)
            measured = self._services.get(key)
            self._draws[device, key] = (
                draws(ServiceTime.of(row.latency_ms), rng)
                if measured is None
                else resample(measured, rng)
            )
        return self._draws[device, key]

    def _machine(self, device: str) -> Machine:
        if device not in self.machines:
            kind = self._scenario.class_of(device)
            self.machines[device] = Machine(device, kind.cores, kind.accelerators)
        return self.machines[device]

    # ---- the ways between them --------------------------------------------------------------

    def _entries(
        self,
        query: Query,
        pipeline: Pipeline,
        assignment: Assignment,
        steps: Mapping[str, Step],
        moves: list[tuple[str, str, float]],
    ) -> list[Go]:
        found: list[Go] = []
        for name in pipeline.sources:
            here, there = query.source[name], assignment.plan[name].device
            size = pipeline.input_bytes[name]
            moves.append((here, there, size))
            found.append(self._way(here, there, size, [steps[name].entry], f"plan.{name}"))
        return found

    def _connect(
        self,
        query: Query,
        pipeline: Pipeline,
        assignment: Assignment,
        steps: Mapping[str, Step],
        rows: Mapping[str, OperatorProfile],
        moves: list[tuple[str, str, float]],
    ) -> None:
        """Outputs go on to their consumers, one transfer per device; results are delivered."""
        plan = assignment.plan
        home = query.source[pipeline.sources[0]]
        finish = self._world.finisher(len(pipeline.sinks))
        for name, step in steps.items():
            here, size = plan[name].device, rows[name].output_bytes
            takers: dict[str, list[Go]] = {}
            for consumer in pipeline.consumers(name):
                there = plan[consumer].device
                moves.append((here, there, size))
                takers.setdefault(there, []).append(steps[consumer].entry)
            if name in pipeline.sinks:
                end = home if pipeline.deliver is Deliver.SOURCE else here
                moves.append((here, end, size))
                takers.setdefault(end, []).append(finish)
            for there, targets in takers.items():
                if there == here:
                    step.onward.extend(targets)
                else:
                    step.onward.append(self._way(here, there, size, targets, f"plan.{name}"))

    def _way(self, here: str, there: str, size: float, targets: list[Go], key: str) -> Go:
        if here == there:
            return _all_of(targets)
        transfer = Transfer(
            self._world, self._wire(here, there, key), size, self._uplinks(here, there)
        )
        transfer.targets.extend(targets)
        return transfer.send

    def _wire(self, here: str, there: str, key: str) -> Wire:
        if (here, there) not in self.wires:
            link = self._scenario.network.between(here, there)
            if link is None:
                raise InvalidInput(f"no link between {here} and {there}", key=key)
            speed = 8e-3 / link.bandwidth_mbps if link.bandwidth_mbps > 0 else math.inf
            self.wires[here, there] = Wire((here, there), link.rtt_ms / 2, speed)
        return self.wires[here, there]

    def _uplinks(self, here: str, there: str) -> list[Wire]:
        """What goes out of the one device and into the other, where they are capped."""
        found = []
        for key in ((here, "out"), (there, "in")):
            mbps = self._scenario.device[key[0]].uplink_mbps
            if mbps is not None:
                speed = 8e-3 / mbps if mbps > 0 else math.inf
                found.append(self.uplinks.setdefault(key, Wire(key, 0.0, speed)))
        return found


def _all_of(targets: list[Go]) -> Go:
    if len(targets) == 1:
        return targets[0]

    def each(now: float, r: int) -> None:
        for target in targets:
            target(now, r)

    return each
