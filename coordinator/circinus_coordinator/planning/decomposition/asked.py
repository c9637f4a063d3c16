"""A query among those that come and go, and what runs for it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from circinus.query import Query
from circinus_coordinator.planning.decomposition.joining import Joined

__all__ = ["LEAST_SHARE", "Asked", "Way", "alike", "merged", "rates"]

LEAST_SHARE = 1e-9
"""Who lacks no more than this part lacks nothing."""
_ROUNDED = 1e-6
Way = tuple[int, tuple[str, ...], float]
"""Template, device of each position, requests per second."""


@dataclass(slots=True)
class Asked:
    """A query, and what runs for it.

    Attributes:
        joined: Its class and site; None where it has no plan.
        left: Requests per second that are not served.
        price: What its cheapest plan takes, as a part of its worth.
        ways: What runs.
        were: What ran before it lost its place.
        lacks: The resource it waits for, -1 for none in particular; None where it does not wait.
        plans: Templates it may have, cheapest first; None until somebody asks.
        values: Of these, at the prices.
    """

    query: Query
    joined: Joined | None
    left: float
    price: float = math.inf
    ways: list[Way] = field(default_factory=list)
    were: list[Way] = field(default_factory=list)
    lacks: int | None = None
    plans: list[int] | None = None
    values: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests per second it asks for."""
        return self.query.rate_rps * self.query.count

    def served_whole(self) -> bool:
        """Whether nothing is left of it, but for rounding, which is forgotten."""
        if self.left <= LEAST_SHARE * self.rate:
            self.left = 0.0
        return self.left <= 0

    @property
    def in_full(self) -> bool:
        """Whether it is served, but for what a programme's rates are rounded by."""
        return self.left <= _ROUNDED * self.rate

    def running(self) -> list[Way]:
        """What runs, once for each template and devices."""
        return [(*way, rate) for way, rate in merged(self.ways).items()]

    @property
    def worth(self) -> float:
        """Weighted requests per second that are served."""
        return (self.rate - self.left) * self.query.weight if self.ways else 0.0


def merged(ways: Iterable[Way]) -> dict[tuple[int, tuple[str, ...]], float]:
    """Requests per second by template and devices."""
    found: dict[tuple[int, tuple[str, ...]], float] = defaultdict(float)
    for template, devices, rate in ways:
        found[template, devices] += rate
    return found


def rates(ways: Iterable[Way]) -> dict[int, float]:
    """Requests per second by template."""
    found: dict[int, float] = defaultdict(float)
    for template, _, rate in ways:
        found[template] += rate
    return found


def alike(
    one: Mapping[tuple[int, tuple[str, ...]], float],
    two: Mapping[tuple[int, tuple[str, ...]], float],
) -> bool:
    """Whether two of these are the same but for rounding."""
    return one.keys() == two.keys() and all(
        math.isclose(rate, two[way], rel_tol=LEAST_SHARE) for way, rate in one.items()
    )
