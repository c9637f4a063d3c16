"""Whether a plan keeps its latency, as cheaply as it can be asked."""

from __future__ import annotations

import math

from circinus_coordinator.planning.labels import TOLERANCE
from circinus_coordinator.planning.latency import percentile_ms
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan

__all__ = ["Watch"]


class Watch:
    """One plan's latency against its limit; accuracy and cost do not depend on loads."""

    __slots__ = ("_limit", "placed")

    def __init__(self, placed: PlacedPlan) -> None:
        self.placed = placed
        limit = placed.query.slo.latency_ms
        self._limit = math.inf if limit is None else limit * (1 + TOLERANCE)

    def late(self, ledger: Ledger) -> bool:
        """True where it breaks its limit at the ledger's loads, or a queue grows for ever."""
        latency = self.placed.latency_ms(ledger)
        return not (math.isfinite(latency) and latency <= self._limit)

    def late_to_enter(self, ledger: Ledger) -> bool:
        """True where even the first of its requests would be late; only seen for chains.

        Its own load and the waiting for links are left out, so that it is refused rightly.
        """
        stops, steps = self.placed.stops, self.placed.use.steps
        mean = variance = 0.0
        for k, (stop, step) in enumerate(zip(stops, steps, strict=True)):
            if len(stop.arrivals) != 1 or stop.arrivals[0][0] != k - 1:
                return False
            least = step.quickest  # a batch may start with less than it could hold
            mean += stop.arrivals[0][1] + stop.mean * least + ledger.entering(step)
            variance += stop.variance * least**2
        return percentile_ms(mean, variance, self.placed.query.slo.percentile) > self._limit
