"""When to start a batch and whom to leave out: pure decisions of a stage."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

__all__ = ["LINGER_MAX_S", "ArrivalRate", "ServiceEstimate", "linger_s"]

# Waiting for a fuller batch saves computation, not latency; longer than this nobody gains.
LINGER_MAX_S = 0.005
# Optimistic: the fastest of the last few, so that nobody is dropped who could have made it.
REMEMBERED = 8
# Each request dropped for the estimate's sake shrinks it: after an outlier it is tried again.
DOUBT = 0.9


@dataclass(slots=True)
class ServiceEstimate:
    """How long the next batch will take at the least, in seconds."""

    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        """A batch took so long."""
        self._recent.append(seconds)
        self.seconds = min(self._recent)

    def doubt(self) -> None:
        """A request was dropped because of the estimate."""
        self._recent = deque((s * DOUBT for s in self._recent), maxlen=REMEMBERED)
        self.seconds *= DOUBT


@dataclass(slots=True)
class ArrivalRate:
    """Mean gap between arrivals, exponentially weighted, in seconds."""

    gap_s: float = float("inf")
    _last: float | None = None

    def observe(self, now: float) -> None:
        """A request arrived."""
        if self._last is not None:
            gap = now - self._last
            self.gap_s = gap if self.gap_s == float("inf") else 0.8 * self.gap_s + 0.2 * gap
        self._last = now


def linger_s(*, waiting: int, batch: int, gap_s: float, service_s: float, slack_s: float) -> float:
    """How long to wait for a fuller batch; 0 to start now.

    Args:
        waiting: Requests in the queue.
        batch: Requests that fit.
        gap_s: Expected time to the next arrival.
        service_s: Expected time of a batch.
        slack_s: What the most urgent request can spare beyond `service_s`.
    """
    if waiting >= batch or service_s <= 0.0:
        return 0.0
    limit = min(LINGER_MAX_S, service_s / 4, slack_s / 10)
    return limit if gap_s < limit else 0.0
