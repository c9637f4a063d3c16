"""Queries that may share their menus, and the menus they share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable

from circinus.query import Query
from circinus_coordinator.planning.baselines.courses import Course
from circinus_coordinator.planning.baselines.entries import Entries
from circinus_coordinator.planning.baselines.loaded import Ways
from circinus_coordinator.planning.baselines.tables import Table
from circinus_coordinator.planning.baselines.views import View, Views
from circinus_coordinator.planning.catalogue import Catalogue

__all__ = ["Classes", "MenuMaker"]

MenuMaker = Callable[[Table, View, Query], tuple[Entries, int]]
"""Makes a class's menu and says how many plans it evaluated."""


class Classes:
    """Menus by class: pipeline, SLO and what the sources see of the fleet.

    Attributes:
        evaluations: Plans evaluated for all menus so far.
    """

    def __init__(self, catalogue: Catalogue, make: MenuMaker) -> None:
        self.catalogue, self.make, self.evaluations = catalogue, make, 0
        self._views = Views(catalogue.scenario)
        self._tables: dict[tuple[str, float], Table] = {}
        self._menus: dict[Hashable, Course] = {}

    def course(self, query: Query) -> Course:
        """The query's menu with its own devices."""
        view, table = self.view(query), self.table(query)
        key = (query.pipeline, query.slo, view.signature)
        if key not in self._menus:
            entries, evaluated = self.make(table, view, query)
            self.evaluations += evaluated
            self._menus[key] = self.course_of(query, entries)
        return dataclasses.replace(self._menus[key], query=query, view=view)

    def course_of(self, query: Query, entries: Entries) -> Course:
        """These entries as the query's menu."""
        view, table = self.view(query), self.table(query)
        waiting = self.catalogue.scenario.queueing and len(entries) > 0
        return Course(
            query=query,
            table=table,
            view=view,
            entries=entries,
            needs=entries.needs(table, view),
            ways=Ways(entries, table, view) if waiting else None,
        )

    def view(self, query: Query) -> View:
        """The fleet as the query's sources see it."""
        return self._views.of(query)

    def table(self, query: Query) -> Table:
        """The query's pipeline at its percentile."""
        key = (query.pipeline, query.slo.percentile)
        if key not in self._tables:
            self._tables[key] = Table(self.catalogue, *key)
        return self._tables[key]
