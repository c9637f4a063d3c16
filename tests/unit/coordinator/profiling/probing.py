"""Pipelines, devices and samples for tests of the profiler."""

from __future__ import annotations

from typing import Any

from circinus.messages import (
    Artifact,
    CancelProbe,
    Capabilities,
    CommandResult,
    OperatorInfo,
    Peer,
    ProbeSamples,
)
from circinus.pipeline import AccuracyTask, OperatorSpec, Pipeline
from circinus.query import Query, Slo, Source
from circinus_coordinator.profiling import (
    Keep,
    LinkKey,
    Needs,
    ProbeDevice,
    Profiler,
    ProfilingSettings,
    Send,
    needs,
)

PIPELINE = Pipeline(
    name="p",
    operators={
        "a": OperatorSpec(name="a", run="m:A"),
        "b": OperatorSpec(
            name="b", run="m:B", needs=("a",), knobs={"side": (2, 1), "chunk": (8, 4)},
            neutral_knobs=("chunk",),
        ),
    },
    input_bytes={"a": 1},
    accuracy=AccuracyTask(dataset="/data", metric="m:score"),
)  # fmt: skip
SETTINGS = ProfilingSettings(seek=False, min_samples=4, max_samples=8, attempts=2, answer_s=5)
ALL = {"q": [(op, d) for op in "ab" for d in ("pi1", "pi2", "dc")]}


def query(name: str = "q", *, accuracy: float | None = None, path: str | None = None) -> Query:
    source = Source(kind="folder", path=path) if path else Source()
    return Query(
        id=name, pipeline="p", source={"a": "pi1"}, rate_rps=1, slo=Slo(accuracy=accuracy),
        input=source,
    )  # fmt: skip


def capabilities(device: str, operators: tuple[str, ...] = (), version: str = "1") -> Capabilities:
    return Capabilities(
        device=device, boot_id=f"{device}-boot", device_class=device[:2], tier="t", cores=1,
        memory_mb=1, architecture="", os="", python="",
        operators=[OperatorInfo(name=name, version=version) for name in operators],
    )  # fmt: skip


def wanted(
    *, pipeline: Pipeline = PIPELINE, queries: list[Query] | None = None, devices: str = "pi1 dc",
    links: bool = False, batches: tuple[int, ...] = (1,), artifacts: tuple[Artifact, ...] = (),
    known: dict[str, Capabilities] | None = None,
    placements: dict[str, list[tuple[str, str]]] | None = None,
) -> Needs:  # fmt: skip
    there = devices.split()
    queries = [query()] if queries is None else queries
    return needs(
        pipelines={"p": pipeline},
        queries=queries,
        placements=placements
        or {q.id: [(o, d) for o in pipeline.operators for d in there] for q in queries},
        known=known or {device: capabilities(device) for device in there},
        batches=batches,
        artifacts={"p": artifacts},
        links={LinkKey(a="dc", b="pi1"): ("pi1", Peer(device="dc", url="ws://dc"))}
        if links
        else {},
    )


def device(name: str, *, session: int = 1, boot: str | None = None, **changes: Any) -> ProbeDevice:
    values: dict[str, Any] = {
        "id": name, "boot_id": boot or f"{name}-boot", "session": session,
        "device_class": name[:2], "tier": 2 if name.startswith("dc") else 0,
        "cores": 32 if name.startswith("dc") else 4,
    }  # fmt: skip
    return ProbeDevice(**{**values, **changes})


class Bench:
    """A profiler with devices that answer when told to."""

    def __init__(self, devices: str = "pi1 dc", **settings: Any) -> None:
        values = {f: getattr(SETTINGS, f) for f in ProfilingSettings.__slots__}
        self.profiler = Profiler(ProfilingSettings(**{**values, **settings}), prefix="x")
        self.now = 0.0
        self.sent: list[Send] = []
        self.kept: list[Keep] = []
        self.unfinished: list[Keep] = []
        self.devices = {name: device(name) for name in devices.split()}
        self.online()

    def take(self, orders: list[Send | Keep]) -> list[Send]:
        self.sent += [order for order in orders if isinstance(order, Send)]
        kept = [order for order in orders if isinstance(order, Keep)]
        self.kept += [order for order in kept if order.summary.done]
        self.unfinished += [order for order in kept if not order.summary.done]
        return [order for order in orders if isinstance(order, Send)]

    def online(self) -> list[Send]:
        return self.take(self.profiler.on_devices(self.devices, self.now))

    def want(self, needs: Needs) -> list[Send]:
        return self.take(self.profiler.on_needs(needs, self.now))

    def samples(self, order: Send, target: int = 0, **values: Any) -> list[Send]:
        message = ProbeSamples(
            device=order.device, request_id=order.command.request_id, seq=0, target=target,
            **values,
        )  # fmt: skip
        return self.take(self.profiler.on_samples(message, self.now))

    def result(self, order: Send, error: str | None = None) -> list[Send]:
        message = CommandResult(
            device=order.device, request_id=order.command.request_id, ok=error is None, error=error
        )
        return self.take(self.profiler.on_result(message, self.now))

    def answer(self, order: Send) -> list[Send]:
        """All targets of a probe, with enough samples."""
        command = order.command
        if isinstance(command, CancelProbe):
            return []
        for i in range(len(getattr(command, "targets", [None]))):
            self.samples(
                order, i, latency_ms=[1.0] * 4, scores=[1.0], rtt_ms=[1.0], bandwidth_mbps=[1.0],
                done=True,
            )  # fmt: skip
        return self.result(order)

    def finish(self) -> None:
        """Answer everything until nothing is asked any more."""
        waiting = list(self.sent)
        while waiting:
            waiting += self.answer(waiting.pop(0))

    def wait(self, seconds: float) -> list[Send]:
        self.now += seconds
        return self.take(self.profiler.on_tick(self.now))
