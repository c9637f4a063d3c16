"""What an explanation names, applied to the scenario, admits the query: on random scenarios.

*Applied* is written out once more here, and *admits* is judged by `checker`: all that was served
before, together with the rest of the query's traffic, keeps every capacity and every promise. Where
queries wait for each other the promised latency is the planner's own estimate (nothing else knows
it), at the loads of all.
"""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from circinus.decision import Assignment, Decision, Estimate, Relaxation
from circinus.fleet import Link
from circinus.profile import LatencyStats, OperatorProfile
from circinus.scenario import Scenario
from circinus_coordinator.planning import MaxIterations, plan
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposed import at_large
from circinus_coordinator.planning.evaluate import evaluate
from circinus_coordinator.planning.placed import place
from circinus_coordinator.planning.remedies import Refusals
from circinus_coordinator.planning.shortage import Scene

sys.path.insert(0, str(Path(__file__).parent))
import checker
from planner_scenarios import random_scenario

OBJECTIVES = {"latency": "latency_ms", "accuracy": "accuracy", "cost": "cost_usd_per_1000"}


def apply(scenario: Scenario, query: str, changes: Sequence[Relaxation]) -> Scenario:
    """The scenario with the changes, device by device."""
    for change in changes:
        scenario = apply_one(scenario, query, change)
    return scenario


def apply_one(scenario: Scenario, query: str, c: Relaxation) -> Scenario:
    asked = next(q for q in scenario.queries if q.id == query)
    pipeline = scenario.pipelines[asked.pipeline]
    if c.what in OBJECTIVES:
        slo = dataclasses.replace(asked.slo, **{OBJECTIVES[c.what]: c.to})
        return with_query(scenario, dataclasses.replace(asked, slo=slo))
    if c.what in ("weight", "rate"):
        field = {"weight": "weight", "rate": "rate_rps"}[c.what]
        return with_query(scenario, dataclasses.replace(asked, **{field: c.to}))
    if c.what == "backward":
        changed = dataclasses.replace(pipeline, backward=True)
        return with_pipeline(scenario, changed)
    if c.what == "placement":
        spec = pipeline.operators[c.operator]
        tier = scenario.device[c.devices[0]].tier
        spec = dataclasses.replace(spec, tiers=(*spec.tiers, tier))
        operators = {**pipeline.operators, c.operator: spec}
        return with_pipeline(scenario, dataclasses.replace(pipeline, operators=operators))
    if c.what == "link":
        return with_link(scenario, c)
    if c.what == "uplink":
        devices = tuple(
            dataclasses.replace(d, uplink_mbps=c.to) if d.id == c.devices[0] else d
            for d in scenario.devices
        )
        return dataclasses.replace(scenario, devices=devices)
    return with_machine(scenario, asked.pipeline, c)


def with_query(scenario, query):
    queries = tuple(query if q.id == query.id else q for q in scenario.queries)
    return dataclasses.replace(scenario, queries=queries)


def with_pipeline(scenario, pipeline):
    pipelines = {**scenario.pipelines, pipeline.name: pipeline}
    return dataclasses.replace(scenario, pipelines=pipelines)


def with_link(scenario: Scenario, c: Relaxation) -> Scenario:
    a, b = c.devices
    old = scenario.network.between(a, b)
    if old is None:
        assert c.amount is None
        # No limit on the round trip: any will do.
        old = Link(between=(a, b), rtt_ms=70.0 if c.rtt_ms is None else c.rtt_ms, bandwidth_mbps=0)
    new = dataclasses.replace(old, between=(a, b), bandwidth_mbps=c.to)
    rest = [k for k in scenario.links if set(k.between) != {a, b}]
    return dataclasses.replace(scenario, links=(*rest, new))


def with_machine(scenario: Scenario, pipeline: str, c: Relaxation) -> Scenario:
    """A class of its own for the device, changed."""
    device = scenario.device[c.devices[0]]
    old = scenario.class_of(device.id)
    own = f"own-{device.id}-{len(scenario.device_classes)}"
    kind = dataclasses.replace(old, name=own)
    rows = [dataclasses.replace(r, device_class=own) for r in scenario.profiles
            if r.device_class == old.name]  # fmt: skip
    if c.what == "memory":
        kind = dataclasses.replace(kind, memory_mb=c.to)
    elif c.what == "cores":
        kind = dataclasses.replace(kind, cores=c.to)
    elif c.what == "profile":
        spec = scenario.pipelines[pipeline].operators[c.operator]
        rows.append(
            OperatorProfile(operator=c.operator, pipeline=pipeline, config=next(spec.configs()),
                            device_class=own, latency_ms=LatencyStats(mean=0.001))
        )  # fmt: skip
    elif c.what == "speed":
        run = scenario.pipelines[pipeline].operators[c.operator].implementation
        rows = [faster(scenario, row, run, c.to) for row in rows]
    else:
        assert c.what in old.accelerators
        kind = dataclasses.replace(kind, accelerators={**old.accelerators, c.what: c.to})
    devices = tuple(
        dataclasses.replace(d, device_class=own) if d.id == device.id else d
        for d in scenario.devices
    )
    return dataclasses.replace(
        scenario,
        device_classes={**scenario.device_classes, own: kind},
        devices=devices,
        profiles=(*scenario.profiles, *rows),
    )


def faster(scenario, row, run, factor):
    pipelines = [scenario.pipelines[row.pipeline]] if row.pipeline else scenario.pipelines.values()
    specs = [p.operators[row.operator] for p in pipelines if row.operator in p.operators]
    if all(spec.implementation != run for spec in specs):
        return row
    stats = row.latency_ms
    less = {n: None if getattr(stats, n) is None else getattr(stats, n) / factor
            for n in ("mean", "p50", "p95", "p99")}  # fmt: skip
    compute = {name: seconds / factor for name, seconds in row.compute_s.items()}
    return dataclasses.replace(row, latency_ms=LatencyStats(**less), compute_s=compute)


