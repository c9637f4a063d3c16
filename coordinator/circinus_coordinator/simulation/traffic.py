"""All requests of a simulation: when they come, whose they are, and which plan takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.decision import Assignment
from circinus.errors import InvalidInput
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.simulation.arrivals import REFUSED, Split, arrival_times, deal

__all__ = ["Traffic", "traffic"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# A request without latency SLO is given up some time, as in the agents' runtime.
DEFAULT_BUDGET_MS = 60_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Arrays over all admitted requests, in order of time; all ``(n,)``.

    Attributes:
        starts_ms, deadlines_ms: float64.
        query, assignment: int64, positions in scenario and decision.
        refused: Requests within the window that no plan took, of each query.
    """

    starts_ms: FloatArray
    deadlines_ms: FloatArray
    query: IntArray
    assignment: IntArray
    refused: Sequence[int]


def traffic(
    scenario: Scenario,
    assignments: Sequence[Assignment],
    *,
    seconds: float,
    warmup_s: float,
    seed: int,
    split: Split,
    given: Mapping[str, FloatArray],
) -> Traffic:
    """Draw all arrivals, and deal them to the assignments."""
    plans: dict[str, list[int]] = {query.id: [] for query in scenario.queries}
    for k, assignment in enumerate(assignments):
        plans[assignment.query].append(k)
    starts: list[FloatArray] = [np.empty(0)]
    taken: list[IntArray] = [np.empty(0, dtype=np.int64)]
    whose: list[IntArray] = [np.empty(0, dtype=np.int64)]
    refused = []
    for q, query in enumerate(scenario.queries):
        times, streams = _arrivals(query, seconds, seed, given.get(query.id))
        mine = np.array([*plans[query.id], REFUSED], dtype=np.int64)
        shares = [assignments[k].share for k in plans[query.id]]
        plan = mine[deal(query, shares, streams, seed, split)]
        admitted = plan != REFUSED
        refused.append(int(np.count_nonzero(~admitted & (times >= warmup_s))))
        starts.append(times[admitted] * 1e3)
        taken.append(plan[admitted])
        whose.append(np.full(int(np.count_nonzero(admitted)), q, dtype=np.int64))
    begun = np.concatenate(starts)
    order = np.argsort(begun, kind="stable")
    begun, owner = begun[order], np.concatenate(whose)[order]
    budgets = np.array(
        [
            DEFAULT_BUDGET_MS if query.slo.latency_ms is None else query.slo.latency_ms
            for query in scenario.queries
        ]
    )
    return Traffic(
        starts_ms=begun,
        deadlines_ms=begun + budgets[owner] if len(begun) else begun,
        query=owner,
        assignment=np.concatenate(taken)[order],
        refused=refused,
    )


def _arrivals(
    query: Query, seconds: float, seed: int, given: FloatArray | None
) -> tuple[FloatArray, IntArray]:
    if given is None:
        return arrival_times(query, seconds, seed)
    times = np.sort(given)
    if times.ndim != 1 or not np.all(np.isfinite(times)) or (len(times) and times[0] < 0):
        raise InvalidInput(
            "must be a row of times in seconds, at least 0", key=f"arrivals.{query.id}"
        )
    times = times[times < seconds]
    return times, np.arange(len(times)) % query.count
