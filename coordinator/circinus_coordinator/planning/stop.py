"""How much effort planning may take: stop objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["MaxIterations", "MaxSeconds", "Stop"]


class Stop(Protocol):
    """Says when to stop improving; a first answer is always computed."""

    def __call__(self, iterations: int, seconds: float) -> bool:
        """True to stop after `iterations` rounds and `seconds` by the injected clock."""
        ...


@dataclass(frozen=True, slots=True)
class MaxIterations:
    """Stop after a number of rounds: the same answer on every machine."""

    limit: int

    def __call__(self, iterations: int, seconds: float) -> bool:  # noqa: ARG002 - protocol
        """True once `limit` rounds are done."""
        return iterations >= self.limit


@dataclass(frozen=True, slots=True)
class MaxSeconds:
    """Stop once the clock says so; without a clock passed to `plan` it never does.

    `rounds` caps the rounds all the same, as rounds that change nothing cost time only.
    """

    limit: float
    rounds: int = 200

    def __call__(self, iterations: int, seconds: float) -> bool:
        """True once `limit` seconds or `rounds` rounds are over."""
        return seconds >= self.limit or iterations >= self.rounds
