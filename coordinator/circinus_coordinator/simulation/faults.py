"""Failures and slow-downs of devices and links."""

from __future__ import annotations

import math
from dataclasses import dataclass

from circinus.errors import InvalidInput

__all__ = ["Fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A device or a link that is down or slow for a while.

    Attributes:
        start_s, end_s: From when, and until when; the end may be infinite.
        device: Id of the device, or None for a link.
        link: Two device ids, both ways, or None for a device.
        slowdown: Computation takes so many times as long, or the bandwidth is divided by it
            (below 1: faster); None for down. Slow-downs of one thing multiply.
    """

    start_s: float
    end_s: float = math.inf
    device: str | None = None
    link: tuple[str, str] | None = None
    slowdown: float | None = None

    def __post_init__(self) -> None:
        if (self.device is None) == (self.link is None):
            raise InvalidInput("a fault concerns one device or one link", key="device")
        if not 0 <= self.start_s < self.end_s:
            raise InvalidInput("must lie after the start, which is at least 0", key="end_s")
        if self.slowdown is not None and not 0 < self.slowdown < math.inf:
            raise InvalidInput(
                f"must be above 0, not {self.slowdown!r}",
                key="slowdown",
                remedy="leave it out for a failure",
            )
