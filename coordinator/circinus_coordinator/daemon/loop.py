"""Carries out what the core wants, one event after the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from circinus.errors import CircinusError, Transient
from circinus_coordinator.daemon.changes import Changes
from circinus_coordinator.daemon.core import Core
from circinus_coordinator.daemon.effects import Effects, Message, Note
from circinus_coordinator.daemon.planner import PlannerPool
from circinus_coordinator.daemon.views import Change
from circinus_coordinator.store import EventRecord, Record, Store

__all__ = ["EventLoop"]

logger = logging.getLogger(__name__)

TICK_S = 0.2
# Events that wait are taken together, so that they share one transaction.
_TOGETHER = 200
_QUEUE = 10_000
_STORE_DEADLINE_S = 60.0
_STOPPING = "the coordinator is stopping"

Event = Callable[[float], Effects]


@dataclass(slots=True)
class _Item:
    event: Event
    done: asyncio.Future[None] | None = None


class EventLoop:
    """The only place where the core is changed.

    Args:
        publish: Hands a message to the MQTT link, which keeps it until it is acknowledged.
        connections: Whether there is a broker, and how many connections there have been.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        core: Core,
        store: Store,
        planner: PlannerPool,
        changes: Changes,
        *,
        publish: Callable[[Message], None],
        connections: Callable[[], tuple[bool, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._core = core
        self._store = store
        self._planner = planner
        self._changes = changes
        self._publish = publish
        self._connections = connections
        self._seen_connections = 0
        self._clock = clock
        self._items: asyncio.Queue[_Item] = asyncio.Queue(_QUEUE)
        self._planning: asyncio.Task[None] | None = None
        self._closing = False
        self._ended = False

    async def put(self, event: Event) -> None:
        """Have an event taken in; returns before it is. Once the loop ended, nothing is."""
        if self._ended:
            return
        await self._items.put(_Item(event))
        self._refuse_late()

    def put_soon(self, event: Event) -> None:
        """The same from where nothing can be awaited."""
        self._items.put_nowait(_Item(event))

    async def do(self, event: Event) -> None:
        """Have an event taken in and everything that follows on disk.

        Raises:
            CircinusError: What the core says to it.
        """
        if self._ended:
            raise Transient(_STOPPING)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._items.put(_Item(event, done))
        self._refuse_late()
        await done

    def close(self) -> None:
        """End `run` once the event in hand is on disk.

        Not by cancelling: before Python 3.12 `asyncio.wait_for` loses a cancellation that meets
        its result, and a write that was begun goes on in its thread anyway.
        """
        self._closing = True

    async def run(self) -> None:
        """Until closed."""
        last_tick = self._clock()
        await self._perform(self._core.resume(last_tick))
        try:
            while not self._closing:
                items = await self._next()
                now = self._clock()
                effects = Effects()
                finished = [item for item in items if self._take(item, effects, now)]
                if now - last_tick >= TICK_S:
                    last_tick = now
                    effects.add(self._tick(now))
                await self._finish(finished, effects)
                await self._plan(now)
        finally:
            self._ended = True
            await self._stop_planning()
            self._refuse_waiting()

    async def _finish(self, items: list[_Item], effects: Effects) -> None:
        try:
            await self._perform(effects)
        except BaseException:
            self._refuse(items)  # nobody else would answer them
            raise
        for item in items:
            if item.done is not None and not item.done.done():
                item.done.set_result(None)

    def _tick(self, now: float) -> Effects:
        connected, connections = self._connections()
        effects = Effects()
        if connected and connections != self._seen_connections:
            self._seen_connections = connections
            effects.add(self._core.on_connected())
        return effects.add(self._core.on_tick(now, connected=connected))

    async def _next(self) -> list[_Item]:
        try:
            items = [await asyncio.wait_for(self._items.get(), TICK_S)]
        except asyncio.TimeoutError:
            return []
        while not self._items.empty() and len(items) < _TOGETHER:
            items.append(self._items.get_nowait())
        return items

    @staticmethod
    def _take(item: _Item, effects: Effects, now: float) -> bool:
        """True if the core accepted it."""
        try:
            effects.add(item.event(now))
        except CircinusError as error:
            if item.done is None:
                raise
            if not item.done.done():
                item.done.set_exception(error)
            return False
        return True

    async def _perform(self, effects: Effects) -> None:
        """Records first: what was promised to a device must be found after a crash."""
        changes = [self._change(note) for note in effects.notes]
        log: list[Record] = [
            EventRecord(
                seq=c.seq, time_s=c.time_s, kind=c.kind, subject=c.subject, text=c.text, data=c.data
            )
            for c in changes
        ]
        if effects.records or log:
            writing = asyncio.to_thread(self._store.write, [*effects.records, *log])
            await asyncio.wait_for(writing, _STORE_DEADLINE_S)
        for message in effects.messages:
            self._publish(message)
        for change in changes:
            if change.data.get("warning"):
                logger.warning("%s: %s", change.subject, change.text)
            self._changes.publish(change)

    def _change(self, note: Note) -> Change:
        return Change(
            seq=self._store.next_seq(),
            time_s=time.time(),
            kind=note.kind,
            subject=note.subject,
            text=note.text,
            data=dict(note.data),
        )

    async def _plan(self, now: float) -> None:
        """Start planning where it is due and none runs."""
        if self._planning is not None:
            if not self._planning.done():
                return
            self._planning = None
        try:
            scenario = self._core.to_plan(now)
        except Exception as error:  # noqa: BLE001 - what serves goes on with the plan it has
            await self._perform(self._unplanned(error, now))
            return
        if scenario is not None:
            self._planning = asyncio.create_task(self._answer(scenario), name="planning")

    async def _answer(self, scenario: bytes) -> None:
        failure: Exception | None = None
        try:
            decision = await self._planner.plan(scenario, self._core.settings.seed)
        except Exception as error:  # noqa: BLE001 - as above
            failure = error

        def event(now: float) -> Effects:
            if failure is not None:
                return self._unplanned(failure, now)
            try:
                return self._core.on_planned(scenario, decision, now)
            except Exception as error:  # noqa: BLE001 - as above
                return self._unplanned(error, now)

        await self.put(event)

    def _unplanned(self, error: Exception, now: float) -> Effects:
        foreseen = isinstance(error, CircinusError)
        if not foreseen:
            logger.error("planning failed: %r", error, exc_info=error)
        return self._core.on_unplanned(str(error) if foreseen else repr(error), now)

    async def _stop_planning(self) -> None:
        if self._planning is not None:
            self._planning.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._planning

    def _refuse_late(self) -> None:
        """The loop may have ended while there was no room in the queue."""
        if self._ended:
            self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        while not self._items.empty():
            self._refuse([self._items.get_nowait()])

    @staticmethod
    def _refuse(items: list[_Item]) -> None:
        for item in items:
            if item.done is not None and not item.done.done():
                item.done.set_exception(Transient(_STOPPING))
