"""What a change of 1 % of the queries costs a plan that is kept in memory."""

from __future__ import annotations

import dataclasses
import random
import time
from collections import defaultdict
from collections.abc import Iterable

from circinus.decision import Decision
from circinus.query import Query
from circinus_coordinator.generation import generate
from circinus_coordinator.planning import Replanner
from circinus_coordinator.planning.decomposed import at_large

__all__ = ["replan"]

_CHANGE_S = {1_000: 0.05, 10_000: 0.05, 100_000: 0.3}
_MOVED, _LOST = 0.02, 0.003
_CHANGED = 0.01


def replan(queries: int, devices: int, seed: int) -> str:
    """A line: CPU seconds of a change, requests moved, goodput lost against planning cold."""
    few = int(queries * _CHANGED)
    every = generate(
        queries=queries + few, devices=devices, seed=seed, contention=0.5, queueing=False
    )
    # Neighbours in the scenario are alike; who goes and comes is to be anybody.
    asked = list(every.queries)
    random.Random(seed).shuffle(asked)
    planner = Replanner(dataclasses.replace(every, queries=tuple(asked[:queries])), seed=seed)
    before = planner.decision()
    began = time.process_time()
    change = planner.change(add=asked[queries:], remove=[q.id for q in asked[:few]])
    took = time.process_time() - began
    stayed = moved(asked[few:queries], before, planner.decision())
    after = dataclasses.replace(every, queries=tuple(asked[few:]))
    cold = at_large(after, seed=seed, clock=time.process_time)
    lost = 1 - change.goodput_rps / cold.goodput_rps
    return (
        f"{f'{queries}/{devices}':>18} 1 % of the queries changed: {took * 1e3:.0f} ms "
        f"(<={_CHANGE_S[queries] * 1e3:.0f} {_verdict(took, _CHANGE_S[queries])}), "
        f"{stayed:.2%} of the other requests moved (<={_MOVED:.0%} {_verdict(stayed, _MOVED)}), "
        f"{lost * 100:.2f} points lost against cold (<={_LOST * 100:g} {_verdict(lost, _LOST)})"
    )


def _verdict(value: float, target: float) -> str:
    return "met" if value <= target else "miss"


def moved(queries: Iterable[Query], was: Decision, now: Decision) -> float:
    """The part of these queries' served requests that no longer goes the way it went."""
    before, after = _ways(was), _ways(now)
    gone = served = 0.0
    for query in queries:
        rate = query.rate_rps * query.count
        for way, share in before[query.id].items():
            served += share * rate
            gone += max(0.0, share - after[query.id][way]) * rate
    return gone / served if served else 0.0


def _ways(decision: Decision) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(lambda: defaultdict(float))
    for a in decision.assignments:
        found[a.query][tuple(step.device for step in a.plan.values())] += a.share
    return found
