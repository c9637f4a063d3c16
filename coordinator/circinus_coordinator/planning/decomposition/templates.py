"""The plans known of a query class, written in slots, with what a request of each uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from circinus.query import Slo
from circinus_coordinator.planning.accuracy import AccuracyTable
from circinus_coordinator.planning.decomposition.sites import Layout
from circinus_coordinator.planning.decomposition.totals import plans_of, used
from circinus_coordinator.planning.labels import TOLERANCE, Found
from circinus_coordinator.planning.programme import Programme

__all__ = ["Family", "Figures", "Templates"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Options = tuple[int, ...]


@dataclass(slots=True)
class Family:
    """Classes whose steps have the same options, and so, to different figures, the same plans.

    Attributes:
        plans: All that any of them knows, in the order in which they were found.
        accuracy: Of each of them; -1 where it is unknown.
    """

    plans: list[Options] = field(default_factory=list)
    accuracy: dict[Options, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of some plans.

    Attributes:
        use: `(plans, used features)` per request: seconds, megabits.
        usd: `(plans,)` per request.
        latency_ms: `(plans,)` unloaded, at the class's percentile.
        accuracy: `(plans,)`; -1 where it is unknown.
    """

    use: FloatArray
    usd: FloatArray
    latency_ms: FloatArray
    accuracy: FloatArray

    def and_(self, more: Figures) -> Figures:
        """These and others."""
        return Figures(
            np.concatenate([self.use, more.use]),
            np.append(self.usd, more.usd),
            np.append(self.latency_ms, more.latency_ms),
            np.append(self.accuracy, more.accuracy),
        )

    def meeting(self, asks: Sequence[Slo]) -> BoolArray:
        """`(asks, plans)`: which plans meet which SLOs, unloaded."""
        inf = np.inf
        latency = np.array([inf if a.latency_ms is None else a.latency_ms for a in asks])
        usd = np.array(
            [inf if a.cost_usd_per_1000 is None else a.cost_usd_per_1000 / 1e3 for a in asks]
        )
        floor = np.array([-inf if a.accuracy is None else a.accuracy for a in asks])
        return np.asarray(
            (self.latency_ms <= latency[:, None] * (1 + TOLERANCE))
            & (self.usd <= usd[:, None] * (1 + TOLERANCE))
            & (self.accuracy >= floor[:, None])
        )


class Templates:
    """A growing set of plans.

    Attributes:
        found: Each plan as the programme found it (`value` is of the prices then).
        figures: Of these.
        shelf: Figures of plans that others of the family know and this class does not need.
        family: Whose plans these are.
    """

    def __init__(
        self,
        programme: Programme,
        layout: Layout,
        used: IntArray,
        accuracy: AccuracyTable,
        family: Family,
    ) -> None:
        self._programme, self._layout, self._accuracy = programme, layout, accuracy
        self._used, self.family = used, family
        self._known: dict[Options, int] = {}
        self.found: list[Found] = []
        none = np.zeros(0)
        self.figures = Figures(np.zeros((0, len(used))), none, none, none)
        self.shelf = self.figures
        self._shelved: list[Found] = []
        self._seen = 0

    def __len__(self) -> int:
        return len(self.found)

    @property
    def use(self) -> FloatArray:
        """`(plans, used features)` per request: seconds, megabits."""
        return self.figures.use

    @property
    def usd(self) -> FloatArray:
        """`(plans,)` per request."""
        return self.figures.usd

    @property
    def latency_ms(self) -> FloatArray:
        """`(plans,)` unloaded, at the class's percentile."""
        return self.figures.latency_ms

    @property
    def accuracy(self) -> FloatArray:
        """`(plans,)`; -1 where it is unknown."""
        return self.figures.accuracy

    def add(self, plans: Iterable[Found | None]) -> int:
        """Take plans in; says how many were not known."""
        new: list[Found] = []
        for plan in plans:
            if plan is not None and plan.options not in self._known:
                self._known[plan.options] = len(self.found)
                self.found.append(plan)
                new.append(plan)
        if new:
            self.figures = self.figures.and_(self._figures(new))
        return len(new)

    def number(self, plan: Found) -> int:
        """The position of a known plan."""
        return self._known[plan.options]

    def known(self, options: Options) -> int | None:
        """The position of the plan with these options, if it is known."""
        return self._known.get(options)

    def meets(self, ask: Slo, template: int) -> bool:
        """Whether a plan meets these SLOs, unloaded."""
        return bool(self.meeting([ask])[0, template])

    def meeting(self, asks: Sequence[Slo]) -> BoolArray:
        """`(asks, plans)`: which plans meet which SLOs, unloaded."""
        return self.figures.meeting(asks)

    def look_around(self) -> None:
        """Put what the others of the family have found meanwhile on the shelf."""
        new = [o for o in self.family.plans[self._seen :] if o not in self._known]
        self._seen = len(self.family.plans)
        plans = [plan for plan in plans_of(self._programme, new) if plan is not None]
        if plans:
            self._shelved += plans
            self.shelf = self.shelf.and_(self._figures(plans))

    def take(self, shelved: Iterable[int]) -> int:
        """Take plans in from these places of the shelf; says how many were not known."""
        return self.add(self._shelved[k] for k in shelved)

    def _figures(self, plans: Sequence[Found]) -> Figures:
        percentile = self._programme.query.slo.percentile
        options = np.array([plan.options for plan in plans], dtype=np.int64)
        return Figures(
            used(self._programme, self._layout, options)[:, self._used],
            np.array([plan.usd for plan in plans]),
            np.array([plan.latency_ms(percentile) for plan in plans]),
            np.array([self._mean(plan.options) for plan in plans]),
        )

    def _mean(self, options: Options) -> float:
        known = self.family.accuracy
        if options not in known:
            steps = zip(self._programme.steps, options, strict=True)
            mean = self._accuracy.of({step.name: step.rows[o].config for step, o in steps})
            known[options] = -1.0 if mean is None else mean
            self.family.plans.append(options)
        return known[options]
