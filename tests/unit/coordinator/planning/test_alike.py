"""Queries that differ in nothing but their names are planned and judged as one."""

from __future__ import annotations

import dataclasses

import pytest

from circinus_coordinator.planning import MaxIterations, plan
from circinus_coordinator.planning.alike import alike, together
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.evaluate import evaluate
from circinus_coordinator.planning.placed import place

SLO = {"latency_ms": 100}


def many(build, profile, number: int, **query):
    """So many identical queries, of which each keeps the `pi` busy for 4 ms a request."""
    asked = {"pipeline": "p", "source": "pi", "rate_rps": 1, "slo": SLO, **query}
    return build(
        queueing=True,
        pipeline={"operators": {"a": {"tiers": ["device"]}}},
        profiles=[profile("a", "small", 4)],
        queries=[{"id": f"q{k}", **asked} for k in range(number)],
    )


def served(decision) -> dict[str, float]:
    found: dict[str, float] = {}
    for a in decision.assignments:
        found[a.query] = found.get(a.query, 0.0) + a.share
    return found


def test_a_hundred_thousand_that_wait_for_each_other_are_served_as_one_that_stands_for_all(
    build, profile
) -> None:
    one = plan(many(build, profile, 1, count=100_000), effort=MaxIterations(2))
    found = plan(many(build, profile, 100_000), effort=MaxIterations(2))
    assert len(found.rejected) > 99_000
    assert len(served(found)) > 300
    assert found.goodput_rps == pytest.approx(one.goodput_rps, rel=0.01)
    assert found.goodput_rps <= found.bound_rps


def test_those_that_may_not_be_split_are_served_whole_or_not_at_all(build, profile) -> None:
    found = plan(many(build, profile, 1000, splittable=False), effort=MaxIterations(2))
    assert len(found.assignments) > 300
    assert set(served(found).values()) == {1.0}
    assert len(found.assignments) + len(found.rejected) == 1000


def test_plans_are_dealt_to_whom_they_were_dealt_before(build, profile) -> None:
    scenario = many(build, profile, 1000, splittable=False)
    had = plan(scenario, effort=MaxIterations(1))
    moved = tuple(
        dataclasses.replace(a, query=f"q{999 - k}") for k, a in enumerate(had.assignments)
    )
    previous = dataclasses.replace(had, assignments=moved)
    again = plan(scenario, effort=MaxIterations(1), previous=previous)
    assert served(again).keys() >= {a.query for a in moved}


def test_several_are_judged_as_one_that_stands_for_them(build, profile) -> None:
    few, one = many(build, profile, 3, rate_rps=30), many(build, profile, 1, rate_rps=30, count=3)
    step = plan(one, effort=MaxIterations(1)).assignments[0].plan
    apart = [(place(Catalogue(few), q, step), 1.0) for q in few.queries]
    alone = [(place(Catalogue(one), one.queries[0], step), 1.0)]
    judged, wanted = evaluate(Catalogue(few), apart), evaluate(Catalogue(one), alone)
    assert judged.estimates == wanted.estimates * 3
    assert judged.goodput_rps == pytest.approx(wanted.goodput_rps)


@pytest.mark.parametrize("change", [{"rate_rps": 2}, {"weight": 2}, {"slo": {"latency_ms": 99}}])
def test_what_differs_in_anything_but_its_name_stays_by_itself(build, profile, change) -> None:
    scenario = many(build, profile, 3)
    first = many(build, profile, 1, **change).queries[0]
    mixed = dataclasses.replace(scenario, queries=(first, *scenario.queries[1:]))
    found = alike(mixed)
    assert found is not None
    assert [q.count for q in found.scenario.queries] == [1, 2]
    assert alike(dataclasses.replace(mixed, queries=mixed.queries[:2])) is None


def test_plans_of_different_queries_are_not_taken_together(build, profile) -> None:
    scenario = many(build, profile, 2)
    other = dataclasses.replace(scenario.queries[1], weight=3)
    step = plan(scenario, effort=MaxIterations(1)).assignments[0].plan
    catalogue = Catalogue(scenario)
    assigned = [(place(catalogue, q, step), 1.0) for q in (scenario.queries[0], other)]
    assert together(assigned) == (assigned, [0, 1])
