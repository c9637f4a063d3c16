"""A stage: the queue before an instance, and how batches are made from it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from circinus.histogram import Histogram
from circinus.messages import InstanceSpec, InstanceTelemetry
from circinus_agent.runtime.batching import ArrivalRate, ServiceEstimate, linger_s
from circinus_agent.runtime.outcome import Failure
from circinus_agent.runtime.results import BatchResult, Payload
from circinus_agent.runtime.tokens import Lines

__all__ = ["Completed", "Loop", "Stage", "StageCounters", "Work"]

# Payloads of waiting requests are held in memory: 128 pictures are 20 MB.
QUEUE_LIMIT = 128


class Timer(Protocol):
    """What `Loop.call_at` returns."""

    def cancel(self) -> None:
        """Do not call any more."""
        ...


class Loop(Protocol):
    """The part of an event loop that is needed here."""

    def time(self) -> float:
        """Monotonic seconds."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` at that time."""
        ...


class Server(Protocol):
    """What the stage needs of an `Instance`."""

    on_idle: Callable[[], None]

    @property
    def idle(self) -> int:
        """Replicas that could take a batch now."""
        ...

    @property
    def down(self) -> Failure | None:
        """Why no replica is alive."""
        ...

    def dispatch(self, batch: Sequence[Payload], done: Callable[[BatchResult], None]) -> bool:
        """Hand a batch to an idle replica."""
        ...


@dataclass(frozen=True, slots=True)
class Completed:
    """A request's output with what it took here."""

    payload: bytes
    wait_ms: float
    service_ms: float
    batch: int
    usd: float


@dataclass(frozen=True, slots=True)
class Work:
    """One request at a stage.

    Attributes:
        deadline: Loop time by which its whole pipeline should be through.
        done: Called exactly once.
    """

    payload: Payload
    deadline: float
    done: Callable[[Completed | Failure], None]


@dataclass(slots=True)
class StageCounters:
    """What an instance did; outlives it, so that figures never shrink.

    Attributes:
        requests: Those that were dispatched; shed and refused ones are counted apart, so that
            requests per batch is the size of a batch.
        compute_s: Core seconds of all its batches, failed ones too.
        full: Service times of batches that were full and went well, as a probe's.
    """

    requests: int = 0
    batches: int = 0
    shed: int = 0
    failed: int = 0
    compute_s: float = 0.0
    wait: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    full: Histogram = field(default_factory=Histogram)

    def telemetry(self, key: str, restarts: int, queued: int) -> InstanceTelemetry:
        """The counters as a message, with what waits now."""
        return InstanceTelemetry(
            key=key,
            requests=self.requests,
            batches=self.batches,
            service=dict(self.service.counts),
            wait=dict(self.wait.counts),
            queued=queued,
            shed=self.shed,
            failed=self.failed,
            restarts=restarts,
            compute_s=self.compute_s,
            full=dict(self.full.counts),
        )


