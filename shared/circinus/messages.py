"""Every MQTT message, as msgspec Structs: JSON on the wire, with a schema version.

Unknown fields are ignored, so that an older side understands a newer one; a message with a
higher `schema` than `SCHEMA` is not decoded.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, TypeVar

import msgspec

from circinus.errors import InvalidInput
from circinus.operator import KnobValue

__all__ = [
    "SCHEMA",
    "AccuracyTarget",
    "Artifact",
    "CancelProbe",
    "Capabilities",
    "Command",
    "CommandResult",
    "CoordinatorStatus",
    "Desired",
    "DesiredBody",
    "Emulation",
    "InstanceReport",
    "InstanceSpec",
    "InstanceTelemetry",
    "LinkEmulation",
    "LinkMeasurement",
    "Message",
    "OperatorInfo",
    "OperatorTarget",
    "Peer",
    "ProbeAccuracy",
    "ProbeLink",
    "ProbeOperators",
    "ProbeSamples",
    "ProbeStep",
    "Reported",
    "Route",
    "RouteStep",
    "RouteTelemetry",
    "SinkSpec",
    "SourceSpec",
    "Status",
    "Telemetry",
    "body_hash",
    "decode",
    "encode",
    "instance_key",
]

SCHEMA = 1

# Larger payloads are not decoded: a desired document of 1,000 routes is about 1 MB.
MAX_MESSAGE_BYTES = 8 << 20

M = TypeVar("M", bound="Message")
ConfigMap = dict[str, KnobValue]

# What devices count is stored in 64 bits and read by JSON readers that know only floats: up to
# 2**53 both keep every integer apart, also after adding one.
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
# No device has more cores, or megabytes, than this; it only keeps sums of them finite.
Size = Annotated[float, msgspec.Meta(le=1e12)]


class _Part(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A piece of a message."""


class Message(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=False):
    """Base of all messages."""

    schema: int = SCHEMA


# ---- upwards ------------------------------------------------------------------------------


class Status(Message, tag="status", frozen=True):
    """Birth (online) and will (offline) of an agent; a will of an older session is ignored.

    `boot_id` is new at each start of the agent, `session` grows by one at each connection.
    `clean` marks an orderly good-bye.
    """

    device: str
    boot_id: str
    session: Count
    online: bool
    clean: bool = False
    version: str = ""


class OperatorInfo(_Part, frozen=True):
    """An operator installed on a device."""

    name: str
    version: str
    stateful: bool = False


class LinkEmulation(_Part, frozen=True):
    """A link whose delay and bandwidth the data plane makes up."""

    peer: str
    rtt_ms: float
    bandwidth_mbps: float


class Emulation(_Part, frozen=True):
    """What on this device is made up, and therefore no measurement of real hardware."""

    slowdown: float = 1.0
    cores: Size | None = None
    memory_mb: Size | None = None
    links: list[LinkEmulation] = []


class Capabilities(Message, tag="capabilities", frozen=True):
    """What a device is and has. Sizes in MB, temperatures in degrees Celsius."""

    device: str
    boot_id: str
    device_class: str
    tier: str
    cores: Size
    memory_mb: Size
    architecture: str
    os: str
    python: str
    model: str | None = None
    accelerators: dict[str, float] = {}
    providers: list[str] = []
    operators: list[OperatorInfo] = []
    temperature_c: float | None = None
    throttled: bool | None = None
    endpoint: str | None = None
    """Where outer traffic may dial in: ``ws://host:port``; None if it can only dial out."""
    emulation: Emulation | None = None


class InstanceReport(_Part, frozen=True):
    """State of one instance: starting, ready, failed or stopping."""

    state: str
    ready: Count = 0
    restarts: Count = 0
    cause: str | None = None


class Reported(Message, tag="reported", frozen=True):
    """How far a device is with its desired document.

    `phase` is ``idle`` (never had one), ``applying``, ``converged`` or ``failed``. `version` and
    `hash` name the document that `phase` speaks of; `refused` says why a newer one was not
    accepted.
    """

    device: str
    boot_id: str
    version: Count
    hash: str
    phase: str
    instances: dict[str, InstanceReport] = {}
    error: str | None = None
    refused: str | None = None


