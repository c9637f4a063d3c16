"""From a decision to routes, and from routes to what each device should have and run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from circinus.decision import Assignment, Decision, Step
from circinus.fleet import CORES
from circinus.messages import (
    Artifact,
    DesiredBody,
    InstanceSpec,
    Peer,
    Route,
    RouteStep,
    SinkSpec,
    SourceSpec,
    instance_key,
)
from circinus.pipeline import Deliver, Pipeline
from circinus.profile import OperatorProfile
from circinus.query import Query
from circinus.scenario import Scenario

__all__ = ["Dial", "PlannedRoute", "compile_routes", "compose", "devices_of", "plan_id", "touched"]

Dial = Callable[[str, str], "tuple[str, Peer] | None"]
"""Of two devices: who dials, and whom; None where neither can."""

ARTIFACT_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRoute:
    """A route (written as active) with what it needs on each of its devices."""

    route: Route
    instances: dict[str, list[InstanceSpec]]
    artifacts: dict[str, list[Artifact]]


def plan_id(query: str, pipeline: Pipeline, plan: Mapping[str, Step]) -> str:
    """Identity of (query, steps): the same for the same plan in any decision."""
    steps = [
        [
            name,
            list(spec.needs),
            spec.implementation,
            plan[name].device,
            sorted(plan[name].config.items()),
            plan[name].batch,
        ]
        for name, spec in sorted(pipeline.operators.items())
    ]
    return hashlib.sha256(msgspec.json.encode([query, steps])).hexdigest()[:12]


def compile_routes(
    decision: Decision, scenario: Scenario, artifact: Callable[[str], Artifact | None]
) -> dict[str, tuple[PlannedRoute, ...]]:
    """The routes of every query that got traffic.

    Args:
        scenario: The decision's.
        artifact: Finds a stored file by its sha256 (hex).
    """
    queries = {query.id: query for query in scenario.queries}
    rows = {(r.qualified, r.config, r.device_class, r.batch): r for r in scenario.profiles}

    def row(pipeline: str, operator: str, step: Step) -> OperatorProfile | None:
        point = (step.config, scenario.device[step.device].device_class, step.batch)
        return rows.get((f"{pipeline}/{operator}", *point)) or rows.get((operator, *point))

    found: dict[str, list[PlannedRoute]] = {}
    for assignment in decision.assignments:
        if assignment.share <= 0:
            continue
        query = queries[assignment.query]
        planned = _planned(assignment, query, scenario.pipelines[query.pipeline], row, artifact)
        found.setdefault(query.id, []).append(planned)
    return {name: tuple(routes) for name, routes in sorted(found.items())}


def _planned(
    assignment: Assignment,
    query: Query,
    pipeline: Pipeline,
    row: Callable[[str, str, Step], OperatorProfile | None],
    artifact: Callable[[str], Artifact | None],
) -> PlannedRoute:
    instances: dict[str, list[InstanceSpec]] = {}
    references: dict[str, set[str]] = {}
    steps = []
    for name, spec in pipeline.operators.items():
        step = assignment.plan[name]
        config = dict(step.config)
        key = instance_key(spec.implementation, config, step.batch)
        steps.append(RouteStep(name=name, device=step.device, instance=key, needs=list(spec.needs)))
        instances.setdefault(step.device, []).append(
            InstanceSpec(
                key=key,
                run=spec.implementation,
                config=config,
                batch=step.batch,
                replicas=step.replicas,
                **_held(row(query.pipeline, name, step)),
            )
        )
        references.setdefault(step.device, set()).update(
            value for value in config.values() if isinstance(value, str)
        )
    lead = query.source[pipeline.sources[0]]
    if query.input.path:
        references.setdefault(lead, set()).add(query.input.path)
    route = Route(
        query=query.id,
        plan=plan_id(query.id, pipeline, assignment.plan),
        share=assignment.share,
        active=True,
        lead=lead,
        sources={name: query.source[name] for name in pipeline.sources},
        steps=steps,
        rate_rps=query.rate_rps * query.count,
        deadline_ms=query.slo.latency_ms,
        deliver_source=pipeline.deliver is Deliver.SOURCE,
        input=SourceSpec(
            kind=query.input.kind,
            path=query.input.path,
            arrivals=query.input.arrivals,
            metric=pipeline.accuracy.metric if pipeline.accuracy else None,
        ),
        output=SinkSpec(kind=query.output.kind, path=query.output.path),
    )
    return PlannedRoute(
        route=route,
        instances=instances,
        artifacts={
            device: files
            for device, texts in sorted(references.items())
            if (files := _artifacts(texts, artifact))
        },
    )


def _held(row: OperatorProfile | None) -> dict[str, Any]:
    """What a batch keeps from others, as a spec says it."""
    if row is None:
        return {}
    held = row.held
    return {"cores": int(held.pop(CORES, 0.0)), "accelerators": dict(sorted(held.items()))}


def _artifacts(texts: Iterable[str], artifact: Callable[[str], Artifact | None]) -> list[Artifact]:
    hashes = sorted(t.removeprefix(ARTIFACT_PREFIX) for t in texts if t.startswith(ARTIFACT_PREFIX))
    return [found for sha256 in hashes if (found := artifact(sha256)) is not None]


def devices_of(routes: Iterable[PlannedRoute]) -> set[str]:
    """Every device the routes touch."""
    found: set[str] = set()
    for planned in routes:
        found.update(touched(planned.route))
    return found


def touched(route: Route) -> set[str]:
    """Every device a route touches."""
    return {route.lead, *route.sources.values(), *(step.device for step in route.steps)}


def _pairs(route: Route) -> set[tuple[str, str]]:
    """Devices that talk to one another: neighbours along the plan, and the lead with everyone."""
    place = {step.name: step.device for step in route.steps}
    pairs = {(place[need], step.device) for step in route.steps for need in step.needs}
    pairs |= {(device, place[name]) for name, device in route.sources.items()}
    pairs |= {(route.lead, device) for device in touched(route)}
    return {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}


def compose(routes: Iterable[tuple[PlannedRoute, bool]], dial: Dial) -> dict[str, DesiredBody]:
    """What each device should have and run for these routes, active or not.

    An instance that several routes share appears once, with the most that any asks for.
    Everything is sorted, so that equal wishes give equal documents.
    """
    parts: dict[str, _Parts] = {}
    for planned, active in routes:
        route = msgspec.structs.replace(planned.route, active=active)
        for device in touched(route):
            parts.setdefault(device, _Parts()).take(planned, route, device)
        for a, b in _pairs(route):
            found = dial(a, b)
            if found is None:
                continue
            caller, peer = found
            parts[caller].peers[peer.device] = peer
            parts[peer.device].peers.setdefault(caller, Peer(device=caller))
    return {device: part.body() for device, part in sorted(parts.items())}


class _Parts:
    """One device's body in the making."""

    def __init__(self) -> None:
        self.instances: dict[str, InstanceSpec] = {}
        self.routes: dict[tuple[str, str], Route] = {}
        self.peers: dict[str, Peer] = {}
        self.artifacts: dict[str, Artifact] = {}

    def take(self, planned: PlannedRoute, route: Route, device: str) -> None:
        self.routes[route.query, route.plan] = route
        for spec in planned.instances.get(device, ()):
            known = self.instances.get(spec.key)
            self.instances[spec.key] = spec if known is None else _both(known, spec)
        for file in planned.artifacts.get(device, ()):
            self.artifacts[file.sha256] = file

    def body(self) -> DesiredBody:
        return DesiredBody(
            instances=[spec for _, spec in sorted(self.instances.items())],
            routes=[route for _, route in sorted(self.routes.items())],
            peers=[peer for _, peer in sorted(self.peers.items())],
            artifacts=[file for _, file in sorted(self.artifacts.items())],
        )


def _both(one: InstanceSpec, other: InstanceSpec) -> InstanceSpec:
    """An instance that is enough for two routes."""
    names = sorted({*one.accelerators, *other.accelerators})
    return msgspec.structs.replace(
        one,
        replicas=max(one.replicas, other.replicas),
        cores=max((c for c in (one.cores, other.cores) if c is not None), default=None),
        accelerators={
            name: max(one.accelerators.get(name, 0.0), other.accelerators.get(name, 0.0))
            for name in names
        },
    )
