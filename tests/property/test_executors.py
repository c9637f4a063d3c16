"""Whoever does the work, in whatever order: the decision is the same."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from circinus.decision import Decision
from circinus.scenario import Scenario
from circinus_coordinator.generation import generate
from circinus_coordinator.planning import Replanner, plan


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    few = generate(queries=7, devices=6, seed=5, contention=0.5, queueing=False)
    # Enough of them to be planned at large, and few classes.
    many = (dataclasses.replace(q, id=f"{q.id}-{k}") for k in range(30) for q in few.queries)
    return dataclasses.replace(few, queries=tuple(many))


@pytest.fixture(scope="module")
def here(scenario: Scenario) -> Decision:
    return plan(scenario)


@pytest.fixture(params=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "threads":
        with ThreadPoolExecutor(3) as pool:
            yield pool
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=context) as others:
            yield others


@pytest.mark.timeout(600)
def test_a_decision_is_the_same_wherever_plans_are_sought(
    scenario: Scenario, here: Decision, executor: Executor
) -> None:
    assert plan(scenario, executor=executor) == here


@pytest.mark.timeout(600)
def test_a_plan_in_memory_spreads_its_work_too(scenario: Scenario, here: Decision) -> None:
    asked = []

    class Counting(ThreadPoolExecutor):
        def map(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            asked.append(args)
            return super().map(*args, **kwargs)

    with Counting(2) as pool:
        planner = Replanner(scenario, executor=pool)
    assert asked
    assert planner.goodput_rps == pytest.approx(here.goodput_rps)
