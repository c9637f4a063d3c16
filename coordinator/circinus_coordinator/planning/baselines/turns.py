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
from circinus_coordinator.planning.baselines.report import Standing, judged, report
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.corrections import Rehearse
from circinus_coordinator.planning.decide import Clock
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.rehearsing import mended
from circinus_coordinator.planning.stop import Stop

__all__ = ["InTurn", "Offer"]

Assigned = Sequence[tuple[PlacedPlan, float]]


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
        rehearse: Rehearse | None = None,
    ) -> Decision:
        """Plan; `effort` cuts short the orders tried, never the first."""
        started = clock()

        def enough() -> bool:
            return effort(0, clock() - started)

        catalogue = Catalogue(scenario)
        offer = self.offer(catalogue, seed)
        compiled = clock()
        stands, plans = self._best(catalogue, offer, enough)
        evaluations = offer.evaluated() + plans
        seconds = {"compile": compiled - started, "select": clock() - compiled}
        if rehearse is not None:

            def fill(corrected: Catalogue, now: Assigned) -> Assigned:  # noqa: ARG001 - anew
                nonlocal evaluations
                again = self.offer(corrected, seed)
                found, tried = self._best(corrected, again, enough)
                evaluations += again.evaluated() + tried
                return found[0]

            began = clock()
            catalogue, kept = mended(catalogue, stands[0], rehearse, fill)
            stands = judged(catalogue, kept)
            seconds["rehearse"] = clock() - began
        return report(
            catalogue,
            stands,
            planner=self.name,
            seed=seed,
            hopeless=offer.hopeless,
            evaluations=evaluations,
            seconds=seconds,
        )

    def _best(
        self, catalogue: Catalogue, offer: Offer, enough: Callable[[], bool]
    ) -> tuple[Standing, int]:
        """The best of all orders and of what is chosen in turn; and the plans judged for it."""
        found = []
        if offer.courses or offer.at_turn is None:
            found.append(best_of(catalogue, offer.courses, self.orders, enough))
        if offer.at_turn is not None:
            found.append(offer.at_turn())
        stands, plans = found[0]
        for other, more in found[1:]:
            stands, plans = better(stands, other), plans + more
        return stands, plans

    @abc.abstractmethod
    def offer(self, catalogue: Catalogue, seed: int) -> Offer:
        """Find plans for the queries."""
