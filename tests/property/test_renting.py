"""Renting whole machines: cost and its bound against all plans and all sets of open machines."""

from __future__ import annotations

import dataclasses
import itertools
import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circinus.decision import Decision
from circinus.fleet import Billing, Device, DeviceClass, Link
from circinus.pipeline import OperatorSpec, Pipeline
from circinus.profile import LatencyStats, OperatorProfile
from circinus.query import Query, Slo
from circinus.scenario import Scenario
from circinus_coordinator.planning import MaxIterations, plan
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposed import at_large
from circinus_coordinator.planning.renting.complete import complete

sys.path.insert(0, str(Path(__file__).parent))
import checker
from planner_scenarios import random_scenario

seeds = st.integers(0, 2**32)
_some = {"deadline": None, "suppress_health_check": list(HealthCheck)}
# Of the cost: what HiGHS takes for whole or satisfied, and the gap that is left alone; where not
# all traffic can be served, also what the last of it costs.
EPS = 1e-4


def billed(seed: int, *, queries: int | None = None, queueing: bool = False) -> Scenario:
    """Two thirds of the machines are paid for whole."""
    rng = random.Random(seed)
    count = rng.choice([1, 2, 3, 4]) if queries is None else queries
    scenario = random_scenario(rng, queries=count, queueing=queueing)
    classes = {
        name: dataclasses.replace(
            kind,
            billing=rng.choice([Billing.MACHINE, Billing.MACHINE, Billing.USAGE]),
            price_usd_hour=rng.choice([0.1, 0.5, 1.0, 3.0]),
        )
        for name, kind in scenario.device_classes.items()
    }
    return dataclasses.replace(scenario, device_classes=classes)


def worth_something(scenario: Scenario) -> Scenario:
    """Queries that are worth nothing are served with what is left, whatever that costs."""
    queries = tuple(
        dataclasses.replace(q, weight=q.weight or 1.0, rate_rps=q.rate_rps or 1.0)
        for q in scenario.queries
    )
    return dataclasses.replace(scenario, queries=queries)


def least_cost(scenario: Scenario, decision: Decision) -> float | None:
    """Over all sets of open machines: the cheapest plans of the goodput on those, exactly.

    What is closed costs nothing and carries nothing; so each set is a scenario of its own, in
    which the rent of what is open is a constant.
    """
    rented = [d.id for d in scenario.devices if scenario.class_of(d.id).billing is Billing.MACHINE]
    free = {
        name: dataclasses.replace(kind, price_usd_hour=0.0)
        if kind.billing is Billing.MACHINE
        else kind
        for name, kind in scenario.device_classes.items()
    }
    best = None
    for count in range(len(rented) + 1):
        for opened in itertools.combinations(rented, count):
            rent = sum(scenario.class_of(d).price_usd_hour for d in opened)
            if best is not None and rent >= best:
                continue
            shut = DeviceClass(name="shut", cores=0, memory_mb=0)
            devices = tuple(
                dataclasses.replace(d, device_class="shut")
                if d.id in rented and d.id not in opened
                else d
                for d in scenario.devices
            )
            some = dataclasses.replace(
                scenario, devices=devices, device_classes={**free, "shut": shut}
            )
            found = plan(some, planner="exact")
            if found.goodput_rps >= decision.goodput_rps - _missing(scenario):
                cost = rent + found.deployment.usage + found.deployment.network
                best = cost if best is None else min(best, cost)
    return best


def _missing(scenario: Scenario) -> float:
    """What the exact baseline may miss: its solver's tolerance is a part of the whole demand."""
    return 5e-6 * sum(q.demand_rps for q in scenario.queries)


@pytest.mark.timeout(900)
@settings(max_examples=50, **_some)
@given(seeds)
def test_the_bound_is_below_the_optimum_and_the_optimum_below_the_cost(seed: int) -> None:
    scenario = worth_something(billed(seed))
    decision = plan(scenario, effort=MaxIterations(2))
    assert checker.violations(scenario, decision) == []
    bound, cost = decision.deployment_bound_usd_hour, decision.deployment.total
    if bound is None or decision.goodput_rps <= 0:
        return
    best = complete(Catalogue(scenario), decision.goodput_rps * (1 - 1e-9), max(cost, 1e-9))
    if best is None:
        return
    assert bound <= best.usd_hour * (1 + 1e-6) + 1e-9
    assert best.bound_usd_hour <= cost * (1 + 1e-6) + 1e-9


@pytest.mark.timeout(900)
@settings(max_examples=50, **_some)
@given(seeds)
def test_one_query_gets_the_cheapest_deployment(seed: int) -> None:
    scenario = worth_something(billed(seed, queries=1))
    decision = plan(scenario, effort=MaxIterations(2))
    bound, cost = decision.deployment_bound_usd_hour, decision.deployment.total
    if bound is None or decision.goodput_rps <= 0:
        return
    assert cost == pytest.approx(bound, rel=EPS, abs=1e-9)


