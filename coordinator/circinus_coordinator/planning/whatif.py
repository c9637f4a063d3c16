"""The scenario as it would be with the changes that a relaxation names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from circinus.decision import Relaxation
from circinus.fleet import CORES, Device, DeviceClass, Link
from circinus.pipeline import Pipeline
from circinus.profile import LatencyStats, OperatorProfile
from circinus.query import Query
from circinus.scenario import Scenario

__all__ = ["applied", "grown", "unchecked"]

# A profile that nobody measured yet, at its best: what it might turn out to be.
_BEST_MS = 1e-3


def grown(scenario: Scenario, relaxations: Iterable[Relaxation]) -> Scenario:
    """The fleet alone, without queries, with more of what the relaxations ask for."""
    bare = dataclasses.replace(scenario, queries=(), pipelines={}, profiles=(), accuracy=())
    return _fleet(bare, [r for r in relaxations if r.devices])


def applied(scenario: Scenario, query: str, relaxations: Iterable[Relaxation]) -> Scenario:
    """The scenario with these changes: a what-if.

    A device that changes gets a class of its own, so that no other device does. A profile that is
    still to be measured is taken as good as can be: hardly any time, no resources.

    Args:
        scenario: As it is.
        query: Whose objectives change.
        relaxations: As an explanation or a decision names them.
    """
    some = tuple(relaxations)
    queries = tuple(_relaxed(q, some) if q.id == query else q for q in scenario.queries)
    name = next(q.pipeline for q in scenario.queries if q.id == query)
    pipeline = _allowed(scenario, scenario.pipelines[name], some)
    changed = unchecked(scenario, queries=queries, pipelines={**scenario.pipelines, name: pipeline})
    return _profiled(_fleet(changed, [r for r in some if r.devices]), pipeline, some)


def _relaxed(query: Query, some: Sequence[Relaxation]) -> Query:
    names = {"latency": "latency_ms", "accuracy": "accuracy", "cost": "cost_usd_per_1000"}
    slo = {names[r.what]: r.to for r in some if r.what in names}
    fields = {"weight": "weight", "rate": "rate_rps"}
    more = {fields[r.what]: r.to for r in some if r.what in fields}
    return dataclasses.replace(
        query,
        slo=dataclasses.replace(query.slo, **slo),  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


def _allowed(scenario: Scenario, pipeline: Pipeline, some: Sequence[Relaxation]) -> Pipeline:
    operators = dict(pipeline.operators)
    for r in some:
        if r.what == "placement" and r.operator:
            spec = operators[r.operator]
            tier = scenario.device[r.devices[0]].tier
            operators[r.operator] = dataclasses.replace(spec, tiers=(*(spec.tiers or ()), tier))
    backward = pipeline.backward or any(r.what == "backward" for r in some)
    return dataclasses.replace(pipeline, operators=operators, backward=backward)


def _fleet(scenario: Scenario, some: Sequence[Relaxation]) -> Scenario:
    classes, devices = dict(scenario.device_classes), {d.id: d for d in scenario.devices}
    links = {tuple(sorted(link.between)): link for link in scenario.links}
    copies: dict[str, list[str]] = {}
    for r in some:
        if r.what == "link":
            links[tuple(sorted(r.devices))] = _link(scenario, r)
        elif r.what == "uplink":
            devices[r.devices[0]] = dataclasses.replace(devices[r.devices[0]], uplink_mbps=r.to)
        elif r.what != "placement":
            _own(scenario, r, classes, devices, copies)
    return unchecked(
        scenario,
        device_classes=classes,
        devices=tuple(devices.values()),
        links=tuple(links.values()),
        profiles=_copied(scenario, copies),
    )


def _own(
    scenario: Scenario,
    r: Relaxation,
    classes: dict[str, DeviceClass],
    devices: dict[str, Device],
    copies: dict[str, list[str]],
) -> None:
    """A class of its own for the device, with more of one thing."""
    (device,), shared = r.devices, scenario.device[r.devices[0]].device_class
    name = devices[device].device_class
    if name == shared:
        name = f"{shared}-{device}"
        while name in scenario.device_classes:
            name += "-more"
        devices[device] = dataclasses.replace(devices[device], device_class=name)
        classes[name] = dataclasses.replace(classes[shared], name=name)
        copies.setdefault(shared, []).append(name)
    kind = classes[name]
    if r.what == "memory":
        kind = dataclasses.replace(kind, memory_mb=r.to or 0.0)
    elif r.what == CORES:
        kind = dataclasses.replace(kind, cores=r.to or 0.0)
    elif r.what not in ("profile", "speed"):
        kind = dataclasses.replace(kind, accelerators={**kind.accelerators, r.what: r.to or 0.0})
    classes[name] = kind


def _copied(scenario: Scenario, copies: Mapping[str, Sequence[str]]) -> tuple[OperatorProfile, ...]:
    more = (
        dataclasses.replace(row, device_class=name)
        for row in scenario.profiles
        for name in copies.get(row.device_class, ())
    )
    return (*scenario.profiles, *more)


def _link(scenario: Scenario, r: Relaxation) -> Link:
    a, b = r.devices
    found = scenario.network.between(a, b) or Link(between=(a, b), rtt_ms=0.0, bandwidth_mbps=0.0)
    rtt = found.rtt_ms if r.rtt_ms is None else r.rtt_ms
    return dataclasses.replace(found, between=(a, b), rtt_ms=rtt, bandwidth_mbps=r.to or 0.0)


def _profiled(scenario: Scenario, pipeline: Pipeline, some: Sequence[Relaxation]) -> Scenario:
    """With profiles that were missing, and with operators that run faster."""
    rows = list(scenario.profiles)
    for r in some:
        if r.operator is None or r.what not in ("profile", "speed"):
            continue
        kind = scenario.device[r.devices[0]].device_class
        if r.what == "profile":
            rows.append(
                OperatorProfile(
                    operator=r.operator,
                    pipeline=pipeline.name,
                    config=next(iter(pipeline.operators[r.operator].configs())),
                    device_class=kind,
                    latency_ms=LatencyStats(mean=_BEST_MS),
                )
            )
            continue
        same = pipeline.operators[r.operator].implementation
        names: set[tuple[str | None, str]] = {
            (p.name, n)
            for p in scenario.pipelines.values()
            for n, spec in p.operators.items()
            if spec.implementation == same
        }
        names |= {(None, n) for _, n in names}  # rows that hold for every pipeline
        rows = [
            _faster(row, r.to or 1.0)
            if row.device_class == kind and (row.pipeline, row.operator) in names
            else row
            for row in rows
        ]
    return unchecked(scenario, profiles=tuple(rows))


def unchecked(scenario: Scenario, **changes: object) -> Scenario:
    """The scenario with other fields, taken as right: checking all profiles takes longest here."""
    found = object.__new__(Scenario)
    for field in dataclasses.fields(Scenario):
        value = changes.get(field.name, getattr(scenario, field.name))
        object.__setattr__(found, field.name, value)
    return found


def _faster(row: OperatorProfile, factor: float) -> OperatorProfile:
    stats = row.latency_ms
    told = {n: getattr(stats, n) for n in ("p50", "p95", "p99")}
    less = {n: None if v is None else v / factor for n, v in told.items()}
    compute = {name: seconds / factor for name, seconds in row.compute_s.items()}
    return dataclasses.replace(
        row, latency_ms=LatencyStats(mean=stats.mean / factor, **less), compute_s=compute
    )
