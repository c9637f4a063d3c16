"""Operators of the end-to-end tests: one that works, and one that fails in every way."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from circinus.operator import Knob, Operator


class Shout(Operator):
    """Text -> the same in upper case, `times` times."""

    times = Knob(2, 1)

    def process(self, batch: Sequence[bytes]) -> Sequence[Any]:
        return [bytes(data).decode().upper() * self.times for data in batch]


class Count(Operator):
    """Text -> its length."""

    def process(self, batch: Sequence[str]) -> Sequence[Any]:
        return [len(text) for text in batch]


class Fragile(Operator):
    """Text -> its length; does what the text says where it is a fault."""

    def process(self, batch: Sequence[bytes]) -> Sequence[Any]:
        for data in batch:
            if data == b"raise":
                raise ValueError("told to raise")
            if data == b"hang":
                threading.Event().wait()
            if data == b"die":
                os.kill(os.getpid(), signal.SIGKILL)
        return [len(data) for data in batch]


def exact(output: Any, label: Any) -> float:
    """1 where output and label are equal."""
    return float(output == label)


class Paced(Operator):
    """Text -> its length, in the milliseconds that the agent's pace file says at that moment.

    It waits for its result as for an accelerator's, so that other load does not change its pace.
    """

    def process(self, batch: Sequence[bytes]) -> Sequence[Any]:
        pace = os.environ.get("CIRCINUS_E2E_PACE")
        ms = float(Path(pace).read_text()) if pace else 20.0
        threading.Event().wait(ms / 1e3 * len(batch))
        return [len(data) for data in batch]
