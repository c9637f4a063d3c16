"""A fleet whose machines answer probes in simulated time, from a measured table.

What an agent does with a probe is played out step by step: processes are started, upstream
operators make inputs, two warm-up batches are thrown away, samples are sent as they come, and
scoring reuses what operators before it put out, in the same probe or in one that ended a moment
ago. A machine is so many times slower than the measured one.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks._profiler.table import Table
from circinus.messages import (
    CancelProbe,
    CommandResult,
    ProbeAccuracy,
    ProbeOperators,
    ProbeSamples,
    ProbeStep,
)
from circinus_coordinator.profiling import Keep, ProbeDevice, Profiler, Send

__all__ = ["Fleet"]

# Seconds from asking for a process until it has its model: 1.5 on the demo's machine with nothing
# else to do. A link takes some two.
START_S = 1.5
LINK_S = 2.0
# As agents have it (`circinus_agent.probes`).
KEEP_S, WARM = 20.0, 4
_WARM_UP = 2
_FLUSH_S, _FLUSH = 0.3, 10
_INPUTS = 16

Step = tuple[float, dict[str, Any] | None]


@dataclass(slots=True)
class _Kept:
    """What scoring left on a device."""

    done: dict[int, set[int]] = field(default_factory=dict)
    warm: dict[str, None] = field(default_factory=dict)
    ended: float = 0.0

    def start(self, worker: str) -> bool:
        """Use a worker; whether it has to be started."""
        there = worker in self.warm
        self.warm.pop(worker, None)
        self.warm[worker] = None
        if len(self.warm) > WARM:
            del self.warm[next(iter(self.warm))]
        return not there


class Fleet:
    """Plays all devices of a profiler.

    Args:
        slowdown: By device class.
    """

    def __init__(
        self,
        profiler: Profiler,
        devices: Mapping[str, ProbeDevice],
        table: Table,
        slowdown: Mapping[str, float],
    ) -> None:
        self.profiler, self.devices, self.now = profiler, devices, 0.0
        self._table, self._slowdown = table, slowdown
        self._configs = list(table.manifest["operators"].values())
        self._names = list(table.manifest["operators"])
        self._order = np.random.default_rng(0).permutation(table.scores.shape[1])
        self._events: list[tuple[float, int, Callable[[], Sequence[Any]]]] = []
        self._count = itertools.count()
        self._cancelled: dict[str, set[int]] = {}
        self._kept: dict[str, _Kept] = {}  # by device
        self.probes = 0
        self.hear(profiler.on_devices(devices, 0.0))

    def hear(self, orders: Sequence[Any]) -> None:
        """Carry out what the profiler asks for."""
        for order in orders:
            if isinstance(order, Keep):
                continue
            command = order.command
            if isinstance(command, CancelProbe):
                targets = command.targets if command.targets is not None else range(10_000)
                self._cancelled.setdefault(command.probe, set()).update(targets)
            else:
                self.probes += 1
                self._next(order, self._run(order))

    def run(self, until: Callable[[], bool], most_s: float = 36_000.0) -> bool:
        """Let time pass; False if that never comes."""
        while not until():
            if self.now > most_s:
                return False
            tick = self.now + 1.0
            while self._events and self._events[0][0] <= tick:
                self.now, _, event = heapq.heappop(self._events)
                self.hear(event())
                if until():
                    return True
            self.now = tick
            self.hear(self.profiler.on_tick(self.now))
        return True

    @property
    def idle(self) -> bool:
        """Nothing runs."""
        return not self._events

    def _next(self, order: Send, steps: Iterator[Step]) -> None:
        found = next(steps, None)
        if found is None:
            result = CommandResult(
                device=order.device, request_id=order.command.request_id, ok=True
            )
            self._at(0.0, lambda: self.profiler.on_result(result, self.now))
            return
        seconds, values = found

        def event() -> Sequence[Any]:
            orders: Sequence[Any] = ()
            if values is not None:
                message = ProbeSamples(
                    device=order.device, request_id=order.command.request_id, seq=0, **values
                )
                orders = self.profiler.on_samples(message, self.now)
            self.hear(orders)
            self._next(order, steps)
            return ()

        self._at(seconds, event)

    def _at(self, seconds: float, event: Callable[[], Sequence[Any]]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._count), event))

    # ---- probes -----------------------------------------------------------------------------

    def _run(self, order: Send) -> Iterator[Step]:
        command, factor = order.command, self._slowdown[self.devices[order.device].device_class]
        if isinstance(command, ProbeOperators):
            self._here(order.device).warm.clear()
            return self._operators(command, factor, self._here(order.device))
        if isinstance(command, ProbeAccuracy):
            return self._accuracy(command, self._here(order.device))
        return iter(
            [(LINK_S, {"target": 0, "rtt_ms": [5.0], "bandwidth_mbps": [100.0], "done": True})]
        )

    def _here(self, device: str) -> _Kept:
        kept = self._kept.get(device)
        if kept is None or self.now - kept.ended > KEEP_S:
            kept = self._kept[device] = _Kept(ended=self.now)
        return kept

    def _gone(self, request_id: str, target: int) -> bool:
        return target in self._cancelled.get(request_id, ())

    def _operators(self, command: ProbeOperators, factor: float, kept: _Kept) -> Iterator[Step]:
        for step in command.steps:
            mine = [k for k, t in enumerate(command.targets) if t.operator == step.name]
            for target in mine:
                if not self._gone(command.request_id, target):
                    node = self._part(step.name, command.targets[target].config)
                    yield from self._samples(command, target, node, factor)
            after = [
                k
                for k, t in enumerate(command.targets)
                if self._names.index(t.operator) > self._names.index(step.name)
                and not self._gone(command.request_id, k)
            ]
            if after:  # inputs for those; what is no measurement runs at full speed
                node = self._part(step.name, step.config)
                yield START_S + float(self._ms(node, 1.0)[:_INPUTS].sum()) / 1e3, None
        kept.ended = self.now

    def _samples(
        self, command: ProbeOperators, target: int, node: int, factor: float
    ) -> Iterator[Step]:
        ms, core = self._ms(node, factor), self._table.core_ms[node] * factor / 1e3
        yield START_S + float(ms[:_WARM_UP].sum()) / 1e3, None
        taken: list[int] = []
        since = 0.0
        for n in range(command.max_samples):
            if self._gone(command.request_id, target):
                return
            k = n % _INPUTS
            taken.append(k)
            since += float(ms[k]) / 1e3
            last = n + 1 == command.max_samples
            if since >= _FLUSH_S or len(taken) >= _FLUSH or last:
                yield since, {
                    "target": target, "latency_ms": ms[taken].tolist(), "done": last,
                    "compute_s": core[taken].tolist(),
                    "output_bytes": self._table.output_bytes[node, taken].tolist(),
                }  # fmt: skip
                taken, since = [], 0.0

    def _accuracy(self, command: ProbeAccuracy, kept: _Kept) -> Iterator[Step]:
        inputs = self._order[: command.max_samples]
        for target, wanted in enumerate(command.targets):
            if self._gone(command.request_id, target):
                continue
            last = len(inputs) if wanted.count is None else wanted.first + wanted.count
            span = inputs[wanted.first : last]
            vector = self._vector(command.steps, wanted.config)
            seconds = 0.0
            for k, node in enumerate(self._table.paths[vector].tolist()):
                done = kept.done.setdefault(node, set())
                new = [n for n in span.tolist() if n not in done]
                if new:
                    seconds += START_S * kept.start(f"{k} {self._table.configs[vector, k]}")
                    # Outputs alone count, so that nothing is slowed down.
                    seconds += float(self._ms(node, 1.0)[new].sum()) / 1e3
                    done.update(new)
            kept.ended = self.now + seconds
            yield seconds, {
                "target": target, "scores": self._table.scores[vector, span].tolist(),
                "first": wanted.first, "population": len(inputs), "done": True,
            }  # fmt: skip

    # ---- the table --------------------------------------------------------------------------

    def _ms(self, node: int, factor: float) -> Any:
        return self._table.latency_ms[node] + self._table.core_ms[node] * (factor - 1)

    def _number(self, k: int, config: Mapping[str, Any]) -> int:
        """Of a config; knobs the table has and the pipeline has not stand at their first."""
        rows = self._configs[k]
        return next(
            i for i, row in enumerate(rows) if all(row[knob] == v for knob, v in config.items())
        )

    def _part(self, operator: str, config: Mapping[str, Any]) -> int:
        """The node of an operator after the best configs before it."""
        k = self._names.index(operator)
        row = [0] * len(self._names)
        row[k] = self._number(k, config)
        return int(self._table.paths[self._find(row), k])

    def _vector(self, steps: Sequence[ProbeStep], config: Mapping[str, Mapping[str, Any]]) -> int:
        given = {step.name: config.get(step.name, step.config) for step in steps}
        return self._find([self._number(k, given[name]) for k, name in enumerate(self._names)])

    def _find(self, row: Sequence[int]) -> int:
        return int(np.flatnonzero((self._table.configs == row).all(axis=1))[0])
