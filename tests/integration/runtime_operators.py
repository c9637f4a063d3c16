"""Operators that behave, and operators that do not."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from circinus.operator import Knob, KnobValue, Operator, Output


class Pass(Operator):
    version = "7"

    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        return list(batch)


class Size(Operator):
    """The number of requests in its batch."""

    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        time.sleep(0.02)
        return [len(batch)] * len(batch)


class Concat(Operator):
    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        return [{name: value.decode() for name, value in sorted(x.items())} for x in batch]


class Pid(Operator):
    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        return [os.getpid()] * len(batch)


class Obedient(Operator):
    """Does what the payload says."""

    def process(self, batch: Sequence[bytes]) -> Sequence[Any]:
        return [self._do(order) for order in batch]

    def _do(self, order: bytes) -> Any:
        if order == b"raise":
            raise ValueError("told to")
        if order == b"hang":
            time.sleep(600)
        if order == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if order == b"exit":
            sys.exit(3)
        if order == b"print":
            sys.stdout.write("a line\n")
        if order == b"grow":
            self.held = bytearray(os.urandom(1)) * (300 << 20)
        if order == b"pay":
            return Output(value="paid", usage={"calls": 2})
        return order

    prices_usd: ClassVar[Mapping[str, float]] = {"calls": 0.25}


class Burn(Operator):
    """Uses 20 ms of CPU time."""

    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
        return list(batch)


class Unready(Operator):
    """Fails in its setup, in the way its knob says."""

    how = Knob("raise")

    def setup(self, config: Mapping[str, KnobValue]) -> None:
        if self.how == "raise":
            raise RuntimeError("the model is broken")
        if self.how == "exit":
            sys.stdout.write("goodbye\n")
            os._exit(9)
        time.sleep(600)


class Notes(Operator):
    """Writes its pid into a file, starts a grandchild, and hangs when asked."""

    file = Knob("")

    def setup(self, config: Mapping[str, KnobValue]) -> None:
        Path(self.file).write_text(str(os.getpid()))

    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        time.sleep(600)
        return batch


def equal(output: bytes, label: str) -> float:
    """A metric."""
    return float(output.decode() == label)


def broken(output: bytes, label: str) -> float:
    raise KeyError(label)
