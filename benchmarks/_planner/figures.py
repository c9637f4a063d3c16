"""From results to the figures that are compared: ratios, costs on the same queries, targets.

Every ratio is taken within one scenario; over scenarios the median counts, with the lowest and
the highest beside it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks._planner.cases import Case, Series
from benchmarks._planner.judging import Served, Worth
from benchmarks._planner.options import BAND, OURS
from benchmarks._planner.running import Result

__all__ = [
    "TARGETS",
    "Pair",
    "Spread",
    "Target",
    "bounds",
    "gaps",
    "in_band",
    "pairs",
    "problems",
    "ratio",
    "spread",
]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Ours and another planner on one scenario; ratios above 1 speak for ours.

    Attributes:
        goodput: Ours / theirs by the evaluator; infinite where theirs is 0.
        simulated: The same by the simulator.
        queries: Queries that both serve whole.
        usd: Theirs / ours, US dollars per 1,000 good requests over just these queries, weighted
            by their rates; not a number without any.
        usd_simulated: The same for requests that were good in the simulator.
        wall, cpu: Theirs / ours, planning from nothing.
        no_worse: Ours has at least their simulated goodput.
    """

    case: Case
    planner: str
    goodput: float
    simulated: float
    queries: int
    usd_ours: float
    usd_theirs: float
    usd: float
    usd_simulated: float
    wall: float
    cpu: float
    no_worse: bool


def pairs(results: Sequence[Result]) -> list[Pair]:
    """Ours with each other planner, wherever both ran."""
    ours = {_key(r.case): r for r in results if r.planner == OURS and r.ran}
    return [
        _pair(ours[_key(r.case)], r)
        for r in results
        if r.planner != OURS and r.ran and _key(r.case) in ours
    ]


def _key(case: Case) -> tuple[object, ...]:
    return case.series, case.queries, case.contention, case.seed


def _pair(ours: Result, theirs: Result) -> Pair:
    assert ours.worth is not None and theirs.worth is not None
    assert ours.cold is not None and theirs.cold is not None
    a, b = ours.worth.evaluated.whole, theirs.worth.evaluated.whole
    both = [name for name in a if name in b]
    usd_ours, usd_theirs = _usd(a, both), _usd(b, both)
    return Pair(
        case=ours.case,
        planner=theirs.planner,
        goodput=ratio(ours.goodput, theirs.goodput),
        simulated=ratio(ours.simulated, theirs.simulated),
        queries=len(both),
        usd_ours=usd_ours,
        usd_theirs=usd_theirs,
        usd=ratio(usd_theirs, usd_ours),
        usd_simulated=ratio(_usd_simulated(theirs.worth, both), _usd_simulated(ours.worth, both)),
        wall=ratio(theirs.cold.wall_s, ours.cold.wall_s),
        cpu=ratio(theirs.cold.cpu_s, ours.cold.cpu_s),
        no_worse=ours.simulated >= theirs.simulated * (1 - _ROUNDING),
    )


def ratio(a: float, b: float) -> float:
    """A / b; infinite where only b is 0, not a number where both are."""
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.inf
    return a / b


def _usd(whole: dict[str, Served] | object, names: Sequence[str]) -> float:
    assert isinstance(whole, dict)
    requests = math.fsum(whole[name].rate_rps for name in names)
    usd = math.fsum(whole[name].rate_rps * whole[name].usd for name in names)
    return 1000 * usd / requests if requests > 0 else math.nan


def _usd_simulated(worth: Worth, names: Sequence[str]) -> float:
    """As `_usd`, over the requests that were good in the simulator; all of them are paid for."""
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
        if judged.broken or judged.overloaded:
            found.append(
                f"{where}: {judged.broken} plans break an SLO, {judged.overloaded} resources "
                "are overloaded"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What has to be reached against one planner.

    Attributes:
        what: In words.
        planner: The other one.
        value: Of a pair; not a number where it does not count.
        limit: To reach.
        worst: The worst scenario counts and not the median.
        note: Under which conditions a pair counts.
    """

    what: str
    planner: str
    value: Callable[[Pair], float]
    limit: float
    worst: bool = False
    note: str = ""

    def reached(self, found: Sequence[Pair]) -> Spread | None:
        """Over the scenarios of the comparison that are contended as the targets say."""
        return spread(
            self.value(pair)
            for pair in found
            if pair.planner == self.planner and in_band(pair.case)
        )

    def hit(self, reached: Spread) -> bool:
        """Whether that is enough."""
        return (reached.low if self.worst else reached.median) >= self.limit


def in_band(case: Case) -> bool:
    """A scenario of the comparison with the contention that the targets are set for."""
    return case.series is Series.COMPARE and BAND[0] <= case.contention <= BAND[1]


def _goodput(planner: str, limit: float) -> Target:
    return Target(
        what="simulated goodput, ours / theirs",
        planner=planner,
        value=lambda pair: pair.simulated,
        limit=limit,
    )


def _dearer(planner: str) -> Target:
    return Target(
        what="cost on the same queries, theirs / ours",
        planner=planner,
        value=lambda pair: pair.usd,
        limit=1 / 1.02,
        worst=True,
        note="never above by more than 2 %: the worst scenario",
    )


def _cheaper(planner: str, limit: float) -> Target:
    return Target(
        what="cost on the same queries, theirs / ours",
        planner=planner,
        value=lambda pair: pair.usd,
        limit=limit,
    )


def _faster(planner: str, sharing: str) -> Target:
    return Target(
        what="planning time from nothing, theirs / ours",
        planner=planner,
        value=lambda pair: pair.wall if pair.no_worse else math.nan,
        limit=10.5,
        note=f"where ours has no less simulated goodput; the other one {sharing}",
    )


_APART, _SHARED = "plans every query by itself", "plans every class of queries once"
TARGETS = (
    _goodput("best-accuracy", 5.1),
    _goodput("bayesian-50", 5.1),
    _goodput("bayesian-200", 3.5),
    _goodput("cheapest-first", 2.5),
    _goodput("cheapest-first@best", 1.4),
    _goodput("bayesian-200@best", 1.8),
    _dearer("cheapest-first"),
    _dearer("cheapest-first@best"),
    _cheaper("all-cloud", 4.5),
    _cheaper("all-cloud@best", 4.5),
    _faster("bayesian-50", _APART),
    _faster("bayesian-50-shared", _SHARED),
    _faster("bayesian-200", _APART),
    _faster("bayesian-200-shared", _SHARED),
)
"""What is to be reached where 35 to 60 % of the demand fits."""
