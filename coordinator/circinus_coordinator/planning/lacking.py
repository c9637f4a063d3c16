"""What the scenario lacks altogether for a query: links, profiles, machines that are large enough.

The scenario is completed with one kind of thing after another until the query has a plan; what the
plan takes of these things is what is lacking.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping

from circinus.decision import Relaxation
from circinus.fleet import CORES, DeviceClass, Link
from circinus.pipeline import Deliver, Pipeline
from circinus.profile import LatencyStats, OperatorProfile
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.candidates import ProfileIndex, candidate_placements
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.labels import Aim, Limits, solve
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing, offers
from circinus_coordinator.planning.placed import PlacedPlan, place, plan_of
from circinus_coordinator.planning.relaxation import round_up
from circinus_coordinator.planning.search import limits_of
from circinus_coordinator.planning.uses import LINK, Resource

__all__ = ["NOT_CONNECTED", "NO_PROFILE", "lacking"]

NO_PROFILE = "no profile"
NOT_CONNECTED = "not connected"
# Of a link that is not there: it takes no time of its own, and costs nothing.
_FAST_MBPS = 1e6
_BEST_MS = 1e-3
# Dear enough that a plan takes a new link only where it must.
_NEW = 1e3


def lacking(scenario: Scenario, query: Query) -> tuple[Relaxation, ...] | None:
    """What has to be added before the query has any plan; None where nothing known would do."""
    kinds = (_larger, _profiled, _linked, _allowed, _backward)
    for count in range(1, len(kinds) + 1):
        for some in itertools.combinations(kinds, count):
            complete = scenario
            for kind in some:
                complete = kind(complete, query)
            complete = dataclasses.replace(complete, queries=())
            placed = _plan(scenario, complete, query)
            if placed is not None:
                return tuple(dict.fromkeys(_taken(scenario, query, placed)))
    return None


def _plan(scenario: Scenario, complete: Scenario, query: Query) -> PlacedPlan | None:
    """A plan in the completed scenario, within the objectives if there is one."""
    catalogue = Catalogue(complete)
    prices: dict[Resource, float] = {
        (LINK, *sorted((a.id, b.id))): _NEW
        for a, b in itertools.combinations(scenario.devices, 2)
        if not _usable(scenario, a.id, b.id)
    }
    floor = query.slo.accuracy
    for limits, level in (
        (limits_of(query.slo), -1.0 if floor is None else floor),
        (Limits(), -1.0),
    ):
        programme = catalogue.programme(query, floor=level)
        choices, moving = offers(programme, Ledger(complete), Pricing(of=prices), rate_rps=0.0)
        found = solve(programme, choices, moving, limits, aim=Aim.VALUE)
        if found is not None:
            return place(catalogue, query, plan_of(programme, found))
    return None


def _usable(scenario: Scenario, a: str, b: str) -> bool:
    link = scenario.network.between(a, b)
    return link is not None and link.bandwidth_mbps > 0


def _larger(scenario: Scenario, _: Query) -> Scenario:
    """Machines on which everything that has a profile there can run."""
    classes: dict[str, DeviceClass] = {}
    for name, kind in scenario.device_classes.items():
        rows = [row for row in scenario.profiles if row.device_class == name]
        used = {r for row in rows for r, seconds in row.compute_s.items() if seconds > 0}
        classes[name] = dataclasses.replace(
            kind,
            memory_mb=max([kind.memory_mb, *(row.memory_mb for row in rows)]),
            cores=kind.cores or float(CORES in used),
            accelerators={r: amount or float(r in used) for r, amount in kind.accelerators.items()},
        )
    return dataclasses.replace(scenario, device_classes=classes)


def _profiled(scenario: Scenario, query: Query) -> Scenario:
    """Profiles, as good as can be, of operators that have none wherever they may run."""
    pipeline = scenario.pipelines[query.pipeline]
    index = ProfileIndex(scenario)
    placements = candidate_placements(scenario, query)
    rows = list(scenario.profiles)
    for name, spec in pipeline.operators.items():
        devices = [d for operator, d in placements if operator == name] or [*scenario.device]
        classes = dict.fromkeys(scenario.device[d].device_class for d in devices)
        if any(index.rows(pipeline.name, spec, kind) for kind in classes):
            continue
        rows += [
            OperatorProfile(
                operator=name,
                pipeline=pipeline.name,
                config=next(iter(spec.configs())),
                device_class=kind,
                latency_ms=LatencyStats(mean=_BEST_MS),
            )
            for kind in classes
        ]
    return dataclasses.replace(scenario, profiles=tuple(rows))


def _linked(scenario: Scenario, _: Query) -> Scenario:
    """A link between any two devices."""
    links = {tuple(sorted(link.between)): link for link in scenario.links}
    for a, b in itertools.combinations(scenario.devices, 2):
        if not _usable(scenario, a.id, b.id):
            found = scenario.network.between(a.id, b.id)
            new = found or Link(between=(a.id, b.id), rtt_ms=0.0, bandwidth_mbps=0.0)
            pair = (a.id, b.id)
            new = dataclasses.replace(new, between=pair, bandwidth_mbps=_FAST_MBPS)
            links[tuple(sorted(pair))] = new
    return dataclasses.replace(scenario, links=tuple(links.values()))


def _allowed(scenario: Scenario, query: Query) -> Scenario:
    """Operators that may run in every tier."""
    pipeline = scenario.pipelines[query.pipeline]
    operators = {
        name: dataclasses.replace(spec, tiers=None) for name, spec in pipeline.operators.items()
    }
    return _with(scenario, dataclasses.replace(pipeline, operators=operators))


def _backward(scenario: Scenario, query: Query) -> Scenario:
    """Data that may go inwards."""
    pipeline = scenario.pipelines[query.pipeline]
    return _with(scenario, dataclasses.replace(pipeline, backward=True))


def _with(scenario: Scenario, pipeline: Pipeline) -> Scenario:
    pipelines: Mapping[str, Pipeline] = {**scenario.pipelines, pipeline.name: pipeline}
    return dataclasses.replace(scenario, pipelines=pipelines)


def _taken(scenario: Scenario, query: Query, placed: PlacedPlan) -> Iterator[Relaxation]:
    """What a plan in the completed scenario takes that the real one has not."""
    pipeline = scenario.pipelines[query.pipeline]
    index = ProfileIndex(scenario)
    for name, step in placed.plan.items():
        spec, device = pipeline.operators[name], scenario.device[step.device]
        if spec.tiers is not None and device.tier not in spec.tiers:
            yield Relaxation(what="placement", devices=(device.id,), operator=name)
        kind = scenario.class_of(device.id)
        row = index.row(pipeline.name, spec, kind.name, step.config, step.batch)
        if row is None:
            yield Relaxation(what="profile", devices=(device.id,), operator=name)
            continue
        if row.memory_mb > kind.memory_mb:
            more = round_up(row.memory_mb - kind.memory_mb)
            to = kind.memory_mb + more
            yield Relaxation(what="memory", amount=more, to=to, devices=(device.id,))
        for resource, seconds in row.compute_s.items():
            if seconds > 0 and kind.resources[resource] <= 0:
                yield Relaxation(what=resource, amount=1.0, to=1.0, devices=(device.id,))
    yield from _new_links(scenario, query, placed)
    yield from _inwards(scenario, query, placed)


def _new_links(scenario: Scenario, query: Query, placed: PlacedPlan) -> Iterator[Relaxation]:
    """Links that are not there, or have no bandwidth, and what they must carry in time."""
    rate = query.rate_rps * query.count
    ways: dict[tuple[str, str], list[float]] = {}
    for a, b in _hops(scenario, query, placed):
        found = scenario.network.between(a, b)
        sizes = [s for x, y, s in placed.use.bytes_between if {x, y} == {a, b}]
        if found is None or (found.bandwidth_mbps <= 0 and sum(sizes) > 0):
            ways[min(a, b), max(a, b)] = sizes
    limit = query.slo.latency_ms
    slack = None if limit is None else max(0.0, limit - placed.latency_ms())
    hops = sum(max(1, len(sizes)) for sizes in ways.values())
    for (a, b), sizes in ways.items():
        load = sum(sizes) * 8e-6 * rate / scenario.max_utilisation
        part = None if slack is None else slack / hops / 2  # half for the way, half for the bytes
        inside = max(sizes, default=0.0) * 8e-3 / part if part else 0.0
        there = scenario.network.between(a, b)
        rtt = there.rtt_ms if there else None if part is None else part * 2 * (1 - 1e-6)
        yield Relaxation(
            what=LINK,
            to=round_up(max(load, inside * (1 + 1e-6), 1e-3)),
            devices=(a, b),
            rtt_ms=rtt,
        )


def _hops(scenario: Scenario, query: Query, placed: PlacedPlan) -> list[tuple[str, str]]:
    """Between which machines something moves, be it nothing but a call."""
    pipeline, plan = scenario.pipelines[query.pipeline], placed.plan
    found = [
        (plan[need].device, plan[name].device)
        for name, spec in pipeline.operators.items()
        for need in spec.needs
    ]
    found += [(query.source[name], plan[name].device) for name in pipeline.sources]
    if pipeline.deliver is Deliver.SOURCE:
        home = query.source[pipeline.sources[0]]
        found += [(plan[name].device, home) for name in pipeline.sinks]
    return [(a, b) for a, b in found if a != b]


def _inwards(scenario: Scenario, query: Query, placed: PlacedPlan) -> Iterator[Relaxation]:
    pipeline, tier = scenario.pipelines[query.pipeline], scenario.tier_index
    if pipeline.backward:
        return
    at = {name: tier[scenario.device[step.device].tier] for name, step in placed.plan.items()}
    ways = [(at[n], at[name]) for name, spec in pipeline.operators.items() for n in spec.needs]
    ways += [
        (tier[scenario.device[query.source[name]].tier], at[name]) for name in pipeline.sources
    ]
    if any(a > b for a, b in ways):
        yield Relaxation(what="backward")
