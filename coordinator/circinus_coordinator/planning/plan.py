"""The planner's front door."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol

from circinus.decision import Decision
from circinus.errors import InvalidInput
from circinus.scenario import Scenario
from circinus_coordinator.planning.baselines import BASELINES
from circinus_coordinator.planning.corrections import Rehearse
from circinus_coordinator.planning.decomposed import NAME, decomposed
from circinus_coordinator.planning.rehearsing import as_shown
from circinus_coordinator.planning.stop import MaxIterations, Stop

__all__ = ["NAME", "PLANNERS", "Planner", "plan"]

# Rounds of the greedy way, the first one being all starts: on generated scenarios of 30 queries
# that wait, three times as many served no more.
_ROUNDS = 9


class Planner(Protocol):
    """Turns a scenario into a decision."""

    def __call__(
        self,
        scenario: Scenario,
        *,
        effort: Stop,
        seed: int,
        previous: Decision | None,
        clock: Callable[[], float],
        rehearse: Rehearse | None,
    ) -> Decision:
        """Plan; `clock` is for reporting and for `effort`, never for the answer itself."""
        ...


PLANNERS: dict[str, Planner] = {NAME: decomposed, **BASELINES}
"""Every planner by name."""


def plan(
    scenario: Scenario,
    *,
    effort: Stop | None = None,
    seed: int = 0,
    previous: Decision | None = None,
    planner: str = NAME,
    clock: Callable[[], float] | None = None,
    executor: Executor | None = None,
    rehearse: Rehearse | None = None,
) -> Decision:
    """Decide where every operator of every query runs, with which config and share.

    Pure: the same arguments give the same decision (with a clock, but for `Decision.seconds`
    and what a time limit cuts short).

    Args:
        scenario: What is to be planned.
        effort: When to stop improving; None for a fixed number of rounds.
        seed: Of the random orders tried.
        previous: The decision in force; of equally good answers the one that moves least wins.
        planner: Name in `PLANNERS`.
        clock: Seconds from any origin; None reports zeros and makes time limits void.
        executor: Where to look for plans of many queries that do not wait, class by class; None
            for here. The decision is the same. Tasks and answers can be pickled.
        rehearse: Tries decisions out; plans are mended by what it shows, and promised that. None
            to promise what the model says. Not asked where nothing waits.

    Raises:
        InvalidInput: For an unknown planner.
    """
    if planner not in PLANNERS:
        raise InvalidInput(
            f"unknown planner {planner!r}", remedy=f"known: {', '.join(sorted(PLANNERS))}"
        )
    chosen = PLANNERS[planner]
    if planner == NAME and executor is not None:
        chosen = functools.partial(decomposed, executor=executor)
    clock = clock or (lambda: 0.0)
    rehearse = rehearse if scenario.queueing else None
    decision = chosen(
        scenario,
        effort=effort or MaxIterations(_ROUNDS),
        seed=seed,
        previous=previous,
        clock=clock,
        rehearse=rehearse,
    )
    if rehearse is None:
        return decision
    began = clock()
    shown = as_shown(scenario, decision, rehearse)
    spent = decision.seconds.get("rehearse", 0.0) + clock() - began
    return dataclasses.replace(shown, seconds={**decision.seconds, "rehearse": spent})
