"""Between the machines' values and the store's records."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgspec

from circinus.errors import InvalidInput
from circinus.messages import Capabilities, Desired, encode
from circinus.pipeline import Config, Pipeline
from circinus.query import Query
from circinus.scenario import Submission, decode_submission, encode_submission
from circinus_coordinator.fleet import DeviceState, Snapshot
from circinus_coordinator.profiling import (
    AccuracyKey,
    Key,
    LinkKey,
    OperatorKey,
    Summary,
    Take,
)
from circinus_coordinator.store import (
    AccuracyRecord,
    DesiredRecord,
    DeviceRecord,
    LinkRecord,
    MetaRecord,
    PipelineRecord,
    ProfileRecord,
    QueryRecord,
    Store,
)

__all__ = [
    "ROLLOUT",
    "accuracy_of",
    "desired_record",
    "device_record",
    "link_of",
    "measurement_record",
    "pipeline_record",
    "query_record",
    "read_devices",
    "read_measurements",
    "read_snapshot",
    "read_submission",
    "rollout_record",
    "takes_of",
]

ROLLOUT = "rollout"


def device_record(state: DeviceState) -> DeviceRecord:
    """What of a device outlives the coordinator."""
    return DeviceRecord(
        id=state.id,
        boot_id=state.boot_id,
        session=state.session,
        online=state.online,
        capabilities=encode(state.capabilities) if state.capabilities else None,
    )


def read_devices(store: Store) -> list[DeviceState]:
    """All devices ever seen."""
    return [
        DeviceState(
            id=row.id,
            boot_id=row.boot_id,
            session=row.session,
            capabilities=msgspec.json.decode(row.capabilities, type=Capabilities)
            if row.capabilities
            else None,
        )
        for row in store.devices()
    ]


def pipeline_record(pipeline: Pipeline) -> PipelineRecord:
    """A pipeline for the store."""
    alone = Submission(pipelines={pipeline.name: pipeline})
    return PipelineRecord(name=pipeline.name, document=encode_submission(alone))


def query_record(query: Query, pipeline: Pipeline) -> QueryRecord:
    """A query for the store."""
    alone = Submission(pipelines={pipeline.name: pipeline}, queries=(query,))
    return QueryRecord(id=query.id, pipeline=pipeline.name, document=encode_submission(alone))


def read_submission(store: Store) -> tuple[dict[str, Pipeline], dict[str, Query]]:
    """All pipelines and queries."""
    pipelines: dict[str, Pipeline] = {}
    queries: dict[str, Query] = {}
    for row in store.pipelines():
        pipelines.update(decode_submission(row.document, name=f"stored {row.name}").pipelines)
    for entry in store.queries():
        found = decode_submission(entry.document, name=f"stored {entry.id}")
        queries.update({query.id: query for query in found.queries})
    return pipelines, queries


def measurement_record(key: Key, summary: Summary) -> ProfileRecord | AccuracyRecord | LinkRecord:
    """A target that is done."""
    if isinstance(key, OperatorKey):
        return ProfileRecord(
            pipeline=key.pipeline,
            operator=key.operator,
            implementation=key.implementation,
            version=key.version,
            signature=key.signature,
            config=dict(key.config),
            device_class=key.device_class,
            batch=key.batch,
            latency_ms=tuple(summary.latency_ms),
            compute_s=tuple(summary.compute_s),
            output_bytes=tuple(summary.output_bytes),
            price_usd=tuple(summary.price_usd),
            memory_mb=summary.memory_mb,
            taken=_taken(summary),
            done=summary.done,
            emulated=summary.emulated,
            cause=summary.cause,
            boot_id=summary.boot_id,
        )
    if isinstance(key, AccuracyKey):
        scores = summary.scores
        return AccuracyRecord(
            pipeline=key.pipeline,
            signature=key.signature,
            config={name: dict(config) for name, config in key.config},
            mean=accuracy_of(summary),
            samples=len(scores),
            scores=() if summary.mean_only else tuple(scores),
            population=summary.population,
            taken=_taken(summary),
            done=summary.done,
            emulated=summary.emulated,
            cause=summary.cause,
            boot_id=summary.boot_id,
        )
    rtt_ms, bandwidth_mbps = link_of(summary)
    return LinkRecord(
        a=key.a,
        b=key.b,
        rtt_ms=rtt_ms,
        bandwidth_mbps=bandwidth_mbps,
        samples=len(summary.rtt_ms),
        rtts_ms=tuple(summary.rtt_ms),
        bandwidths_mbps=tuple(summary.bandwidth_mbps),
        taken=_taken(summary),
        done=summary.done,
        emulated=summary.emulated,
        cause=summary.cause,
        boot_id=summary.boot_id,
    )


def _taken(summary: Summary) -> tuple[dict[str, Any], ...]:
    rows = (dataclasses.asdict(take) for take in summary.takes)
    return tuple({name: value for name, value in row.items() if value is not None} for row in rows)


def accuracy_of(summary: Summary) -> float | None:
    """Mean score."""
    if not summary.scores:
        return None
    # A repeated number is its own mean, to the last bit: see `_scores`.
    if len(set(summary.scores)) == 1:
        return summary.scores[0]
    return math.fsum(summary.scores) / len(summary.scores)


def link_of(summary: Summary) -> tuple[float | None, float | None]:
    """Median RTT and bandwidth: a single slow exchange says nothing of the link."""
    return _median(summary.rtt_ms), _median(summary.bandwidth_mbps)


def _median(samples: list[float]) -> float | None:
    return sorted(samples)[(len(samples) - 1) // 2] if samples else None


def read_measurements(store: Store) -> dict[Key, Summary]:
    """All targets that were done."""
    found: dict[Key, Summary] = {}
    for row in store.profiles():
        key = OperatorKey(
            pipeline=row.pipeline,
            operator=row.operator,
            implementation=row.implementation,
            version=row.version,
            signature=row.signature,
            config=Config(row.config),
            device_class=row.device_class,
            batch=row.batch,
        )
        found[key] = _summary(
            row,
            latency_ms=list(row.latency_ms),
            compute_s=list(row.compute_s),
            output_bytes=list(row.output_bytes),
            price_usd=list(row.price_usd),
            memory_mb=row.memory_mb,
        )
    for score in store.accuracy():
        vector = tuple((name, Config(config)) for name, config in score.config.items())
        accuracy = AccuracyKey(pipeline=score.pipeline, signature=score.signature, config=vector)
        found[accuracy] = _scores(score)
    for link in store.links():
        found[LinkKey(a=link.a, b=link.b)] = _link(link)
    return found


def _scores(row: AccuracyRecord) -> Summary:
    if row.scores or row.mean is None:
        return _summary(row, scores=list(row.scores), population=row.population)
    # Older than single scores. The mean of equal numbers is that number, so that a restart
    # changes no row.
    return _summary(row, scores=[row.mean] * row.samples, mean_only=True)


def _link(row: LinkRecord) -> Summary:
    if row.rtts_ms or row.rtt_ms is None:
        rtts_ms, bandwidths_mbps = list(row.rtts_ms), list(row.bandwidths_mbps)
    else:  # older than single samples
        rtts_ms = [row.rtt_ms] * row.samples
        bandwidths_mbps = [] if row.bandwidth_mbps is None else [row.bandwidth_mbps]
    return _summary(row, rtt_ms=rtts_ms, bandwidth_mbps=bandwidths_mbps)


def takes_of(row: ProfileRecord | AccuracyRecord | LinkRecord) -> list[Take]:
    """Where a row's samples come from."""
    return [msgspec.convert(take, Take) for take in row.taken]


