"""What the runtime needs of the data plane."""

from __future__ import annotations

from typing import Protocol

from circinus_agent.dataplane.frames import Frame

__all__ = ["Transport"]


class Transport(Protocol):
    """Sends frames to other devices (`DataPlane` does)."""

    def send(self, device: str, frame: Frame) -> bool:
        """Queue a frame for `device`; False where it is not connected or too far behind."""
        ...

    def rtt_ms(self, device: str) -> float | None:
        """Round-trip time to `device`, if known."""
        ...

    def transit_ms(self, device: str, size_bytes: int) -> float:
        """Best guess of what a frame from or to `device` takes."""
        ...
