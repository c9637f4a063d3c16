"""Which measurements the submitted queries call for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from circinus.messages import Artifact, Capabilities, Peer
from circinus.pipeline import Pipeline
from circinus.query import Query
from circinus_coordinator.profiling.ground import Terrain
from circinus_coordinator.profiling.keys import (
    AccuracyKey,
    Key,
    LinkKey,
    OperatorKey,
    accuracy_signature,
    config_vectors,
    neutralised,
    operator_signature,
)

__all__ = ["Needs", "Work", "dataset_of", "needs", "offers", "versions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What of the outside a probe of a pipeline needs."""

    pipeline: Pipeline
    dataset: str
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """All that is to be measured, in the order it should be.

    Attributes:
        keys: Without repetition.
        by_query: The keys each query waits for.
        blocked: Why some queries cannot be measured at all.
        work: By pipeline.
        links: For each pair, who dials and whom.
        extra: Samples wanted of targets that no query waits for: of single devices (`factors`).
        queries: By id, those that can be measured for.
        placements: By query, the (operator, device) pairs that are permitted.
        terrain: The fleet; None where one cannot seek, but has to measure everything.
    """

    keys: tuple[Key, ...] = ()
    by_query: Mapping[str, AbstractSet[Key]] = field(default_factory=dict)
    blocked: Mapping[str, str] = field(default_factory=dict)
    work: Mapping[str, Work] = field(default_factory=dict)
    links: Mapping[LinkKey, tuple[str, Peer]] = field(default_factory=dict)
    extra: Mapping[OperatorKey, int] = field(default_factory=dict)
    queries: Mapping[str, Query] = field(default_factory=dict)
    placements: Mapping[str, Iterable[tuple[str, str]]] = field(default_factory=dict)
    terrain: Terrain | None = None


def needs(
    *,
    pipelines: Mapping[str, Pipeline],
    queries: Iterable[Query],
    placements: Mapping[str, Iterable[tuple[str, str]]],
    known: Mapping[str, Capabilities],
    batches: Iterable[int],
    artifacts: Mapping[str, tuple[Artifact, ...]],
    links: Mapping[LinkKey, tuple[str, Peer]],
    terrain: Terrain | None = None,
) -> Needs:
    """The measurements behind every placement that could be chosen.

    Args:
        placements: By query, the (operator, device) pairs that are permitted.
        known: Capabilities of every device ever seen: profiles do not go out of date because
            a device is away for a while.
        batches: Batch sizes to measure.
        artifacts: By pipeline, the files a probe of it needs.
        links: Pairs of devices that could be connected.
        terrain: The fleet that is there.
    """
    ordered = sorted(queries, key=lambda query: query.id)
    scored = {query.pipeline for query in ordered if query.slo.accuracy is not None}
    sizes = tuple(batches)
    fleet_versions = versions(known.values())
    keys: dict[Key, None] = {}
    by_query: dict[str, set[Key]] = {}
    blocked: dict[str, str] = {}
    work: dict[str, Work] = {}
    for query in ordered:
        pipeline = pipelines[query.pipeline]
        dataset = dataset_of(pipeline, ordered)
        if dataset is None:
            blocked[query.id] = (
                f"no inputs to measure pipeline {pipeline.name!r} with: give it an accuracy "
                "data set, or a query of it a folder"
            )
            continue
        work[pipeline.name] = Work(
            pipeline=pipeline, dataset=dataset, artifacts=artifacts.get(pipeline.name, ())
        )
        mine = _operators(pipeline, dataset, placements.get(query.id, ()), known, sizes)
        # For all queries of the pipeline if for one: what serves would disturb the measuring.
        if pipeline.name in scored and pipeline.accuracy is not None:
            mine += _accuracy(pipeline, fleet_versions)
        used = {device for _, device in placements.get(query.id, ())} | set(query.source.values())
        mine += [key for key in links if key.a in used and key.b in used]
        keys.update(dict.fromkeys(mine))
        by_query[query.id] = set(mine)
    wanted = {key for key in keys if isinstance(key, LinkKey)}
    return Needs(
        keys=tuple(keys),
        by_query=by_query,
        blocked=blocked,
        work=work,
        links={key: way for key, way in links.items() if key in wanted},
        queries={query.id: query for query in ordered if query.id in by_query},
        placements=placements,
        terrain=terrain,
    )


def _operators(
    pipeline: Pipeline,
    dataset: str,
    placements: Iterable[tuple[str, str]],
    known: Mapping[str, Capabilities],
    batches: tuple[int, ...],
) -> list[Key]:
    classes: dict[str, set[str]] = {name: set() for name in pipeline.operators}
    for operator, device in placements:
        capabilities = known.get(device)
        if capabilities and offers(capabilities, pipeline.operators[operator].implementation):
            classes[operator].add(capabilities.device_class)
    found: list[Key] = []
    for name, spec in pipeline.operators.items():
        signature = operator_signature(pipeline, name, dataset)
        for device_class in sorted(classes[name]):
            same = [c for c in known.values() if c.device_class == device_class]
            version = versions(same).get(spec.implementation, "")
            found += [
                OperatorKey(
                    pipeline=pipeline.name,
                    operator=name,
                    implementation=spec.implementation,
                    version=version,
                    signature=signature,
                    config=config,
                    device_class=device_class,
                    batch=batch,
                )
                for config in spec.configs()
                for batch in batches
            ]
    return found


def _accuracy(pipeline: Pipeline, fleet_versions: Mapping[str, str]) -> list[Key]:
    signature = accuracy_signature(pipeline, fleet_versions)
    vectors = dict.fromkeys(neutralised(pipeline, v) for v in config_vectors(pipeline))
    return [AccuracyKey(pipeline=pipeline.name, signature=signature, config=v) for v in vectors]


def dataset_of(pipeline: Pipeline, queries: Iterable[Query]) -> str | None:
    """Inputs to measure a pipeline with: its accuracy data set, else a folder one replays."""
    if pipeline.accuracy is not None:
        return pipeline.accuracy.dataset
    return next(
        (q.input.path for q in queries if q.pipeline == pipeline.name and q.input.path), None
    )


def versions(fleet: Iterable[Capabilities]) -> dict[str, str]:
    """Version of each installed operator; the largest where devices differ."""
    found: dict[str, str] = {}
    for capabilities in fleet:
        for operator in capabilities.operators:
            found[operator.name] = max(found.get(operator.name, ""), operator.version)
    return found


def offers(capabilities: Capabilities, implementation: str) -> bool:
    """True unless the device is known not to have the operator.

    Devices list what is installed by name; a ``module:Class`` shows only when it is started.
    """
    if ":" in implementation or not capabilities.operators:
        return True
    return any(operator.name == implementation for operator in capabilities.operators)
