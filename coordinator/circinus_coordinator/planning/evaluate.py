"""Judging plans: latency, cost and accuracy at given loads; loads and cost of a deployment.

The same judge for every planner, and for a decision read from a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from circinus.decision import Deployment, Estimate
from circinus.fleet import SECONDS_PER_HOUR, Billing
from circinus_coordinator.planning.alike import together
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, meets, stream
from circinus_coordinator.planning.uses import MEMORY, Resource

__all__ = ["Evaluation", "add", "deployment", "evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a set of assignments adds up to.

    Attributes:
        estimates: Of each assignment, at the loads of all.
        broken: For each assignment the SLO it breaks, None if none.
        overloads: Resources above capacity with load / capacity, worst first.
        deployment: Cost per hour.
        goodput_rps: Weighted rate of the assignments that break nothing.
    """

    ledger: Ledger
    estimates: tuple[Estimate, ...]
    broken: tuple[str | None, ...]
    overloads: tuple[tuple[Resource, float], ...]
    deployment: Deployment
    goodput_rps: float


def evaluate(catalogue: Catalogue, assigned: Sequence[tuple[PlacedPlan, float]]) -> Evaluation:
    """Judge plans with their shares, all together."""
    ledger = Ledger(catalogue.scenario)
    streams, at = together(assigned)
    for placed, share in streams:
        add(ledger, placed, share)
    each = [placed.estimate(ledger) for placed, _ in streams]
    estimates = tuple(each[k] for k in at)
    broken = tuple(
        meets(placed.query, estimate)
        for (placed, _), estimate in zip(assigned, estimates, strict=True)
    )
    resources = {*ledger.linear, *((MEMORY, device) for device in ledger.instances)}
    return Evaluation(
        ledger=ledger,
        estimates=estimates,
        broken=broken,
        overloads=tuple(ledger.violations(sorted(resources))),
        deployment=deployment(ledger, assigned),
        goodput_rps=math.fsum(
            placed.query.demand_rps * share
            for (placed, share), fault in zip(assigned, broken, strict=True)
            if fault is None
        ),
    )


def add(ledger: Ledger, placed: PlacedPlan, share: float) -> None:
    """Put a share of the query's traffic on the ledger, for good."""
    ledger.add(placed.use, *stream(placed, share))


def deployment(ledger: Ledger, assigned: Iterable[tuple[PlacedPlan, float]]) -> Deployment:
    """US dollars per hour of everything that runs."""
    usage, network = [], []
    for placed, share in assigned:
        per_hour = placed.query.rate_rps * placed.query.count * share * SECONDS_PER_HOUR
        usage.append(placed.usage_usd * per_hour)
        network.append(placed.network_usd * per_hour)
    scenario = ledger.scenario
    machines = [
        scenario.class_of(device).price_usd_hour
        for device in ledger.devices()
        if scenario.class_of(device).billing is Billing.MACHINE
    ]
    return Deployment(
        usage=math.fsum(usage), machines=math.fsum(machines), network=math.fsum(network)
    )
