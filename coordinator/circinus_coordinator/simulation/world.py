"""The state that everything in a simulation shares: the agenda, and what became of requests.

Times are milliseconds; a request is its number, in order of arrival. There is no object per event
or request: at a million requests that would be most of the work.
"""

from __future__ import annotations

import gc
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FAILED", "IN_FLIGHT", "SERVED", "SHED", "Event", "Go", "World"]

IN_FLIGHT, SERVED, SHED, FAILED = range(4)

Event = tuple[float, int, Callable[[float, Any, Any], None], Any, Any]
"""(time, order among equal times, handler, its argument, its second argument)."""

Go = Callable[[float, int], None]
"""Where a request goes on: called with the time and the request."""


class World:
    """The agenda and the outcomes.

    Args:
        starts_ms: ``(n,)``, arrival times, ascending.
        deadlines_ms: ``(n,)``, when each request should be through.
        shedding: Whether requests are given up.
    """

    __slots__ = ("agenda", "deadlines", "ends", "order", "pending", "shedding", "starts", "status")

    def __init__(
        self,
        starts_ms: npt.NDArray[np.float64],
        deadlines_ms: npt.NDArray[np.float64],
        *,
        shedding: bool,
    ) -> None:
        self.starts: list[float] = starts_ms.tolist()
        self.deadlines: list[float] = deadlines_ms.tolist()
        self.ends = self.deadlines.copy()
        self.status = bytearray(len(self.starts))
        self.pending: dict[int, int] = {}
        self.shedding = shedding
        self.agenda: list[Event] = []
        self.order: Callable[[], int] = itertools.count().__next__

    def at(
        self, time: float, handler: Callable[[float, Any, Any], None], a: Any = None, b: Any = None
    ) -> None:
        """Have `handler(time, a, b)` called."""
        heapq.heappush(self.agenda, (time, self.order(), handler, a, b))

    def run(self, entries: Iterable[Go], until_ms: float) -> None:
        """Let every request enter, and everything happen that happens by `until_ms`.

        Args:
            entries: Where each request enters.
        """
        collecting = gc.isenabled()
        gc.disable()  # nothing here forms circles; looking for them takes a third of the time
        try:
            self._run(entries, until_ms)
        finally:
            if collecting:
                gc.enable()

    def _run(self, entries: Iterable[Go], until_ms: float) -> None:
        agenda, pop = self.agenda, heapq.heappop
        for r, (start, enter) in enumerate(zip(self.starts, entries, strict=True)):
            while agenda and agenda[0][0] <= start:
                now, _, handler, a, b = pop(agenda)
                handler(now, a, b)
            enter(start, r)
        while agenda and agenda[0][0] <= until_ms:
            now, _, handler, a, b = pop(agenda)
            handler(now, a, b)

    # ---- outcomes: a request ends once ------------------------------------------------------

    def finish(self, now: float, r: int) -> None:
        """The result of a request's only last step is delivered."""
        if not self.status[r]:
            self.status[r] = SERVED
            self.ends[r] = now

    def finisher(self, sinks: int) -> Go:
        """What delivers the result of one of a plan's `sinks` last steps."""
        if sinks == 1:
            return self.finish
        pending = self.pending

        def part(now: float, r: int) -> None:
            left = pending.get(r, sinks) - 1
            if left:
                pending[r] = left
            else:
                pending.pop(r, None)
                self.finish(now, r)

        return part

    def shed(self, r: int) -> None:
        """A request is given up; what other branches of it do comes to nothing."""
        if not self.status[r]:
            self.status[r] = SHED

    def fail(self, r: int) -> None:
        """A request is lost."""
        if not self.status[r]:
            self.status[r] = FAILED

    # ---- changing what is under way ---------------------------------------------------------

    def revise(self, change: Callable[[Event], Event | None]) -> None:
        """Replace every event on the agenda; None takes it off."""
        kept: Iterator[Event | None] = map(change, self.agenda)
        self.agenda[:] = [event for event in kept if event is not None]
        heapq.heapify(self.agenda)
