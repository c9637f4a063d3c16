"""A fleet with a known truth, whose devices answer probes at once; for tests of seeking."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from circinus.fleet import Device, DeviceClass, Link, Network
from circinus.messages import (
    CancelProbe,
    CommandResult,
    Peer,
    ProbeAccuracy,
    ProbeOperators,
    ProbeSamples,
)
from circinus.pipeline import AccuracyTask, OperatorSpec, Pipeline
from circinus.query import Query, Slo
from circinus_coordinator.profiling import (
    LinkKey,
    Needs,
    OperatorKey,
    ProbeDevice,
    Profiler,
    ProfilingSettings,
    Send,
    Terrain,
    needs,
)

CLASSES = {
    "pi": DeviceClass(name="pi", cores=4, memory_mb=1, price_usd_hour=0.04),
    "nu": DeviceClass(name="nu", cores=4, memory_mb=1, price_usd_hour=0.4),
    "dc": DeviceClass(name="dc", cores=8, memory_mb=1, price_usd_hour=4.0),
}
TIERS = {"device": 0, "edge": 1, "cloud": 2}
TIER_OF = {"pi": "device", "nu": "edge", "dc": "cloud"}
SPEED = {"pi": 1.0, "nu": 3.0, "dc": 8.0}
LINKS = (
    Link(between=("device", "edge"), rtt_ms=4, bandwidth_mbps=100),
    Link(between=("edge", "cloud"), rtt_ms=16, bandwidth_mbps=100),
    Link(between=("device", "cloud"), rtt_ms=20, bandwidth_mbps=100),
)
PIPELINE = Pipeline(
    name="p",
    operators={
        "a": OperatorSpec(name="a", run="m:A", knobs={"scale": (2, 1)}),
        "b": OperatorSpec(name="b", run="m:B", needs=("a",), knobs={"side": (4, 3, 2, 1)}),
        "c": OperatorSpec(name="c", run="m:C", needs=("b",), knobs={"bits": (32, 8)}),
    },
    input_bytes={"a": 10_000},
    accuracy=AccuracyTask(dataset="/data", metric="m:score"),
)
MS = {"a": 200.0, "b": 1500.0, "c": 600.0}  # of the best config on the slowest class
LOSS = {"a": 0.05, "b": 0.08, "c": 0.03}  # by every step down from the best config
INPUTS = 100


def query(name: str = "q", *, source: str = "pi1", **slo: float) -> Query:
    return Query(id=name, pipeline="p", source={"a": source}, rate_rps=1, slo=Slo(**slo))


def step(operator: str, config: Mapping[str, Any]) -> int:
    """How many steps a config is below the best."""
    (knob, values), = PIPELINE.operators[operator].knobs.items()  # fmt: skip
    return values.index(config[knob])


def mean_ms(operator: str, config: Mapping[str, Any], device_class: str) -> float:
    return MS[operator] * 0.7 ** step(operator, config) / SPEED[device_class]


def accuracy(config: Mapping[str, Mapping[str, Any]]) -> float:
    return 0.96 * math.prod((1 - LOSS[name]) ** step(name, c) for name, c in config.items())


class Lab:
    """A profiler in that world.

    Attributes:
        samples: Taken of each target.
        device_s: What all service times come to; scores at those of the fastest class.
        probes: How many were sent.
    """

    def __init__(self, devices: str = "pi1 nu1 dc1", **settings: Any) -> None:
        self.rng = np.random.default_rng(0)
        self.profiler = Profiler(ProfilingSettings(**settings), prefix="x")
        self.names = devices.split()
        self.busy: set[str] = set()
        self.boot: dict[str, str] = {}
        self.now, self.probes, self.device_s = 0.0, 0, 0.0
        self.samples: Counter[str] = Counter()
        self.order = np.random.default_rng(1).permutation(INPUTS) / INPUTS
        self.pending: list[Send] = []
        self.hear(self.profiler.on_devices(self.devices(), self.now))

    def rows_of(self, order: Send) -> dict[OperatorKey, int]:
        """Samples there are of what an operator probe is to measure."""
        probe = self.profiler._running.get(order.command.request_id, order.device)
        assert probe is not None
        rows = self.profiler._ledger.rows
        return {
            key: rows[key].samples
            for key in probe.keys
            if isinstance(key, OperatorKey) and key in rows
        }

    def devices(self) -> dict[str, ProbeDevice]:
        return {
            name: ProbeDevice(
                id=name, boot_id=self.boot.get(name, name), session=1, device_class=name[:2],
                tier=TIERS[TIER_OF[name[:2]]], cores=CLASSES[name[:2]].cores,
                busy=name in self.busy,
            )
            for name in self.names
        }  # fmt: skip

    def needs(self, queries: Sequence[Query]) -> Needs:
        there = [Device(id=n, device_class=n[:2], tier=TIER_OF[n[:2]]) for n in self.names]
        network = Network(there, LINKS)
        ids = sorted(self.names)
        places = [
            (name, device)
            for name in PIPELINE.operators
            for device in self.names
        ]  # fmt: skip
        return needs(
            pipelines={"p": PIPELINE},
            queries=queries,
            placements={
                q.id: [(o, d) for o, d in places if d[:2] != "pi" or d == q.source["a"]]
                for q in queries
            },
            known={n: _capabilities(n) for n in self.names},
            batches=(1,),
            artifacts={},
            links={
                LinkKey(a=a, b=b): (a, Peer(device=b, url="ws://x"))
                for i, a in enumerate(ids)
                for b in ids[i + 1 :]
                if network.between(a, b) is not None
            },
            terrain=Terrain(
                devices={device.id: device for device in there},
                tiers=TIERS,
                classes=CLASSES,
                assumed=network.between,
            ),
        )

    def want(self, *queries: Query) -> None:
        self.hear(self.profiler.on_needs(self.needs(queries), self.now))

    def hear(self, orders: Sequence[Any]) -> set[tuple[str, int]]:
        """Note what was ordered; the targets that were cancelled."""
        gone = set()
        for order in orders:
            if isinstance(order, Send):
                if isinstance(order.command, CancelProbe):
                    targets = order.command.targets or range(1000)
                    gone |= {(order.command.probe, target) for target in targets}
                else:
                    self.pending.append(order)
        return gone

    def run(self, until: Any = None, most: int = 1000) -> None:
        """Answer probes one after another, until none is left."""
        for _ in range(most):
            if until is not None and until():
                return
            if not self.pending:
                self.now += 1
                self.hear(self.profiler.on_tick(self.now))
                if not self.pending:
                    return
                continue
            self.answer(self.pending.pop(0))
        raise AssertionError("it never ends")

    def answer(self, order: Send) -> None:
        self.probes += 1
        command = order.command
        assert not isinstance(command, CancelProbe)
        gone: set[tuple[str, int]] = set()
        for target in range(len(getattr(command, "targets", [None]))):
            if (command.request_id, target) not in gone:
                gone |= self._target(order, target)
        done = CommandResult(device=order.device, request_id=command.request_id, ok=True)
        self.hear(self.profiler.on_result(done, self.now))

    def _target(self, order: Send, target: int) -> set[tuple[str, int]]:
        command = order.command
        if isinstance(command, ProbeOperators):
            wanted = command.targets[target]
            mean = mean_ms(wanted.operator, wanted.config, order.device[:2])
            gone: set[tuple[str, int]] = set()
            for _ in range(command.max_samples):
                ms = float(mean * self.rng.gamma(50, 1 / 50))
                gone |= self._say(
                    order, target, latency_ms=[ms], compute_s=[ms / 1e3], output_bytes=[2000.0]
                )
                self.device_s += ms / 1e3
                self.samples[wanted.operator] += 1
                if (command.request_id, target) in gone:
                    return gone
            return gone | self._say(order, target, done=True)
        if isinstance(command, ProbeAccuracy):
            vector = command.targets[target]
            last = min(INPUTS, command.max_samples)
            span = self.order[vector.first : last][: vector.count]
            scores = (span < accuracy(vector.config)).astype(float).tolist()
            self.samples["scores"] += len(scores)
            self.device_s += len(scores) * sum(MS.values()) / SPEED["dc"] / 1e3
            return self._say(
                order, target, scores=scores, first=vector.first, population=INPUTS, done=True
            )
        return self._say(order, target, rtt_ms=[4.0], bandwidth_mbps=[100.0], done=True)

    def _say(self, order: Send, target: int, **values: Any) -> set[tuple[str, int]]:
        message = ProbeSamples(
            device=order.device, request_id=order.command.request_id, seq=0, target=target,
            **values,
        )  # fmt: skip
        return self.hear(self.profiler.on_samples(message, self.now))

    def told(self) -> set[tuple[str, str, str]]:
        """(operator, config, class) of the rows the planner gets."""
        return {
            (key.operator, str(key.config), key.device_class)
            for key in self.profiler.results()
            if isinstance(key, OperatorKey)
        }


def _capabilities(device: str) -> Any:
    from circinus.messages import Capabilities

    return Capabilities(
        device=device, boot_id=device, device_class=device[:2], tier=TIER_OF[device[:2]], cores=1,
        memory_mb=1, architecture="", os="", python="",
    )  # fmt: skip