class Stage:
    """Queues requests for an instance, most urgent first, and batches what waits.

    Args:
        lines: The device's; a batch waits in them for what the spec says that it holds.
        limit: Requests that may wait; more are shed.
        counters: To be counted on, where the instance had a predecessor.
    """

    def __init__(
        self,
        spec: InstanceSpec,
        instance: Server,
        lines: Lines,
        loop: Loop,
        *,
        limit: int = QUEUE_LIMIT,
        counters: StageCounters | None = None,
    ) -> None:
        self.spec = spec
        self.counters = counters or StageCounters()
        self.running = 0
        self._instance = instance
        self._lines = lines
        self._loop = loop
        self._limit = limit
        self._queue: list[tuple[float, int, float, Work]] = []
        self._order = itertools.count()
        self._estimate = ServiceEstimate()
        self._arrivals = ArrivalRate()
        self._lingering = False
        self._timer: Timer | None = None
        self._stopped: Failure | None = None
        self.hold(spec)
        instance.on_idle = self.pump

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def at_rest(self) -> bool:
        """Whether nothing waits and no batch is under way."""
        return not self._queue and not self.running

    def submit(self, work: Work) -> None:
        """Take a request; it is answered at once where the instance is down or the queue full."""
        now = self._loop.time()
        self._arrivals.observe(now)
        down = self._stopped or self._instance.down
        if down is not None:
            self._refuse(work, down)
            return
        if len(self._queue) >= self._limit:
            self._drop_hopeless()
        if len(self._queue) >= self._limit:
            self._shed(work, f"{self._limit} requests wait for {self.spec.key}")
            return
        heapq.heappush(self._queue, (work.deadline, next(self._order), now, work))
        self.pump()

    def hold(self, spec: InstanceSpec) -> None:
        """Have batches hold what `spec` says from now on, which else is the spec that runs."""
        self.spec = spec
        cores = spec.threads if spec.cores is None else spec.cores
        self._claim = self._lines.claim(cores, spec.accelerators, self.pump)

    def pump(self) -> None:
        """Start what can be started now."""
        down = self._stopped or self._instance.down
        if down is not None:
            self._refuse_all(down)
            return
        while self._queue and self._instance.idle and not self._lingering:
            self._drop_hopeless()
            if not self._queue or self._linger():
                break
            if not self._claim.take():
                break
            self._start()
        self._arm()

    def stop(self, failure: Failure) -> None:
        """Answer all that waits, and all that still comes, with `failure`."""
        self._stopped = failure
        self._disarm()
        self._refuse_all(failure)

    # ---- starting batches -------------------------------------------------------------------

    def _start(self) -> None:
        now = self._loop.time()
        count = min(self.spec.batch, len(self._queue))
        batch = [heapq.heappop(self._queue) for _ in range(count)]
        works = [work for _, _, _, work in batch]
        waits = [(now - since) * 1e3 for _, _, since, _ in batch]
        for wait_ms in waits:
            self.counters.wait.add(wait_ms)
        self.counters.requests += len(batch)
        self.counters.batches += 1
        self.running += 1
        claim = self._claim

        def done(result: BatchResult) -> None:
            self.running -= 1
            claim.give()
            self._finished(works, waits, result)

        started = self._instance.dispatch([work.payload for work in works], done)
        assert started, "an idle replica refused a batch"

    def _finished(self, works: list[Work], waits: list[float], result: BatchResult) -> None:
        self.counters.compute_s += result.compute_s
        if result.service_ms > 0:
            self.counters.service.add(result.service_ms)
            self._estimate.observe(result.service_ms / 1e3)
            whole = len(works) == self.spec.batch
            if whole and all(item.payload is not None for item in result.items):
                self.counters.full.add(result.service_ms)
        for work, wait_ms, item in zip(works, waits, result.items, strict=True):
            if item.payload is None:
                self.counters.failed += 1
                work.done(item.failure or Failure("raised"))
            else:
                work.done(Completed(item.payload, wait_ms, result.service_ms, len(works), item.usd))

    def _linger(self) -> bool:
        """Whether to wait a little for a fuller batch; `pump` is called again then."""
        if self.spec.batch == 1:
            return False
        now = self._loop.time()
        service_s = self._estimate.seconds
        wait_s = linger_s(
            waiting=len(self._queue),
            batch=self.spec.batch,
            gap_s=self._arrivals.gap_s,
            service_s=service_s,
            slack_s=self._queue[0][0] - now - service_s,
        )
        # Only counted from the arrival of the first: it is not made to wait again and again.
        until = min(since for _, _, since, _ in self._queue) + wait_s
        if until <= now:
            return False
        self._lingering = True
        self._loop.call_at(until, self._lingered)
        return True

    def _lingered(self) -> None:
        self._lingering = False
        self.pump()

    # ---- giving up --------------------------------------------------------------------------

    def _drop_hopeless(self) -> None:
        now = self._loop.time()
        while self._queue and self._queue[0][0] - now < self._estimate.seconds:
            deadline, _, _, work = heapq.heappop(self._queue)
            if deadline > now:
                self._estimate.doubt()
            left_ms = max(0.0, (deadline - now) * 1e3)
            self._shed(work, f"{left_ms:.0f} ms left before {self.spec.key}")

    def _shed(self, work: Work, detail: str) -> None:
        self.counters.shed += 1
        work.done(Failure("shed", detail))

    def _refuse(self, work: Work, failure: Failure) -> None:
        self.counters.failed += 1
        work.done(failure)

    def _refuse_all(self, failure: Failure) -> None:
        while self._queue:
            _, _, _, work = heapq.heappop(self._queue)
            self._refuse(work, failure)

    def _arm(self) -> None:
        """Have what waits behind a long batch be dropped in time."""
        self._disarm()
        if self._queue:
            # Not before it is surely hopeless, so that the timer does not fire in vain.
            when = self._queue[0][0] - self._estimate.seconds + 0.001
            self._timer = self._loop.call_at(max(when, self._loop.time() + 0.001), self._overdue)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _overdue(self) -> None:
        self._timer = None
        self._drop_hopeless()
        self._arm()
