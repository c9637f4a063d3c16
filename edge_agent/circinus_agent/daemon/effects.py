"""Carries out the reconciler's instructions, and tells it what came of them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import aiohttp

from circinus.messages import Artifact, InstanceReport, InstanceSpec, Peer, Reported, Route
from circinus_agent.artifacts import ArtifactCache, ArtifactError
from circinus_agent.daemon.tasks import Tasks
from circinus_agent.reconciler import EventLog, Reconciler
from circinus_agent.reconciler import events as e
from circinus_agent.reconciler.core import DRAIN_TIMEOUT_S
from circinus_agent.runtime.outcome import WorkerFailed
from circinus_agent.state import StateFolder

__all__ = ["Effects", "Plane", "Serving"]

logger = logging.getLogger(__name__)

# A start may fail because the machine is short of memory or time for a moment.
START_ATTEMPTS = 3
START_RETRY_S = 0.5


class Serving(Protocol):
    """What is used of `circinus_agent.runtime.Runtime`."""

    async def start_instance(self, spec: InstanceSpec) -> None:
        """Returns when ready; replaces one of another spec without a gap; raises WorkerFailed."""
        ...

    async def stop_instance(self, key: str) -> None:
        """Leaves no process."""
        ...

    def set_routes(self, routes: Sequence[Route]) -> None:
        """These routes and no others."""
        ...

    async def wait_drained(self, plans: Iterable[str], timeout_s: float) -> bool:
        """False where `timeout_s` passed first."""
        ...

    def instance_reports(self) -> dict[str, InstanceReport]:
        """State of every instance."""
        ...


class Plane(Protocol):
    """What is used of `circinus_agent.dataplane.DataPlane`."""

    def set_peers(self, peers: Sequence[Peer]) -> None:
        """These peers and no others."""
        ...


class Effects:
    """The reconciler in its shell: a queue of events in, work out.

    Args:
        report: Publishes what the reconciler says of itself; never blocks.
    """

    def __init__(
        self,
        *,
        folder: StateFolder,
        artifacts: ArtifactCache,
        runtime: Serving,
        plane: Plane,
        tasks: Tasks,
        report: Callable[[Reported], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reconciler = Reconciler()
        self._folder = folder
        self._log = EventLog(folder.folder)
        self._artifacts = artifacts
        self._runtime = runtime
        self._plane = plane
        self._tasks = tasks
        self._report = report
        self.clock = clock
        self._events: asyncio.Queue[e.AnyEvent] = asyncio.Queue()
        self._work: dict[str, asyncio.Task[Any]] = {}  # the last order for each instance
        self._plans: frozenset[str] = frozenset()
        self._session: aiohttp.ClientSession | None = None

    def tell(self, event: e.AnyEvent) -> None:
        """Queue an event."""
        self._events.put_nowait(event)

    def instance_changed(self, key: str) -> None:
        """The runtime's report of an instance has changed."""
        report = self._runtime.instance_reports().get(key)
        if report is not None:
            self.tell(e.InstanceChanged(now=self.clock(), key=key, report=report))

    async def run(self, device: str, boot_id: str) -> None:
        """Take up what was stored, then handle events until cancelled."""
        stored, problem = await asyncio.to_thread(self._folder.load)
        if problem:
            logger.error("%s", problem)
        # Before anything that came in meanwhile: a retained document comes only once.
        await self._handle(
            e.Booted(now=self.clock(), device=device, boot_id=boot_id, stored=stored)
        )
        while True:
            await self._handle(await self._events.get())

    async def fetch(self, artifact: Artifact) -> None:
        """Have an artifact in the cache.

        Raises:
            ArtifactError: With the cause.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        await self._artifacts.fetch(artifact, self._session)

    async def close(self) -> None:
        """Close what fetching opened."""
        if self._session is not None:
            await self._session.close()

    # ---- instructions -----------------------------------------------------------------------

    async def _handle(self, event: e.AnyEvent) -> None:
        before = self._log.snapshot(self.reconciler.model)
        instructions = self.reconciler.handle(event)
        self._log.append(event, before, len(instructions))
        for instruction in instructions:
            logger.debug("%s", instruction)
            await self._carry_out(instruction)

    async def _carry_out(self, instruction: e.Instruction) -> None:
        if isinstance(instruction, e.Persist):
            await self._persist(instruction)
        elif isinstance(instruction, e.FetchArtifact):
            artifact = instruction.artifact
            self._tasks.spawn(f"fetch {artifact.sha256[:12]}", self._fetch(artifact))
        elif isinstance(instruction, e.StartInstance):
            spec = instruction.spec
            self._order(spec.key, f"start {spec.key}", self._start(spec, self._previous(spec.key)))
        elif isinstance(instruction, e.StopInstance):
            key = instruction.key
            self._order(key, f"stop {key}", self._stop(key, self._previous(key)))
        elif isinstance(instruction, e.SetRoutes):
            self._set_routes(instruction)
        elif isinstance(instruction, e.SetPeers):
            self._plane.set_peers(list(instruction.peers))
        elif isinstance(instruction, e.Report):
            said = instruction.reported
            logger.info(
                "version %d: %s%s",
                said.version,
                said.phase,
                "".join(f"; {text}" for text in (said.error, said.refused) if text),
            )
            self._report(said)

    async def _persist(self, instruction: e.Persist) -> None:
        stored = instruction.stored
        self._artifacts.pin(
            {a.sha256 for d in (stored.desired, stored.good) if d for a in d.body.artifacts}
        )
        awaits = instruction.awaits
        try:
            await asyncio.to_thread(self._folder.save, stored)
        except OSError as error:
            cause = error.strerror or str(error)
            logger.error("state cannot be stored: %s", cause)
            if awaits is not None:
                self.tell(
                    e.PersistFailed(
                        now=self.clock(), version=awaits.version, hash=awaits.hash, cause=cause
                    )
                )
            return
        if awaits is not None:
            self.tell(e.Persisted(now=self.clock(), version=awaits.version, hash=awaits.hash))

    async def _fetch(self, artifact: Artifact) -> None:
        sha256 = artifact.sha256
        try:
            await self.fetch(artifact)
        except ArtifactError as error:
            logger.warning("%s", error)
            self.tell(
                e.ArtifactFailed(
                    now=self.clock(), sha256=sha256, cause=error.cause, final=error.final
                )
            )
        else:
            self.tell(e.ArtifactFetched(now=self.clock(), sha256=sha256))

    def _previous(self, key: str) -> asyncio.Task[Any] | None:
        return self._work.get(key)

    def _order(self, key: str, name: str, work: Any) -> None:
        """Orders for one instance are carried out one after the other."""
        task = self._tasks.spawn(name, work)
        self._work[key] = task

        def done(finished: asyncio.Task[Any]) -> None:
            if self._work.get(key) is finished:
                del self._work[key]

        task.add_done_callback(done)

    async def _start(self, spec: InstanceSpec, previous: asyncio.Task[Any] | None) -> None:
        if previous is not None:
            await asyncio.wait({previous})
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                await self._runtime.start_instance(spec)
            except WorkerFailed as error:
                tries = "" if error.final else f" (attempt {attempt} of {START_ATTEMPTS})"
                logger.warning("%s%s", error, tries)
                if attempt == START_ATTEMPTS or error.final:
                    self.tell(e.InstanceFailed(now=self.clock(), key=spec.key, cause=error.cause))
                    return
                await asyncio.sleep(random.uniform(0, START_RETRY_S * 2**attempt))
            else:
                self.tell(e.InstanceReady(now=self.clock(), key=spec.key))
                return

    async def _stop(self, key: str, previous: asyncio.Task[Any] | None) -> None:
        if previous is not None:
            previous.cancel()
            await asyncio.wait({previous})
        await self._runtime.stop_instance(key)
        self.tell(e.InstanceStopped(now=self.clock(), key=key))

    def _set_routes(self, instruction: e.SetRoutes) -> None:
        self._runtime.set_routes(list(instruction.routes))
        plans = frozenset(route.plan for route in instruction.routes)
        removed, self._plans = self._plans - plans, plans
        self._tasks.spawn(f"drain {instruction.epoch}", self._drain(removed, instruction.epoch))

    async def _drain(self, plans: frozenset[str], epoch: int) -> None:
        drained = not plans or await self._runtime.wait_drained(plans, DRAIN_TIMEOUT_S)
        if not drained:
            logger.warning("requests of removed routes did not end in time")
        self.tell(e.RoutesDrained(now=self.clock(), epoch=epoch))
