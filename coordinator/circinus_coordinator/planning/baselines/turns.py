"""What baselines that admit queries in turn have in common."""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from circinus.decision import Decision
from circinus.scenario import Scenario
from circinus_coordinator.planning.baselines.best import best_of, better
from circinus_coordinator.planning.baselines.courses import Course
from circinus_coordinator.planning.baselines.orders import FIRST_COME, Order
from circinus_coordinator.planning.baselines.report import Standing, report
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decide import Clock
from circinus_coordinator.planning.stop import Stop

__all__ = ["InTurn", "Offer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is known before anybody is admitted.

    Attributes:
        courses: What each query may choose from, for every order; empty where the choice is
            made at the query's turn.
        evaluated: Plans evaluated so far, those judged on admission apart.
        at_turn: Admits all queries, each choosing at its turn: a further outcome, and the plans
            judged for it.
        hopeless: Queries that have no plan even alone.
    """

    courses: Mapping[str, Course]
    evaluated: Callable[[], int]
    at_turn: Callable[[], tuple[Standing, int]] | None = None
    hopeless: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InTurn(abc.ABC):
    """A planner that admits queries one after the other.

    Attributes:
        name: Name of the planner.
        orders: Admission orders tried; the best by (goodput, cost) counts.
    """

    name: str
    orders: Sequence[Order] = FIRST_COME

    def __call__(
        self,
        scenario: Scenario,
        *,
        effort: Stop,
        seed: int,
        previous: Decision | None,  # noqa: ARG002 - knows nothing of stickiness
        clock: Clock,
    ) -> Decision:
        """Plan; `effort` cuts short the orders tried, never the first."""
        started = clock()
        catalogue = Catalogue(scenario)
        offer = self.offer(catalogue, seed)
        compiled = clock()
        found = []
        if offer.courses or offer.at_turn is None:
            found.append(
                best_of(catalogue, offer.courses, self.orders, lambda: effort(0, clock() - started))
            )
        if offer.at_turn is not None:
            found.append(offer.at_turn())
        stands, judged = found[0]
        for other, more in found[1:]:
            stands, judged = better(stands, other), judged + more
        return report(
            catalogue,
            stands,
            planner=self.name,
            seed=seed,
            hopeless=offer.hopeless,
            evaluations=offer.evaluated() + judged,
            seconds={"compile": compiled - started, "select": clock() - compiled},
        )

    @abc.abstractmethod
    def offer(self, catalogue: Catalogue, seed: int) -> Offer:
        """Find plans for the queries."""
