"""A link that is made up: when a frame that is sent now would arrive."""

from __future__ import annotations

from circinus.messages import LinkEmulation

__all__ = ["ShapedLink"]


class ShapedLink:
    """One direction of an emulated link: frames queue up for its bandwidth, then travel.

    Each agent shapes what it sends, so that both directions together take the whole round trip.
    """

    def __init__(self, link: LinkEmulation) -> None:
        self._one_way_s = link.rtt_ms / 2e3
        self._seconds_per_byte = 8e-6 / link.bandwidth_mbps if link.bandwidth_mbps > 0 else 0.0
        self._free_at = 0.0

    def arrival(self, now: float, size_bytes: int) -> float:
        """When a frame handed over `now` arrives (seconds, same clock); remembers it."""
        self._free_at = max(self._free_at, now) + self.seconds_on_line(size_bytes)
        return self._free_at + self._one_way_s

    def seconds_on_line(self, size_bytes: int) -> float:
        """How long the frame occupies the link."""
        return size_bytes * self._seconds_per_byte
