"""How much a decision moves of what the one before served."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from circinus.decision import Decision
from circinus.query import Query

Way = tuple[tuple[str, str], ...]


def moved(queries: Iterable[Query], was: Decision, now: Decision) -> float:
    """The part of these queries' served requests that no longer goes the way it went."""
    before, after = _ways(was), _ways(now)
    gone = served = 0.0
    for query in queries:
        rate = query.rate_rps * query.count
        for way, share in before[query.id].items():
            served += share * rate
            gone += max(0.0, share - after[query.id][way]) * rate
    return gone / served


def _ways(decision: Decision) -> dict[str, dict[Way, float]]:
    found: dict[str, dict[Way, float]] = defaultdict(lambda: defaultdict(float))
    for a in decision.assignments:
        way = tuple((name, step.device) for name, step in a.plan.items())
        found[a.query][way] += a.share
    return found
