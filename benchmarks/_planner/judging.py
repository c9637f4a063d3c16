"""What a decision is worth: by the planner's evaluator, by the simulator, and query by query."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from circinus.decision import Decision
from circinus.scenario import Scenario
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.evaluate import evaluate
from circinus_coordinator.planning.placed import meets, place
from circinus_coordinator.simulation import Report, simulate

__all__ = ["Evaluated", "Served", "Simulated", "Worth", "judge", "play"]

_WHOLE = 1 - 1e-6
# Queues have to have the time to grow.
_LEAST_WINDOW_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A query served whole: requests per second, and US dollars per request."""

    rate_rps: float
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """By the evaluator all planners are judged by.

    Attributes:
        goodput_rps: Weighted rate of the assignments that keep their SLOs on resources that
            are not overloaded; of no query more than all its traffic.
        good_rps: The same without weights.
        usd_hour: Deployment.
        broken: Assignments that break an SLO.
        overloaded: Resources above capacity.
        overserved: Queries with shares of more than all their traffic.
        whole: By query, those all of whose traffic is good.
    """

    goodput_rps: float
    good_rps: float
    usd_hour: float
    broken: int
    overloaded: int
    overserved: int
    whole: Mapping[str, Served]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """By the simulator.

    Attributes:
        goodput: Weighted good requests, as a part of all that came.
        attainment: Good requests as a part of those admitted; 1 where none was.
        good: By query, good requests as a part of those that came; without those where none came.
    """

    goodput: float
    attainment: float
    good: Mapping[str, float]
    requests: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Both."""

    evaluated: Evaluated
    simulated: Simulated


def judge(catalogue: Catalogue, decision: Decision) -> Evaluated:
    """Work out anew what the decision promises; its own figures are not looked at.

    But for rehearsed decisions: no formula says what they promise, and the simulator judges them.
    """
    queries = {query.id: query for query in catalogue.scenario.queries}
    assigned = [(place(catalogue, queries[a.query], a.plan), a.share) for a in decision.assignments]
    found = evaluate(catalogue, assigned)
    broken = found.broken
    if any(a.estimate.rehearsed for a in decision.assignments):
        broken = tuple(meets(queries[a.query], a.estimate) for a in decision.assignments)
    full = {resource for resource, _ in found.overloads}
    shares: dict[str, float] = {}
    given: dict[str, float] = {}
    usd: dict[str, float] = {}
    for (placed, share), fault in zip(assigned, broken, strict=True):
        name = placed.query.id
        given[name] = given.get(name, 0.0) + share
        if fault is not None or full & placed.touches:
            continue
        shares[name] = shares.get(name, 0.0) + share
        usd[name] = usd.get(name, 0.0) + share * placed.usd
    served = {name: min(1.0, share) for name, share in shares.items()}
    return Evaluated(
        goodput_rps=math.fsum(queries[name].demand_rps * s for name, s in served.items()),
        good_rps=math.fsum(
            queries[name].rate_rps * queries[name].count * s for name, s in served.items()
        ),
        usd_hour=found.deployment.total,
        broken=sum(fault is not None for fault in broken),
        overloaded=len(found.overloads),
        overserved=sum(share > 2 - _WHOLE for share in given.values()),
        whole={
            name: Served(
                rate_rps=queries[name].rate_rps * queries[name].count, usd=usd[name] / share
            )
            for name, share in shares.items()
            if share >= _WHOLE
        },
    )


def play(scenario: Scenario, decision: Decision, *, requests: int, seed: int) -> Simulated:
    """Simulate about so many requests over all queries, served or not, for 30 s at least."""
    rate = math.fsum(query.rate_rps * query.count for query in scenario.queries)
    seconds = max(requests / rate, _LEAST_WINDOW_S) if rate > 0 else _LEAST_WINDOW_S
    report = simulate(scenario, decision, seconds=seconds, seed=seed)
    weights = {query.id: query.weight for query in scenario.queries}
    came = math.fsum(weights[name] * q.arrivals for name, q in report.queries.items())
    good = math.fsum(weights[name] * q.good for name, q in report.queries.items())
    return Simulated(
        goodput=good / came if came > 0 else 0.0,
        attainment=report.slo_attainment,
        good=_good(report),
        requests=report.requests,
        seconds=seconds,
    )


def _good(report: Report) -> dict[str, float]:
    return {name: q.good / q.arrivals for name, q in report.queries.items() if q.arrivals}