@pytest.mark.timeout(900)
@settings(max_examples=25, **_some)
@given(seeds)
def test_no_set_of_open_machines_is_cheaper(seed: int) -> None:
    """Trying all of them by the exact baseline, which shares no code with renting.

    It gets rent out of the way by trying all sets; where it serves more than is asked for, its
    cost is no bound for less, and the case says nothing.
    """
    scenario = worth_something(billed(seed, queries=1 + seed % 2))
    decision = plan(scenario, effort=MaxIterations(2))
    bound = decision.deployment_bound_usd_hour
    reached = plan(scenario, planner="exact")
    if bound is None or decision.goodput_rps < reached.goodput_rps - _missing(scenario):
        return
    best = least_cost(scenario, decision)
    assert best is not None
    assert bound <= best * (1 + EPS) + 1e-9
    if len(scenario.queries) == 1:
        assert decision.deployment.total <= best * (1 + EPS) + 1e-9


@pytest.mark.timeout(600)
@settings(max_examples=30, **_some)
@given(seeds)
def test_where_queries_wait_the_bound_holds_and_promises_are_kept(seed: int) -> None:
    scenario = billed(seed, queueing=True)
    decision = plan(scenario, effort=MaxIterations(2))
    assert checker.violations(scenario, decision) == []
    bound = decision.deployment_bound_usd_hour
    assert bound is None or bound <= decision.deployment.total * (1 + 1e-9)


@pytest.mark.timeout(600)
@settings(max_examples=30, **_some)
@given(seeds)
def test_at_large_the_bound_holds_too(seed: int) -> None:
    scenario = worth_something(billed(seed))
    decision = at_large(scenario, seed=seed, clock=lambda: 0.0)
    assert checker.violations(scenario, decision) == []
    bound, cost = decision.deployment_bound_usd_hour, decision.deployment.total
    if bound is None or decision.goodput_rps <= 0:
        return
    assert bound <= cost * (1 + 1e-9)
    best = complete(Catalogue(scenario), decision.goodput_rps * (1 - 1e-9), max(cost, 1e-9))
    assert best is None or bound <= best.usd_hour * (1 + 1e-6) + 1e-9


def test_nothing_is_said_where_nothing_is_rented() -> None:
    scenario = _halls(Billing.USAGE)
    assert plan(scenario).deployment_bound_usd_hour is None


def test_what_fits_one_large_machine_is_not_spread_over_small_ones() -> None:
    """Twelve cores' work: one large machine for 2, not three small ones for 1 each."""
    decision = plan(_halls(Billing.MACHINE))
    assert decision.open_devices == ("large-0",)
    assert decision.deployment.machines == 2.0
    assert decision.deployment_bound_usd_hour == pytest.approx(2.0, rel=EPS)


def test_at_large_only_the_machines_that_are_needed_are_rented() -> None:
    decision = at_large(_halls(Billing.MACHINE), seed=0, clock=lambda: 0.0)
    assert decision.deployment.machines == 2.0
    assert decision.deployment_bound_usd_hour == pytest.approx(2.0, rel=1e-3)


def _halls(billing: Billing) -> Scenario:
    """Three queries of four cores' work each; two machines of 16 cores, six of 4."""
    kinds = {
        "cam": DeviceClass(name="cam", cores=1, memory_mb=1000),
        "large": DeviceClass(
            name="large", cores=16, memory_mb=1000, price_usd_hour=2.0, billing=billing
        ),
        "small": DeviceClass(
            name="small", cores=4, memory_mb=1000, price_usd_hour=1.0, billing=billing
        ),
    }
    machines = [("large", k) for k in range(2)] + [("small", k) for k in range(6)]
    return Scenario(
        tiers=("device", "edge"),
        device_classes=kinds,
        devices=(
            Device(id="c", device_class="cam", tier="device"),
            *(Device(id=f"{n}-{k}", device_class=n, tier="edge") for n, k in machines),
        ),
        links=(Link(between=("device", "edge"), rtt_ms=0, bandwidth_mbps=1000),),
        pipelines={
            "p": Pipeline(
                name="p",
                operators={"a": OperatorSpec(name="a", tiers=("edge",))},
                input_bytes={"a": 100},
            )
        },
        profiles=tuple(
            OperatorProfile(
                operator="a",
                device_class=name,
                latency_ms=LatencyStats(mean=100),
                compute_s={"cores": 0.1},
                memory_mb=10,
                output_bytes=0,
            )
            for name in ("large", "small")
        ),
        queries=tuple(
            Query(
                id=f"q{k}",
                pipeline="p",
                source={"a": "c"},
                rate_rps=40.0,
                slo=Slo(),
            )
            for k in range(3)
        ),
        max_utilisation=1.0,
        queueing=False,
    )