class ProbeSamples(Message, tag="samples", frozen=True):
    """Samples of one target of a probe, as they come in.

    Operator targets, element by element: `latency_ms` of whole batches, from handing one to the
    operator's process until its results are back, as in serving; `compute_s` core seconds,
    `output_bytes` and `price_usd` per request. Accuracy targets: `scores`.
    Link: `rtt_ms` and `bandwidth_mbps`. `done` closes the target; `cause` says why where that
    was not because it has all it was asked for.

    `first` is the place of the first of `scores` in the data set's order, and `population` the
    number of inputs the data set has; None from agents that score in another order and always
    begin with the first. The rest is what the machine was like meanwhile, None where unknown:
    `background_percent` is what others than the probe used of all its cores, 0 to 100.
    """

    device: str
    request_id: str
    seq: Count
    target: Count
    latency_ms: list[float] = []
    compute_s: list[float] = []
    output_bytes: list[float] = []
    price_usd: list[float] = []
    memory_mb: float | None = None
    scores: list[float] = []
    first: Count | None = None
    population: Count | None = None
    rtt_ms: list[float] = []
    bandwidth_mbps: list[float] = []
    temperature_c: float | None = None
    throttled: bool | None = None
    background_percent: float | None = None
    done: bool = False
    cause: str | None = None
    emulated: bool = False


class CommandResult(Message, tag="result", frozen=True):
    """The answer to a command: for a probe, that all its targets are done."""

    device: str
    request_id: str
    ok: bool
    error: str | None = None
    data: dict[str, Any] = {}


class RouteTelemetry(_Part, frozen=True):
    """Counters of one (query, plan) at its source device, since the boot id's start.

    `failed` counts by cause; `shed` requests are those dropped because their deadline could not
    be met. Latency runs from source to delivery. `scored`/`score_sum` compare outputs with
    labels where the source has them. `price_usd` sums what operators metered.
    """

    query: str
    plan: str
    submitted: Count = 0
    completed: Count = 0
    within_latency: Count = 0
    shed: Count = 0
    failed: dict[str, Count] = {}
    latency: dict[int, Count] = {}
    scored: Count = 0
    score_sum: float = 0.0
    price_usd: float = 0.0
    network_bytes: dict[str, float] = {}
    """Bytes sent per hop, keyed ``from>to``."""


class InstanceTelemetry(_Part, frozen=True):
    """Counters of one instance since the boot id's start: histograms in ms.

    Attributes:
        requests: Requests that were dispatched; shed and refused ones are not among them.
        queued: Requests that wait now.
        compute_s: Core seconds, measured and summed over all requests.
        full: Service times of batches as large as they are made, all of which went well: what a
            profile has samples of.
    """

    key: str
    requests: Count = 0
    batches: Count = 0
    service: dict[int, Count] = {}
    wait: dict[int, Count] = {}
    queued: Count = 0
    shed: Count = 0
    failed: Count = 0
    restarts: Count = 0
    compute_s: float = 0.0
    full: dict[int, Count] = {}


class LinkMeasurement(_Part, frozen=True):
    """A link as the data plane sees it."""

    peer: str
    connected: bool
    rtt_ms: float | None = None


class Telemetry(Message, tag="telemetry", frozen=True):
    """What a device has done so far; cumulative, so that a lost one costs nothing."""

    device: str
    boot_id: str
    seq: Count
    uptime_s: float
    cpu_percent: float = 0.0
    memory_mb: float = 0.0
    temperature_c: float | None = None
    throttled: bool | None = None
    routes: list[RouteTelemetry] = []
    instances: list[InstanceTelemetry] = []
    links: list[LinkMeasurement] = []
    dropped: dict[str, Count] = {}
    troubles: dict[str, str] = {}
    """Why the source or the sink of a query does not work here now, for people; by query."""


# ---- downwards ----------------------------------------------------------------------------


class InstanceSpec(_Part, frozen=True):
    """An operator instance: shared by every route that names its key.

    Attributes:
        threads: CPU threads its processes are told to use.
        cores: Whole ones that a batch keeps from others while it runs; None for as many as
            `threads`.
        accelerators: How much of each it keeps from others meanwhile.
        memory_mb: Kill the process above this; None for no limit.
    """

    key: str
    run: str
    config: ConfigMap = {}
    batch: int = 1
    replicas: int = 1
    threads: int = 1
    cores: int | None = None
    accelerators: dict[str, float] = {}
    memory_mb: float | None = None


class RouteStep(_Part, frozen=True):
    """One operator of a plan: where it runs and whose outputs it takes."""

    name: str
    device: str
    instance: str
    needs: list[str] = []


class SourceSpec(_Part, frozen=True):
    """See `circinus.query.Source`; `metric` scores outputs against ``labels.json``, if any."""

    kind: str = "http"
    path: str | None = None
    arrivals: str = "poisson"
    metric: str | None = None


class SinkSpec(_Part, frozen=True):
    """See `circinus.query.Sink`; a relative `path` is below ``results`` in the agent's state."""

    kind: str = "events"
    path: str | None = None


class Route(_Part, frozen=True):
    """One plan of a query, the same on every device it touches.

    `plan` identifies (query, steps). While `active` is false the devices are ready for it but
    the source sends it nothing. `lead` is the device of the first source: it starts requests
    and counts them. `share` is of the query's whole traffic; what the shares of active routes
    leave over is not admitted and answered so.
    """

    query: str
    plan: str
    share: float
    active: bool
    lead: str
    sources: dict[str, str]
    steps: list[RouteStep]
    rate_rps: float
    deadline_ms: float | None = None
    deliver_source: bool = False
    input: SourceSpec = SourceSpec()
    output: SinkSpec = SinkSpec()


