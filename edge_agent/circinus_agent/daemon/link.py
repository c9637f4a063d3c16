"""What the daemon needs of the link to the broker."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Link"]


class Link(Protocol):
    """A connection to the broker that comes back by itself."""

    @property
    def session(self) -> int:
        """Number of the present connection; commands are bound to it."""
        ...

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        ...

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Queue a message; with QoS 1 it is kept until the broker has it."""
        ...

    async def run(self) -> None:
        """Connect, and again whenever that ends; until cancelled."""
        ...

    async def close(self) -> None:
        """Say good-bye in order."""
        ...
