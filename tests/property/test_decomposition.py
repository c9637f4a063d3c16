"""The relaxation's bound against the exact programme, and its decisions against the checker."""

from __future__ import annotations

import dataclasses
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circinus.errors import InvalidInput
from circinus.fleet import Device, DeviceClass, Link
from circinus.pipeline import OperatorSpec, Pipeline
from circinus.profile import LatencyStats, OperatorProfile
from circinus.query import Query, Slo
from circinus.scenario import Scenario
from circinus_coordinator.planning import plan
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposed import at_large
from circinus_coordinator.planning.decomposition.bound import lagrangian, price_all
from circinus_coordinator.planning.decomposition.classes import market
from circinus_coordinator.planning.decomposition.pool import make_units

sys.path.insert(0, str(Path(__file__).parent))
import checker
from planner_scenarios import random_scenario

seeds = st.integers(0, 2**32)
_some = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.timeout(900)
@settings(max_examples=300, **_some)
@given(seeds)
def test_bound_exceeds_the_optimum_and_the_optimum_the_goodput(seed: int) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(1, 4), queueing=False)
    decision = at_large(scenario, seed=seed, clock=lambda: 0.0)
    assert checker.violations(scenario, decision) == []
    assert decision.bound_rps is not None
    try:
        best = plan(scenario, planner="exact")
    except InvalidInput:
        return
    assert decision.bound_rps >= best.goodput_rps * (1 - 1e-9)
    # The solver stops within a tolerance of the optimum; its own bound is on the other side.
    assert best.bound_rps is not None
    assert decision.goodput_rps <= best.bound_rps * (1 + 1e-6) + 1e-9


@pytest.mark.timeout(600)
@settings(max_examples=60, **_some)
@given(seeds, st.floats(1e-9, 1e9))
def test_the_bound_holds_at_whatever_prices(seed: int, scale: float) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(1, 3), queueing=False)
    found = market(Catalogue(scenario))
    units = make_units(found)
    generator = np.random.default_rng(seed)
    prices = generator.exponential(scale, len(found.capacity)) * generator.integers(
        0, 2, len(found.capacity)
    )
    priced = price_all(found, units, prices, 0.0)
    bound = lagrangian(units, prices, found.capacity, priced.value)
    try:
        best = plan(scenario, planner="exact")
    except InvalidInput:
        return
    assert bound >= best.goodput_rps * (1 - 1e-9)


@pytest.mark.timeout(300)
@settings(max_examples=40, **_some)
@given(seeds)
def test_the_bound_holds_for_what_waits_as_well(seed: int) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=rng.randint(1, 4), queueing=True)
    found = market(Catalogue(scenario))
    units = make_units(found)
    prices = np.random.default_rng(seed).exponential(1.0, len(found.capacity))
    priced = price_all(found, units, prices, 0.0)
    bound = lagrangian(units, prices, found.capacity, priced.value)
    assert bound >= plan(scenario).goodput_rps * (1 - 1e-9)


def test_the_order_in_which_sources_are_listed_says_nothing() -> None:
    """Swapped sources, listed so that the devices come in the same order, have no way to go."""
    scenario = _two_sources()
    good = scenario.queries[0]
    swapped = dataclasses.replace(good, id="swapped", source={"b": "s1", "a": "s2"})
    for queries in ((good, swapped), (swapped, good)):
        decision = at_large(
            dataclasses.replace(scenario, queries=queries), seed=0, clock=lambda: 0.0
        )
        assert {a.query for a in decision.assignments} == {"q"}
        assert [r.query for r in decision.rejected] == ["swapped"]


def test_a_query_larger_than_the_fleet_fills_it() -> None:
    """However many times larger: to about what the largest machine mix can serve."""
    scenario = _machines(rate_rps=1e5)
    for queueing, least in ((False, 0.999), (True, 0.3)):
        served = plan(dataclasses.replace(scenario, queueing=queueing)).goodput_rps
        assert served >= least * 20 * 4 * 0.8 / 0.1


