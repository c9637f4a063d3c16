"""Scenarios at the edge: a decision that the checker passes, and no bound below what it allows."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from circinus.decision import Decision, encode_decision
from circinus.query import Tenant
from circinus.scenario import Scenario, decode_scenario
from circinus_coordinator.planning import MaxIterations, plan
from circinus_coordinator.planning.decomposed import at_large

sys.path.insert(0, str(Path(__file__).parent))
import checker
from planner_scenarios import random_scenario

seeds = st.integers(0, 2**32)
_some = {"deadline": None, "suppress_health_check": list(HealthCheck)}
FACTORS = (1e-9, 1e-6, 1.0, 1e6, 1e9)
PI = {"cores": 4, "memory_mb": 1000, "price_usd_hour": 0.1}
BASE: dict[str, Any] = {
    "circinus": 1,
    "device_classes": {"pi": PI, "srv": {**PI, "cores": 32}},
    "devices": [
        {"id": "pi-1", "class": "pi", "tier": "device"},
        {"id": "dc-1", "class": "srv", "tier": "cloud"},
    ],
    "links": [{"between": ["device", "cloud"], "rtt_ms": 10, "bandwidth_mbps": 100}],
    "pipelines": {"p": {"operators": {"a": {}}, "input_bytes": 1000}},
    "profiles": [
        {"operator": "a", "device_class": kind, "latency_ms": 50, "compute_s": {"cores": 0.05}}
        for kind in ("pi", "srv")
    ],
    "queries": [{"id": "q", "pipeline": "p", "source": "pi-1", "rate_rps": 10}],
}
SERVER_ROWS = BASE["profiles"][1:]
NO_CORES = {"pi": {**PI, "cores": 0}, "srv": {**PI, "cores": 0}}
# What is changed; weighted goodput to reach; what is in the way, None where nothing is.
EDGES: dict[str, tuple[dict[str, Any], float, str | None]] = {
    "as it is": ({}, 10, None),
    "no queries": ({"queries": []}, 0, None),
    "nothing at all": (
        {"queries": [], "devices": [], "links": [], "profiles": [], "pipelines": {}},
        0,
        None,
    ),
    "a single device": ({"devices": BASE["devices"][:1], "links": []}, 10, None),
    "no link": ({"links": [], "profiles": SERVER_ROWS}, 0, "no profile"),
    "a link of nothing": (
        {
            "links": [{"between": ["device", "cloud"], "rtt_ms": 1, "bandwidth_mbps": 0}],
            "profiles": SERVER_ROWS,
        },
        0,
        "not connected",
    ),
    "no cores": ({"device_classes": NO_CORES}, 0, "cores"),
    "no profiles": ({"profiles": []}, 0, "no profile"),
    "too late": ({"queries": [{**BASE["queries"][0], "slo": {"latency_ms": 49}}]}, 0, "latency"),
    "unknown accuracy": (
        {"queries": [{**BASE["queries"][0], "slo": {"accuracy": 0.1}}]},
        0,
        "no profile",
    ),
    "worth nothing": ({"queries": [{**BASE["queries"][0], "weight": 0}]}, 0, "weight"),
    "no requests": ({"queries": [{**BASE["queries"][0], "rate_rps": 0}]}, 0, "rate"),
}


def build(changes: dict[str, Any], *, queueing: bool) -> Scenario:
    document = {**BASE, **changes, "queueing": queueing}
    return decode_scenario(json.dumps(document).encode(), name="edge.json")


def decisions(scenario: Scenario, seed: int = 0) -> list[Decision]:
    """By either way where both are open."""
    found = [plan(scenario, effort=MaxIterations(2), seed=seed)]
    if not scenario.queueing:
        found.append(at_large(scenario, seed=seed, clock=lambda: 0.0))
    return found


@pytest.mark.parametrize("queueing", [False, True])
@pytest.mark.parametrize("name", list(EDGES))
def test_an_edge_is_decided_and_the_reason_named(name: str, queueing: bool) -> None:
    changes, goodput, binding = EDGES[name]
    scenario = build(changes, queueing=queueing)
    for decision in decisions(scenario):
        assert checker.violations(scenario, decision) == []
        assert decision.goodput_rps == pytest.approx(goodput)
        assert decision.bound_rps == pytest.approx(goodput, abs=1e-6)
        assert all(r.binding.startswith(str(binding)) for r in decision.rejected)
        # Who is worth nothing is served where it costs nobody anything, or turned away.
        assert decision.rejected or binding in (None, "weight", "rate")


@pytest.mark.parametrize("rate_rps", [1e4, 1e6])
@pytest.mark.parametrize("queueing", [False, True])
def test_the_bound_is_near_for_a_query_however_much_larger_than_the_fleet(
    rate_rps: float, queueing: bool
) -> None:
    query = {**BASE["queries"][0], "rate_rps": rate_rps}
    scenario = build({"queries": [query]}, queueing=queueing)
    for decision in decisions(scenario):
        assert checker.violations(scenario, decision) == []
        assert decision.bound_rps == pytest.approx(36 * 0.8 / 0.05, rel=1e-6)
        assert decision.goodput_rps >= decision.bound_rps * (0.9 if queueing else 0.999)


@pytest.mark.parametrize("splittable", [True, False])
def test_ties_do_not_keep_equal_machines_from_being_filled(splittable: bool) -> None:
    """Eight queries that nothing tells apart, four machines, two configs of the same profile."""
    machines = [{"id": f"m{k}", "class": "pi", "tier": "cloud"} for k in range(4)]
    cameras = [{"id": "cam", "class": "cam", "tier": "device"}]
    row = BASE["profiles"][0]
    query = {"pipeline": "p", "source": "cam", "rate_rps": 32, "splittable": splittable}
    scenario = build(
        {
            "device_classes": {"pi": PI, "cam": {**PI, "cores": 0}},
            "devices": cameras + machines,
            "pipelines": {"p": {"operators": {"a": {"knobs": {"k": [1, 2]}}}, "input_bytes": 1000}},
            "profiles": [{**row, "config": {"k": k}} for k in (1, 2)],
            "queries": [{"id": f"q{k}", **query} for k in range(8)],
        },
        queueing=False,
    )
    for decision in decisions(scenario):
        assert checker.violations(scenario, decision) == []
        assert decision.goodput_rps == pytest.approx(4 * 4 * 0.8 / 0.05)


@pytest.mark.timeout(300)
def test_a_hundred_thousand_duplicates_are_served_as_one_would_be() -> None:
    """576 requests/s fit: of queries of 0.01 requests/s each, every second one whole."""
    query = {"pipeline": "p", "source": "pi-1", "rate_rps": 0.01}
    queries = [{"id": f"q{k}", **query, "splittable": k % 2 == 0} for k in range(100_000)]
    scenario = build({"queries": queries}, queueing=False)
    decision = plan(scenario)
    assert checker.violations(scenario, decision) == []
    assert decision.goodput_rps == pytest.approx(576, rel=1e-3)
    assert decision.bound_rps == pytest.approx(576, rel=1e-3)


def _scaled(rng: random.Random, scenario: Scenario, what: str) -> Scenario:
    """Some numbers a billion times larger or smaller."""

    def some(value: float, often: float = 0.6) -> float:
        return value * rng.choice(FACTORS) if rng.random() < often else value

    change: dict[str, Any] = {}
    kinds, queries = scenario.device_classes.items(), scenario.queries
    new = dataclasses.replace
    if what == "prices":
        change["device_classes"] = {
            name: new(kind, price_usd_hour=some(kind.price_usd_hour)) for name, kind in kinds
        }
        change["links"] = tuple(new(x, price_usd_gb=some(x.price_usd_gb)) for x in scenario.links)
        change["profiles"] = tuple(
            new(row, price_usd_per_call=some(row.price_usd_per_call)) for row in scenario.profiles
        )
        free = [new(q, slo=new(q.slo, cost_usd_per_1000=None)) for q in queries]
        change["queries"] = tuple(free)
    elif what == "demand":
        change["queries"] = tuple(
            new(q, weight=some(q.weight), rate_rps=some(q.rate_rps)) for q in queries
        )
    else:
        change["device_classes"] = {
            name: new(kind, cores=some(kind.cores, 0.3), memory_mb=some(kind.memory_mb, 0.3))
            for name, kind in kinds
        }
        change["links"] = tuple(
            new(x, bandwidth_mbps=some(x.bandwidth_mbps, 0.3)) for x in scenario.links
        )
    return new(scenario, **change)


@pytest.mark.timeout(600)
@settings(max_examples=15, **_some)
@given(seeds, st.sampled_from(["prices", "demand", "fleet"]), st.booleans())
def test_numbers_out_of_all_proportion_are_decided_soundly(
    seed: int, what: str, queueing: bool
) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(1, 4), queueing=queueing)
    scenario = _scaled(rng, scenario, what)
    for decision in decisions(scenario, seed):
        assert checker.violations(scenario, decision) == []


@pytest.mark.timeout(300)
@settings(max_examples=12, **_some)
@given(seeds, st.booleans())
def test_decisions_with_minimum_shares_are_sound(seed: int, queueing: bool) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(1, 4), queueing=queueing)
    scenario = dataclasses.replace(
        scenario,
        queries=tuple(
            dataclasses.replace(q, tenant=rng.choice(["a", "b", None])) for q in scenario.queries
        ),
        tenants={name: Tenant(name=name, min_share=rng.choice([0.1, 0.5, 1.0])) for name in "ab"},
    )
    decision = plan(scenario, effort=MaxIterations(2), seed=seed)
    assert checker.violations(scenario, decision) == []
    for told in decision.tenants:
        mine = {q.id: q.demand_rps for q in scenario.queries if q.tenant == told.tenant}
        served = sum(mine.get(a.query, 0.0) * a.share for a in decision.assignments)
        assert told.goodput_rps == pytest.approx(served)


def _looser(rng: random.Random, scenario: Scenario) -> Scenario:
    """One limit or one capacity more generous than it was."""
    factor, new = rng.choice([1.01, 1.3, 2.0, 10.0]), dataclasses.replace
    what = rng.choice(
        ["latency_ms", "accuracy", "cost_usd_per_1000", "cores", "link", "all", "one"]
    )
    if what == "link":
        links = tuple(new(x, bandwidth_mbps=x.bandwidth_mbps * factor) for x in scenario.links)
        return new(scenario, links=links)
    if what == "all":
        return new(scenario, max_utilisation=min(1.0, scenario.max_utilisation * factor))
    if what == "one":
        return new(scenario, devices=(*scenario.devices, new(scenario.devices[-1], id="more")))
    if what == "cores":
        kinds = {
            name: new(kind, cores=kind.cores * factor, memory_mb=kind.memory_mb * factor)
            for name, kind in scenario.device_classes.items()
        }
        return new(scenario, device_classes=kinds)
    at = rng.randrange(len(scenario.queries))
    slo = scenario.queries[at].slo
    limit = getattr(slo, what)
    if limit is not None:
        limit = limit / factor if what == "accuracy" else limit * factor
    slo = new(slo, **{what: None if factor == 10 else limit})
    queries = list(scenario.queries)
    queries[at] = new(queries[at], slo=slo)
    return new(scenario, queries=tuple(queries))


@pytest.mark.timeout(600)
@settings(max_examples=15, **_some)
@given(seeds, st.booleans())
@example(478, True)
def test_a_looser_limit_or_more_capacity_never_lowers_the_bound(seed: int, queueing: bool) -> None:
    """But for the 1e-7 to which the relaxation of few queries is solved."""
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(1, 5), queueing=queueing)
    before, after = (
        plan(s, effort=MaxIterations(1)).bound_rps for s in (scenario, _looser(rng, scenario))
    )
    assert before is not None
    assert after is not None
    assert after >= before * (1 - 1e-6) - 1e-6


@settings(max_examples=8, **_some)
@given(seeds)
def test_at_large_the_same_seed_gives_the_same_bytes(seed: int) -> None:
    scenario = random_scenario(random.Random(seed), queries=8, queueing=False)
    first, second = (at_large(scenario, seed=seed, clock=lambda: 0.0) for _ in range(2))
    assert encode_decision(first) == encode_decision(second)


def test_numbers_of_a_decision_are_numbers() -> None:
    """Also where a query asks for a billion times what there is."""
    scenario = build({"queries": [{**BASE["queries"][0], "rate_rps": 1e12}]}, queueing=True)
    decision = plan(scenario)
    told = [decision.goodput_rps, decision.bound_rps, decision.gap, decision.deployment.total]
    assert all(x is not None and math.isfinite(x) for x in told)
