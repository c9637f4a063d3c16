"""Waiting times that grow, with full jitter so that many do not come back at once.

M. Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

__all__ = ["Backoff"]


@dataclass(slots=True, kw_only=True)
class Backoff:
    """Draws the time before the next try, in seconds.

    Args:
        first_s: Upper end of the first draw; it doubles with each further one.
        last_s: Upper end it never exceeds.
        random: Where draws come from.
    """

    first_s: float
    last_s: float
    random: random.Random = field(default_factory=random.Random)
    tries: int = 0

    def next(self) -> float:
        """Time to wait before the next try."""
        ceiling = min(self.last_s, self.first_s * 2.0 ** min(self.tries, 30))
        self.tries += 1
        return self.random.uniform(0.0, ceiling)

    def reset(self) -> None:
        """Begin again: it worked."""
        self.tries = 0
