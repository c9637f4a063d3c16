"""Waiting for a device's cores, which workers hold whole while they run."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circinus.pipeline import Config
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.evaluate import evaluate
from circinus_coordinator.planning.holding import Holding, occupied, units_held, units_of
from circinus_coordinator.planning.placed import place

from circinus.decision import Assignment, Decision, Estimate, Step  # isort: skip
from circinus_coordinator.simulation import simulate  # isort: skip


def test_what_independent_workers_hold_is_binomial() -> None:
    found = occupied(
        [1.0] + [0.0] * 5, 2, 3, 1.5
    )  # three workers of two units, half of the time each
    assert found == pytest.approx([0.125, 0, 0.375, 0, 0.375, 0.125])


def test_an_instance_left_out_holds_nothing() -> None:
    a, b = ("d", "a", Config(), 1), ("d", "b", Config(), 1)
    holding = Holding(2, {a: (1, 1, 0.5), b: (2, 1, 0.25)})
    assert holding.mean == pytest.approx(1.0)
    assert holding.but(a) == pytest.approx([0.75, 0, 0.25, 0])
    assert holding.but(None) == pytest.approx([0.375, 0.375, 0.125, 0.125])


KINDS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 3), st.floats(0.01, 3)), max_size=5)


@given(KINDS, st.integers(1, 20), st.randoms(use_true_random=False))
def test_who_is_left_out_does_not_matter_to_what_the_others_hold(kinds, size: int, rng) -> None:
    named = {("d", str(k), Config(), 1): kind for k, kind in enumerate(kinds)}
    holding, asked = Holding(size, named), [None, *named]
    rng.shuffle(asked)
    for key in asked:
        others = Holding(size, {k: kind for k, kind in named.items() if k != key})
        assert holding.but(key) == others.but(None)
        assert sum(holding.but(key)) == pytest.approx(1)


def judged(build, profile, rate: float, compute: float):
    """Three steps on the two cores of one machine, each by a worker of its own."""
    names = ("a", "b", "c")
    scenario = build(
        queueing=True,
        pipeline={"operators": {n: {"needs": list(names[:k][-1:])} for k, n in enumerate(names)}},
        profiles=[
            profile(n, "small", {"mean": 40, "p50": 36.7, "p95": 77.5, "p99": 100.4},
                    compute_s={"cores": compute}) for n in names
        ],
        query={"rate_rps": rate},
    )  # fmt: skip
    plan = {name: Step(device="pi", config=Config()) for name in names}
    catalogue = Catalogue(scenario)
    found = evaluate(catalogue, [(place(catalogue, scenario.queries[0], plan), 1.0)])
    return scenario, plan, found.estimates[0].latency_ms


def test_a_device_whose_cores_are_all_held_never_serves_however_little_is_computed(
    build, profile
) -> None:
    """Like calls to a service elsewhere: 3 x 17/s x 40 ms hold 2.04 of 2 cores, and use few."""
    _, _, latency = judged(build, profile, 17, 0.001)
    assert latency == math.inf


@pytest.mark.parametrize("rate", [4, 6])
def test_three_workers_on_two_cores_wait_as_simulated(build, profile, rate: float) -> None:
    scenario, plan, promised = judged(build, profile, rate, 0.04)
    estimate = Estimate(latency_ms=promised, accuracy=None, cost_usd_per_1000=0)
    decision = Decision(
        planner="by hand",
        assignments=(Assignment(query="q", share=1.0, plan=plan, estimate=estimate),),
    )
    report = simulate(scenario, decision, seconds=40_000 / rate, seed=1, shedding=False)
    assert promised == pytest.approx(report.assignments[0].simulated_ms, rel=0.1)


@pytest.mark.parametrize(("amount", "units", "size"), [(1, 18, 60), (2, 18, 120), (80, 2, 480)])
def test_an_accelerators_parts_are_sixtieths_of_one(amount: float, units: int, size: int) -> None:
    assert units_of("gpu", amount) == size
    assert units_held("gpu", amount, 0.3, 1.0) == units