def _summary(row: ProfileRecord | AccuracyRecord | LinkRecord, **samples: object) -> Summary:
    return Summary(
        **samples,  # type: ignore[arg-type]
        takes=takes_of(row),
        emulated=row.emulated,
        cause=row.cause,
        boot_id=row.boot_id,
        done=row.done,
    )


def desired_record(desired: Desired) -> DesiredRecord:
    """A promise to a device."""
    return DesiredRecord(device=desired.device, version=desired.version, document=encode(desired))


def rollout_record(snapshot: Snapshot) -> MetaRecord:
    """The rollout without its documents, which have their own rows."""
    slim = Snapshot(
        decision=snapshot.decision,
        good=snapshot.good,
        goal=snapshot.goal,
        stages=snapshot.stages,
        failed=snapshot.failed,
    )
    return MetaRecord(name=ROLLOUT, value=msgspec.json.encode(slim))


def read_snapshot(store: Store) -> Snapshot:
    """Where the rollout stood."""
    raw = store.meta(ROLLOUT)
    snapshot = msgspec.json.decode(raw, type=Snapshot) if raw else Snapshot()
    for row in store.desired():
        try:
            snapshot.documents[row.device] = msgspec.json.decode(row.document, type=Desired)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"desired document of {row.device} is damaged: {error}") from error
    return snapshot
