"""Operators of the agent's integration tests; imported by workers only."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

from circinus import Knob, Operator


class Shout(Operator):
    """Upper case, once or several times."""

    times = Knob(1, 2)

    def process(self, batch: Sequence[Any]) -> list[Any]:
        return [bytes(item).decode().upper() * self.times for item in batch]


class Count(Operator):
    """Counts characters; burns a little CPU so that there is something to measure."""

    loops = Knob(1000, 100_000)

    def process(self, batch: Sequence[Any]) -> list[Any]:
        for _ in range(self.loops):
            pass
        return [{"length": len(item)} for item in batch]


class Broken(Operator):
    """Cannot be set up."""

    def setup(self, config: Any) -> None:
        raise RuntimeError("no model here")


class Deadly(Operator):
    """Kills its own process."""

    def process(self, batch: Sequence[Any]) -> list[Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return list(batch)


def exact(output: Any, label: Any) -> float:
    """1 where the length is right."""
    return float(output["length"] == label)
