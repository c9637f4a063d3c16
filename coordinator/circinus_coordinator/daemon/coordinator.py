"""The coordinator as a whole: what the API and the demo hold in their hands."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from types import TracebackType

from circinus.decision import Decision
from circinus.errors import NoData
from circinus.messages import CoordinatorStatus, encode
from circinus.mqtt import BrokerAddress, MqttLink, Presence, PresenceState
from circinus.pipeline import Pipeline
from circinus.scenario import Scenario, Submission, load_scenario
from circinus.topics import ALL_UP, COORDINATOR_STATUS
from circinus_coordinator import planning
from circinus_coordinator.broker import RunningBroker
from circinus_coordinator.daemon import show
from circinus_coordinator.daemon.broker import open_broker
from circinus_coordinator.daemon.changes import Changes
from circinus_coordinator.daemon.core import Core
from circinus_coordinator.daemon.effects import Effects, Message
from circinus_coordinator.daemon.inbox import Inbox
from circinus_coordinator.daemon.loop import EventLoop
from circinus_coordinator.daemon.planner import PlannerPool
from circinus_coordinator.daemon.profile_views import ProfileFilter, ProfilesView
from circinus_coordinator.daemon.profiles import read_profiles
from circinus_coordinator.daemon.settings import Settings
from circinus_coordinator.daemon.state import restore
from circinus_coordinator.daemon.troubles import troubles
from circinus_coordinator.daemon.views import (
    ArtifactInfo,
    Change,
    DeviceView,
    Measurement,
    PlanView,
    Progress,
    QueryView,
)
from circinus_coordinator.store import ArtifactRecord, Store

__all__ = ["Coordinator"]


class Coordinator:
    """Brings devices, queries and decisions together.

    All methods are to be called from the event loop it was started in. Reading methods that
    are no coroutines answer from memory at once.

    Args:
        settings: See `Settings`.
        executor: Where plans are computed; a process of its own by default.
    """

    def __init__(self, settings: Settings, *, executor: Executor | None = None) -> None:
        self.settings = settings
        self._executor = executor
        self._stack = contextlib.AsyncExitStack()
        self._changes = Changes()
        self._inbox = Inbox()
        self._looping: asyncio.Task[None] | None = None
        self._linking: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()
        self._broker: RunningBroker | None = None
        self._link: MqttLink | None = None
        self._store: Store | None = None
        self._core: Core | None = None
        self._loop: EventLoop | None = None

    async def __aenter__(self) -> Coordinator:  # noqa: PYI034 - Self is 3.11
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the store, start or reach the broker, resume what was served.

        Raises:
            InvalidInput: If the fleet file is wrong, the store is in use, or a port is taken.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop everything that `start` started; devices go on serving."""
        if self._looping is not None and self._loop is not None:
            self._loop.close()
            await asyncio.gather(self._looping, return_exceptions=True)
        await self._stack.aclose()
        self._changes.close()
        self._stopped.set()

    async def wait(self) -> None:
        """Return once it is stopped; raise if one of its loops died."""
        stopped = asyncio.create_task(self._stopped.wait(), name="stopped")
        try:
            tasks = {task for task in (self._looping, self._linking) if task is not None}
            await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()

    @property
    def broker_address(self) -> tuple[str, int]:
        """Host and port agents of this machine connect to."""
        return self.broker.host, self.broker.port

    @property
    def broker(self) -> RunningBroker:
        """What it speaks to: kind, address, process."""
        assert self._broker is not None, "not started"
        return self._broker

    @property
    def store_id(self) -> str:
        """Identity of the store, as desired documents carry it."""
        return self._opened.id

    def set_api_url(self, url: str) -> None:
        """Where agents fetch artifacts; for an API that learns its port only when it listens."""
        assert self._link is not None, "not started"
        assert self._loop is not None, "not started"
        self._loop.put_soon(lambda now: self._running.set_api_url(url, now))
        status = CoordinatorStatus(store=self.store_id, online=True, api=url)
        self._link.publish_soon(COORDINATOR_STATUS, encode(status), retain=True)

    # ---- changes ----------------------------------------------------------------------------

    async def submit(self, submission: Submission) -> list[str]:
        """Take in pipelines and queries; ids of the queries. Durable once it returns.

        A query of the same id is replaced. So is a pipeline of the same name, also for queries
        that are there already; profiles that still hold are kept.

        Raises:
            InvalidInput: If a pipeline names an unknown tier, or the like; nothing is taken in.
        """
        await self._do(lambda now: self._running.submit(submission, now))
        return [query.id for query in submission.queries]

    async def withdraw(self, query_id: str) -> None:
        """Stop serving a query and forget it.

        Raises:
            NoData: If there is none of that id.
        """
        await self._do(lambda now: self._running.withdraw(query_id, now))

    # ---- what there is ----------------------------------------------------------------------

    def devices(self) -> list[DeviceView]:
        """All devices ever seen, by id."""
        return show.devices(self._running, time.monotonic())

    def queries(self) -> list[QueryView]:
        """All submitted queries, by id."""
        return show.queries(self._running, time.monotonic(), self.settings.window_s)

    def pipelines(self) -> dict[str, Pipeline]:
        """The pipelines of the submitted queries, by name."""
        return dict(self._running.pipelines)

    def plans(self) -> list[PlanView]:
        """The assignments of the decision in force."""
        return show.plans(self._running)

    def measurements(self, *, window_s: float | None = None) -> list[Measurement]:
        """Measured against promised, per query, by id.

        Args:
            window_s: How far to look back; the settings' window where None.
        """
        return show.measurements(
            self._running, time.monotonic(), window_s or self.settings.window_s
        )

    def progress(self) -> Progress:
        """How far profiling is."""
        return show.progress(self._running)

    def scenario(self) -> Scenario | None:
        """Exactly what the planner last saw; None before the first planning."""
        return self._running.planned.scenario if self._running.planned else None

    def scenario_document(self) -> bytes | None:
        """The same as the JSON document the planner was given, byte for byte."""
        return self._running.planned.scenario_bytes if self._running.planned else None

    def decision(self) -> Decision | None:
        """What it answered."""
        return self._running.planned.decision if self._running.planned else None

    async def profiles(self, wanted: ProfileFilter | None = None) -> ProfilesView:
        """All that was measured, and what the planner goes by where nothing was."""
        core = self._running
        reading = partial(
            read_profiles,
            self._opened,
            planned=core.planned.scenario if core.planned else None,
            now_s=core.epoch_s + time.monotonic(),
            stale_after_s=self.settings.profiling.stale_after_s,
            wanted=wanted or ProfileFilter(),
        )
        return await asyncio.to_thread(reading)

    async def explain(self, query_id: str) -> planning.Explanation:
        """Why a query got what it got: see `circinus_coordinator.planning.explain`.

        Raises:
            NoData: If there is no such query, or it has not been planned yet.
        """
        if query_id not in self._running.queries:
            raise NoData(f"there is no query {query_id!r}: it was not submitted")
        planned = self._running.planned
        if planned is None or all(q.id != query_id for q in planned.scenario.queries):
            view = next(view for view in self.queries() if view.id == query_id)
            why = f": {view.reason}" if view.reason else ""
            raise NoData(f"query {query_id!r} has not been planned yet: {view.state.value}{why}")
        found = await asyncio.to_thread(
            planning.explain, planned.scenario, planned.decision, query_id
        )
        wrong = "; ".join(troubles(self._running, query_id, time.monotonic()))
        if wrong:
            return dataclasses.replace(found, reason=f"{wrong}. As planned: {found.reason}")
        return found

    # ---- artifacts --------------------------------------------------------------------------

    async def put_artifact(
        self, chunks: AsyncIterator[bytes], *, max_bytes: int = 1 << 30
    ) -> ArtifactInfo:
        """Store a file under its sha256, whole or not at all.

        Raises:
            InvalidInput: If it is larger than `max_bytes`.
        """
        with self._opened.artifacts.writer(max_bytes=max_bytes) as writer:
            async for chunk in chunks:
                await asyncio.to_thread(writer.write, chunk)
            sha256 = await asyncio.to_thread(writer.commit)
            size_bytes = writer.size_bytes

        def add(now: float) -> Effects:
            row = ArtifactRecord(sha256=sha256, size_bytes=size_bytes)
            effects = self._running.add_artifact(sha256, size_bytes, now)
            effects.records.append(row)
            return effects

        await self._do(add)
        return ArtifactInfo(sha256=sha256, size_bytes=size_bytes)

    def artifact(self, sha256: str) -> Path | None:
        """Where the file with this sha256 (hex) stands; None if there is none."""
        return self._opened.artifacts.path(sha256)

    # ---- what happens -----------------------------------------------------------------------

    def subscribe(self) -> AsyncIterator[Change]:
        """Changes from now on; close the iterator (``aclose``) to unsubscribe.

        A subscriber that does not keep up loses the oldest ones and sees a gap in `seq`.
        """
        return self._changes.subscribe()

    async def events(self, *, after: int = 0, limit: int = 1000) -> list[Change]:
        """The event log from `after` (exclusive) on."""
        rows = await asyncio.to_thread(self._opened.events, after=after, limit=limit)
        return [
            Change(
                seq=row.seq,
                time_s=row.time_s,
                kind=row.kind,
                subject=row.subject,
                text=row.text,
                data=dict(row.data),
            )
            for row in rows
        ]

    def malformed(self) -> dict[tuple[str, str], int]:
        """How many MQTT payloads were ignored, by (device, kind of message)."""
        return dict(self._inbox.malformed)

    def ignored(self) -> dict[str, int]:
        """How many MQTT messages were ignored before anybody looked at them, by cause."""
        assert self._link is not None, "not started"
        return self._link.counters.ignored()

    # ---- inside -----------------------------------------------------------------------------

    @property
    def _running(self) -> Core:
        assert self._core is not None, "not started"
        return self._core

    @property
    def _opened(self) -> Store:
        assert self._store is not None, "not started"
        return self._store

    async def _do(self, event: Callable[[float], Effects]) -> None:
        assert self._loop is not None, "not started"
        await self._loop.do(event)

    async def _start(self) -> None:
        settings = self.settings
        fleet = await asyncio.to_thread(load_scenario, settings.fleet)
        store = await asyncio.to_thread(Store, settings.store)
        self._store = store
        self._stack.callback(store.close)
        self._core = Core(
            settings,
            fleet=fleet,
            store_id=store.id,
            prefix=uuid.uuid4().hex[:8],
            restored=await asyncio.to_thread(restore, store),
            now=(now := time.monotonic()),
            epoch_s=time.time() - now,
        )
        planner = PlannerPool(self._executor)
        self._stack.push_async_callback(asyncio.to_thread, planner.close)
        planner.warm()
        self._broker, address = await open_broker(settings.broker, settings.store, self._stack)
        self._link = self._make_link(address)
        self._loop = EventLoop(
            self._core,
            store,
            planner,
            self._changes,
            publish=self._publish,
            connections=self._connections,
        )
        self._linking = asyncio.create_task(self._link.run(), name="mqtt-link")
        self._stack.push_async_callback(self._close_link)
        self._looping = asyncio.create_task(self._loop.run(), name="coordinator")

    def _make_link(self, address: BrokerAddress) -> MqttLink:
        return MqttLink(
            address,
            # One coordinator per store: a second one would evict this one, and is locked out.
            client_id=f"circinus-coordinator-{self.store_id}",
            on_message=self._on_message,
            subscriptions=[(ALL_UP, 1)],
            presence=Presence(topic=COORDINATOR_STATUS, payload=self._presence),
        )

    def _connections(self) -> tuple[bool, int]:
        assert self._link is not None
        return self._link.connected.is_set(), self._link.counters.connects

    async def _close_link(self) -> None:
        assert self._link is not None
        assert self._linking is not None
        await self._link.close()
        await asyncio.gather(self._linking, return_exceptions=True)

    def _presence(self, state: PresenceState, _boot_id: str, _session: int) -> bytes:
        online = state is PresenceState.BIRTH
        status = CoordinatorStatus(
            store=self.store_id, online=online, api=self._running.api_url if online else None
        )
        return encode(status)

    async def _on_message(self, topic: str, payload: bytes, _retained: bool) -> None:
        message = self._inbox.decode(topic, payload)
        if message is not None and self._loop is not None:
            await self._loop.put(self._inbox.guarded(topic, message, self._running.on_message))

    def _publish(self, message: Message) -> None:
        assert self._link is not None
        self._link.publish_soon(
            message.topic, message.payload, retain=message.retain, expiry_s=message.expiry_s
        )
