"""Counting up what became of the requests."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from circinus.decision import Decision
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.simulation.report import Latency, QueryReport
from circinus_coordinator.simulation.traffic import Traffic
from circinus_coordinator.simulation.world import FAILED, IN_FLIGHT, SERVED, SHED, World

__all__ = ["Tally"]

IntArray = npt.NDArray[np.int64]

# A late result still counts as served; beyond this the runtime has stopped waiting for it.
EXPIRY_GRACE_MS = 5_000.0
# A latency that equals its limit up to rounding keeps it.
TOLERANCE = 1e-9


class Tally:
    """Sorts the requests of the window by query and by assignment.

    Args:
        window_s: From, to.
        keeps: Of each assignment, whether it meets the SLOs on accuracy and cost.
    """

    def __init__(
        self,
        scenario: Scenario,
        decision: Decision,
        world: World,
        requests: Traffic,
        window_s: tuple[float, float],
        keeps: Sequence[bool],
    ) -> None:
        self._scenario = scenario
        self._decision = decision
        self._window_s = window_s[1] - window_s[0]
        self._refused = requests.refused
        counted = requests.starts_ms >= window_s[0] * 1e3
        ends = np.array(world.ends)
        status = np.frombuffer(world.status, dtype=np.uint8).copy()
        if world.shedding:
            status[(status == SERVED) & (ends > requests.deadlines_ms + EXPIRY_GRACE_MS)] = FAILED
        self._latency = (ends - requests.starts_ms)[counted]
        self._status = status[counted]
        self._query = requests.query[counted]
        self._assignment = requests.assignment[counted]
        self._keeps = np.array(keeps, dtype=bool)

    def queries(self) -> dict[str, QueryReport]:
        """By id, in the scenario's order."""
        promised: dict[str, float] = {}
        for a in self._decision.assignments:
            promised[a.query] = max(promised.get(a.query, 0.0), a.estimate.latency_ms)
        groups = _groups(self._query, len(self._scenario.queries))
        return {
            query.id: self._report(query, group, promised.get(query.id), refused)
            for query, group, refused in zip(
                self._scenario.queries, groups, self._refused, strict=True
            )
        }

    def assignments(self) -> tuple[QueryReport, ...]:
        """In the decision's order."""
        queries = {query.id: query for query in self._scenario.queries}
        found = self._decision.assignments
        groups = _groups(self._assignment, len(found))
        return tuple(
            self._report(queries[a.query], group, a.estimate.latency_ms, 0)
            for a, group in zip(found, groups, strict=True)
        )

    def _report(
        self, query: Query, group: IntArray, promised: float | None, refused: int
    ) -> QueryReport:
        status = self._status[group]
        served = status == SERVED
        limit = query.slo.latency_ms
        on_time = served
        if limit is not None:
            on_time = served & (self._latency[group] <= limit * (1 + TOLERANCE))
        good = on_time & self._keeps[self._assignment[group]] if len(group) else on_time
        latency = Latency(self._latency[group][served])
        return QueryReport(
            query=query.id,
            arrivals=len(group) + refused,
            served=_count(served),
            refused=refused,
            shed=_count(status == SHED),
            failed=_count(status == FAILED),
            in_flight=_count(status == IN_FLIGHT),
            on_time=_count(on_time),
            good=_count(good),
            latency=latency,
            promised_ms=promised,
            simulated_ms=latency.percentile(query.slo.percentile),
            percentile=query.slo.percentile,
            limit_ms=limit,
            goodput_rps=query.weight * _count(good) / self._window_s,
        )


def _count(flags: npt.NDArray[Any]) -> int:
    return int(np.count_nonzero(flags))


def _groups(ids: IntArray, count: int) -> list[IntArray]:
    """Positions of each id from 0 to count - 1, ascending."""
    order = np.argsort(ids, kind="stable")
    ends = np.searchsorted(ids[order], np.arange(count + 1))
    return [order[a:b] for a, b in itertools.pairwise(ends)]
