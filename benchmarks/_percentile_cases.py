"""The plans on which percentile models are compared: scenarios, and what was planned for them.

Each kind brings out one difficulty. Planned once at contention, so that machines and workers
reach the cap; the same plans are then looked at with all rates scaled down.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from circinus.decision import Decision, Step
from circinus.profile import LatencyStats, OperatorProfile
from circinus.query import Query, Source
from circinus.scenario import Scenario
from circinus_coordinator.generation import generate
from circinus_coordinator.planning import plan
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.evaluate import add
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, place
from circinus_coordinator.planning.stop import MaxIterations

__all__ = ["FACTORS", "KINDS", "Case", "Loaded", "cases", "loaded"]

FACTORS = (0.25, 0.5, 0.75, 1.0)
QUERIES, DEVICES = 30, 12
# A full batch of n takes n to this power as long as one request: a GPU saves most of the rest.
_BATCH_POWER = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Plans for a scenario."""

    kind: str
    scenario: Scenario
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A case at some fraction of its rates: what the planner knows, and what is to be simulated."""

    kind: str
    scenario: Scenario
    decision: Decision
    ledger: Ledger
    placed: tuple[PlacedPlan, ...]


def _as_generated(scenario: Scenario) -> Scenario:
    return scenario


def _constant(scenario: Scenario) -> Scenario:
    """Deterministic service times, and half of the sources like clockwork."""
    rows = [
        dataclasses.replace(row, latency_ms=LatencyStats(mean=row.latency_ms.mean))
        for row in scenario.profiles
    ]
    queries = [
        dataclasses.replace(query, input=Source(arrivals="uniform")) if i % 2 else query
        for i, query in enumerate(scenario.queries)
    ]
    return dataclasses.replace(scenario, profiles=tuple(rows), queries=tuple(queries))


def _batched(scenario: Scenario) -> Scenario:
    """Each operator can also run batches of four."""
    rows: list[OperatorProfile] = []
    for row in scenario.profiles:
        for size in (1, 4):
            longer = size**_BATCH_POWER
            stats = row.latency_ms
            times = {
                name: value * longer
                for name in ("mean", "p50", "p95", "p99")
                if (value := getattr(stats, name)) is not None
            }
            used = {name: s * longer / size for name, s in row.compute_s.items()}
            rows.append(
                dataclasses.replace(
                    row, batch=size, latency_ms=LatencyStats(**times), compute_s=used
                )
            )
    return dataclasses.replace(scenario, profiles=tuple(rows))


def _heavy(scenario: Scenario) -> Scenario:
    """Service times that vary much: exponential ones."""
    factors = {"p50": 0.6931, "p95": 2.9957, "p99": 4.6052}
    rows = [
        dataclasses.replace(
            row,
            latency_ms=LatencyStats(
                mean=row.latency_ms.mean,
                **{name: row.latency_ms.mean * factor for name, factor in factors.items()},
            ),
        )
        for row in scenario.profiles
    ]
    return dataclasses.replace(scenario, profiles=tuple(rows))


_ALL = ("vision", "speech", "retrieval", "fusion")
KINDS: dict[str, tuple[Callable[[Scenario], Scenario], tuple[str, ...], float]] = {
    "mixed": (_as_generated, _ALL, 1.0),
    "whole": (_as_generated, _ALL, 0.0),
    "joins": (_as_generated, ("fusion", "speech"), 1.0),
    "batches": (_batched, _ALL, 1.0),
    "constant": (_constant, _ALL, 1.0),
    "exponential": (_heavy, _ALL, 1.0),
}
"""What is done to a generated scenario, of which families, and how many queries may be split."""


def cases(seeds: range, kinds: tuple[str, ...] = tuple(KINDS)) -> Iterator[Case]:
    """Generated scenarios with their plans."""
    for kind in kinds:
        change, families, splittable = KINDS[kind]
        for seed in seeds:
            scenario = change(
                generate(
                    queries=QUERIES,
                    devices=DEVICES,
                    seed=seed,
                    families=families,
                    contention=0.5,
                    splittable=splittable,
                )
            )
            if kind in ("exponential", "constant", "batches"):  # the SLOs were not made for it
                scenario = _relaxed(scenario)
            yield Case(
                kind=kind, scenario=scenario, decision=plan(scenario, effort=MaxIterations(1))
            )


def _relaxed(scenario: Scenario) -> Scenario:
    def double(query: Query) -> Query:
        limit = query.slo.latency_ms
        slo = dataclasses.replace(query.slo, latency_ms=None if limit is None else 2 * limit)
        return dataclasses.replace(query, slo=slo)

    return dataclasses.replace(scenario, queries=tuple(map(double, scenario.queries)))


def loaded(case: Case, factor: float) -> Loaded:
    """The case with all rates scaled, and as many replicas as the planner then gives."""
    queries = [
        dataclasses.replace(query, rate_rps=query.rate_rps * factor)
        for query in case.scenario.queries
    ]
    scenario = dataclasses.replace(case.scenario, queries=tuple(queries))
    catalogue, ledger = Catalogue(scenario), Ledger(scenario)
    known = {query.id: query for query in queries}
    placed = tuple(place(catalogue, known[a.query], a.plan) for a in case.decision.assignments)
    for one, assignment in zip(placed, case.decision.assignments, strict=True):
        add(ledger, one, assignment.share)
    assignments = []
    for one, assignment in zip(placed, case.decision.assignments, strict=True):
        steps: dict[str, Step] = {
            name: dataclasses.replace(step, replicas=ledger.replicas_of(use.key))
            for (name, step), use in zip(one.plan.items(), one.use.steps, strict=True)
        }
        assignments.append(dataclasses.replace(assignment, plan=steps))
    decision = dataclasses.replace(case.decision, assignments=tuple(assignments))
    return Loaded(
        kind=case.kind, scenario=scenario, decision=decision, ledger=ledger, placed=placed
    )
