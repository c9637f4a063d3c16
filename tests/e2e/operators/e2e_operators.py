"""Operators of the end-to-end tests: one that works, and one that fails in every way."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
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
