"""The agent: everything put together and kept running."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import uuid
from collections.abc import Callable
from functools import partial

import msgspec
import psutil

from circinus import codec
from circinus.errors import InvalidInput
from circinus.messages import (
    Capabilities,
    CommandResult,
    InstanceSpec,
    Message,
    Peer,
    ProbeSamples,
    Reported,
    encode,
)
from circinus.topics import DeviceTopics
from circinus_agent.artifacts import ArtifactCache
from circinus_agent.capabilities import (
    Hardware,
    Software,
    describe,
    read_hardware,
    read_health,
    read_software,
)
from circinus_agent.config import AUTO, AgentConfig
from circinus_agent.daemon.broker import make_link
from circinus_agent.daemon.effects import Effects
from circinus_agent.daemon.inbox import Inbox
from circinus_agent.daemon.process import (
    address_towards,
    emptied,
    end_children,
    ended,
    first,
    within,
)
from circinus_agent.daemon.tasks import Tasks
from circinus_agent.dataplane import DataPlane
from circinus_agent.probes import Conditions, ProbeEnvironment, ProbeManager, machine_core_s
from circinus_agent.reconciler import events as e
from circinus_agent.runtime import Instance, Runtime, RuntimeSettings
from circinus_agent.state import StateFolder
from circinus_agent.telemetry import IDLE_PERIOD_S, SERVING_PERIOD_S, Telemeter

__all__ = ["Agent"]

logger = logging.getLogger(__name__)

TICK_S = 1.0
# Of probes that are not timed and would take the cores from what is served beside them.
BACKGROUND_NICE = 10


class Agent:
    """One agent, from start to end.

    Args:
        folder: Its state folder, locked.
    """

    def __init__(self, config: AgentConfig, folder: StateFolder) -> None:
        self._config = config
        self._folder = folder
        self._boot_id = uuid.uuid4().hex
        self._topics = DeviceTopics(config.device)
        self._artifacts = ArtifactCache(
            folder.folder / "artifacts", int(config.cache_quota_mb * 1e6)
        )
        self._scratch = emptied(folder.folder / "scratch")

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`; leaves no process and no port behind.

        Raises:
            InvalidInput: If the data plane's port is taken.
        """
        config = self._config
        hardware = read_hardware()
        software = await asyncio.to_thread(read_software, config.path, self._folder.folder)
        if software.problem:
            logger.warning("installed software is not known: %s", software.problem)
        emulation = config.emulate.as_message()
        plane = DataPlane(
            config.device,
            host=config.data_plane.host,
            port=config.data_plane.port,
            links=emulation.links if emulation else (),
        )
        await plane.start()
        tasks = Tasks()
        try:
            await self._serve(stop, tasks, plane, hardware, software)
        finally:
            await tasks.close()
            await within(plane.close(), "data plane")
            end_children()

    async def _serve(
        self,
        stop: asyncio.Event,
        tasks: Tasks,
        plane: DataPlane,
        hardware: Hardware,
        software: Software,
    ) -> None:
        """Everything that needs an open port."""
        settings = self._settings(hardware, software)
        late: list[Effects] = []
        runtime = Runtime(
            settings,
            transport=plane,
            resolve=self._artifacts.resolve,
            # Not the working folder, which is anything, and not among the agent's own files.
            results=self._folder.folder / "results",
            publish=self._publish_event,
            on_change=lambda key: late[0].instance_changed(key) if late else None,
        )
        plane.attach(runtime)
        effects = Effects(
            folder=self._folder,
            artifacts=self._artifacts,
            runtime=runtime,
            plane=plane,
            tasks=tasks,
            report=self._report,
        )
        late.append(effects)
        conditions = Conditions(
            read=partial(read_health, raspberry_pi=hardware.raspberry_pi),
            core_s=machine_core_s,
            cores=float(psutil.cpu_count() or 1),
        )
        environment = self._environment(settings, plane, effects, conditions)
        probes = ProbeManager(environment, self._answer)
        inbox = Inbox(
            self._topics,
            self._boot_id,
            session=lambda: self._link.session,
            on_desired=lambda desired: effects.tell(
                e.DesiredReceived(now=effects.clock(), desired=desired)
            ),
            on_probe=probes.submit,
            on_cancel=probes.cancel,
            on_orphaned=probes.cancel_all,
        )
        found = self._capabilities(hardware, software, plane.port)

        def connected() -> None:
            """Write the retained topics anew: another broker may know nothing of them."""
            probes.cancel_all()  # their session is over: nobody listens to them any more
            self._publish(self._topics.capabilities, found, retain=True)
            if effects.reconciler.model.reported is not None:
                self._report(effects.reconciler.model.reported)

        self._link = make_link(self._config, self._boot_id, inbox.receive, connected)
        telemeter = Telemeter(
            self._config.device,
            self._boot_id,
            runtime,
            plane,
            health=lambda: read_health(raspberry_pi=hardware.raspberry_pi),
            dropped=lambda: {**inbox.dropped, **self._link.counters.ignored()},
        )
        tasks.spawn("reconcile", effects.run(self._config.device, self._boot_id))
        tasks.spawn("tick", _tick(effects))
        probing = tasks.spawn("probes", probes.run())
        tasks.spawn(
            "telemetry",
            self._telemetry(
                telemeter, lambda: bool(effects.reconciler.model.routes) or probes.busy
            ),
        )
        tasks.spawn("link", self._link.run())
        logger.info(
            "device %s serves on %s:%d",
            self._config.device,
            self._config.data_plane.host,
            plane.port,
        )
        try:
            await first(stop.wait(), tasks.failed())
        finally:
            await within(ended(probing), "probe")
            await within(self._link.close(), "broker")
            await tasks.close()
            await within(runtime.close(), "runtime")
            await within(effects.close(), "artifacts")

    # ---- parts ------------------------------------------------------------------------------

    def _settings(self, hardware: Hardware, software: Software) -> RuntimeSettings:
        emulate = self._config.emulate
        cache = self._folder.folder / "cache"
        cache.mkdir(exist_ok=True)
        return RuntimeSettings(
            device=self._config.device,
            device_class=self._config.device_class,
            cores=max(1.0, emulate.cores if emulate.cores is not None else hardware.cores),
            accelerators=hardware.accelerators,
            slowdown=emulate.slowdown,
            providers=software.providers or ("CPUExecutionProvider",),
            cache_dir=str(cache),
            paths=self._config.path,
            hang_timeout_s=self._config.runtime.hang_timeout_s,
        )

    def _environment(
        self,
        settings: RuntimeSettings,
        plane: DataPlane,
        effects: Effects,
        conditions: Conditions,
    ) -> ProbeEnvironment:
        def worker(spec: InstanceSpec, limit_s: float, nice: int = 0) -> Instance:
            limited = dataclasses.replace(
                settings,
                realtime=False,
                start_timeout_s=min(settings.start_timeout_s, limit_s),
                hang_timeout_s=min(settings.hang_timeout_s, limit_s),
            )
            return Instance(spec, limited, nice=nice)

        async def echo(peer: Peer, payload_bytes: int, limit_s: float) -> tuple[float, float]:
            return await plane.echo(peer, payload_bytes, timeout_s=min(10.0, limit_s))

        emulate = self._config.emulate
        return ProbeEnvironment(
            device=self._config.device,
            worker=worker,
            background=partial(worker, nice=BACKGROUND_NICE),
            encode_input=codec.dumps,
            resolve=self._artifacts.resolve,
            fetch=effects.fetch,
            publish=self._publish_samples,
            echo=echo,
            scratch=self._scratch,
            emulated=emulate.slowdown != 1.0 or emulate.cores is not None,
            emulated_links=frozenset(link.peer for link in emulate.links),
            slowdown=emulate.slowdown,
            conditions=conditions,
            threads=max(1, int(settings.cores) - 1),
            path=self._config.path,
        )

    def _capabilities(self, hardware: Hardware, software: Software, port: int) -> Capabilities:
        health = read_health(raspberry_pi=hardware.raspberry_pi)
        return describe(
            self._config, self._boot_id, hardware, health, software, self._endpoint(port)
        )

    def _endpoint(self, port: int) -> str | None:
        """Where others dial in: as configured, or the listening address."""
        endpoint = self._config.data_plane.endpoint
        if endpoint != AUTO:
            return endpoint
        host = self._config.data_plane.host
        if host in ("0.0.0.0", "::", "*"):  # noqa: S104 - asked for by the user
            host = address_towards(self._config.broker.host, self._config.broker.port)
        return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"

    # ---- publishing -------------------------------------------------------------------------

    def _publish(self, topic: str, message: Message, *, retain: bool = False, qos: int = 1) -> None:
        try:
            self._link.publish_soon(topic, encode(message), qos=qos, retain=retain)
        except InvalidInput as error:
            logger.error("not published: %s", error)

    def _report(self, reported: Reported) -> None:
        self._publish(self._topics.reported, reported, retain=True)

    def _publish_samples(self, samples: ProbeSamples) -> None:
        self._publish(self._topics.probe, samples)

    def _answer(self, result: CommandResult) -> None:
        self._publish(self._topics.result, result)

    def _publish_event(self, query: str, payload: bytes) -> bool:
        """Whether it was sent: what is not, for want of a connection, the link counts at once."""
        body = msgspec.json.encode({"query": query, "result": msgspec.Raw(payload)})
        dropped = self._link.counters.dropped
        self._link.publish_soon(self._topics.event, body, qos=0)
        return self._link.counters.dropped == dropped

    async def _telemetry(self, telemeter: Telemeter, busy: Callable[[], bool]) -> None:
        waited = 0.0
        while True:
            await asyncio.sleep(SERVING_PERIOD_S)
            waited += SERVING_PERIOD_S
            if self._link.connected.is_set() and (busy() or waited >= IDLE_PERIOD_S):
                waited = 0.0
                message = await telemeter.measure()
                self._publish(self._topics.telemetry, message, qos=0)


async def _tick(effects: Effects) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        effects.tell(e.Tick(now=effects.clock()))
