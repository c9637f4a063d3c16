"""The generator's front: one call, one scenario."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from circinus.errors import InvalidInput
from circinus.fleet import Billing
from circinus.pipeline import Pipeline
from circinus.scenario import Scenario
from circinus_coordinator.generation.calibrate import calibrate
from circinus_coordinator.generation.demand import build_queries, draw_demand
from circinus_coordinator.generation.families import FAMILIES
from circinus_coordinator.generation.fleet import TIERS, build_fleet
from circinus_coordinator.generation.machines import MACHINES
from circinus_coordinator.generation.profiles import operator_figures, specification
from circinus_coordinator.generation.tables import accuracy_table
from circinus_coordinator.generation.templates import OperatorTemplate, PipelineTemplate

__all__ = ["generate"]


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
        queueing: The scenario's own flag; rates are scaled for it.
        arrivals: Relative intensities a query's rate is multiplied with, drawn by query
            (`read_arrivals`); None for a log-normal spread.
        bandwidth_mbps: Quantiles of mobile uplinks, worst first (`read_bandwidth`); None for
            assumed ones.

    Raises:
        InvalidInput: An argument is out of range; `key` names it.
    """
    _check(queries, devices, seed, tiers, families)
    _check_fractions(contention, tightness, splittable)
    _check_series(arrivals, "arrivals")
    _check_series(bandwidth_mbps, "bandwidth_mbps")
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
    found = calibrate(
        demand,
        fleet,
        machines,
        tables,
        seed=seed,
        tightness=tightness,
        contention=contention,
        queueing=queueing,
    )
    return Scenario(
        tiers=names,
        device_classes=machines,
        devices=fleet.devices,
        links=fleet.links,
        pipelines={p.name: _pipeline(p, templates, names) for p in used},
        profiles=tuple(row for found in figures.values() for row in found.rows()),
        accuracy=tuple(row for table in tables.values() for row in table.rows()),
        queries=build_queries(found.demand, found.slos, found.scale),
        queueing=queueing,
    )


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


def _check_series(values: Sequence[float] | None, key: str) -> None:
    if values is None:
        return
    if not values or not all(math.isfinite(x) and x >= 0 for x in values) or not sum(values):
        raise InvalidInput("needs numbers of at least 0, not all 0", key=key)
    if key == "bandwidth_mbps" and min(values) <= 0:
        raise InvalidInput("a link of 0 Mbit/s carries nothing", key=key, remedy="leave it out")
