"""A coordinator that answers from memory, with the interface of the real one."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from circinus.decision import Decision
from circinus.errors import InvalidInput, NoData
from circinus.pipeline import Pipeline
from circinus.scenario import Scenario, Submission, decode_scenario, encode_scenario
from circinus_coordinator.daemon import (
    ArtifactInfo,
    AssignmentView,
    Change,
    DeviceView,
    Measured,
    Measurement,
    PlanView,
    ProbeProgress,
    ProfileFilter,
    ProfilesView,
    Progress,
    Promised,
    QueryState,
    QueryView,
    StepView,
)

SCENARIO = b"""
circinus: 1
device_classes: {pi: {cores: 4, memory_mb: 1000}}
devices: [{id: pi-1, class: pi, tier: device}]
pipelines: {p: {operators: {a: {}}, input_bytes: 1}}
"""

DEVICE = DeviceView(
    id="pi-1",
    device_class="pi",
    tier="device",
    online=True,
    silent_s=0.5,
    plannable=None,
    emulated=True,
    capabilities=None,
    reported=None,
    desired_version=3,
    rollout="converged",
    cpu_percent=12.5,
    memory_mb=40.0,
    temperature_c=None,
    queued={},
    links=[],
    dropped={"malformed command": 3},
)
PROMISED = Promised(latency_ms=80.0, accuracy=0.9, cost_usd_per_1000=0.01)
ASSIGNMENT = AssignmentView(
    plan_id="abc",
    share=1.0,
    plan={"a": StepView(device="pi-1", config={"side": 320}, batch=1, replicas=1)},
    promised=PROMISED,
)
MEASURED = Measured(
    seconds=10.0,
    submitted=20,
    finished=20,
    completed=19,
    within_latency=18,
    shed=1,
    latency_ms=75.0,
    p50_ms=60.0,
    p95_ms=75.0,
    accuracy=0.91,
    scored=19,
    cost_usd_per_1000=0.011,
    goodput_rps=1.8,
    attainment=0.9,
)


@dataclasses.dataclass
class FakeCoordinator:
    """See `circinus_coordinator.daemon.Coordinator`."""

    folder: Path
    submitted: list[Submission] = dataclasses.field(default_factory=list)
    withdrawn: list[str] = dataclasses.field(default_factory=list)
    log: list[Change] = dataclasses.field(default_factory=list)
    planned: Scenario | None = None
    broken: bool = False
    unsubscribed: bool = False
    wanted: ProfileFilter | None = None
    store_id: str = "store-1"
    queue: asyncio.Queue[Change] = dataclasses.field(default_factory=asyncio.Queue)

    async def submit(self, submission: Submission) -> list[str]:
        self.submitted.append(submission)
        return [query.id for query in submission.queries]

    async def withdraw(self, query_id: str) -> None:
        if query_id != "gate":
            raise NoData(f"query {query_id!r}")
        self.withdrawn.append(query_id)

    def devices(self) -> list[DeviceView]:
        if self.broken:
            raise RuntimeError("a secret bug")
        return [DEVICE]

    def malformed(self) -> dict[tuple[str, str], int]:
        return {("pi-1", "telemetry"): 4}

    def ignored(self) -> dict[str, int]:
        return {"oversized message": 2}

    def queries(self) -> list[QueryView]:
        served = QueryView(
            id="gate",
            state=QueryState.SERVING,
            query={"id": "gate", "slo": {"latency_ms": 100}},
            share=1.0,
            assignments=[ASSIGNMENT],
        )
        rejected = QueryView(
            id="never",
            state=QueryState.REJECTED,
            query={"id": "never", "slo": {"latency_ms": 1}},
            share=0.0,
            assignments=[],
            reason="no plan is that fast",
            binding="latency",
            relaxation="40 ms",
        )
        return [served, rejected]

    def pipelines(self) -> dict[str, Pipeline]:
        return dict(decode_scenario(SCENARIO).pipelines)

    def plans(self) -> list[PlanView]:
        return [PlanView(query="gate", phase="serving", assignment=ASSIGNMENT)]

    def measurements(self, *, window_s: float | None = None) -> list[Measurement]:
        measured = MEASURED if window_s is None else dataclasses.replace(MEASURED, seconds=window_s)
        return [Measurement(query="gate", promised=PROMISED, measured=measured, plans={})]

    def progress(self) -> Progress:
        one = ProbeProgress(device="pi-1", done=2, total=5, running="detect")
        return Progress(done=2, total=5, possible=9, device_s=1.5, devices=[one])

    def scenario(self) -> Scenario | None:
        return self.planned

    def scenario_document(self) -> bytes | None:
        return encode_scenario(self.planned) if self.planned else None

    def decision(self) -> Decision | None:
        return Decision(planner="greedy") if self.planned else None

    async def profiles(self, wanted: ProfileFilter) -> ProfilesView:
        self.wanted = wanted
        return ProfilesView(operators=[], accuracy=[], links=[])

    async def explain(self, query_id: str) -> Any:
        if query_id != "gate":
            raise NoData(f"query {query_id!r}")
        return {"query": query_id, "binding": "latency"}

    async def put_artifact(
        self, chunks: AsyncIterator[bytes], *, max_bytes: int = 1 << 30
    ) -> ArtifactInfo:
        data = b"".join([chunk async for chunk in chunks])
        if len(data) > max_bytes:
            raise InvalidInput("too large")
        sha256 = hashlib.sha256(data).hexdigest()
        (self.folder / sha256).write_bytes(data)
        return ArtifactInfo(sha256=sha256, size_bytes=len(data))

    def artifact(self, sha256: str) -> Path | None:
        path = self.folder / sha256
        return path if path.is_file() else None

    async def subscribe(self) -> AsyncIterator[Change]:
        try:
            while True:
                yield await self.queue.get()
        finally:
            self.unsubscribed = True

    async def events(self, *, after: int = 0, limit: int = 1000) -> list[Change]:
        return [change for change in self.log if change.seq > after][:limit]


def change(seq: int) -> Change:
    return Change(seq=seq, time_s=0.0, kind="query", subject="gate", text=f"event {seq}")


def scenario() -> Scenario:
    return decode_scenario(SCENARIO)
