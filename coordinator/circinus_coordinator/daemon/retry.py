"""When a decision that was taken back is tried once more."""

from __future__ import annotations

import random

__all__ = ["Retry"]

# Of the exponent: 2.0**1024 is no float any more.
_MOST_DOUBLINGS = 60


class Retry:
    """Full-jitter backoff: what is broken is left in peace for longer and longer.

    Args:
        base_s: The first pause lasts up to so long; each later one up to twice as long.
        cap_s: But no longer.
        rng: Uniform numbers.
    """

    def __init__(self, *, base_s: float, cap_s: float, rng: random.Random | None = None) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._rng = rng or random.Random()
        self._tries = 0
        self._at: float | None = None

    def failed(self, now: float) -> None:
        """A try failed; several failures of one try count once."""
        if self._at is None:
            ceiling_s = self._base_s * 2.0 ** min(self._tries, _MOST_DOUBLINGS)
            self._at = now + self._rng.uniform(0.0, min(self._cap_s, ceiling_s))
            self._tries += 1

    @property
    def waiting(self) -> bool:
        """A try failed and the next one has not begun."""
        return self._at is not None

    def due(self, now: float) -> bool:
        """True once, when it is time."""
        if self._at is None or now < self._at:
            return False
        self._at = None
        return True

    def reset(self) -> None:
        """It worked, or something else is to be tried."""
        self._tries = 0
        self._at = None
