"""Which scenarios are made, and how to make them again."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks._planner.options import Options
from circinus.scenario import Scenario, encode_scenario
from circinus_coordinator.generation import generate

__all__ = ["Case", "Series", "cases", "digest", "middle"]

_LEAST_DEVICES = 8
_QUERIES_PER_DEVICE = 10  # fewer make rates unnaturally high (docs/generator.md)


class Series(enum.Enum):
    """What a case is for."""

    COMPARE = "compare"
    SIZE = "size"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One scenario; `arguments` are the generator's, all of them."""

    series: Series
    arguments: Mapping[str, Any]

    @property
    def queries(self) -> int:
        """Number of queries."""
        return int(self.arguments["queries"])

    @property
    def seed(self) -> int:
        """The generator's seed, and the planners'."""
        return int(self.arguments["seed"])

    @property
    def contention(self) -> float:
        """Asked for."""
        return float(self.arguments["contention"])

    def scenario(self) -> Scenario:
        """Make it."""
        return generate(**self.arguments)


def cases(options: Options) -> list[Case]:
    """All cases, smaller ones first: who takes too long is not asked for more."""
    wanted = [
        (Series.COMPARE, options.queries, contention, options.first_seed + k)
        for contention in options.contentions
        for k in range(options.seeds)
    ]
    wanted += [
        (Series.SIZE, queries, middle(options), options.first_seed) for queries in options.sizes
    ]
    wanted.sort(key=lambda case: (case[1], case[3], case[2]))
    return [
        Case(
            series=series,
            arguments={
                "queries": queries,
                "devices": _devices(options, queries),
                "seed": seed,
                "contention": contention,
                "tightness": options.tightness,
                "splittable": options.splittable,
                "queueing": options.queueing,
            },
        )
        for series, queries, contention, seed in wanted
    ]


def middle(options: Options) -> float:
    """The contention of the series over sizes."""
    return sorted(options.contentions)[len(options.contentions) // 2]


def _devices(options: Options, queries: int) -> int:
    if options.devices is not None and queries == options.queries:
        return options.devices
    return max(_LEAST_DEVICES, queries // _QUERIES_PER_DEVICE)


def digest(scenario: Scenario) -> str:
    """Of the scenario's document: whoever repeats the run can see that it is the same."""
    return hashlib.sha256(encode_scenario(scenario)).hexdigest()
