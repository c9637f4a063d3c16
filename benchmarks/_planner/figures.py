"""From results to the figures that are compared: ratios, costs on the same queries.

Every ratio is taken within one scenario; over scenarios the median counts, with the lowest and
the highest beside it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks._planner.cases import Case
from benchmarks._planner.judging import Served, Worth
from benchmarks._planner.options import OURS
from benchmarks._planner.running import Result
from benchmarks._planner.same import usd_per_1000

__all__ = ["Pair", "Spread", "bounds", "gaps", "own_usd", "pairs", "problems", "ratio", "spread"]

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median, lowest and highest of so many values."""

    median: float
    low: float
    high: float
    count: int


def spread(values: Iterable[float]) -> Spread | None:
    """Of the values that are numbers; None without any."""
    found = sorted(v for v in values if not math.isnan(v))
    if not found:
        return None
    # Of an even number the lower middle one: the mean of a number and infinity would say nothing.
    median = statistics.median_low(found)
    return Spread(median=median, low=found[0], high=found[-1], count=len(found))


def ratio(a: float, b: float) -> float:
    """A / b; infinite where only b is 0, not a number where both are."""
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.inf
    return a / b


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Ours and another planner on one scenario; ratios above 1 speak for ours.

    Attributes:
        goodput: Ours / theirs by the evaluator; infinite where theirs is 0.
        simulated: The same by the simulator.
        most: What no planner could exceed in place of `simulated`: the least certified bound over
            theirs; not a number without one. Arrivals are drawn, so that a simulated part may pass
            a planned one by chance.
        common: Queries that both serve whole.
        usd: Theirs / ours, US dollars per 1,000 good requests over just these queries, weighted
            by their rates; not a number without any.
        usd_least: US dollars per 1,000 requests if each of these queries took the cheapest plan it
            has alone on the empty fleet; nobody serves them for less.
        usd_simulated: The same for requests that were good in the simulator.
        asked: Queries that the other serves whole, where ours was asked for just these.
        served: Those of them that ours serves whole, too.
        asked_usd: Theirs / ours over these; not a number where nobody asked.
        asked_least: Theirs / what nobody serves them for less than.
        wall, cpu: Theirs / ours, planning from nothing.
        no_worse: Ours has at least their simulated goodput.
    """

    case: Case
    planner: str
    goodput: float
    simulated: float
    most: float
    common: int
    usd_ours: float
    usd_theirs: float
    usd: float
    usd_least: float
    usd_simulated: float
    asked: int
    served: int
    asked_usd: float
    asked_least: float
    wall: float
    cpu: float
    no_worse: bool


def pairs(results: Sequence[Result]) -> list[Pair]:
    """Ours with each other planner, wherever both ran."""
    ours = {_key(r.case): r for r in results if r.planner == OURS and r.ran}
    least = bounds(results)
    return [
        _pair(ours[_key(r.case)], r, least.get(_key(r.case), math.nan))
        for r in results
        if r.planner != OURS and r.ran and _key(r.case) in ours
    ]


def _key(case: Case) -> tuple[object, ...]:
    return case.series, case.queries, case.contention, case.seed


def _pair(ours: Result, theirs: Result, bound: float) -> Pair:
    assert ours.worth is not None
    assert theirs.worth is not None
    assert ours.cold is not None
    assert theirs.cold is not None
    a, b = ours.worth.evaluated.whole, theirs.worth.evaluated.whole
    both = [name for name in a if name in b]
    usd_ours, usd_theirs = usd_per_1000(a, both), usd_per_1000(b, both)
    same = theirs.same
    return Pair(
        case=ours.case,
        planner=theirs.planner,
        goodput=ratio(ours.goodput, theirs.goodput),
        simulated=ratio(ours.simulated, theirs.simulated),
        most=ratio(bound, theirs.simulated),
        common=len(both),
        usd_ours=usd_ours,
        usd_theirs=usd_theirs,
        usd=ratio(usd_theirs, usd_ours),
        usd_least=_usd_least(ours, a, both),
        usd_simulated=ratio(_usd_simulated(theirs.worth, both), _usd_simulated(ours.worth, both)),
        asked=same.asked if same else 0,
        served=same.served if same else 0,
        asked_usd=ratio(same.usd_theirs, same.usd_ours) if same else math.nan,
        asked_least=ratio(same.usd_theirs, same.usd_least) if same else math.nan,
        wall=ratio(theirs.cold.wall_s, ours.cold.wall_s),
        cpu=ratio(theirs.cold.cpu_s, ours.cold.cpu_s),
        no_worse=ours.simulated >= theirs.simulated * (1 - _ROUNDING),
    )


def own_usd(result: Result) -> float:
    """US dollars per 1,000 good requests of all that the planner serves."""
    assert result.worth is not None
    judged = result.worth.evaluated
    per_hour = judged.good_rps * 3600
    return 1000 * judged.usd_hour / per_hour if per_hour > 0 else math.nan


def _usd_least(result: Result, whole: Mapping[str, Served], names: Sequence[str]) -> float:
    requests = math.fsum(whole[name].rate_rps for name in names)
    usd = math.fsum(whole[name].rate_rps * result.alone_usd.get(name, math.nan) for name in names)
    return 1000 * usd / requests if requests > 0 else math.nan


def _usd_simulated(worth: Worth, names: Sequence[str]) -> float:
    """Of the requests that were good in the simulator; all of them are paid for."""
    whole, good = worth.evaluated.whole, worth.simulated.good
    requests = math.fsum(whole[name].rate_rps * good[name] for name in names if name in good)
    usd = math.fsum(whole[name].rate_rps * whole[name].usd for name in names if name in good)
    return 1000 * usd / requests if requests > 0 else math.nan


def bounds(results: Sequence[Result]) -> dict[tuple[object, ...], float]:
    """For each case the least certified bound of any planner, as a part of the demand."""
    found: dict[tuple[object, ...], float] = {}
    for result in results:
        if result.bound is not None:
            key = _key(result.case)
            found[key] = min(found.get(key, math.inf), result.bound)
    return found


def gaps(results: Sequence[Result], planner: str) -> list[float]:
    """How far from the least certified bound the planner may be, case by case."""
    least = bounds(results)
    return [
        max(0.0, 1 - r.goodput / least[_key(r.case)]) if least[_key(r.case)] > 0 else 0.0
        for r in results
        if r.planner == planner and r.ran and _key(r.case) in least
    ]


def problems(results: Sequence[Result]) -> list[str]:
    """Claims that turned out to be wrong; there should be none."""
    least = bounds(results)
    found = []
    for r in results:
        if r.worth is None or r.decision is None:
            continue
        judged, case = r.worth.evaluated, r.case
        where = f"{r.planner}, {case.queries} queries, {case.contention:g}, seed {case.seed}"
        if judged.broken or judged.overloaded or judged.overserved:
            found.append(
                f"{where}: {judged.broken} plans break an SLO, {judged.overloaded} resources "
                f"are overloaded, {judged.overserved} queries served more than whole"
            )
        if r.decision.goodput_rps > judged.goodput_rps * (1 + _ROUNDING):
            found.append(
                f"{where}: says {r.decision.goodput_rps:.6g} of goodput, has "
                f"{judged.goodput_rps:.6g}"
            )
        bound = least.get(_key(case))
        if bound is not None and r.goodput > bound * (1 + _ROUNDING):
            found.append(f"{where}: goodput {r.goodput:.6f} above a certified bound {bound:.6f}")
    return found
