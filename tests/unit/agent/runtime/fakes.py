"""A loop whose time is set by hand, and an instance that answers when it is told to."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from circinus_agent.runtime.outcome import Failure
from circinus_agent.runtime.results import BatchResult, ItemResult, Payload, failed_batch


@dataclass
class Timer:
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    def __init__(self) -> None:
        self.now = 100.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            when, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if not timer.cancelled:
                timer.callback()
        self.now = until


@dataclass
class FakeInstance:
    replicas: int = 1
    down: Failure | None = None
    on_idle: Callable[[], None] = lambda: None
    batches: list[tuple[Sequence[Payload], Callable[[BatchResult], None]]] = field(
        default_factory=list
    )

    @property
    def idle(self) -> int:
        return 0 if self.down else self.replicas - len(self.batches)

    def dispatch(self, batch: Sequence[Payload], done: Callable[[BatchResult], None]) -> bool:
        if not self.idle:
            return False
        self.batches.append((batch, done))
        return True

    def finish(self, service_ms: float = 10.0, compute_s: float = 0.0) -> Sequence[Payload]:
        """Answer the oldest batch with its own inputs."""
        batch, done = self.batches.pop(0)
        items = [ItemResult(p if isinstance(p, bytes) else b"+".join(p.values())) for p in batch]
        done(BatchResult(items, service_ms, compute_s))
        self.on_idle()
        return batch

    def die(self, failure: Failure) -> None:
        self.down = failure
        for batch, done in self.batches:
            done(failed_batch(len(batch), failure))
        self.batches.clear()
        self.on_idle()
