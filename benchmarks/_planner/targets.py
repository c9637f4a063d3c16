"""What is to be reached against the other planners."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks._planner.cases import Case, Series
from benchmarks._planner.figures import Pair, Spread, ratio, spread
from benchmarks._planner.options import BAND

__all__ = ["TARGETS", "Target", "in_band"]

_SAME = "ours asked for just the queries that the other serves whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What has to be reached against one planner.

    Attributes:
        what: In words.
        planner: The other one.
        value: Of a pair; not a number where it does not count.
        limit: To reach, or with `at_most` not to exceed: then in no scenario, while otherwise
            the median counts.
        most: Of a pair: what no planner could do better than; not a number where nothing is known.
        note: Under which conditions a pair counts.
    """

    what: str
    planner: str
    value: Callable[[Pair], float]
    limit: float
    at_most: bool = False
    most: Callable[[Pair], float] = lambda _: math.nan
    note: str = ""

    def reached(self, found: Sequence[Pair]) -> Spread | None:
        """Over the scenarios of the comparison that are contended as the targets say."""
        return self._over(self.value, found)

    def reachable(self, found: Sequence[Pair]) -> Spread | None:
        """The same for what no planner could do better than."""
        return self._over(self.most, found)

    def _over(self, value: Callable[[Pair], float], found: Sequence[Pair]) -> Spread | None:
        return spread(
            value(pair) for pair in found if pair.planner == self.planner and in_band(pair.case)
        )

    def hit(self, reached: Spread) -> bool:
        """Whether that is enough."""
        return reached.high <= self.limit if self.at_most else reached.median >= self.limit


def in_band(case: Case) -> bool:
    """A scenario of the comparison with the contention that the targets are set for."""
    return case.series is Series.COMPARE and BAND[0] <= case.contention <= BAND[1]


def _goodput(planner: str, limit: float) -> Target:
    return Target(
        what="simulated goodput, ours/theirs",
        planner=planner,
        value=lambda pair: pair.simulated,
        limit=limit,
        most=lambda pair: pair.most,
    )


def _dearer(planner: str) -> Target:
    return Target(
        what="cost, ours/theirs",
        planner=planner,
        value=lambda pair: ratio(1, pair.asked_usd),
        limit=1.02,
        at_most=True,
        most=lambda pair: ratio(1, pair.asked_least),
        note=f"{_SAME}; in every scenario",
    )


def _cheaper(planner: str, limit: float) -> Target:
    return Target(
        what="cost, theirs/ours",
        planner=planner,
        value=lambda pair: pair.asked_usd,
        limit=limit,
        most=lambda pair: pair.asked_least,
        note=_SAME,
    )


def _faster(planner: str) -> Target:
    return Target(
        what="cold planning, theirs/ours",
        planner=planner,
        value=lambda pair: pair.cpu if pair.no_worse else math.nan,
        limit=10.5,
        note="seconds of CPU, in scenarios where ours has no less simulated goodput",
    )


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
    _faster("bayesian-50"),
    _faster("bayesian-50-shared"),
    _faster("bayesian-200"),
    _faster("bayesian-200-shared"),
)
"""What is to be reached where 35 to 60 % of the demand fits."""
