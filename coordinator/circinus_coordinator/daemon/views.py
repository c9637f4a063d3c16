"""What the daemon shows of itself: plain values, ready for JSON (`msgspec.to_builtins`)."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from circinus.messages import Capabilities, LinkMeasurement, Reported
from circinus_coordinator.fleet import Measured

__all__ = [
    "ArtifactInfo",
    "AssignmentView",
    "Change",
    "DeviceView",
    "Measured",
    "Measurement",
    "PlanView",
    "ProbeProgress",
    "Progress",
    "Promised",
    "QueryState",
    "QueryView",
    "StepView",
]

ConfigDict = dict[str, Any]


class QueryState(str, enum.Enum):
    """Where a submitted query stands."""

    WAITING = "waiting"  # for a device to connect, or for inputs to profile with
    PROFILING = "profiling"
    PLANNING = "planning"
    REJECTED = "rejected"
    ADMITTED = "admitted"  # planned; not yet rolled out, e.g. because a device is offline
    ROLLING_OUT = "rolling-out"
    SERVING = "serving"
    IMPAIRED = "impaired"  # rolled out, but a device, a source or a sink of it does not work
    FAILED = "failed"  # its rollout failed and was taken back


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """A device as the coordinator knows it.

    Attributes:
        plannable: None where queries can be placed on it, else why not.
        silent_s: Seconds since its last message.
        rollout: ``converged``, ``applying``, ``failed`` ... as it last reported.
        cpu_percent: Of all its cores together, 0 to 100; None without telemetry.
        queued: Requests waiting per instance.
        dropped: What its agent ignored or dropped since it started, by cause.
        warning: What somebody should look after; None where all is well.
    """

    id: str
    device_class: str | None
    tier: str | None
    online: bool
    silent_s: float | None
    plannable: str | None
    emulated: bool
    capabilities: Capabilities | None
    reported: Reported | None
    desired_version: int
    rollout: str | None
    cpu_percent: float | None
    memory_mb: float | None
    temperature_c: float | None
    queued: dict[str, int]
    links: list[LinkMeasurement]
    dropped: dict[str, int] = field(default_factory=dict)
    warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """Where and how one operator runs."""

    device: str
    config: ConfigDict
    batch: int
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """Estimates: latency at the SLO's percentile, and the service times' p95 where it is told."""

    latency_ms: float
    accuracy: float | None
    cost_usd_per_1000: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentView:
    """A plan with its share; `plan_id` is what routes and telemetry call it."""

    plan_id: str
    share: float
    plan: dict[str, StepView]
    promised: Promised


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Measured against promised, per query; `plans` by plan id."""

    query: str
    promised: Promised | None
    measured: Measured
    plans: dict[str, Measured]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryView:
    """A query, its state, and what it was given.

    Attributes:
        query: As in a submission document.
        share: Of its traffic that is admitted.
        reason: Why it waits, was rejected or failed, or does not serve as it should.
        lead: Device that takes its requests (HTTP POST /v1/queries/{id} on its agent).
    """

    id: str
    state: QueryState
    query: dict[str, Any]
    share: float
    assignments: list[AssignmentView]
    reason: str | None = None
    binding: str | None = None
    relaxation: str | None = None
    lead: str | None = None
    measured: Measured | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """One assignment of the decision in force, with the phase of its rollout."""

    query: str
    phase: str
    assignment: AssignmentView


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeProgress:
    """Targets done of those known to be needed on a device, and what runs there now."""

    device: str
    done: int
    total: int
    running: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far profiling is; nothing more is wanted now when ``done == total``.

    Attributes:
        possible: Measurements there would be if everything was measured.
        device_s: Seconds of devices that probes took since the coordinator started.
    """

    done: int
    total: int
    possible: int
    device_s: float
    devices: list[ProbeProgress]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactInfo:
    """A stored file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something happened: an entry of the event log, in order of `seq`.

    `kind` is one of ``device``, ``query``, ``probe``, ``decision``, ``rollout``, ``drift``;
    `subject` the device or query it is about; `text` one line for people. `time_s` is Unix time,
    for people only.
    """

    seq: int
    time_s: float
    kind: str
    subject: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)
