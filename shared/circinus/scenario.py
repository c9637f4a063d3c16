"""Scenarios: everything a planning decision depends on, in one document.

A *submission* is the part of a scenario a user hands to a running coordinator: pipelines and
queries only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml as pyyaml

from circinus import _checks as check
from circinus import _documents as documents
from circinus import _scenario_document as wire
from circinus.errors import InvalidInput
from circinus.fleet import Device, DeviceClass, Link, Network
from circinus.pipeline import Pipeline
from circinus.profile import AccuracyProfile, OperatorProfile
from circinus.query import Query, Tenant

__all__ = [
    "DEFAULT_TIERS",
    "Scenario",
    "Submission",
    "decode_scenario",
    "decode_submission",
    "encode_scenario",
    "encode_submission",
    "load_scenario",
    "load_submission",
    "save_scenario",
]

DEFAULT_TIERS = ("device", "edge", "cloud")
DEFAULT_MAX_UTILISATION = 0.8

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Pipelines and queries, checked against one another."""

    pipelines: Mapping[str, Pipeline] = field(default_factory=dict)
    queries: tuple[Query, ...] = ()

    def __post_init__(self) -> None:
        check.unique((q.id for q in self.queries), "queries", "query")
        for i, query in enumerate(self.queries):
            _check_query(query, self.pipelines, f"queries[{i}]")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Everything a planning decision depends on.

    Attributes:
        tiers: Names of the tiers, ordered outwards from the data.
        device_classes: By name.
        devices: All devices.
        links: Rows of the network; see `network`.
        pipelines: By name.
        profiles: Measured behaviour of operators.
        accuracy: Measured accuracy of pipelines.
        queries: What is to be planned.
        max_utilisation: Fraction of every per-second capacity that may be planned.
        queueing: Estimates include queueing delay.
        tenants: What is promised to queries of a label, by label; none of them need be there.
    """

    tiers: tuple[str, ...] = DEFAULT_TIERS
    device_classes: Mapping[str, DeviceClass] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    links: tuple[Link, ...] = ()
    pipelines: Mapping[str, Pipeline] = field(default_factory=dict)
    profiles: tuple[OperatorProfile, ...] = ()
    accuracy: tuple[AccuracyProfile, ...] = ()
    queries: tuple[Query, ...] = ()
    max_utilisation: float = DEFAULT_MAX_UTILISATION
    queueing: bool = True
    tenants: Mapping[str, Tenant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_fleet(self)
        _check_pipelines(self)
        _check_profiles(self)
        known = {device.id for device in self.devices}
        for i, query in enumerate(self.queries):
            _check_query(query, self.pipelines, f"queries[{i}]")
            for device in query.source.values():
                _known(device, known, f"queries[{i}].source", "device")

    @cached_property
    def network(self) -> Network:
        """Finds the link between two devices."""
        return Network(self.devices, self.links)

    @cached_property
    def device(self) -> Mapping[str, Device]:
        """Devices by id."""
        return {device.id: device for device in self.devices}

    @cached_property
    def tier_index(self) -> Mapping[str, int]:
        """Position of each tier, 0 nearest to the data."""
        return {tier: i for i, tier in enumerate(self.tiers)}

    def class_of(self, device_id: str) -> DeviceClass:
        """The class of a device."""
        return self.device_classes[self.device[device_id].device_class]


def _known(name: str, known: Iterable[str], key: str, what: str) -> None:
    if name not in known:
        listed = ", ".join(sorted(known)[:12]) or "none"
        raise InvalidInput(f"unknown {what} {name!r}", key=key, remedy=f"known: {listed}")


def _first(point: tuple[object, ...], seen: set[tuple[object, ...]], key: str) -> None:
    """Two rows for one point would contradict each other, and neither is the right one."""
    if point in seen:
        raise InvalidInput(
            f"a second row for {' '.join(_shown(part) for part in point)}",
            key=key,
            remedy="keep one of them",
        )
    seen.add(point)


def _shown(part: object) -> str:
    if isinstance(part, frozenset):
        return ", ".join(sorted(f"{name} {config}" for name, config in part)) or "-"
    return f"batch {part}" if isinstance(part, int) else str(part)


def _check_fleet(s: Scenario) -> None:
    if not s.tiers:
        raise InvalidInput("at least one tier is needed", key="tiers")
    for tier in s.tiers:
        check.identifier(tier, "tiers")
    check.unique(s.tiers, "tiers", "tier")
    check.unique((d.id for d in s.devices), "devices", "device")
    if not 0 < s.max_utilisation <= 1:
        raise InvalidInput(
            f"must be above 0 and at most 1, not {s.max_utilisation!r}", key="max_utilisation"
        )
    ends = {d.id for d in s.devices} | set(s.tiers)
    for i, device in enumerate(s.devices):
        _known(device.device_class, s.device_classes, f"devices[{i}].class", "device class")
        _known(device.tier, s.tiers, f"devices[{i}].tier", "tier")
        if device.id in s.tiers:
            raise InvalidInput(
                f"{device.id!r} is both a device and a tier",
                key=f"devices[{i}].id",
                remedy="links could not tell them apart; rename one",
            )
    rows: set[tuple[str, ...]] = set()
    for i, link in enumerate(s.links):
        for end in link.between:
            _known(end, ends, f"links[{i}].between", "device or tier")
        row = tuple(sorted(link.between))
        if row in rows:
            raise InvalidInput(
                f"a second row between {row[0]} and {row[1]}",
                key=f"links[{i}].between",
                remedy="links are symmetric; keep one",
            )
        rows.add(row)


def _check_pipelines(s: Scenario) -> None:
    for pipeline in s.pipelines.values():
        for name, spec in pipeline.operators.items():
            for tier in spec.tiers or ():
                _known(tier, s.tiers, f"pipelines.{pipeline.name}.operators.{name}.tiers", "tier")


def _check_profiles(s: Scenario) -> None:
    knobs: dict[str, set[str]] = {}
    for pipeline in s.pipelines.values():
        for name, spec in pipeline.operators.items():
            knobs.setdefault(name, set()).update(spec.knobs)
            knobs[f"{pipeline.name}/{name}"] = set(spec.knobs)
    points: set[tuple[object, ...]] = set()
    for i, row in enumerate(s.profiles):
        key = f"profiles[{i}]"
        _first((row.qualified, row.config, row.device_class, row.batch), points, key)
        _known(row.device_class, s.device_classes, f"{key}.device_class", "device class")
        _known(row.qualified, knobs, f"{key}.operator", "operator")
        for knob in row.config:
            _known(knob, knobs[row.qualified], f"{key}.config", "knob")
        resources = s.device_classes[row.device_class].resources
        for resource in row.compute_s:
            _known(resource, resources, f"{key}.compute_s", "resource")
    for i, accuracy in enumerate(s.accuracy):
        key = f"accuracy[{i}]"
        _first((accuracy.pipeline, accuracy.key), points, key)
        _known(accuracy.pipeline, s.pipelines, f"{key}.pipeline", "pipeline")
        operators = s.pipelines[accuracy.pipeline].operators
        for name, config in accuracy.config.items():
            _known(name, operators, f"{key}.config", "operator")
            for knob in config:
                _known(knob, operators[name].knobs, f"{key}.config.{name}", "knob")
    check.unique((q.id for q in s.queries), "queries", "query")


def _check_query(query: Query, pipelines: Mapping[str, Pipeline], key: str) -> None:
    _known(query.pipeline, pipelines, f"{key}.pipeline", "pipeline")
    sources = pipelines[query.pipeline].sources
    for source in sources:
        if source not in query.source:
            raise InvalidInput(
                f"no device for source operator {source!r}",
                key=f"{key}.source",
                remedy=f"give one device id, or a map with: {', '.join(sources)}",
            )
    for name in query.source:
        _known(name, sources, f"{key}.source", "source operator")


def _rows(raw: Iterable[R], build: Callable[[R], T], key: str) -> tuple[T, ...]:
    built = []
    for i, row in enumerate(raw):
        try:
            built.append(build(row))
        except InvalidInput as error:
            raise error.within(key=f"{key}[{i}]") from None
    return tuple(built)


def _named(raw: Mapping[str, R], build: Callable[[str, R], T], key: str) -> dict[str, T]:
    built = {}
    for name, row in raw.items():
        try:
            built[name] = build(name, row)
        except InvalidInput as error:
            raise error.within(key=f"{key}.{name}") from None
    return built


def _is_yaml(name: str, data: bytes) -> bool:
    """By file name; where that does not tell, JSON documents start with a brace."""
    if name.endswith((".yaml", ".yml")):
        return True
    return not name.endswith(".json") and data.lstrip()[:1] != b"{"


def _none(_name: str) -> None:
    """No pipeline is known."""


def decode_scenario(data: bytes, *, name: str = "scenario") -> Scenario:
    """The scenario in a YAML or JSON document.

    Raises:
        InvalidInput: Naming `name` as the file, the key, and a remedy.
    """
    raw = documents.decode(data, wire.ScenarioDocument, name=name, yaml=_is_yaml(name, data))
    documents.check_version(raw.circinus, name)
    try:
        pipelines = _named(raw.pipelines, wire.pipeline, "pipelines")
        return Scenario(
            tiers=raw.tiers,
            device_classes=_named(raw.device_classes, wire.device_class, "device_classes"),
            devices=_rows(raw.devices, wire.device, "devices"),
            links=_rows(raw.links, wire.link, "links"),
            pipelines=pipelines,
            profiles=_rows(raw.profiles, wire.operator_profile, "profiles"),
            accuracy=_rows(raw.accuracy, wire.accuracy_profile, "accuracy"),
            queries=_rows(raw.queries, lambda q: wire.query(q, pipelines), "queries"),
            max_utilisation=raw.max_utilisation,
            queueing=raw.queueing,
            tenants=_named(raw.tenants, wire.tenant, "tenants"),
        )
    except InvalidInput as error:
        if raw.queries and not (raw.devices or raw.device_classes):
            error = InvalidInput(
                error.problem,
                key=error.key,
                remedy=f"this looks like a submission: circinus submit --dry-run {name}",
            )
        raise error.within(file=name) from None


def decode_submission(
    data: bytes, *, name: str = "submission", known: Callable[[str], Pipeline | None] = _none
) -> Submission:
    """The submission in a YAML or JSON document.

    Args:
        known: Finds a pipeline that was handed in before, by name. One that the document's
            queries name, and that does not stand in it, is taken into the submission.

    Raises:
        InvalidInput: Naming `name` as the file, the key, and a remedy.
    """
    raw = documents.decode(data, wire.SubmissionDocument, name=name, yaml=_is_yaml(name, data))
    documents.check_version(raw.circinus, name)
    try:
        pipelines = _named(raw.pipelines, wire.pipeline, "pipelines")
        for missing in sorted({query.pipeline for query in raw.queries} - pipelines.keys()):
            if (found := known(missing)) is not None:
                pipelines[missing] = found
        return Submission(
            pipelines=pipelines,
            queries=_rows(raw.queries, lambda q: wire.query(q, pipelines), "queries"),
        )
    except InvalidInput as error:
        raise error.within(file=name) from None


def encode_scenario(scenario: Scenario, *, yaml: bool = False) -> bytes:
    """The scenario as JSON, or YAML; decoding it gives an equal scenario."""
    return _encode(wire.scenario_document(scenario), yaml)


def encode_submission(
    submission: Submission, *, yaml: bool = False, known: Collection[str] = ()
) -> bytes:
    """The submission as JSON, or YAML.

    Args:
        known: Names of pipelines that the reader has, and that are left out.
    """
    document = wire.submission_document(submission)
    if "pipelines" in document:
        pipelines = {n: p for n, p in document["pipelines"].items() if n not in known}
        document["pipelines"] = pipelines
    return _encode(document, yaml)


def _encode(document: dict[str, Any], yaml: bool) -> bytes:
    if yaml:
        # Not allow_unicode: PyYAML then writes NEL (U+0085) bare, and reads it as a line break.
        return pyyaml.safe_dump(document, sort_keys=False).encode()
    return documents.encode(document)


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario file.

    Raises:
        InvalidInput: Naming file, key and remedy.
    """
    return decode_scenario(documents.read(path), name=str(path))


def load_submission(
    path: str | Path, *, known: Callable[[str], Pipeline | None] = _none
) -> Submission:
    """Read a submission file; `known` as `decode_submission` has it.

    Raises:
        InvalidInput: Naming file, key and remedy.
    """
    return decode_submission(documents.read(path), name=str(path), known=known)


def save_scenario(scenario: Scenario, path: str | Path) -> None:
    """Write a scenario file, YAML where the name says so; whole or not at all."""
    yaml = str(path).endswith((".yaml", ".yml"))
    documents.write(path, encode_scenario(scenario, yaml=yaml))
