"""A newcomer that is worth more displaces who is in its way, and nothing of the dead stays."""

from __future__ import annotations

import random

import pytest

from circinus.decision import Step
from circinus.pipeline import Config
from circinus.scenario import Scenario
from circinus_coordinator.planning import MaxIterations, plan
from circinus_coordinator.planning.binding import Binder
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposition.classes import market
from circinus_coordinator.planning.decomposition.solve import relax
from circinus_coordinator.planning.displacing import Displacing
from circinus_coordinator.planning.evaluate import evaluate
from circinus_coordinator.planning.guide import Guide
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, place
from circinus_coordinator.planning.selection import Selection


def crowded(build, profile) -> Scenario:
    """A small query with hardly any slack, and a large one of more worth with plenty."""
    slow = {"mean": 100, "p95": 200, "p99": 250}
    scenario: Scenario = build(
        queueing=True,
        profiles=[profile("a", "middle", slow)],
        queries=[
            {"id": "tight", "pipeline": "p", "source": "pi", "rate_rps": 1,
             "slo": {"latency_ms": 226, "percentile": 95}},
            {"id": "worthy", "pipeline": "p", "source": "pi", "rate_rps": 20, "weight": 5,
             "slo": {"latency_ms": 900, "percentile": 95}},
        ],
    )  # fmt: skip
    return scenario


def at_box(scenario: Scenario, catalogue: Catalogue, query: str) -> PlacedPlan:
    steps = {"a": Step(device="box", config=Config({}), batch=1)}
    return place(catalogue, next(q for q in scenario.queries if q.id == query), steps)


@pytest.fixture
def began(build, profile) -> tuple[Scenario, Selection]:
    scenario = crowded(build, profile)
    catalogue = Catalogue(scenario)
    chosen = Selection(catalogue, Ledger(scenario))
    chosen.admit(at_box(scenario, catalogue, "tight"), 1.0)
    return scenario, chosen


def test_the_worthier_newcomer_displaces_who_came_first(began) -> None:
    scenario, chosen = began
    found = market(chosen.catalogue)
    guide = Guide(found, relax(found), Binder(found))
    assert chosen.judge(at_box(scenario, chosen.catalogue, "worthy"), 1.0) is not None
    displacing = Displacing(
        guide, chosen, scenario.queries, {"tight": 1.0, "worthy": 1.0}, random.Random(0)
    )
    for _ in range(20):
        displacing.attempt()
    assert displacing.goodput_rps >= 100
    assert not any(evaluate(chosen.catalogue, displacing.best).broken)
    assert plan(scenario, effort=MaxIterations(3)).goodput_rps >= 100


def test_nobody_is_displaced_by_who_is_worth_less(began) -> None:
    scenario, chosen = began
    catalogue = chosen.catalogue
    worthy = Selection(catalogue, Ledger(scenario))
    worthy.admit(at_box(scenario, catalogue, "worthy"), 1.0)
    found = market(catalogue)
    guide = Guide(found, relax(found), Binder(found))
    worth = {"tight": 1.0, "worthy": 1.0}
    displacing = Displacing(guide, worthy, scenario.queries, worth, random.Random(0))
    for _ in range(20):
        displacing.attempt()
    assert displacing.goodput_rps >= 100
    assert "worthy" in {tenant.placed.query.id for tenant in worthy.tenants}


def test_what_is_taken_out_leaves_the_loads_of_the_others(began) -> None:
    scenario, chosen = began
    worthy = at_box(scenario, chosen.catalogue, "worthy")
    alone = Selection(chosen.catalogue, Ledger(scenario))
    alone.admit(worthy, 0.5)
    chosen.admit(worthy, 0.5)
    (tight,) = chosen.tenants.of("tight")
    chosen.withdraw(tight)
    assert worthy.latency_ms(chosen.ledger) == pytest.approx(worthy.latency_ms(alone.ledger))
    (rest,) = chosen.tenants
    chosen.withdraw(rest)
    assert not chosen.ledger.in_use("box")
    assert chosen.ledger.load(("cores", "box")) == 0
    assert worthy.latency_ms(alone.ledger) > worthy.latency_ms()


def test_an_attempt_that_is_taken_back_leaves_no_trace(began) -> None:
    scenario, chosen = began
    worthy = at_box(scenario, chosen.catalogue, "worthy")
    (tight,) = chosen.tenants

    def state() -> tuple[object, ...]:
        ledger = chosen.ledger
        return dict(ledger.linear), tight.placed.latency_ms(ledger), chosen.free_cores(["box"], ())

    before = state()
    chosen.begin()
    chosen.admit(worthy, 0.3)
    chosen.admit(worthy, 0.2)
    chosen.withdraw(tight)
    assert state() != before
    chosen.take_back()
    assert state() == before
    assert list(chosen.tenants) == [tight]


def test_a_share_on_top_counts_as_one_stream(began) -> None:
    """Two streams dealt apart are less regular than the one that serves them in the end."""
    scenario, chosen = began
    worthy = at_box(scenario, chosen.catalogue, "worthy")
    chosen.admit(worthy, 0.3)
    chosen.admit(worthy, 0.4)
    fresh = evaluate(chosen.catalogue, [(a.placed, a.share) for a in chosen.admitted])
    assert [a.share for a in chosen.admitted] == [1.0, pytest.approx(0.7)]
    assert worthy.latency_ms(chosen.ledger) == pytest.approx(worthy.latency_ms(fresh.ledger))