@pytest.mark.parametrize("price_usd_hour", [1e-9, 1e9])
def test_prices_do_not_decide_over_goodput(price_usd_hour: float) -> None:
    scenario = _machines(rate_rps=1e3, price_usd_hour=price_usd_hour)
    decision = at_large(scenario, seed=0, clock=lambda: 0.0)
    assert decision.goodput_rps == pytest.approx(20 * 4 * 0.8 / 0.1, rel=1e-3)
    assert decision.bound_rps == pytest.approx(decision.goodput_rps, rel=1e-3)


def test_a_latency_that_floats_cannot_divide_by_keeps_the_bound() -> None:
    scenario = _machines(rate_rps=5, latency_ms=1e-310, service_ms=0.0)
    decision = at_large(scenario, seed=0, clock=lambda: 0.0)
    assert decision.bound_rps is not None
    assert decision.bound_rps >= plan(scenario, planner="exact").goodput_rps * (1 - 1e-9)


def _machines(
    *,
    rate_rps: float,
    price_usd_hour: float = 1.0,
    latency_ms: float | None = None,
    service_ms: float = 100.0,
) -> Scenario:
    """One query, and twenty machines of four cores that take 0.1 core-seconds per request."""
    kind = DeviceClass(name="box", cores=4, memory_mb=1000, price_usd_hour=price_usd_hour)
    source = DeviceClass(name="cam", cores=1, memory_mb=1000)
    machines = tuple(Device(id=f"m{k}", device_class="box", tier="edge") for k in range(20))
    spec = OperatorSpec(name="a", tiers=("edge",))
    return Scenario(
        tiers=("device", "edge"),
        device_classes={"box": kind, "cam": source},
        devices=(Device(id="c", device_class="cam", tier="device"), *machines),
        links=(Link(between=("device", "edge"), rtt_ms=0, bandwidth_mbps=1e9),),
        pipelines={"p": Pipeline(name="p", operators={"a": spec}, input_bytes={"a": 0})},
        profiles=(
            OperatorProfile(
                operator="a",
                device_class="box",
                latency_ms=LatencyStats(mean=service_ms),
                compute_s={"cores": 0.1},
                memory_mb=10,
                output_bytes=0,
            ),
        ),
        queries=(
            Query(
                id="q",
                pipeline="p",
                source={"a": "c"},
                rate_rps=rate_rps,
                slo=Slo(latency_ms=latency_ms),
            ),
        ),
        queueing=False,
    )


def _two_sources() -> Scenario:
    """Operator a runs on e1 only, b on e2 only; s1 reaches e1 and s2 reaches e2."""
    kinds = {
        name: DeviceClass(name=name, cores=4, memory_mb=1000) for name in ("cam", "one", "two")
    }

    def row(operator: str, kind: str) -> OperatorProfile:
        return OperatorProfile(
            operator=operator,
            device_class=kind,
            latency_ms=LatencyStats(mean=10),
            compute_s={"cores": 0.01},
            memory_mb=10,
            output_bytes=10,
        )

    operators = {
        "a": OperatorSpec(name="a"),
        "b": OperatorSpec(name="b"),
        "c": OperatorSpec(name="c", needs=("a", "b")),
    }
    return Scenario(
        tiers=("device", "edge"),
        device_classes=kinds,
        devices=(
            Device(id="s1", device_class="cam", tier="device"),
            Device(id="s2", device_class="cam", tier="device"),
            Device(id="e1", device_class="one", tier="edge"),
            Device(id="e2", device_class="two", tier="edge"),
        ),
        links=tuple(
            Link(between=ends, rtt_ms=1, bandwidth_mbps=100)
            for ends in (("s1", "e1"), ("s2", "e2"), ("e1", "e2"))
        ),
        pipelines={"p": Pipeline(name="p", operators=operators, input_bytes={"a": 10, "b": 10})},
        profiles=(row("a", "one"), row("b", "two"), row("c", "one")),
        queries=(Query(id="q", pipeline="p", source={"a": "s1", "b": "s2"}, rate_rps=1),),
        queueing=False,
    )
