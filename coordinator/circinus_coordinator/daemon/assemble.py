"""The scenario as the registry, the measurements and the queries give it.

Everything stands in one canonical order, and the planner is given what is read back from the
written document: an export is what the live planner saw, to the last bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from circinus.fleet import Device, Network
from circinus.messages import Capabilities, Peer
from circinus.pipeline import Pipeline
from circinus.profile import AccuracyProfile, OperatorProfile
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.daemon.records import link_of
from circinus_coordinator.fleet import DeviceState, MeasuredLink, dialler, link_rows, probe_pairs
from circinus_coordinator.planning import candidate_placements
from circinus_coordinator.profiling import (
    AccuracyKey,
    Factor,
    Key,
    LinkKey,
    OperatorKey,
    ProbeDevice,
    Summary,
    Terrain,
    config_vectors,
    neutralised,
    operator_profile,
    own_class,
    scaled,
)

__all__ = [
    "build_scenario",
    "fleet_devices",
    "link_ways",
    "placements",
    "probe_devices",
    "sources_missing",
    "terrain",
    "tiers_missing",
    "why_not_plannable",
]


def why_not_plannable(capabilities: Capabilities | None, fleet: Scenario) -> str | None:
    """Why nothing can be placed on a device; None where it can."""
    if capabilities is None:
        return "has not reported its capabilities"
    if capabilities.device_class not in fleet.device_classes:
        return f"device class {capabilities.device_class!r} is not in the fleet file"
    if capabilities.tier not in fleet.tiers:
        return f"tier {capabilities.tier!r} is not in the fleet file"
    if capabilities.device in fleet.tiers:
        return "has the name of a tier"
    return None


def fleet_devices(present: Iterable[DeviceState], fleet: Scenario) -> list[Device]:
    """Devices that plans may use, by id; uplink caps come from the fleet file."""
    found = []
    for state in present:
        capabilities = state.capabilities
        if capabilities is None or why_not_plannable(capabilities, fleet):
            continue
        row = fleet.device.get(state.id)
        found.append(
            Device(
                id=state.id,
                device_class=capabilities.device_class,
                tier=capabilities.tier,
                uplink_mbps=row.uplink_mbps if row else None,
            )
        )
    return sorted(found, key=lambda device: device.id)


def sources_missing(query: Query, devices: Iterable[Device]) -> list[str]:
    """Source devices of a query that are not there."""
    return sorted(set(query.source.values()) - {device.id for device in devices})


def tiers_missing(pipeline: Pipeline, fleet: Scenario) -> list[str]:
    """Tiers that a pipeline names and the fleet file, which may have changed, no longer has."""
    named = {tier for spec in pipeline.operators.values() for tier in spec.tiers or ()}
    return sorted(named - set(fleet.tiers))


def build_scenario(
    *,
    fleet: Scenario,
    devices: list[Device],
    pipelines: Mapping[str, Pipeline],
    queries: Iterable[Query],
    needed: Mapping[str, Iterable[Key]],
    measured: Mapping[Key, Summary],
    apart: Mapping[str, Factor] | None = None,
    mean_accuracy: Callable[[AccuracyKey], float | None] = lambda _: None,
) -> Scenario:
    """What is to be planned.

    Args:
        needed: By query, the keys whose rows it may use.
        measured: All that may be told; given up targets have no row.
        apart: Devices that are not like their class. Each is the only one of a class of its own,
            with what was measured there, and else with its class's rows times its factor.
        mean_accuracy: What may be said of a config vector; None where nothing may.
    """
    factors = apart or {}
    chosen = sorted(queries, key=lambda query: query.id)
    used = sorted({query.pipeline for query in chosen})
    keys = {key for query in chosen for key in needed.get(query.id, ())}
    sound = {
        key: s for key in keys if (s := measured.get(key)) and s.cause is None and s.usable(key)
    }
    singled = [device for device in devices if device.id in factors]
    classes = dict(fleet.device_classes)
    for device in singled:
        name = own_class(device.device_class, device.id)
        classes[name] = dataclasses.replace(classes[device.device_class], name=name)
    return Scenario(
        tiers=fleet.tiers,
        device_classes=dict(sorted(classes.items())),
        devices=tuple(
            dataclasses.replace(d, device_class=own_class(d.device_class, d.id))
            if d in singled
            else d
            for d in devices
        ),
        links=link_rows(fleet.links, _links(measured), devices, fleet.tiers),
        pipelines={name: pipelines[name] for name in used},
        profiles=_profiles(sound, measured, {d: factors[d.id] for d in singled}),
        accuracy=tuple(
            row for name in used for row in _accuracy(pipelines[name], sound, mean_accuracy)
        ),
        queries=tuple(chosen),
        max_utilisation=fleet.max_utilisation,
        queueing=fleet.queueing,
    )


def _links(measured: Mapping[Key, Summary]) -> list[MeasuredLink]:
    found = []
    for key, summary in measured.items():
        if isinstance(key, LinkKey) and summary.cause is None and summary.usable(key):
            rtt_ms, bandwidth_mbps = link_of(summary)
            found.append(
                MeasuredLink(between=(key.a, key.b), rtt_ms=rtt_ms, bandwidth_mbps=bandwidth_mbps)
            )
    return found


def _profiles(
    sound: Mapping[Key, Summary], measured: Mapping[Key, Summary], apart: Mapping[Device, Factor]
) -> tuple[OperatorProfile, ...]:
    keys = [key for key in sound if isinstance(key, OperatorKey)]
    rows = [operator_profile(key, sound[key]) for key in keys]
    for device, factor in apart.items():
        mine = [key for key in keys if key.device_class == device.device_class]
        rows += _own(mine, measured, device, factor)
    rows.sort(key=lambda row: (row.qualified, row.device_class, row.batch, str(row.config)))
    return tuple(rows)


def _own(
    keys: Iterable[OperatorKey], measured: Mapping[Key, Summary], device: Device, factor: Factor
) -> Iterator[OperatorProfile]:
    """The rows of a device that is apart, as a class of its own."""
    name = own_class(device.device_class, device.id)
    for key in keys:
        own = dataclasses.replace(key, device_class=name)
        found = measured.get(own)
        if found is not None and found.cause is None and found.usable(own):
            yield operator_profile(own, found)
            continue
        row = operator_profile(key, measured[key])
        if measured[key].touched_by(device.id, factor.since_s):
            yield dataclasses.replace(row, device_class=name)
        else:
            yield scaled(row, factor.of(key.implementation), name)


def _accuracy(
    pipeline: Pipeline,
    sound: Mapping[Key, Summary],
    mean_accuracy: Callable[[AccuracyKey], float | None],
) -> list[AccuracyProfile]:
    """A row for every vector, also for those that differ from a measured one in neutral knobs."""
    means = {
        key.config: (mean_accuracy(key), len(summary.scores))
        for key, summary in sound.items()
        if isinstance(key, AccuracyKey) and key.pipeline == pipeline.name
    }
    if not means:
        return []
    rows = []
    for vector in config_vectors(pipeline):
        mean, samples = means.get(neutralised(pipeline, vector), (None, 0))
        if mean is not None:
            rows.append(
                AccuracyProfile(
                    pipeline=pipeline.name, config=dict(vector), mean=mean, samples=samples
                )
            )
    return rows


def placements(
    *,
    fleet: Scenario,
    devices: list[Device],
    pipelines: Mapping[str, Pipeline],
    queries: Iterable[Query],
) -> dict[str, list[tuple[str, str]]]:
    """By query, the (operator, device) pairs that could be chosen once they are measured."""
    able = [
        query
        for query in queries
        if not sources_missing(query, devices)
        and not tiers_missing(pipelines[query.pipeline], fleet)
    ]
    scenario = build_scenario(
        fleet=fleet, devices=devices, pipelines=pipelines, queries=able, needed={}, measured={}
    )
    return {query.id: candidate_placements(scenario, query) for query in scenario.queries}


def link_ways(
    devices: list[Device], fleet: Scenario, known: Mapping[str, Capabilities]
) -> dict[LinkKey, tuple[str, Peer]]:
    """Pairs that could be connected, with who dials whom."""
    found = {}
    rows = link_rows(fleet.links, (), devices, fleet.tiers)
    for a, b in probe_pairs(devices, rows):
        way = dialler(a, b, known, fleet.tier_index)
        if way is not None:
            found[LinkKey(a=a, b=b)] = way
    return found


def terrain(devices: list[Device], fleet: Scenario) -> Terrain:
    """The fleet as the profiler sees it: what is there, and what the fleet file says of it."""
    network = Network(devices, link_rows(fleet.links, (), devices, fleet.tiers))
    return Terrain(
        devices={device.id: device for device in devices},
        tiers=fleet.tier_index,
        classes=fleet.device_classes,
        assumed=network.between,
    )


def probe_devices(
    states: Iterable[DeviceState],
    fleet: Scenario,
    busy: Collection[str],
    apart: Collection[str],
) -> dict[str, ProbeDevice]:
    """Devices that probes can be sent to now.

    Args:
        busy: Those that serve.
        apart: Those that are not like their class.
    """
    found = {}
    for state in states:
        capabilities = state.capabilities
        if not state.online or capabilities is None or why_not_plannable(capabilities, fleet):
            continue
        found[state.id] = ProbeDevice(
            id=state.id,
            boot_id=state.boot_id,
            session=state.session,
            device_class=capabilities.device_class,
            tier=fleet.tier_index[capabilities.tier],
            cores=capabilities.cores,
            busy=state.id in busy,
            apart=state.id in apart,
            operators=frozenset(operator.name for operator in capabilities.operators),
        )
    return found
