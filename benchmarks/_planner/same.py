"""Cost on the same queries: ours plans just those that another planner serves whole."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks._planner.cases import Case
from benchmarks._planner.judging import Evaluated, Served, judge
from benchmarks._planner.options import OURS
from benchmarks._planner.timebox import OutOfTime, time_box
from circinus.errors import CircinusError
from circinus.scenario import Scenario
from circinus_coordinator.planning import plan
from circinus_coordinator.planning.catalogue import Catalogue

__all__ = ["Same", "same_queries", "usd_per_1000"]

# Who has a target for cost; for each of them ours plans once more.
_COSTED = ("cheapest-first", "cheapest-first@best", "all-cloud", "all-cloud@best")


@dataclass(frozen=True, slots=True, kw_only=True)
class Same:
    """Ours and another planner asked for the same queries, on the same fleet.

    Attributes:
        asked: Queries the other serves whole; nobody asks for more.
        served: Those of them that ours serves whole, too; costs are of these.
        usd_ours, usd_theirs: US dollars per 1,000 good requests, weighted by rates.
        usd_least: The same if each took the cheapest plan it has alone on the empty fleet.
    """

    asked: int
    served: int
    usd_ours: float
    usd_theirs: float
    usd_least: float


def same_queries(
    case: Case,
    scenario: Scenario,
    planner: str,
    theirs: Evaluated,
    alone_usd: Mapping[str, float],
    *,
    limit_s: float,
) -> Same | None:
    """None where the planner has no target for cost, serves nothing, or ours took too long."""
    if planner not in _COSTED or not theirs.whole:
        return None
    queries = tuple(query for query in scenario.queries if query.id in theirs.whole)
    only = dataclasses.replace(scenario, queries=queries)
    try:
        with time_box(limit_s):
            decision = plan(only, planner=OURS, seed=case.seed, clock=time.process_time)
    except (CircinusError, OutOfTime):
        return None
    ours = judge(Catalogue(only), decision)
    both = [name for name in ours.whole if name in theirs.whole]
    rates = [ours.whole[name].rate_rps for name in both]
    return Same(
        asked=len(queries),
        served=len(both),
        usd_ours=usd_per_1000(ours.whole, both),
        usd_theirs=usd_per_1000(theirs.whole, both),
        usd_least=_per_1000(rates, [alone_usd.get(name, math.nan) for name in both]),
    )


def usd_per_1000(whole: Mapping[str, Served], names: Sequence[str]) -> float:
    """US dollars per 1,000 requests of these queries; not a number without any."""
    return _per_1000([whole[n].rate_rps for n in names], [whole[n].usd for n in names])


def _per_1000(rates_rps: Sequence[float], usd: Sequence[float]) -> float:
    requests = math.fsum(rates_rps)
    paid = math.fsum(rate * one for rate, one in zip(rates_rps, usd, strict=True))
    return 1000 * paid / requests if requests > 0 else math.nan
