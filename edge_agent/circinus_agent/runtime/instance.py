"""An operator instance: its replicas, kept alive."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence

import psutil

from circinus.messages import InstanceReport, InstanceSpec
from circinus_agent.dataplane.backoff import Backoff
from circinus_agent.runtime.heap import keep_freed_memory
from circinus_agent.runtime.outcome import Failure, WorkerFailed
from circinus_agent.runtime.replica import Replica
from circinus_agent.runtime.results import BatchResult, ItemResult, Payload, failed_batch
from circinus_agent.runtime.settings import RuntimeSettings

__all__ = ["BatchResult", "Instance", "ItemResult", "Payload"]

logger = logging.getLogger(__name__)

RESTART_FIRST_S, RESTART_LAST_S = 0.5, 30.0
# A replica that lived this long was well: its next restart is quick again.
STABLE_S = 30.0
MEMORY_POLL_S = 2.0


class Instance:
    """Supervises the replicas of one spec.

    Args:
        on_change: Called after every change of `report()`.
        on_idle: Called when a replica has become idle, or the last one died.
        nice: Added to the children's niceness.
    """

    def __init__(
        self,
        spec: InstanceSpec,
        settings: RuntimeSettings,
        *,
        on_change: Callable[[], None] | None = None,
        on_idle: Callable[[], None] | None = None,
        nice: int = 0,
    ) -> None:
        keep_freed_memory()
        self.spec = spec
        self.version = ""
        """`Operator.version` of the class that runs."""
        self.stateful = False
        self.restarts = 0
        self._settings = settings
        self._on_change = on_change or _nothing
        self.on_idle = on_idle or _nothing
        self._nice = nice
        self._idle: deque[Replica] = deque()
        self._replicas: set[Replica] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._state = "starting"
        self._cause: Failure | None = None
        self._dropped_lines = 0
        self._last_backoff = Backoff(first_s=RESTART_FIRST_S, last_s=RESTART_LAST_S)
        self._stable_at = 0.0

    # ---- what it is -------------------------------------------------------------------------

    @property
    def memory_mb(self) -> float:
        """Resident memory of the largest replica after its setup or last batch."""
        return max((r.memory_mb for r in self._replicas), default=0.0)

    @property
    def idle(self) -> int:
        """Replicas that could take a batch now."""
        return len(self._idle)

    @property
    def down(self) -> Failure | None:
        """Why no replica is alive; None while one is."""
        if self._replicas:
            return None
        if self._state == "stopping":
            return Failure("stopped", "the instance is stopping")
        return Failure("down", str(self._cause) if self._cause else "not started yet")

    @property
    def dropped_lines(self) -> int:
        """Lines its processes printed beyond the log's limit."""
        return self._dropped_lines + sum(r.dropped_lines for r in self._replicas)

    def report(self) -> InstanceReport:
        """starting, ready, failed or stopping."""
        cause = None if self._state == "ready" or self._cause is None else str(self._cause)
        return InstanceReport(
            state=self._state, ready=len(self._replicas), restarts=self.restarts, cause=cause
        )

    # ---- life -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all replicas; returns when all are ready.

        Raises:
            WorkerFailed: If one could not be started; the others are stopped again.
        """
        starts = [self._start_one() for _ in range(self.spec.replicas)]
        results = await asyncio.gather(*starts, return_exceptions=True)
        error = next((r for r in results if isinstance(r, BaseException)), None)
        if error is not None:
            await self._stop_replicas()
            self._fail(Failure("down", getattr(error, "cause", str(error))))
            raise error
        if self.spec.memory_mb is not None:
            self._spawn(self._watch_memory(self.spec.memory_mb), "memory")

    async def stop(self) -> None:
        """Stop all replicas: batches under way get the grace, then SIGKILL."""
        self._state = "stopping"
        self._on_change()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stop_replicas()
        self._release()

    async def _stop_replicas(self) -> None:
        await asyncio.gather(*(r.stop() for r in list(self._replicas)))

    async def _start_one(self) -> None:
        replica = Replica(self.spec, self._settings, nice=self._nice, on_end=self._ended)
        ready = await replica.start()
        if not replica.alive:
            raise WorkerFailed(self.spec.key, "its process ended at once")
        self.version, self.stateful = ready.version, ready.stateful
        self._replicas.add(replica)
        self._state, self._cause = "ready", None
        self._on_change()
        self._became_idle(replica)

    def _ended(self, replica: Replica, failure: Failure) -> None:
        if replica not in self._replicas:
            return  # it never became ready: start() tells
        self._replicas.discard(replica)
        if replica in self._idle:
            self._idle.remove(replica)
        self._dropped_lines += replica.dropped_lines
        if self._state == "stopping" or failure.kind == "stopped":
            return
        logger.warning("instance %s: %s", self.spec.key, failure)
        if not self._replicas:
            self._fail(failure)
        self._spawn(self._restart(), "restart")
        self._release()
        self.on_idle()

    def _fail(self, failure: Failure) -> None:
        if self._state != "stopping":
            self._state, self._cause = "failed", failure
            self._on_change()

    async def _restart(self) -> None:
        """Bring one replica back, however often it takes."""
        backoff = self._backoff()
        while True:
            await asyncio.sleep(backoff.next())
            self.restarts += 1
            try:
                await self._start_one()
            except WorkerFailed as error:
                logger.warning("%s", error)
                if not self._replicas:
                    self._fail(Failure("down", error.cause))
            except Exception as error:
                # Whatever it was: an instance that nobody brings back stays down for good.
                logger.exception("instance %s: restart", self.spec.key)
                if not self._replicas:
                    self._fail(Failure("down", str(error) or type(error).__name__))
            else:
                self._stable_at = asyncio.get_running_loop().time() + STABLE_S
                return

    def _backoff(self) -> Backoff:
        """Goes on where the last restart left off, unless that one has proved itself."""
        if asyncio.get_running_loop().time() >= self._stable_at:
            self._last_backoff.reset()
        return self._last_backoff

    def _spawn(self, coroutine: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(coroutine, name=f"{name} {self.spec.key}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch_memory(self, limit_mb: float) -> None:
        while True:
            await asyncio.sleep(MEMORY_POLL_S)
            for replica in list(self._replicas):
                try:
                    used_mb = psutil.Process(replica.pid).memory_info().rss / 1e6
                except psutil.Error:
                    continue
                replica.memory_mb = used_mb
                if used_mb > limit_mb:
                    text = f"{used_mb:.0f} MB, the limit is {limit_mb:.0f} MB"
                    replica.kill(Failure("memory", text))

    # ---- work -------------------------------------------------------------------------------

    def dispatch(self, batch: Sequence[Payload], done: Callable[[BatchResult], None]) -> bool:
        """Hand a batch to an idle replica; False where there is none.

        `done` is called exactly once, from the event loop, after the replica is idle again.
        """
        if not self._idle:
            return False
        replica = self._idle.popleft()

        def finished(result: BatchResult) -> None:
            # A dead replica is not made idle; `_ended` follows.
            if replica.alive:
                self._idle.append(replica)
                self._wake_one()
            done(result)
            if replica.alive:
                self.on_idle()

        replica.send(batch, finished)
        return True

    async def call(self, batch: Sequence[Payload]) -> BatchResult:
        """Run one batch on the next idle replica; a dead replica fails it, it never raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[BatchResult] = loop.create_future()

        def done(result: BatchResult) -> None:
            if not answer.done():
                answer.set_result(result)

        while not self.dispatch(batch, done):
            if self.down is not None:
                return failed_batch(len(batch), self.down)
            waiter = loop.create_future()
            self._waiters.append(waiter)
            await waiter
        return await answer

    def _became_idle(self, replica: Replica) -> None:
        self._idle.append(replica)
        self._wake_one()
        self.on_idle()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _release(self) -> None:
        """Wake every caller: there may be nobody left to serve it."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()


def _nothing() -> None:
    pass
