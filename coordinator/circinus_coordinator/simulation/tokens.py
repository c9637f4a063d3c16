"""Devices: who may compute now."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Protocol

__all__ = ["Machine", "Waiting"]

# Fractions of an accelerator are added up and taken off again.
SLACK = 1e-9


class Waiting(Protocol):
    """What runs batches, and waits for leave.

    Attributes:
        tokens: Cores a batch holds.
        parts: Accelerators a batch holds, and how much of each.
        parked: It waits for leave.
    """

    tokens: int
    parts: tuple[tuple[str, float], ...]
    parked: bool

    def pump(self, now: float) -> None:
        """Start what can be started now."""


class Machine:
    """One device: whole core tokens, handed out in order of asking, and parts of accelerators."""

    __slots__ = ("accelerators", "cores", "down", "free", "id", "room", "slow", "slowdowns",
                 "waiting")  # fmt: skip

    def __init__(self, name: str, cores: float, accelerators: Mapping[str, float]) -> None:
        self.id = name
        self.cores = max(1, int(cores))
        self.free = self.cores
        self.accelerators = dict(accelerators)
        self.room = dict(accelerators)
        self.waiting: deque[Waiting] = deque()
        self.down = 0  # number of reasons
        self.slow = 1.0
        self.slowdowns: list[float] = []

    def fits(self, stage: Waiting) -> bool:
        """Whether a batch of the stage could run beside those that run now."""
        return self.free >= stage.tokens and all(
            self.room[name] >= part - SLACK for name, part in stage.parts
        )

    def take(self, stage: Waiting) -> bool:
        """Take what a batch holds; where that is not free, or others wait, queue for it."""
        if self.waiting or not self.fits(stage):
            if not stage.parked:
                stage.parked = True
                self.waiting.append(stage)
            return False
        self.free -= stage.tokens
        for name, part in stage.parts:
            self.room[name] -= part
        return True

    def wake(self, now: float) -> None:
        """Let those go on who may now, in the order of their coming."""
        while self.waiting and self.fits(self.waiting[0]):
            stage = self.waiting.popleft()
            stage.parked = False
            rest, self.waiting = self.waiting, deque()
            stage.pump(now)
            rest.extend(self.waiting)
            self.waiting = rest
