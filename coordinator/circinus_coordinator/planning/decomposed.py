"""The ``circinus`` planner: prices for everything, then plans for everybody.

The relaxation (`decomposition`) says what resources are worth, which plans are good at these
prices, and what nobody can exceed. Where nothing waits, its mixture of plans is placed on real
machines. Where queries keep each other waiting, or few of them share few machines, plans are
admitted one by one on the ledger (`greedy`), in rounds, the first of them at these prices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from circinus.decision import Decision
from circinus.scenario import Scenario
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.corrections import Rehearse
from circinus_coordinator.planning.decide import Clock
from circinus_coordinator.planning.decomposition.classes import Market, market
from circinus_coordinator.planning.decomposition.keeping import keep
from circinus_coordinator.planning.decomposition.placement import Placed
from circinus_coordinator.planning.decomposition.rounding import round_off
from circinus_coordinator.planning.decomposition.sharpening import sharpen
from circinus_coordinator.planning.decomposition.solve import Solution, relax
from circinus_coordinator.planning.decomposition.worth import row_prices
from circinus_coordinator.planning.decomposition.writing import write
from circinus_coordinator.planning.greedy import NAME, greedy
from circinus_coordinator.planning.minimums import promised, with_minimums
from circinus_coordinator.planning.renting import Renting, rent_at_large, with_cost_bound
from circinus_coordinator.planning.stop import Stop

__all__ = ["NAME", "Solved", "at_large", "decomposed", "solved"]

# Up to this many queries every plan is tried against all others, in rounds.
_FEW = 200


def decomposed(
    scenario: Scenario,
    *,
    effort: Stop,
    seed: int,
    previous: Decision | None,
    clock: Clock,
    rehearse: Rehearse | None = None,
    executor: Executor | None = None,
) -> Decision:
    """Plan; see the module. Many queries at large are priced on the executor, if there is one."""
    one_by_one = scenario.queueing or len(scenario.queries) <= _FEW
    if promised(scenario):

        def plan(first: Scenario) -> Decision:
            return decomposed(
                first, effort=effort, seed=seed, previous=previous, clock=clock, executor=executor
            )

        return with_minimums(scenario, plan, seed=seed, clock=clock, one_by_one=one_by_one)
    if one_by_one:
        return greedy(
            scenario, effort=effort, seed=seed, previous=previous, clock=clock, rehearse=rehearse
        )
    return at_large(scenario, seed=seed, clock=clock, previous=previous, executor=executor)


def at_large(
    scenario: Scenario,
    *,
    seed: int,
    clock: Clock,
    previous: Decision | None = None,
    executor: Executor | None = None,
) -> Decision:
    """Plan a scenario in which nothing waits, of any size, by the relaxation alone.

    From a previous decision come prices and plans to start with, and what stays where it is.
    """
    found = solved(scenario, seed=seed, clock=clock, previous=previous, executor=executor)
    written = write(
        found.market, found.solution, found.placed, planner=NAME, seed=seed, seconds=found.seconds
    )
    return with_cost_bound(written, found.renting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """An answer before it is written down.

    Attributes:
        market: What was planned.
        solution: Of the relaxation.
        placed: What runs where.
        renting: What bounds the cost of rented machines, if there are any.
        seconds: Of each phase.
    """

    market: Market
    solution: Solution
    placed: Sequence[Placed]
    renting: Renting | None
    seconds: Mapping[str, float]


def solved(
    scenario: Scenario,
    *,
    seed: int,
    clock: Clock,
    previous: Decision | None = None,
    executor: Executor | None = None,
) -> Solved:
    """What `at_large` writes down."""
    started = clock()
    found = market(Catalogue(scenario), executor)
    kept = keep(found, previous) if previous else []
    prices = row_prices(found, previous.prices) if previous and previous.prices else None
    compiled = clock()
    solution = relax(found, prices=prices, clock=clock)
    # Planning anew after a small change is to be quick, and mostly leaves things as they are.
    agreed = None if kept else sharpen(found, solution, seed=seed, clock=clock)
    relaxed = clock()
    placed, renting = rent_at_large(
        found, solution, round_off(found, solution, seed=seed, kept=kept, agreed=agreed), seed=seed
    )
    seconds = {
        "compile": compiled - started,
        **solution.seconds,
        "round": clock() - relaxed,
    }
    return Solved(market=found, solution=solution, placed=placed, renting=renting, seconds=seconds)
