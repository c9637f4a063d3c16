"""The plans known of a query class, written in slots, with what a request of each uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from circinus.query import Slo
from circinus_coordinator.planning.accuracy import AccuracyTable
from circinus_coordinator.planning.decomposition.sites import Layout
from circinus_coordinator.planning.labels import TOLERANCE, Found
from circinus_coordinator.planning.programme import Programme

__all__ = ["Templates"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_MEGABIT_PER_BYTE = 8e-6


class Templates:
    """A growing set of plans.

    Attributes:
        found: Each plan as the programme found it (`value` is of the prices then).
        use: `(plans, used features)` per request: seconds, megabits.
        usd: `(plans,)` per request.
        latency_ms: `(plans,)` unloaded, at the class's percentile.
        accuracy: `(plans,)`; -1 where it is unknown.
    """

    def __init__(
        self, programme: Programme, layout: Layout, used: IntArray, accuracy: AccuracyTable
    ) -> None:
        self._programme, self._layout, self._accuracy = programme, layout, accuracy
        self._column = np.full(layout.features, -1, dtype=np.int64)
        self._column[used] = np.arange(len(used))
        self._known: dict[tuple[int, ...], int] = {}
        self.found: list[Found] = []
        self.use: FloatArray = np.zeros((0, len(used)))
        self.usd: FloatArray = np.zeros(0)
        self.latency_ms: FloatArray = np.zeros(0)
        self.accuracy: FloatArray = np.zeros(0)

    def __len__(self) -> int:
        return len(self.found)

    def add(self, plans: Iterable[Found | None]) -> int:
        """Take plans in; says how many were not known."""
        new = []
        for plan in plans:
            if plan is not None and plan.options not in self._known:
                self._known[plan.options] = len(self.found)
                self.found.append(plan)
                new.append(plan)
        if new:
            self.use = np.concatenate([self.use, np.stack([self._use(p.options) for p in new])])
            percentile = self._programme.query.slo.percentile
            self.usd = np.append(self.usd, [p.usd for p in new])
            self.latency_ms = np.append(self.latency_ms, [p.latency_ms(percentile) for p in new])
            self.accuracy = np.append(self.accuracy, [self._mean(p.options) for p in new])
        return len(new)

    def number(self, plan: Found) -> int:
        """The position of a known plan."""
        return self._known[plan.options]

    def known(self, options: tuple[int, ...]) -> int | None:
        """The position of the plan with these options, if it is known."""
        return self._known.get(options)

    def meets(self, ask: Slo, template: int) -> bool:
        """Whether a plan meets these SLOs, unloaded."""
        return bool(self.meeting([ask])[0, template])

    def _mean(self, options: tuple[int, ...]) -> float:
        steps = zip(self._programme.steps, options, strict=True)
        mean = self._accuracy.of({step.name: step.rows[o].config for step, o in steps})
        return -1.0 if mean is None else mean

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

    def _use(self, options: tuple[int, ...]) -> FloatArray:
        programme, layout = self._programme, self._layout
        use = np.zeros(len(self._column))
        slot = [int(s.slot[o]) for s, o in zip(programme.steps, options, strict=True)]
        size = [float(s.size[o]) for s, o in zip(programme.steps, options, strict=True)]
        device = {name: k for k, name in enumerate(programme.devices)}
        source = programme.query.source

        def move(a: int, b: int, amount: float) -> None:
            if a == b:
                return
            for feature in (layout.link[a, b], layout.uplink[a], layout.uplink[b]):
                if feature >= 0:
                    use[feature] += amount * _MEGABIT_PER_BYTE

        for k, step in enumerate(programme.steps):
            np.add.at(use, layout.compute[slot[k]], step.compute[options[k]])
            if k in programme.entry:
                move(device[source[step.name]], slot[k], programme.entry[k][1])
            for need in step.needs:
                move(slot[need], slot[k], size[need])
            if programme.exits is not None and programme.last_use[k] == k:
                move(slot[k], device[source[programme.pipeline.sources[0]]], size[k])
        return use[self._column >= 0]
