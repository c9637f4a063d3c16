"""How much longer or shorter requests wait than the model says, where somebody has tried.

A rehearsal (a simulation of a decision) shows each plan's latency. What the model has to scale the
waits of that plan by, to say the same at the same loads, is the plan's correction; other plans on
the same machines take over the mean of those who were there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from circinus.decision import Decision, Plan
from circinus.query import Query
from circinus.scenario import Scenario

__all__ = ["LARGEST", "NONE", "Correction", "Corrections", "Rehearse", "Shown", "Way", "way"]

# What is longer by more than this is no wait that the model knows; the rest is added as it is.
LARGEST = 8.0
Way = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a rehearsal showed of one plan.

    Attributes:
        latency_ms: At the SLO's percentile.
        low_ms, high_ms: 95 % interval.
        requests: That were counted.
        steady: Whether they are enough to promise by.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    requests: int
    steady: bool

    def within(self, limit_ms: float) -> float:
        """What to promise, ms: the limit where what was seen may be above it by chance."""
        return limit_ms if self.low_ms <= limit_ms < self.latency_ms else self.latency_ms


Rehearse = Callable[[Scenario, Decision], Sequence[Shown | None]]
"""Tries a decision out: what was seen of each assignment, None where nothing was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Of one plan.

    Attributes:
        waits: For each device, what its waits are multiplied by; devices left out count 1.
        wires: What waits for links are multiplied by.
        more_ms: What requests take besides.
    """

    waits: Mapping[str, float] = field(default_factory=dict)
    wires: float = 1.0
    more_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """Of plans that were tried, and of machines for all others.

    Attributes:
        plans: By `way`.
        devices: By device, what waits on it are multiplied by.
    """

    plans: Mapping[Way, Correction] = field(default_factory=dict)
    devices: Mapping[str, float] = field(default_factory=dict)

    def of(self, query: Query, plan: Plan) -> Correction | None:
        """What holds for a plan; None where nothing is known."""
        known = self.plans.get(way(query, plan)) if self.plans else None
        if known is not None:
            return known
        waits = {
            step.device: factor
            for step in plan.values()
            if (factor := self.devices.get(step.device)) is not None
        }
        return Correction(waits=waits) if waits else None

    def then(self, later: Corrections) -> Corrections:
        """What was seen later counts, but what is shorter than before only half.

        Who was late was put elsewhere, and a machine that is relieved seems better than it is.
        """
        plans = {
            key: _slowly(self.plans.get(key), correction) for key, correction in later.plans.items()
        }
        devices = {d: _between(self.devices.get(d), factor) for d, factor in later.devices.items()}
        return Corrections(plans={**self.plans, **plans}, devices={**self.devices, **devices})


def _slowly(before: Correction | None, now: Correction) -> Correction:
    if before is None or before.wires <= now.wires:
        return now
    return Correction(
        waits={d: _between(before.waits.get(d), factor) for d, factor in now.waits.items()},
        wires=_between(before.wires, now.wires),
        more_ms=now.more_ms,
    )


def _between(before: float | None, now: float) -> float:
    return now if before is None or before <= now else math.sqrt(before * now)


NONE = Corrections()
"""The model as it is."""


def way(query: Query, plan: Plan) -> Way:
    """Equal for plans of queries between which waits do not differ."""
    limit = math.inf if query.slo.latency_ms is None else query.slo.latency_ms
    sources = tuple(sorted(query.source.items()))
    steps = tuple((name, s.device, s.config, s.batch) for name, s in sorted(plan.items()))
    return (query.pipeline, sources, limit, query.slo.percentile, query.input.arrivals, steps)
