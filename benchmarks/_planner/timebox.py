"""A limit on the time of a call that knows nothing of limits."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

__all__ = ["OutOfTime", "time_box"]

_AGAIN_S = 1.0  # an exception raised while Python collects garbage is lost; so ask again


class OutOfTime(BaseException):
    """The time is up. No `Exception`, so that nobody on the way takes it for one to handle."""


@contextlib.contextmanager
def time_box(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` inside the block once `seconds` of wall time are over.

    Compiled code is interrupted when it returns. Somebody else's alarm is put back with what was
    left of it. Without alarms (another thread than the main one, Windows) there is no limit.
    """
    if not hasattr(signal, "setitimer") or (
        threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def up(*_: object) -> NoReturn:
        raise OutOfTime

    began = time.perf_counter()
    theirs = signal.signal(signal.SIGALRM, up)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, theirs)
        if left > 0:
            rest = max(left - (time.perf_counter() - began), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, rest, interval)
