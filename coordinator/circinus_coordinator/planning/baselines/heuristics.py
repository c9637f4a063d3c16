"""Baselines that choose from a menu made once per class."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from circinus.errors import InvalidInput
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.baselines.classes import Classes
from circinus_coordinator.planning.baselines.entries import Entries
from circinus_coordinator.planning.baselines.menu import Preference, menu
from circinus_coordinator.planning.baselines.tables import Table
from circinus_coordinator.planning.baselines.turns import InTurn, Offer
from circinus_coordinator.planning.baselines.views import View
from circinus_coordinator.planning.catalogue import Catalogue

__all__ = ["BEAM", "Heuristic"]

# JellyBean's code keeps 10 variant assignments by default; more only help it.
BEAM = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Heuristic(InTurn):
    """Each query in turn gets the first plan of its class's menu that fits what is left.

    ``best-accuracy``: the most accurate plans come first, the cheaper of equals. What a system
    does that is tuned for accuracy and knows nothing of the others who want the machines.

    ``cheapest-first``: the cheapest come first. After JellyBean (Wu, Lentz, Zhuo and Lu, "Serving
    and Optimizing Machine Learning Workflows on Heterogeneous Infrastructures", PVLDB 16(3),
    2022, the query optimizer's two steps): *model selection* keeps the `beam` cheapest
    combinations of variants that reach the accuracy target, *worker assignment* then gives each
    operator greedily to the cheapest workers that manage its rate. What differs, and why, is in
    docs/baselines.md.

    ``all-device``, ``all-edge``, ``all-cloud``: as ``cheapest-first``, with every operator that may
    run there on one tier.

    Attributes:
        preference: Order of the menu.
        beam: Config vectors kept; None for all.
        tier: Name of the tier everything is put on, where it may be.
    """

    preference: Preference = Preference.CHEAPEST
    beam: int | None = BEAM
    tier: str | None = None

    def offer(self, catalogue: Catalogue, seed: int) -> Offer:  # noqa: ARG002 - nothing is drawn
        """Make each class's menu."""
        classes = Classes(catalogue, functools.partial(self._menu, catalogue.scenario))
        courses = {query.id: classes.course(query) for query in catalogue.scenario.queries}
        return Offer(
            courses=courses,
            evaluated=lambda: classes.evaluations,
            hopeless={name for name, course in courses.items() if not len(course.entries)},
        )

    def _menu(
        self, scenario: Scenario, table: Table, view: View, query: Query
    ) -> tuple[Entries, int]:
        tier = None if self.tier is None else _tier(scenario, self.tier)
        return menu(table, view, query, self.preference, beam=self.beam, tier=tier)


def _tier(scenario: Scenario, name: str) -> int:
    """The tier of this name; else the innermost for ``device``, the outermost for ``cloud``."""
    ends = {"device": 0, "cloud": len(scenario.tiers) - 1}
    found = scenario.tier_index.get(name, ends.get(name))
    if found is None:
        raise InvalidInput(
            f"this planner puts everything on the tier {name!r}, which the scenario has not",
            key="tiers",
            remedy=f"another planner; there are: {', '.join(scenario.tiers)}",
        )
    return found
