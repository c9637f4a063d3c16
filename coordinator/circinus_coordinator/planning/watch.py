"""Whether a plan keeps its latency, as cheaply as it can be asked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from circinus.decision import Estimate
from circinus_coordinator.planning.labels import TOLERANCE
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, meets, scaled
from circinus_coordinator.planning.promise import Arrival, Delays, added, promised_ms

__all__ = ["Watch"]


# Whatever the headroom, a plan may take so many times what it takes on an empty fleet.
_BESIDE_NONE = 1.15


class Watch:
    """One plan's latency against its limit; accuracy and cost do not depend on loads.

    Args:
        placed: The plan.
        headroom: Part of the limit within which it has to be, or nearly what it takes alone, where
            that is more.
    """

    __slots__ = ("_known", "_least_ms", "_limit", "placed")

    def __init__(self, placed: PlacedPlan, headroom: float = 1.0) -> None:
        self.placed = placed
        limit = placed.query.slo.latency_ms
        self._limit = math.inf if limit is None else limit * (1 + TOLERANCE)
        if headroom < 1 and limit is not None:
            early = max(headroom * limit, _BESIDE_NONE * placed.latency_ms())
            self._limit = min(self._limit, early)
        self._least_ms: float | None = None
        self._known: tuple[object, bool] | None = None

    def late(self, ledger: Ledger) -> bool:
        """True where it breaks its limit at the ledger's loads, or a queue grows for ever."""
        if not ledger.scenario.queueing:
            ms = self.placed.latency_ms(ledger)
            return not (math.isfinite(ms) and ms <= self._limit)
        delays = self.placed.delays(ledger)
        if self._known is None or self._known[0] != delays:
            self._known = delays, self._late(*delays)
        return self._known[1]

    @property
    def fault(self) -> str | None:
        """The SLO other than latency that it breaks at any load, None if none."""
        placed = self.placed
        cost = placed.usd * 1000
        return meets(
            placed.query,
            Estimate(latency_ms=0.0, accuracy=placed.accuracy, cost_usd_per_1000=cost),
        )

    def late_to_enter(self, ledger: Ledger) -> bool:
        """True where even the first of its requests would be late.

        Its own load and the waiting for links are left out, so that it is refused rightly.
        """
        steps, exits = self.placed.delays(None)
        entering, correction = [], self.placed.correction
        for delays, step in zip(steps, self.placed.use.steps, strict=True):
            wait = ledger.entering(step)
            if correction is not None:
                wait = scaled(wait, correction.waits.get(step.device, 1.0))
            entering.append(dataclasses.replace(delays, waits=(wait,)))
        return self._late(entering, exits)

    def _late(self, steps: Sequence[Delays], exits: Sequence[Arrival]) -> bool:
        if self._least_ms is None:
            self._least_ms = self.placed.latency_ms()
        if self._least_ms > self._limit:
            return True
        mean, variance = added(steps, exits)
        if math.isinf(mean):
            return True
        percent = self.placed.query.slo.percentile
        if all(len(step.arrivals) == 1 for step in steps) and len(exits) == 1:
            # No distribution of this mean and variance reaches further (Cantelli's inequality).
            part = percent / 100
            if mean + math.sqrt(variance * part / (1 - part)) <= self._limit:
                return False
            if mean - math.sqrt(variance * (1 - part) / part) > self._limit:
                return True
        return promised_ms(steps, exits, percent) > self._limit
