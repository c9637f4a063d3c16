"""A limit on the time of a call that knows nothing of limits."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

__all__ = ["OutOfTime", "time_box"]

_AGAIN_S = 1.0  # an exception raised while Python tidies up is lost; so ask again


class OutOfTime(BaseException):
    """The time is up. No `Exception`, so that nobody on the way takes it for one to handle."""


@contextlib.contextmanager
def time_box(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` inside the block once it has had so many seconds of CPU, all threads.

    Of CPU, so that what else the machine does decides over nobody. Compiled code is interrupted
    when it returns. Without such alarms (another thread than the main one, Windows) there is no
    limit.
    """
    if not hasattr(signal, "setitimer") or (
        threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def up(*_: object) -> NoReturn:
        raise OutOfTime

    # In a finalizer, or what the garbage collector calls, nothing can be raised: Python hands it to
    # this hook instead. That is no fault to report, the next alarm says the same.
    report = sys.unraisablehook

    def lost(raised: sys.UnraisableHookArgs) -> None:
        if raised.exc_type is not OutOfTime:
            report(raised)

    began = time.process_time()
    sys.unraisablehook = lost
    theirs = signal.signal(signal.SIGPROF, up)
    left, interval = signal.setitimer(signal.ITIMER_PROF, seconds, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, theirs)
        sys.unraisablehook = report
        if left > 0:
            # Somebody else's alarm goes on with what is left of it.
            rest = max(left - (time.process_time() - began), 1e-3)
            signal.setitimer(signal.ITIMER_PROF, rest, interval)
