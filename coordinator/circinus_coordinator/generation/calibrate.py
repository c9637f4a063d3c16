"""From customers' templates to SLOs, and from contention to the factor on all rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from circinus.fleet import DeviceClass
from circinus.query import Slo
from circinus_coordinator.generation.contention import FloatArray, Group, plan_uses, scale_for
from circinus_coordinator.generation.demand import Demand, settle
from circinus_coordinator.generation.fleet import WIFI, Fleet
from circinus_coordinator.generation.reference import Path, Plans, Reference, Resource
from circinus_coordinator.generation.slos import TEMPLATES, draw_slo
from circinus_coordinator.generation.tables import AccuracyTable

__all__ = ["Calibration", "calibrate"]

# SLOs are drawn for this end device behind Wi-Fi, the middle of the fleet; others find them
# easier or harder, some impossible.
USUAL_SOURCE = "raspberry-pi-5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Demand whose SLOs and rates are known.

    Attributes:
        demand: With the templates customers settled for.
        slos: By (pipeline, template).
        groups: The demand by what it takes, before scaling.
        scale: Factor on all rates.
    """

    demand: Demand
    slos: Mapping[tuple[int, int], Slo]
    groups: tuple[Group, ...]
    scale: float


def calibrate(
    demand: Demand,
    fleet: Fleet,
    machines: Mapping[str, DeviceClass],
    tables: Mapping[str, AccuracyTable],
    *,
    seed: int,
    tightness: float,
    contention: float,
    queueing: bool,
) -> Calibration:
    """Draw SLOs, let customers settle, and scale rates to the contention asked for."""
    reference = Reference(fleet.tiers, fleet.classes, machines, queueing=queueing)
    slos = _slos(demand, tables, reference, tightness)
    pools = _pools(fleet, machines, demand, reference.utilisation)
    uses = {
        kind: _uses(demand, int(kind), tables, reference, slos, pools)
        for kind in demand.kinds()[1].tolist()
    }
    demand = settle(
        demand, {kind: [len(u) > 0 for u in found] for kind, found in uses.items()}, seed
    )
    groups = tuple(
        Group(rate_rps=rate, weight=TEMPLATES[template].weight, uses=uses[kind][template])
        for kind, template, rate in demand.rates()
    )
    return Calibration(demand=demand, slos=slos, groups=groups, scale=scale_for(groups, contention))


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
    fleet: Fleet, machines: Mapping[str, DeviceClass], demand: Demand, utilisation: float
) -> dict[Resource, float]:
    """What each resource offers in all, and of seconds the part that may be used.

    Of end devices only those count that are sources.
    """
    inner = fleet.tiers[0]
    pools: dict[Resource, float] = {}
    seen = np.unique(np.concatenate([demand.source, demand.other[demand.source]]))
    counts = np.bincount(demand.path[seen], minlength=len(demand.paths)).tolist()
    for path, count in zip(demand.paths, counts, strict=True):
        if count:
            _add(pools, inner, path.source, machines[path.device_class], count, utilisation)
            pools["uplink", path.access.name, path.source] = path.access.uplink_mbps * count
    for (tier, name), count in fleet.counts.items():
        if tier != inner:
            _add(pools, tier, name, machines[name], count, utilisation)
    return pools


def _add(
    pools: dict[Resource, float],
    tier: str,
    pool: str,
    kind: DeviceClass,
    count: int,
    utilisation: float,
) -> None:
    offered = {what: amount * utilisation for what, amount in kind.resources.items()}
    for what, amount in (*offered.items(), ("memory", kind.memory_mb)):
        pools[what, tier, pool] = pools.get((what, tier, pool), 0.0) + amount * count


def _uses(
    demand: Demand,
    kind: int,
    tables: Mapping[str, AccuracyTable],
    reference: Reference,
    slos: Mapping[tuple[int, int], Slo],
    pools: Mapping[Resource, float],
) -> list[FloatArray]:
    """What plans take that meet each template from this kind of source."""
    p, where = divmod(kind, len(demand.paths))
    pipeline = demand.pipelines[p]
    plans = reference.plans(pipeline, tables[pipeline.name], demand.paths[where])
    return [plan_uses(plans, _meets(plans, slos[p, t]), pools) for t in range(len(TEMPLATES))]


def _meets(plans: Plans, slo: Slo) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    cap = None if slo.cost_usd_per_1000 is None else slo.cost_usd_per_1000 / 1000
    return plans.feasible(slo.percentile, slo.latency_ms, slo.accuracy, cap)
