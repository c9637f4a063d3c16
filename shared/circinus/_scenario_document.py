"""The scenario as it stands in files, and the way to and from the model.

Field names here are the contract.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from circinus import _documents as documents
from circinus.errors import InvalidInput
from circinus.fleet import Billing, Device, DeviceClass, Link
from circinus.operator import KnobValue
from circinus.pipeline import AccuracyTask, Config, Deliver, OperatorSpec, Pipeline
from circinus.profile import AccuracyProfile, LatencyStats, OperatorProfile, Provenance
from circinus.query import Query, Sink, Slo, Source, Tenant

if TYPE_CHECKING:
    from circinus.scenario import Scenario, Submission


class _Strict(
    msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True, frozen=True
):
    pass


class DeviceClassDocument(_Strict, frozen=True):
    cores: float
    memory_mb: float
    price_usd_hour: float = 0.0
    billing: Billing = Billing.USAGE
    accelerators: dict[str, float] = {}


class DeviceDocument(_Strict, frozen=True):
    id: str
    device_class: str = msgspec.field(name="class")
    tier: str
    uplink_mbps: float | None = None


class LinkDocument(_Strict, frozen=True):
    between: tuple[str, str]
    rtt_ms: float
    bandwidth_mbps: float
    price_usd_gb: float = 0.0


class OperatorDocument(_Strict, frozen=True):
    needs: list[str] = []
    knobs: dict[str, list[KnobValue]] = {}
    tiers: list[str] | None = None
    run: str | None = None
    stateful: bool = False
    neutral_knobs: list[str] = []


class AccuracyTaskDocument(_Strict, frozen=True):
    dataset: str
    metric: str


class PipelineDocument(_Strict, frozen=True):
    operators: dict[str, OperatorDocument]
    input_bytes: float | dict[str, float]
    backward: bool = False
    deliver: Deliver = Deliver.LAST
    accuracy: AccuracyTaskDocument | None = None


class LatencyDocument(_Strict, frozen=True):
    mean: float
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class OperatorProfileDocument(_Strict, frozen=True):
    operator: str
    device_class: str
    latency_ms: float | LatencyDocument
    config: dict[str, KnobValue] = {}
    batch: int = 1
    compute_s: dict[str, float] = {}
    memory_mb: float = 0.0
    output_bytes: float = 0.0
    price_usd_per_call: float = 0.0
    samples: int = 0
    provenance: Provenance = Provenance.MEASURED


class AccuracyDocument(_Strict, frozen=True):
    pipeline: str
    mean: float
    config: dict[str, dict[str, KnobValue]] = {}
    samples: int = 0
    provenance: Provenance = Provenance.MEASURED


class SloDocument(_Strict, frozen=True):
    latency_ms: float | None = None
    percentile: float = 95.0
    accuracy: float | None = None
    cost_usd_per_1000: float | None = None


class SourceDocument(_Strict, frozen=True):
    kind: str = "http"
    path: str | None = None
    arrivals: str = "poisson"


class SinkDocument(_Strict, frozen=True):
    kind: str = "events"
    path: str | None = None


class QueryDocument(_Strict, frozen=True):
    id: str
    pipeline: str
    source: str | dict[str, str]
    rate_rps: float
    weight: float = 1.0
    splittable: bool = True
    count: int = 1
    tenant: str | None = None
    slo: SloDocument = SloDocument()
    input: SourceDocument = SourceDocument()
    output: SinkDocument = SinkDocument()


class SubmissionDocument(_Strict, frozen=True):
    circinus: int
    pipelines: dict[str, PipelineDocument] = {}
    queries: list[QueryDocument] = []


class TenantDocument(_Strict, frozen=True):
    min_share: float = 0.0


class ScenarioDocument(SubmissionDocument, frozen=True):
    tiers: tuple[str, ...] = ("device", "edge", "cloud")
    device_classes: dict[str, DeviceClassDocument] = {}
    devices: list[DeviceDocument] = []
    links: list[LinkDocument] = []
    profiles: list[OperatorProfileDocument] = []
    accuracy: list[AccuracyDocument] = []
    max_utilisation: float = 0.8
    queueing: bool = True
    tenants: dict[str, TenantDocument] = {}


def device_class(name: str, raw: DeviceClassDocument) -> DeviceClass:
    return DeviceClass(
        name=name,
        cores=raw.cores,
        memory_mb=raw.memory_mb,
        price_usd_hour=raw.price_usd_hour,
        billing=raw.billing,
        accelerators=raw.accelerators,
    )


def device(raw: DeviceDocument) -> Device:
    return Device(
        id=raw.id, device_class=raw.device_class, tier=raw.tier, uplink_mbps=raw.uplink_mbps
    )


def link(raw: LinkDocument) -> Link:
    return Link(
        between=raw.between,
        rtt_ms=raw.rtt_ms,
        bandwidth_mbps=raw.bandwidth_mbps,
        price_usd_gb=raw.price_usd_gb,
    )


def pipeline(name: str, raw: PipelineDocument) -> Pipeline:
    operators = {}
    for op, spec in raw.operators.items():
        with _below(f"operators.{op}"):
            operators[op] = OperatorSpec(
                name=op,
                needs=tuple(spec.needs),
                run=spec.run,
                stateful=spec.stateful,
                neutral_knobs=tuple(spec.neutral_knobs),
                knobs={k: tuple(v) for k, v in spec.knobs.items()},
                tiers=None if spec.tiers is None else tuple(spec.tiers),
            )
    size = raw.input_bytes
    if not isinstance(size, dict):
        size = {op: size for op, spec in operators.items() if not spec.needs}
    task = raw.accuracy
    return Pipeline(
        name=name,
        operators=operators,
        input_bytes=size,
        backward=raw.backward,
        deliver=raw.deliver,
        accuracy=AccuracyTask(dataset=task.dataset, metric=task.metric) if task else None,
    )


def operator_profile(raw: OperatorProfileDocument) -> OperatorProfile:
    owner, slash, name = raw.operator.rpartition("/")
    latency = raw.latency_ms
    with _below("latency_ms"):
        stats = (
            LatencyStats(mean=latency.mean, p50=latency.p50, p95=latency.p95, p99=latency.p99)
            if isinstance(latency, LatencyDocument)
            else LatencyStats(mean=latency)
        )
    return OperatorProfile(
        operator=name,
        pipeline=owner if slash else None,
        config=Config(raw.config),
        device_class=raw.device_class,
        batch=raw.batch,
        latency_ms=stats,
        compute_s=raw.compute_s,
        memory_mb=raw.memory_mb,
        output_bytes=raw.output_bytes,
        price_usd_per_call=raw.price_usd_per_call,
        samples=raw.samples,
        provenance=raw.provenance,
    )


def accuracy_profile(raw: AccuracyDocument) -> AccuracyProfile:
    return AccuracyProfile(
        pipeline=raw.pipeline,
        config={op: Config(c) for op, c in raw.config.items()},
        mean=raw.mean,
        samples=raw.samples,
        provenance=raw.provenance,
    )


def query(raw: QueryDocument, pipelines: Mapping[str, Pipeline]) -> Query:
    source = raw.source
    if isinstance(source, str):
        known = pipelines.get(raw.pipeline)
        source = dict.fromkeys(known.sources if known else (), source)
    with _below("slo"):
        slo = Slo(
            latency_ms=raw.slo.latency_ms,
            percentile=raw.slo.percentile,
            accuracy=raw.slo.accuracy,
            cost_usd_per_1000=raw.slo.cost_usd_per_1000,
        )
    with _below("input"):
        taken = Source(kind=raw.input.kind, path=raw.input.path, arrivals=raw.input.arrivals)
    with _below("output"):
        given = Sink(kind=raw.output.kind, path=raw.output.path)
    return Query(
        id=raw.id,
        pipeline=raw.pipeline,
        source=source,
        rate_rps=raw.rate_rps,
        weight=raw.weight,
        splittable=raw.splittable,
        count=raw.count,
        tenant=raw.tenant,
        slo=slo,
        input=taken,
        output=given,
    )


@contextlib.contextmanager
def _below(key: str) -> Iterator[None]:
    """Place complaints below `key`."""
    try:
        yield
    except InvalidInput as error:
        raise error.within(key=key) from None


def tenant(name: str, raw: TenantDocument) -> Tenant:
    return Tenant(name=name, min_share=raw.min_share)


def submission_document(s: Submission) -> dict[str, Any]:
    """The submission as plain lists and maps, defaults left out."""
    raw = SubmissionDocument(
        circinus=documents.VERSION,
        pipelines={name: _pipeline(p) for name, p in s.pipelines.items()},
        queries=[_query(q) for q in s.queries],
    )
    return _builtins(raw)


def scenario_document(s: Scenario) -> dict[str, Any]:
    """The scenario as plain lists and maps, defaults left out."""
    raw = ScenarioDocument(
        circinus=documents.VERSION,
        tiers=s.tiers,
        device_classes={
            n: DeviceClassDocument(
                cores=c.cores,
                memory_mb=c.memory_mb,
                price_usd_hour=c.price_usd_hour,
                billing=c.billing,
                accelerators=dict(c.accelerators),
            )
            for n, c in s.device_classes.items()
        },
        devices=[
            DeviceDocument(
                id=d.id, device_class=d.device_class, tier=d.tier, uplink_mbps=d.uplink_mbps
            )
            for d in s.devices
        ],
        links=[
            LinkDocument(
                between=k.between,
                rtt_ms=k.rtt_ms,
                bandwidth_mbps=k.bandwidth_mbps,
                price_usd_gb=k.price_usd_gb,
            )
            for k in s.links
        ],
        pipelines={name: _pipeline(p) for name, p in s.pipelines.items()},
        profiles=[_operator_profile(p) for p in s.profiles],
        accuracy=[
            AccuracyDocument(
                pipeline=a.pipeline,
                mean=a.mean,
                samples=a.samples,
                provenance=a.provenance,
                config={op: dict(c) for op, c in a.config.items()},
            )
            for a in s.accuracy
        ],
        queries=[_query(q) for q in s.queries],
        max_utilisation=s.max_utilisation,
        queueing=s.queueing,
        tenants={name: TenantDocument(min_share=t.min_share) for name, t in s.tenants.items()},
    )
    return _builtins(raw)


def _builtins(raw: SubmissionDocument) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(raw)
    return {"circinus": document.pop("circinus"), **document}


def _pipeline(p: Pipeline) -> PipelineDocument:
    task = p.accuracy
    return PipelineDocument(
        operators={
            name: OperatorDocument(
                needs=list(o.needs),
                knobs={k: list(v) for k, v in o.knobs.items()},
                tiers=None if o.tiers is None else list(o.tiers),
                run=o.run,
                stateful=o.stateful,
                neutral_knobs=list(o.neutral_knobs),
            )
            for name, o in p.operators.items()
        },
        input_bytes=dict(p.input_bytes),
        backward=p.backward,
        deliver=p.deliver,
        accuracy=AccuracyTaskDocument(dataset=task.dataset, metric=task.metric) if task else None,
    )


def _operator_profile(p: OperatorProfile) -> OperatorProfileDocument:
    stats = p.latency_ms
    return OperatorProfileDocument(
        operator=p.qualified,
        config=dict(p.config),
        device_class=p.device_class,
        batch=p.batch,
        latency_ms=stats.mean
        if stats.deterministic
        else LatencyDocument(mean=stats.mean, p50=stats.p50, p95=stats.p95, p99=stats.p99),
        compute_s=dict(p.compute_s),
        memory_mb=p.memory_mb,
        output_bytes=p.output_bytes,
        price_usd_per_call=p.price_usd_per_call,
        samples=p.samples,
        provenance=p.provenance,
    )


def _query(q: Query) -> QueryDocument:
    return QueryDocument(
        id=q.id,
        pipeline=q.pipeline,
        source=dict(q.source),
        rate_rps=q.rate_rps,
        weight=q.weight,
        splittable=q.splittable,
        count=q.count,
        tenant=q.tenant,
        slo=SloDocument(
            latency_ms=q.slo.latency_ms,
            percentile=q.slo.percentile,
            accuracy=q.slo.accuracy,
            cost_usd_per_1000=q.slo.cost_usd_per_1000,
        ),
        input=SourceDocument(kind=q.input.kind, path=q.input.path, arrivals=q.input.arrivals),
        output=SinkDocument(kind=q.output.kind, path=q.output.path),
    )
