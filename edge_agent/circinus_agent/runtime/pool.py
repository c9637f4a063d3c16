"""The instances of a device and the stages before them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import msgspec

from circinus.messages import InstanceReport, InstanceSpec, InstanceTelemetry
from circinus_agent.runtime.absence import FORGET_S, Absence
from circinus_agent.runtime.instance import Instance
from circinus_agent.runtime.outcome import Failure, WorkerFailed
from circinus_agent.runtime.settings import RuntimeSettings
from circinus_agent.runtime.stage import Loop, Stage, StageCounters
from circinus_agent.runtime.tokens import Lines

__all__ = ["Pool"]

RETIRE_POLL_S = 0.1
RETIRE_TIMEOUT_S = 60.0


class Pool:
    """Starts and stops instances by key.

    Args:
        keep_s: Counters of a stopped instance are told for this long, then dropped.

    Attributes:
        stages: The stage of every ready instance; requests find it here.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        loop: Loop,
        on_change: Callable[[str], None] | None,
        *,
        keep_s: float = FORGET_S,
    ) -> None:
        self.stages: dict[str, Stage] = {}
        self._settings = settings
        self._loop = loop
        self._on_change = on_change
        self._resources = Lines(settings.cores, settings.accelerators)
        self._instances: dict[str, Instance] = {}
        self._counters: dict[str, StageCounters] = {}
        self._restarts: Counter[str] = Counter()
        self._absence: Absence[str] = Absence(keep_s)
        self._lines = 0
        self._locks: dict[str, asyncio.Lock] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    async def start(self, spec: InstanceSpec) -> None:
        """See `Runtime.start_instance`."""
        async with self._locks.setdefault(spec.key, asyncio.Lock()):
            old = self._instances.get(spec.key)
            if old is not None and _same_process(old.spec, spec):
                old.spec = spec
                if key_stage := self.stages.get(spec.key):
                    key_stage.hold(spec)
                return
            instance = Instance(spec, self._settings, on_change=partial(self._changed, spec.key))
            if old is None:
                self._instances[spec.key] = instance
            starting = asyncio.create_task(instance.start(), name=f"start {spec.key}")
            self._starting[spec.key] = starting
            try:
                await asyncio.wait([starting])
                if starting.cancelled():
                    raise WorkerFailed(spec.key, "stopped while it was starting")
                starting.result()
            except BaseException:
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                if self._instances.get(spec.key) is instance:
                    del self._instances[spec.key]
                await instance.stop()
                raise
            finally:
                del self._starting[spec.key]
            self._put(instance)

    async def stop(self, key: str) -> None:
        """See `Runtime.stop_instance`."""
        starting = self._starting.get(key)
        if starting is not None:
            starting.cancel()
        async with self._locks.setdefault(key, asyncio.Lock()):
            instance = self._instances.get(key)
            if instance is None:
                return
            stage = self.stages.pop(key, None)
            if stage is not None:
                stage.stop(Failure("stopped", "the instance was stopped"))
            await instance.stop()
            self._forget(instance)
            self._instances.pop(key, None)

    def reports(self) -> dict[str, InstanceReport]:
        """State of every instance."""
        return {key: instance.report() for key, instance in self._instances.items()}

    def telemetry(self) -> list[InstanceTelemetry]:
        """Counters by key, also of instances that were stopped lately."""
        return [
            counters.telemetry(
                key, self._restarts[key] + self._running_restarts(key), self._queued(key)
            )
            for key, counters in self._counters.items()
        ]

    def forget(self, now: float) -> bool:
        """Drop what is kept of instances that are gone for long; whether anything is left."""
        known = {*self._counters, *self._restarts, *self._locks}
        present = {*self._instances, *self._starting}
        present.update(key for key, lock in self._locks.items() if lock.locked())
        for key in self._absence.over(known, present, now):
            self._counters.pop(key, None)
            self._restarts.pop(key, None)
            self._locks.pop(key, None)
        return bool(self._counters or self._restarts or self._locks)

    @property
    def dropped_lines(self) -> int:
        """Lines that operators printed beyond the log's limit."""
        return self._lines + sum(i.dropped_lines for i in self._instances.values())

    async def close(self) -> None:
        """Stop everything."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await asyncio.gather(*(self.stop(key) for key in list(self._instances)))

    def _put(self, instance: Instance) -> None:
        """Send requests to `instance` from now on, and its predecessor into retirement."""
        key = instance.spec.key
        old, old_stage = self._instances.get(key), self.stages.get(key)
        self._instances[key] = instance
        counters = self._counters.setdefault(key, StageCounters())
        self.stages[key] = Stage(
            instance.spec, instance, self._resources, self._loop, counters=counters
        )
        if old is not None and old is not instance and old_stage is not None:
            task = asyncio.create_task(self._retire(old, old_stage), name=f"retire {key}")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _retire(self, instance: Instance, stage: Stage) -> None:
        """Let it finish what it has, then stop it."""
        until = self._loop.time() + RETIRE_TIMEOUT_S
        try:
            while not stage.at_rest and self._loop.time() < until:  # noqa: ASYNC110 - rare
                await asyncio.sleep(RETIRE_POLL_S)
        finally:
            stage.stop(Failure("stopped", "the instance was replaced"))
            await instance.stop()
            self._forget(instance)

    def _forget(self, instance: Instance) -> None:
        self._restarts[instance.spec.key] += instance.restarts
        self._lines += instance.dropped_lines

    def _running_restarts(self, key: str) -> int:
        instance = self._instances.get(key)
        return instance.restarts if instance is not None else 0

    def _queued(self, key: str) -> int:
        stage = self.stages.get(key)
        return stage.waiting if stage is not None else 0

    def _changed(self, key: str) -> None:
        if self._on_change is not None:
            self._on_change(key)


def _same_process(one: InstanceSpec, other: InstanceSpec) -> bool:
    """Whether they differ at most in what their batches keep from others."""
    held = msgspec.structs.replace(one, cores=other.cores, accelerators=other.accelerators)
    return held == other
