"""Plans are mended by what a rehearsal shows, and promised that."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from circinus.decision import Decision, Estimate, decode_decision, encode_decision
from circinus.scenario import Scenario
from circinus_coordinator.planning import MaxIterations, Shown, explain, plan
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.evaluate import evaluate
from circinus_coordinator.planning.learning import learn, learnt_from
from circinus_coordinator.planning.placed import place

EXPONENTIAL = {"mean": 20, "p50": 13.9, "p95": 59.9, "p99": 92.1}
PROFILE = {
    "operator": "a",
    "device_class": "small",
    "latency_ms": EXPONENTIAL,
    "compute_s": {"cores": 0.02},
    "memory_mb": 100,
}
PLANNERS = ("circinus", "cheapest-first")


@pytest.fixture
def fleet(build: Callable[..., Scenario]) -> Scenario:
    """Three queries whose requests wait for two cores."""
    return build(
        queueing=True,
        profiles=[PROFILE],
        queries=[
            {
                "id": name,
                "pipeline": "p",
                "source": "pi",
                "rate_rps": 20 + k,
                "slo": {"latency_ms": 150},
            }
            for k, name in enumerate("xyz")
        ],
    )


class Stage:
    """A rehearsal that says of each assignment what `latency` says of its share and promise."""

    def __init__(self, latency: Any) -> None:
        self.latency, self.asked = latency, 0

    def __call__(self, scenario: Scenario, decision: Decision) -> Sequence[Shown | None]:
        self.asked += 1
        busy = sum(
            a.share * next(q.rate_rps for q in scenario.queries if q.id == a.query)
            for a in decision.assignments
        )
        found = []
        for a in decision.assignments:
            ms = self.latency(a, busy)
            steady = ms is not None
            ms = ms or 1.0
            found.append(
                Shown(
                    latency_ms=ms, low_ms=ms * 0.99, high_ms=ms * 1.01, requests=99, steady=steady
                )
            )
        return found


def planned(scenario: Scenario, stage: Stage | None, planner: str = "circinus") -> Decision:
    return plan(scenario, rehearse=stage, planner=planner, effort=MaxIterations(2))


@pytest.mark.parametrize("planner", PLANNERS)
def test_what_was_shown_is_promised_with_its_interval(fleet: Scenario, planner: str) -> None:
    decision = planned(fleet, Stage(lambda a, busy: 123.0), planner)
    assert decision.assignments
    for a in decision.assignments:
        assert a.estimate.latency_ms == 123.0
        assert a.estimate.rehearsed is not None
        assert (a.estimate.rehearsed.low_ms, a.estimate.rehearsed.requests) == (123.0 * 0.99, 99)


@pytest.mark.parametrize("planner", PLANNERS)
def test_what_nobody_saw_for_long_enough_stays_the_model_s(fleet: Scenario, planner: str) -> None:
    decision = planned(fleet, Stage(lambda a, busy: None), planner)
    assert [a.estimate for a in decision.assignments] == [
        a.estimate for a in planned(fleet, None, planner).assignments
    ]


@pytest.mark.parametrize("planner", PLANNERS)
def test_who_is_late_with_so_many_beside_him_is_cut_until_he_is_not(
    fleet: Scenario, planner: str
) -> None:
    stage = Stage(lambda a, busy: 400.0 if busy > 35 else 100.0)
    alone = planned(fleet, None, planner)
    decision = planned(fleet, stage, planner)
    assert alone.goodput_rps > 35 >= decision.goodput_rps > 0
    assert all(a.estimate.latency_ms == 100.0 for a in decision.assignments)


def test_who_waits_less_than_the_model_says_lets_others_in(fleet: Scenario) -> None:
    tight = dataclasses.replace(
        fleet,
        queries=tuple(
            dataclasses.replace(q, slo=dataclasses.replace(q.slo, latency_ms=90.0))
            for q in fleet.queries
        ),
    )
    before = planned(tight, None)
    assert 0 < before.goodput_rps < 63
    assert planned(tight, Stage(lambda a, busy: 61.0)).goodput_rps > before.goodput_rps * 1.02


def test_who_is_late_whatever_is_done_is_turned_away_with_the_reason(fleet: Scenario) -> None:
    decision = planned(fleet, Stage(lambda a, busy: 400.0))
    assert decision.assignments == ()
    assert decision.goodput_rps == 0
    assert decision.deployment.total == 0
    told = {r.query: r for r in decision.rejected}
    assert set(told) == {"x", "y", "z"}


def test_a_limit_exceeded_by_chance_alone_is_promised_as_the_limit(fleet: Scenario) -> None:
    decision = planned(fleet, Stage(lambda a, busy: 151.0))
    assert [a.estimate.latency_ms for a in decision.assignments] == [150.0] * len(
        decision.assignments
    )
    assert decision.assignments


def test_the_bound_is_what_it_is_without_a_rehearsal(fleet: Scenario) -> None:
    decision = planned(fleet, Stage(lambda a, busy: 61.0))
    assert decision.bound_rps == pytest.approx(planned(fleet, None).bound_rps)
    assert decision.goodput_rps <= (decision.bound_rps or 0.0)


def test_nothing_is_rehearsed_where_nothing_waits(fleet: Scenario) -> None:
    stage = Stage(lambda a, busy: 61.0)
    planned(dataclasses.replace(fleet, queueing=False), stage)
    assert stage.asked == 0


@pytest.mark.parametrize("wanted_ms", [64.0, 80.0, 120.0, 500.0])
def test_a_corrected_model_says_what_was_shown(fleet: Scenario, wanted_ms: float) -> None:
    catalogue = Catalogue(fleet)
    decision = planned(fleet, None)
    queries = {q.id: q for q in fleet.queries}
    assigned = [(place(catalogue, queries[a.query], a.plan), a.share) for a in decision.assignments]
    seen = Shown(latency_ms=wanted_ms, low_ms=wanted_ms, high_ms=999, requests=1, steady=True)
    corrected = catalogue.corrected(learn(catalogue, assigned, [seen] * len(assigned)))
    again = [(place(corrected, p.query, p.plan), share) for p, share in assigned]
    for estimate in evaluate(corrected, again).estimates:
        if wanted_ms < 400:
            assert estimate.latency_ms == pytest.approx(wanted_ms, rel=0.01)
        else:  # no delay to add: a queue that grows
            assert 150 < estimate.latency_ms < math.inf


def test_a_decision_read_back_holds_the_corrections_it_was_made_by(fleet: Scenario) -> None:
    decision = decode_decision(encode_decision(planned(fleet, Stage(lambda a, busy: 120.0))))
    assert all(a.estimate.rehearsed for a in decision.assignments)
    catalogue = Catalogue(fleet)
    learnt = learnt_from(catalogue, decision)
    assert learnt.plans
    assert learnt.devices
    assert "120 ms promised" in explain(fleet, decision, decision.assignments[0].query).reason


def test_estimates_say_nothing_of_rehearsals_where_there_was_none(fleet: Scenario) -> None:
    found = decode_decision(encode_decision(planned(fleet, None)))
    assert isinstance(found.assignments[0].estimate, Estimate)
    assert b"rehearsed" not in encode_decision(found)
