"""What is placed: parts of queries' traffic on actual machines."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Placed"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A part of a query's traffic and where it goes.

    Attributes:
        query: Position in the scenario.
        kind: Number of its class.
        template: The plan.
        devices: Device of each position of the class's layout.
        rate: Requests per second.
    """

    query: int
    kind: int
    template: int
    devices: tuple[str, ...]
    rate: float
