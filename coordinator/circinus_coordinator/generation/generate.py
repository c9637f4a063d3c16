"""The generator's front: one call, one scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from circinus.errors import InvalidInput
from circinus.fleet import Billing, DeviceClass
from circinus.pipeline import Pipeline
from circinus.query import Slo
from circinus.scenario import DEFAULT_MAX_UTILISATION as MAX_UTILISATION
from circinus.scenario import Scenario
from circinus_coordinator.generation.contention import Group, plan_uses, scale_for
from circinus_coordinator.generation.demand import Demand, build_queries, draw_demand
from circinus_coordinator.generation.families import FAMILIES
from circinus_coordinator.generation.fleet import TIERS, WIFI, Fleet, build_fleet
from circinus_coordinator.generation.machines import MACHINES
from circinus_coordinator.generation.profiles import operator_figures, specification
from circinus_coordinator.generation.reference import Path, Plans, Reference, Resource
from circinus_coordinator.generation.slos import TEMPLATES, draw_slo
from circinus_coordinator.generation.tables import AccuracyTable, accuracy_table
from circinus_coordinator.generation.templates import OperatorTemplate, PipelineTemplate

__all__ = ["generate"]

# SLOs are drawn for this end device behind Wi-Fi, the middle of the fleet; others find them
# easier or harder, some impossible.
USUAL_SOURCE = "raspberry-pi-5"


def generate(  # noqa: PLR0913 (one argument per thing a user may choose)
    *,
    queries: int,
    devices: int,
    seed: int = 0,
    families: Sequence[str] = tuple(FAMILIES),
    tiers: int = 3,
    contention: float = 0.5,
    tightness: float = 0.5,
    splittable: float = 1.0,
    billing: Billing = Billing.USAGE,
    queueing: bool = True,
    arrivals: Sequence[float] | None = None,
    bandwidth_mbps: Sequence[float] | None = None,
) -> Scenario:
    """Make up a scenario; the same arguments give the same scenario on every machine.

    Args:
        queries: Number of queries, at least 1.
        devices: Number of machines over all tiers, at least as many as there are tiers.
        seed: At least 0; another seed gives other figures, sites and queries.
        families: Whose pipelines are used; names in `FAMILIES`.
        tiers: 2 (device, cloud), 3 (device, edge, cloud) or 4 (device, edge, region, cloud).
        contention: The fraction, above 0 and at most 1, of the weighted demand that can be met
            alone which also fits together, by the pooled estimate of `contention.fraction`.
            Reached by scaling all rates.
        tightness: 0 (twice the usual slack in every SLO) to 1 (none).
        splittable: The fraction of queries whose traffic may be split.
        billing: How machines beyond the device tier are paid for.
        queueing: The scenario's own flag.
        arrivals: Relative intensities a query's rate is multiplied with, drawn by query
            (`read_arrivals`); None for a log-normal spread.
        bandwidth_mbps: Quantiles of mobile uplinks, worst first (`read_bandwidth`); None for
            assumed ones.

    Raises:
        InvalidInput: An argument is out of range; `key` names it.
    """
    _check(queries, devices, seed, tiers, families)
    _check_fractions(contention, tightness, splittable)
    names = TIERS[tiers]
    fleet = build_fleet(devices, names, seed, bandwidth_mbps)
    machines = {
        name: MACHINES[name].device_class(Billing.USAGE if tier == names[0] else billing)
        for tier in names
        for name in fleet.classes[tier]
    }
    chosen = [FAMILIES[name] for name in dict.fromkeys(families)]
    demand = draw_demand(
        queries,
        [pipeline for family in chosen for pipeline in family.pipelines],
        fleet.sites,
        seed=seed,
        splittable=splittable,
        arrivals=arrivals,
    )
    used = [demand.pipelines[i] for i in np.unique(demand.pipeline).tolist()]
    templates = {name: op for family in chosen for name, op in family.by_name.items()}
    figures = {
        name: operator_figures(templates[name], tuple(machines), seed)
        for name in dict.fromkeys(name for pipeline in used for name in pipeline.needs)
    }
    tables = {p.name: accuracy_table(p, [figures[name] for name in p.needs], seed) for p in used}
    reference = Reference(names, fleet.classes, machines)
    slos = _slos(demand, tables, reference, tightness)
    scale = scale_for(
        _groups(demand, tables, reference, slos, _pools(fleet, machines, demand)), contention
    )
    return Scenario(
        tiers=names,
        device_classes=machines,
        devices=fleet.devices,
        links=fleet.links,
        pipelines={p.name: _pipeline(p, templates, names) for p in used},
        profiles=tuple(row for found in figures.values() for row in found.rows()),
        accuracy=tuple(row for table in tables.values() for row in table.rows()),
        queries=build_queries(demand, slos, scale),
        queueing=queueing,
    )


def _slos(
    demand: Demand, tables: Mapping[str, AccuracyTable], reference: Reference, tightness: float
) -> dict[tuple[int, int], Slo]:
    """The SLO of every (pipeline, template): what the usual source makes of the template."""
    usual = Path(device_class=USUAL_SOURCE, access=WIFI)
    slos = {}
    for p, pipeline in enumerate(demand.pipelines):
        if pipeline.name not in tables:
            continue
        plans = reference.plans(pipeline, tables[pipeline.name], usual)
        for t, template in enumerate(TEMPLATES):
            slos[p, t] = draw_slo(template, plans, tightness)
    return slos


def _pools(
    fleet: Fleet, machines: Mapping[str, DeviceClass], demand: Demand
) -> dict[Resource, float]:
    """What each resource offers in all, `MAX_UTILISATION` of it."""
    inner = fleet.tiers[0]
    counts = {kind: n for kind, n in fleet.counts.items() if kind[0] != inner}
    pools: dict[Resource, float] = {}
    seen = np.unique(np.concatenate([demand.source, demand.other[demand.source]]))
    for where, count in enumerate(np.bincount(demand.path[seen], minlength=len(demand.paths))):
        path = demand.paths[where]
        kind = inner, path.device_class
        counts[kind] = counts.get(kind, 0) + int(count)
        uplink = ("uplink", path.access.name, path.device_class)
        pools[uplink] = path.access.uplink_mbps * int(count)
    for (tier, name), count in counts.items():
        for what, amount in machines[name].resources.items():
            pools[what, tier, name] = amount * count * MAX_UTILISATION
    return pools


def _groups(
    demand: Demand,
    tables: Mapping[str, AccuracyTable],
    reference: Reference,
    slos: Mapping[tuple[int, int], Slo],
    pools: Mapping[Resource, float],
) -> list[Group]:
    groups = []
    known: tuple[tuple[int, Path], Plans] | None = None
    for p, t, path, rate in sorted(demand.groups(), key=lambda g: (g[0], repr(g[2]), g[1])):
        if known is None or known[0] != (p, path):  # one at a time: all would be large
            pipeline = demand.pipelines[p]
            known = (p, path), reference.plans(pipeline, tables[pipeline.name], path)
        slo, plans = slos[p, t], known[1]
        cap = None if slo.cost_usd_per_1000 is None else slo.cost_usd_per_1000 / 1000
        feasible = plans.feasible(slo.percentile, slo.latency_ms, slo.accuracy, cap)
        groups.append(
            Group(
                rate_rps=rate,
                weight=TEMPLATES[t].weight,
                uses=plan_uses(plans, feasible, pools),
            )
        )
    return groups


def _pipeline(
    template: PipelineTemplate, operators: Mapping[str, OperatorTemplate], tiers: Sequence[str]
) -> Pipeline:
    return Pipeline(
        name=template.name,
        operators={
            name: specification(operators[name], needs, tiers)
            for name, needs in template.needs.items()
        },
        input_bytes=dict(template.input_bytes),
        deliver=template.deliver,
    )


def _check(queries: int, devices: int, seed: int, tiers: int, families: Sequence[str]) -> None:
    if tiers not in TIERS:
        raise InvalidInput(f"must be 2, 3 or 4, not {tiers}", key="tiers")
    if queries < 1:
        raise InvalidInput(f"must be at least 1, not {queries}", key="queries")
    if devices < tiers:
        raise InvalidInput(
            f"{devices} are too few for {tiers} tiers", key="devices", remedy=f"at least {tiers}"
        )
    if seed < 0:
        raise InvalidInput(f"must be at least 0, not {seed}", key="seed")
    unknown = [name for name in families if name not in FAMILIES]
    if unknown or not families:
        raise InvalidInput(
            f"unknown family {unknown[0]!r}" if unknown else "at least one family is needed",
            key="families",
            remedy=f"known: {', '.join(FAMILIES)}",
        )


def _check_fractions(contention: float, tightness: float, splittable: float) -> None:
    if not 0 < contention <= 1:
        raise InvalidInput(f"must be above 0 and at most 1, not {contention}", key="contention")
    for key, value in (("tightness", tightness), ("splittable", splittable)):
        if not 0 <= value <= 1:
            raise InvalidInput(f"must lie between 0 and 1, not {value}", key=key)
