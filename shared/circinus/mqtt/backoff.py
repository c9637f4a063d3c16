"""How long to wait before the next connection attempt."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Exponential back-off with full jitter: uniform between nothing and a doubling ceiling.

    Full jitter spreads a fleet that lost its broker at one moment evenly over the ceiling
    (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). The ceiling falls back
    to `base_s` only after a connection that lasted `stable_after_s`, so that a broker which
    accepts and drops at once is not hammered.

    Args:
        base_s: First ceiling.
        cap_s: Largest ceiling.
        stable_after_s: A connection up this long counts as good.
        rng: Source of the jitter.
    """

    def __init__(
        self,
        *,
        base_s: float = 0.25,
        cap_s: float = 8.0,
        stable_after_s: float = 10.0,
        rng: random.Random | None = None,
    ) -> None:
        if not 0 < base_s <= cap_s:
            raise ValueError("base_s must be positive and at most cap_s")
        self._base_s = base_s
        self._cap_s = cap_s
        self._stable_after_s = stable_after_s
        self._rng = rng or random.Random()
        self._ceiling_s = base_s

    @property
    def ceiling_s(self) -> float:
        """The longest that the next delay can be, if the connection was not stable."""
        return self._ceiling_s

    def next_delay_s(self, uptime_s: float) -> float:
        """The delay after a connection that lasted `uptime_s`; 0 if it never came about."""
        if uptime_s >= self._stable_after_s:
            self._ceiling_s = self._base_s
        delay_s = self._rng.uniform(0.0, self._ceiling_s)
        self._ceiling_s = min(self._cap_s, 2 * self._ceiling_s)
        return delay_s
