"""Simulations of random scenarios: no request is lost or counted twice, whatever happens."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circinus.scenario import Scenario
from circinus_coordinator.planning import MaxIterations, plan
from circinus_coordinator.simulation import Fault, Split, simulate

sys.path.insert(0, str(Path(__file__).parent))
from planner_scenarios import random_scenario

SECONDS = 5.0


def faults(rng: random.Random, scenario: Scenario) -> list[Fault]:
    names = [device.id for device in scenario.devices]
    found = []
    for _ in range(rng.randint(0, 4)):
        start = rng.uniform(0, SECONDS)
        end = rng.choice([start + rng.uniform(0.01, 3), float("inf")])
        slowdown = rng.choice([None, 0.5, 3.0])
        if len(names) > 1 and rng.random() < 0.5:
            a, b = rng.sample(names, 2)
            found.append(Fault(start_s=start, end_s=end, link=(a, b), slowdown=slowdown))
        else:
            device = rng.choice(names)
            found.append(Fault(start_s=start, end_s=end, device=device, slowdown=slowdown))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    shedding=st.booleans(),
    drain=st.booleans(),
    split=st.sampled_from(Split),
    warmup_s=st.sampled_from([0.0, 1.0]),
)
def test_every_arrival_is_served_refused_shed_failed_or_in_flight(
    seed: int, shedding: bool, drain: bool, split: Split, warmup_s: float
) -> None:
    rng = random.Random(seed)
    scenario = random_scenario(rng, queries=3, queueing=rng.random() < 0.5)
    decision = plan(scenario, effort=MaxIterations(1))
    events = faults(rng, scenario)

    def play() -> object:
        return simulate(
            scenario, decision, seconds=SECONDS, seed=seed, warmup_s=warmup_s, events=events,
            shedding=shedding, drain=drain, split=split,
        )  # fmt: skip

    report = play()
    for query in report.queries.values():
        parts = (query.served, query.refused, query.shed, query.failed, query.in_flight)
        assert query.arrivals == sum(parts)
        assert min(parts) >= 0
        assert query.good <= query.on_time <= query.served == len(query.latency.values_ms)
        mine = [a for a in report.assignments if a.query == query.query]
        assert query.admitted == sum(a.arrivals for a in mine)
        assert query.served == sum(a.served for a in mine)
        assert not drain or not query.in_flight
    if not shedding:
        assert not any(query.shed for query in report.queries.values())
    for instance in report.instances:
        assert -1e-9 <= instance.utilisation <= 1 + 1e-9
    for use in report.links.values():
        assert -1e-9 <= use <= 1 + 1e-9
    assert play() == report
