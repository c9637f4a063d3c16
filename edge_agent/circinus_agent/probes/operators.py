"""The operator probe: how long one operator takes under each config, on this device.

Each target runs in processes of its own. Its inputs are made by the operators before it under
their reference configs, each run once for all targets that need it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from circinus.errors import CircinusError
from circinus.messages import InstanceSpec, OperatorTarget, ProbeOperators, ProbeStep
from circinus_agent.probes.environment import (
    Budget,
    Control,
    Payload,
    ProbeEnvironment,
    ProbeFailed,
    TargetCancelled,
    TargetStream,
    Worker,
    cause_of,
    raced,
)
from circinus_agent.probes.outputs import Outputs, dataset_files, read_input, step_input

__all__ = ["OperatorProbe", "ancestors"]

# The first batches pay for lazy imports, page faults and the allocation of arenas; a slow
# operator does that within its first one.
WARM_UP_BATCHES = 2
SLOW_WARM_UP_S = 1.0
# A request in service finds a process that has slept since the last one: woken with cold caches, a
# quick operator takes several times what it takes in a tight loop (hello's: 0.27 ms, not 0.08).
# A longer pause changes little, and slower operators hardly feel it.
QUICK_S = 0.005
PAUSE_S = 0.02
# An operator may refuse an input; one that refuses these in a row refuses all.
MAX_FAILED_BATCHES = 3


class OperatorProbe:
    """One run of `ProbeOperators`."""

    def __init__(
        self,
        environment: ProbeEnvironment,
        command: ProbeOperators,
        control: Control,
        seq: Callable[[], int],
    ) -> None:
        self._environment = environment
        self._command = command
        self._control = control
        self._budget = Budget(command.budget_s, environment.clock)
        self._steps = {step.name: step for step in command.steps}
        self._outputs: dict[str, Outputs] = {}
        self._broken: dict[str, str] = {}  # steps whose outputs could not be made
        self.streams = [
            TargetStream(
                environment, command.request_id, target, seq, emulated=environment.emulated
            )
            for target in range(len(command.targets))
        ]

    async def run(self) -> dict[str, Any]:
        """Measure all targets.

        Raises:
            ProbeFailed: If nothing could be measured at all.
        """
        by_operator: dict[str, list[int]] = {name: [] for name in self._steps}
        for position, target in enumerate(self._command.targets):
            if target.operator not in by_operator:
                self.streams[position].close(f"the pipeline has no operator {target.operator}")
            else:
                by_operator[target.operator].append(position)
        try:
            sources = await asyncio.to_thread(self._read_sources)
            for name, step in self._steps.items():
                positions = self._open(by_operator[name])
                if positions:
                    await self._targets(step, positions, sources)
                await self._upstream(step, by_operator, sources)
        finally:
            for outputs in self._outputs.values():
                outputs.close()
            for stream in self.streams:
                stream.close("stopped")
        return {"samples": sum(stream.count for stream in self.streams)}

    def _open(self, positions: Sequence[int]) -> list[int]:
        return [p for p in positions if not self.streams[p].closed]

    def _read_sources(self) -> Outputs:
        folder = self._environment.resolve(self._command.dataset)
        outputs = Outputs(self._environment.scratch)
        self._outputs[""] = outputs
        for position, file in enumerate(dataset_files(folder)[: self._command.inputs]):
            outputs.put(position, self._environment.encode_input(read_input(file)))
        return outputs

    def _inputs(self, step: ProbeStep, sources: Outputs) -> list[Payload]:
        """What the step receives for each input that got that far.

        Raises:
            ProbeFailed: If none did.
        """
        for need in step.needs:
            if need in self._broken:
                raise ProbeFailed(f"no inputs from {need}: {self._broken[need]}")
        needs = [self._outputs[need] for need in step.needs] or [sources]
        found = [step_input(needs, step.needs, i) for i in range(len(sources))]
        return [payload for payload in found if payload is not None]

    # ---- making inputs ----------------------------------------------------------------------

    async def _upstream(
        self, step: ProbeStep, by_operator: Mapping[str, Sequence[int]], sources: Outputs
    ) -> None:
        """Run `step` under its reference config, if a target further down still needs it."""
        served = [
            position
            for name, positions in by_operator.items()
            if step.name in ancestors(self._steps, name)
            for position in self._open(positions)
            if not self._control.cancelled(position)
        ]
        if not served:
            return
        try:
            needs = [self._outputs[need] for need in step.needs if need not in self._broken]
            self._inputs(step, sources)  # says why there is none
            self._outputs[step.name] = await self._run_reference(
                step, needs or [sources], served, len(sources)
            )
        except TargetCancelled:
            return
        except (ProbeFailed, CircinusError) as error:
            self._broken[step.name] = cause_of(error)

    async def _run_reference(
        self, step: ProbeStep, needs: Sequence[Outputs], served: Sequence[int], count: int
    ) -> Outputs:
        outputs = Outputs(self._environment.scratch)
        spec = InstanceSpec(key=f"probe-{step.name}", run=step.run, config=step.config)
        worker = self._environment.background(spec, self._budget.left_s)
        try:
            await raced(worker.start(), self._control, served, self._budget.left_s)
            for position in range(count):
                payload = step_input(needs, step.needs, position)
                if payload is None:
                    outputs.put(position, None)
                    continue
                result = await raced(
                    worker.call([payload]), self._control, served, self._budget.left_s
                )
                item = result.items[0]
                failure = str(item.failure) if item.failure else None
                outputs.put(position, item.payload, failure)
            if len(outputs.failures) == count:
                raise ProbeFailed(outputs.failures[0])
        except BaseException:
            outputs.close()
            raise
        finally:
            await asyncio.shield(worker.stop())
        return outputs

    # ---- measuring --------------------------------------------------------------------------

    async def _targets(self, step: ProbeStep, positions: Sequence[int], sources: Outputs) -> None:
        for position in positions:
            stream = self.streams[position]
            if self._control.cancelled(position):
                stream.close("cancelled")
                continue
            waiting = sum(not s.closed for s in self.streams)
            try:
                inputs = self._inputs(step, sources)
                if not inputs:
                    raise ProbeFailed("no input got through the operators before it")
                await self._measure(step, position, inputs, self._budget.part(waiting))
            except TargetCancelled:
                stream.close("cancelled")
            except (ProbeFailed, CircinusError) as error:
                stream.close(cause_of(error))

    async def _measure(
        self, step: ProbeStep, position: int, inputs: Sequence[Payload], part: Budget
    ) -> None:
        target = self._command.targets[position]
        if self._budget.left_s <= 0:
            raise ProbeFailed("budget used up")
        spec = InstanceSpec(
            key=f"probe-{step.name}-{position}",
            run=step.run,
            config=target.config,
            batch=target.batch,
        )
        worker = self._environment.worker(spec, self._budget.left_s)
        try:
            await raced(worker.start(), self._control, [position], self._budget.left_s)
            await self._sample(worker, target, position, inputs, part)
        finally:
            await asyncio.shield(worker.stop())

    async def _sample(
        self,
        worker: Worker,
        target: OperatorTarget,
        position: int,
        inputs: Sequence[Payload],
        part: Budget,
    ) -> None:
        """Take samples until there are enough, or nobody wants or pays for more."""
        command, stream = self._command, self.streams[position]
        warm_up, start = WARM_UP_BATCHES, 0
        failures: list[str] = []  # in a row
        clock = self._environment.clock
        took_s = QUICK_S
        while stream.count < command.max_samples:
            if part.left_s <= 0 and stream.count >= command.min_samples:
                stream.close("budget used up")
                return
            batch = [inputs[(start + i) % len(inputs)] for i in range(target.batch)]
            start += target.batch
            if took_s < QUICK_S:
                await self._environment.pause(PAUSE_S)
            began = clock()
            result = await raced(worker.call(batch), self._control, [position], self._budget.left_s)
            took_s = clock() - began
            failure = next((item.failure for item in result.items if item.failure), None)
            if failure is not None:
                failures.append(str(failure))
                if len(failures) >= MAX_FAILED_BATCHES:
                    raise ProbeFailed(failures[0])  # later ones may only say that it is down
                continue
            failures.clear()
            if warm_up > 0:
                warm_up = 0 if result.service_ms >= SLOW_WARM_UP_S * 1e3 else warm_up - 1
                continue
            stream.memory_mb = worker.memory_mb
            stream.own_core_s += result.compute_s / self._environment.slowdown
            stream.add(
                latency_ms=result.service_ms,
                compute_s=result.compute_s / target.batch,
                output_bytes=sum(len(i.payload or b"") for i in result.items) / target.batch,
                price_usd=sum(item.usd for item in result.items) / target.batch,
            )
        stream.close()


def ancestors(steps: Mapping[str, ProbeStep], name: str) -> set[str]:
    """The steps whose outputs `name` depends on, near and far."""
    found: set[str] = set()
    open_ = list(steps[name].needs)
    while open_:
        step = open_.pop()
        if step not in found and step in steps:
            found.add(step)
            open_.extend(steps[step].needs)
    return found