class Peer(_Part, frozen=True):
    """A device this one talks to; dial `url` where given, else wait for it to dial us."""

    device: str
    url: str | None = None


class Artifact(_Part, frozen=True):
    """A file to fetch before anything starts: ``GET url``, checked against `sha256` (hex)."""

    sha256: str
    size_bytes: int
    url: str


class DesiredBody(_Part, frozen=True):
    """All a device should have and run."""

    instances: list[InstanceSpec] = []
    routes: list[Route] = []
    peers: list[Peer] = []
    artifacts: list[Artifact] = []


class Desired(Message, tag="desired", frozen=True):
    """What a device should run; complete, versioned, hashed.

    `store` identifies the coordinator's store: versions compare only within one.
    """

    device: str
    store: str
    version: int
    hash: str
    body: DesiredBody


class Command(Message, frozen=True):
    """Base of commands. One is carried out only by the session it was addressed to.

    Sessions end at every reconnect, so that a command that was held up somewhere does not fire
    days later; no clock is involved.
    """

    request_id: str
    boot_id: str
    session: int


class ProbeStep(_Part, frozen=True):
    """One operator of the pipeline a probe runs, in topological order."""

    name: str
    run: str
    needs: list[str] = []
    config: ConfigMap = {}
    """The reference config its consumers' inputs are made with."""


class OperatorTarget(_Part, frozen=True):
    """What to measure: one operator under one config and batch size."""

    operator: str
    config: ConfigMap = {}
    batch: int = 1


class ProbeOperators(Command, tag="probe-operators", frozen=True):
    """Measure operators on inputs from `dataset` (a folder, or ``sha256:...``)."""

    steps: list[ProbeStep]
    targets: list[OperatorTarget]
    dataset: str
    artifacts: list[Artifact] = []
    min_samples: int = 10
    max_samples: int = 50
    budget_s: float = 60.0
    inputs: int = 16
    """Distinct inputs to cycle through."""


class AccuracyTarget(_Part, frozen=True):
    """One config vector, on `count` inputs from `first` on; on all that are left where None."""

    config: dict[str, ConfigMap]
    first: Count = 0
    count: Count | None = None


class ProbeAccuracy(Command, tag="probe-accuracy", frozen=True):
    """Score a pipeline on labelled inputs; upstream outputs are reused between targets.

    Inputs stand in an order that is random and the same on every device: by the SHA-256 of their
    path below `dataset`. The first `max_samples` of them are used.
    """

    steps: list[ProbeStep]
    targets: list[AccuracyTarget]
    dataset: str
    metric: str
    artifacts: list[Artifact] = []
    max_samples: int = 100
    budget_s: float = 300.0


class ProbeLink(Command, tag="probe-link", frozen=True):
    """Measure RTT and bandwidth to `peer`, through the data plane."""

    peer: Peer
    samples: int = 10
    payload_bytes: int = 262_144
    budget_s: float = 20.0


class CancelProbe(Command, tag="cancel-probe", frozen=True):
    """Stop a probe, or only some of its targets; samples taken so far have been sent."""

    probe: str
    targets: list[int] | None = None


AnyCommand = ProbeOperators | ProbeAccuracy | ProbeLink | CancelProbe


class CoordinatorStatus(Message, tag="coordinator", frozen=True):
    """Birth and will of the coordinator; `api` is where artifacts are fetched from."""

    store: str
    online: bool
    api: str | None = None


def instance_key(run: str, config: ConfigMap, batch: int) -> str:
    """Identity of an instance: routes that agree on it share its processes."""
    canonical = msgspec.json.encode([run, sorted(config.items()), batch])
    return f"{run.rpartition(':')[2].lower()}-{hashlib.sha256(canonical).hexdigest()[:12]}"


def body_hash(body: DesiredBody) -> str:
    """sha256 (hex) of the body's JSON; field order is fixed by the Struct, so it is canonical."""
    return hashlib.sha256(msgspec.json.encode(body, order="deterministic")).hexdigest()


def encode(message: Message) -> bytes:
    """The message as JSON."""
    return msgspec.json.encode(message)


def decode(payload: bytes, kind: type[M] | Any) -> Any:
    """Decode a message of type `kind` (a Message class or a union of them).

    Raises:
        InvalidInput: If it is too large, no JSON, of another type or of a newer schema.
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise InvalidInput(f"{len(payload)} bytes are too many for a message")
    try:
        message = msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"malformed message: {error}") from None
    if message.schema > SCHEMA:
        raise InvalidInput(
            f"message of schema {message.schema}; this release reads up to {SCHEMA}",
            remedy="upgrade this side",
        )
    return message