def judged(scenario: Scenario, decision: Decision, query: str, extra_plan) -> list[str]:
    """What is wrong with all that was served and the rest of the query, in this scenario."""
    catalogue = Catalogue(scenario)
    queries = {q.id: q for q in scenario.queries}
    share = sum(a.share for a in decision.assignments if a.query == query)
    wanted = [(a.query, a.plan, a.share) for a in decision.assignments]
    wanted.append((query, extra_plan, 1 - share))
    assigned = [(place(catalogue, queries[q], p), s) for q, p, s in wanted]
    found = evaluate(catalogue, assigned)
    wrong = [f"{p.query.id}: {b}" for (p, _), b in zip(assigned, found.broken, strict=True) if b]
    all_of_it = dataclasses.replace(
        decision,
        assignments=tuple(
            Assignment(query=p.query.id, share=s, plan=replicated(p, found.ledger), estimate=e)
            for (p, s), e in zip(assigned, found.estimates, strict=True)
        ),
        goodput_rps=found.goodput_rps,
        bound_rps=None,
        deployment=found.deployment,
        open_devices=tuple(found.ledger.devices()),
    )
    others = [v for v in checker.violations(scenario, all_of_it)
              if "neither served" not in v and "served and rejected" not in v]  # fmt: skip
    return wrong + others


def replicated(placed, ledger):
    keys = {name: use.key for name, use in zip(placed.plan, placed.use.steps, strict=True)}
    return {name: dataclasses.replace(step, replicas=ledger.replicas_of(keys[name]))
            for name, step in placed.plan.items()}  # fmt: skip


def reasons(scenario: Scenario, decision: Decision) -> Refusals:
    catalogue = Catalogue(scenario)
    queries = {q.id: q for q in scenario.queries}
    assigned = [(place(catalogue, queries[a.query], a.plan), a.share) for a in decision.assignments]
    return Refusals(Scene(catalogue, evaluate(catalogue, assigned).ledger, assigned))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("queueing", [False, True])
@pytest.mark.parametrize("block", range(2))
def test_what_a_refusal_names_admits_the_query_beside_all_others(queueing, block) -> None:
    refused = 0
    for seed in range(block * 30, block * 30 + 30):
        rng = random.Random(seed)
        scenario = random_scenario(rng, queries=rng.randint(1, 5), queueing=queueing)
        decision = plan(scenario, effort=MaxIterations(2))
        why = reasons(scenario, decision)
        for rejection in decision.rejected:
            query = next(q for q in scenario.queries if q.id == rejection.query)
            share = sum(a.share for a in decision.assignments if a.query == query.id)
            told, wanted = why.explain(query, share, thorough=True)
            # The decision says the same as `explain`, and always something.
            assert told.relaxations == rejection.relaxations, (seed, query.id)
            assert rejection.relaxation
            assert wanted is not None
            larger = apply(scenario, query.id, rejection.relaxations)
            assert judged(larger, decision, query.id, wanted.plan) == [], (seed, query.id)
            refused += 1
    assert refused > 20


@pytest.mark.timeout(300)
@pytest.mark.parametrize("queueing", [False, True])
def test_planned_again_with_what_it_lacks_the_query_is_served_or_better_is_done(queueing) -> None:
    """With the plan that the explanation has in mind at hand, nothing less than it is answered."""
    for seed in range(200, 210):
        rng = random.Random(seed)
        scenario = random_scenario(rng, queries=rng.randint(1, 5), queueing=queueing)
        decision = plan(scenario, effort=MaxIterations(2))
        why = reasons(scenario, decision)
        for rejection in decision.rejected[:2]:
            query = next(q for q in scenario.queries if q.id == rejection.query)
            share = sum(a.share for a in decision.assignments if a.query == query.id)
            _, wanted = why.explain(query, share, thorough=True)
            larger = apply(scenario, query.id, rejection.relaxations)
            asked = next(q for q in larger.queries if q.id == query.id)
            extra = Assignment(
                query=query.id,
                share=1 - share,
                plan=wanted.plan,
                estimate=Estimate(latency_ms=0, accuracy=None, cost_usd_per_1000=0),
            )
            known = dataclasses.replace(decision, assignments=(*decision.assignments, extra))
            again = plan(larger, effort=MaxIterations(2), previous=known)
            kept = decision.goodput_rps + asked.demand_rps - query.demand_rps * share
            assert again.goodput_rps >= kept * (1 - 1e-6), (seed, query.id)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("block", range(2))
def test_at_large_too_what_a_refusal_names_admits_the_query(block) -> None:
    """By the plan that `explain` finds without any change, else by one of all there are."""
    refused = 0
    for seed in range(block * 20, block * 20 + 20):
        rng = random.Random(seed)
        scenario = random_scenario(rng, queries=rng.randint(1, 8), queueing=False)
        decision = at_large(scenario, seed=0, clock=lambda: 0.0)
        for rejection in decision.rejected:
            share = sum(a.share for a in decision.assignments if a.query == rejection.query)
            assert rejection.relaxation
            larger = apply(scenario, rejection.query, rejection.relaxations)
            query = next(q for q in larger.queries if q.id == rejection.query)
            told, wanted = reasons(larger, decision).explain(query, share, thorough=True)
            plans = (
                [wanted.plan] if not told.relaxations else checker.enumerate_plans(larger, query)
            )
            found = (judged(larger, decision, query.id, p) == [] for p in plans)
            assert any(found), (seed, query.id)
            refused += 1
    assert refused > 20
