"""Generated scenarios of any size and choice are valid, and can be planned."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circinus.fleet import Billing
from circinus.scenario import decode_scenario, encode_scenario
from circinus_coordinator.generation import FAMILIES, generate
from circinus_coordinator.planning import MaxIterations, plan

seeds = st.integers(0, 2**32)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=seeds,
    queries=st.integers(1, 60),
    devices=st.integers(4, 60),
    tiers=st.integers(2, 4),
    families=st.lists(st.sampled_from(list(FAMILIES)), min_size=1, max_size=2, unique=True),
    contention=st.floats(0.05, 1),
    tightness=st.floats(0, 1),
    billing=st.sampled_from(Billing),
    queueing=st.booleans(),
)
def test_reading_what_was_written_gives_the_scenario(
    seed: int,
    queries: int,
    devices: int,
    tiers: int,
    families: list[str],
    contention: float,
    tightness: float,
    billing: Billing,
    queueing: bool,
) -> None:
    made = generate(
        queries=queries,
        devices=devices,
        seed=seed,
        tiers=tiers,
        families=families,
        contention=contention,
        tightness=tightness,
        billing=billing,
        queueing=queueing,
    )
    assert len(made.queries) == queries
    assert len(made.devices) == devices
    assert decode_scenario(encode_scenario(made)) == made


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=seeds)
def test_the_planner_admits_a_fair_part_of_the_demand(seed: int) -> None:
    """At contention 1: with eight queries, one large one that is refused would decide else."""
    made = generate(queries=8, devices=8, seed=seed, contention=1.0)
    decision = plan(made, effort=MaxIterations(1))
    demand = sum(query.demand_rps for query in made.queries)
    assert 0.2 * demand <= decision.goodput_rps <= demand * (1 + 1e-9)
