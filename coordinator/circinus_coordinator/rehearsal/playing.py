"""What plans take when they run all together: several independent simulations of a decision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.decision import Decision
from circinus.scenario import Scenario
from circinus_coordinator.planning import Shown
from circinus_coordinator.simulation import simulate

__all__ = ["Budget", "Rehearsal", "play"]

FloatArray = npt.NDArray[np.float64]

# Judges count their seeds from 0. What is promised must not be judged by the arrivals it was
# learnt from.
_APART = 1 << 40
# Standard errors of an interval that is right in 19 cases of 20, of so many runs (Student's t).
_T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}
_NORMAL = 1.96
_PLENTY = 40
# Shorter runs end before queues have grown.
_LEAST_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much is simulated.

    Attributes:
        requests: Of all plans and runs together, at most; 40,000 take about a CPU second.
        runs: Independent ones.
        beyond: Requests of a plan expected beyond its percentile from which on it is steady; no
            run is longer than the rarest plan needs for 40 times as many.
    """

    requests: int = 60_000
    runs: int = 4
    beyond: int = 7


class Rehearsal:
    """Tries decisions out; of the same plans and shares twice it says what it said before.

    Args:
        budget: For each decision.
        seed: Of the planner.
    """

    def __init__(self, budget: Budget | None = None, seed: int = 0) -> None:
        self._budget, self._seed = budget or Budget(), seed
        self._known: list[tuple[object, tuple[Shown | None, ...]]] = []

    def __call__(self, scenario: Scenario, decision: Decision) -> tuple[Shown | None, ...]:
        """What was seen of each assignment."""
        asked = (
            scenario.queries,
            [(a.query, a.share, dict(a.plan)) for a in decision.assignments],
        )
        for known, shown in self._known:
            if known == asked:
                return shown
        found = play(scenario, decision, budget=self._budget, seed=self._seed)
        self._known.append((asked, found))
        return found


def play(
    scenario: Scenario, decision: Decision, *, budget: Budget, seed: int
) -> tuple[Shown | None, ...]:
    """Run a decision, several times, each with arrivals and service times of its own.

    Args:
        scenario: With all its queries.
        decision: Its assignments count, with their shares and replicas.
        budget: How much is simulated.
        seed: Of the runs; none is that of a simulation of any seed below 2^40.

    Returns:
        For each assignment what was seen; None for all where the budget does not last for 5 s a
        run, and for who had no request in one of them.
    """
    queries = {query.id: query for query in scenario.queries}
    percents = [queries[a.query].slo.percentile for a in decision.assignments]
    rates = [
        queries[a.query].rate_rps * queries[a.query].count * a.share for a in decision.assignments
    ]
    seconds = _seconds(rates, percents, budget)
    if seconds < _LEAST_S:
        return (None,) * len(rates)
    reports = [
        simulate(
            scenario,
            decision,
            seconds=seconds,
            seed=_APART + seed * budget.runs + run,
            shedding=False,
        )
        for run in range(budget.runs)
    ]
    return tuple(
        _shown([report.assignments[k].latency.values_ms for report in reports], percent, budget)
        for k, percent in enumerate(percents)
    )


def _seconds(rates: Sequence[float], percents: Sequence[float], budget: Budget) -> float:
    """Length of a run; 0 where there is nothing to be seen."""
    total = math.fsum(rates)
    needed = [
        _PLENTY * budget.beyond / (1 - percent / 100) / rate / budget.runs
        for rate, percent in zip(rates, percents, strict=True)
        if rate > 0 and percent < 100
    ]
    if total <= 0 or not needed:
        return 0.0
    return min(max(_LEAST_S, *needed), budget.requests / total / budget.runs)


def _shown(runs: Sequence[FloatArray], percent: float, budget: Budget) -> Shown | None:
    """One plan, from the sorted latencies of each run."""
    if not all(len(values) for values in runs):
        return None
    pooled = np.sort(np.concatenate(runs))
    each = [_at(values, percent) for values in runs]
    error = float(np.std(each, ddof=1)) / math.sqrt(len(each)) * _T.get(len(each), _NORMAL)
    found = _at(pooled, percent)
    # Runs too short to differ by chance alone say too little of it: so do ranks.
    part = percent / 100
    ranks = _NORMAL * math.sqrt(part * (1 - part) / len(pooled)) * 100
    return Shown(
        latency_ms=found,
        low_ms=max(0.0, min(found - error, _at(pooled, percent - ranks))),
        high_ms=max(found + error, _at(pooled, percent + ranks)),
        requests=len(pooled),
        steady=len(pooled) * (1 - part) >= budget.beyond,
    )


def _at(values: FloatArray, percent: float) -> float:
    """The nearest rank of sorted values."""
    rank = math.ceil(percent / 100 * len(values)) - 1
    return float(values[min(max(rank, 0), len(values) - 1)])
