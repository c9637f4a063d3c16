"""A coordinator behind a real broker, and scripted agents that speak real MQTT to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from circinus.messages import (
    AnyCommand,
    Capabilities,
    CommandResult,
    Desired,
    InstanceTelemetry,
    Message,
    ProbeAccuracy,
    ProbeLink,
    ProbeOperators,
    ProbeSamples,
    Reported,
    RouteTelemetry,
    Status,
    Telemetry,
    decode,
    encode,
)
from circinus.mqtt import BrokerAddress, LinkOptions, MqttLink, Presence, PresenceState
from circinus.scenario import Submission, decode_submission
from circinus.topics import DeviceTopics
from circinus_coordinator.daemon import BrokerSettings, Coordinator, Settings

SOON_S = 20.0

FLEET = """
circinus: 1
tiers: [device, edge, cloud]
device_classes:
  pi: {cores: 4, memory_mb: 4096, price_usd_hour: 0.01}
  box: {cores: 8, memory_mb: 16384, price_usd_hour: 0.2}
links:
  - {between: [device, cloud], rtt_ms: 40, bandwidth_mbps: 20, price_usd_gb: 0.05}
"""

SUBMISSION = """
circinus: 1
pipelines:
  signs:
    operators:
      decode: {run: "m:Decode", tiers: [device]}
      detect: {run: "m:Detect", needs: [decode], knobs: {side: [640, 320]}}
    input_bytes: 10000
    accuracy: {dataset: /data/signs, metric: "m:score"}
queries:
  - {id: gate, pipeline: signs, source: pi-1, rate_rps: 2, slo: {latency_ms: 400, accuracy: 0.8}}
  - {id: yard, pipeline: signs, source: pi-1, rate_rps: 2, slo: {latency_ms: 1}}
"""


def submission(text: str = SUBMISSION) -> Submission:
    return decode_submission(text.encode(), name="submission.yaml")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Broker:
    """A Mosquitto on loopback that forgets everything when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
        assert program is not None
        self._process = subprocess.Popen(  # noqa: ASYNC220 - a fork takes a millisecond
            [program, "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the broker did not start")

    async def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._process = None


class ScriptedAgent:
    """Answers probes at once and does as its desired document says.

    Attributes:
        probes: Commands it was sent.
        desired: Documents it was sent, oldest first.
        fail: Says why a document cannot be applied; None where it can.
        silent: Does not report on documents.
    """

    def __init__(self, broker: Broker, device: str, device_class: str, tier: str) -> None:
        self.device = device
        self.topics = DeviceTopics(device)
        self.device_class = device_class
        self.tier = tier
        self.probes: list[Any] = []
        self.desired: list[Desired] = []
        self.fail: Callable[[Desired], str | None] = lambda _: None
        self.silent = False
        self.seq = 0
        self.answer_probes = True
        self.link = MqttLink(
            BrokerAddress(host="127.0.0.1", port=broker.port),
            client_id=device,
            on_message=self._on_message,
            subscriptions=[(self.topics.all_down, 1)],
            presence=Presence(topic=self.topics.status, payload=self._presence),
            options=LinkOptions(backoff_base_s=0.05, backoff_cap_s=0.2),
        )
        self._task: asyncio.Task[None] | None = None
        self._started = time.monotonic()

    @property
    def boot_id(self) -> str:
        return self.link.boot_id

    def _presence(self, state: PresenceState, boot_id: str, session: int) -> bytes:
        return encode(
            Status(
                device=self.device, boot_id=boot_id, session=session,
                online=state is PresenceState.BIRTH, clean=state is PresenceState.GOODBYE,
            )
        )  # fmt: skip

    async def start(self) -> None:
        self.say(
            self.topics.capabilities,
            Capabilities(
                device=self.device, boot_id=self.boot_id, device_class=self.device_class,
                tier=self.tier, cores=4, memory_mb=4096, architecture="x", os="x", python="3",
                endpoint=f"ws://127.0.0.1:1/{self.device}",
            ),
            retain=True,
        )  # fmt: skip
        self._task = asyncio.create_task(self.link.run(), name=self.device)
        await asyncio.wait_for(self.link.connected.wait(), SOON_S)

    async def stop(self) -> None:
        await self.link.close()
        if self._task is not None:
            await self._task

    async def crash(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def say(self, topic: str, message: Message, *, retain: bool = False) -> None:
        self.link.publish_soon(topic, encode(message), retain=retain)

    async def _on_message(self, topic: str, payload: bytes, retained: bool) -> None:
        if topic == self.topics.desired:
            self._apply(decode(payload, Desired))
            return
        command = decode(payload, AnyCommand)
        if (command.boot_id, command.session) != (self.boot_id, self.link.session):
            return  # sent to the session before, which was over when it arrived
        self.probes.append(command)
        if self.answer_probes:
            self.answer(command)

    def _apply(self, desired: Desired) -> None:
        self.desired.append(desired)
        if not self.silent:
            self.report(desired)

    def report(self, desired: Desired) -> None:
        error = self.fail(desired)
        self.say(
            self.topics.reported,
            Reported(
                device=self.device, boot_id=self.boot_id, version=desired.version,
                hash=desired.hash, phase="failed" if error else "converged", error=error,
            ),
            retain=True,
        )  # fmt: skip

    def answer(self, command: Any) -> None:
        if isinstance(command, ProbeOperators):
            for i in range(len(command.targets)):
                mean = 30.0 if self.device_class == "pi" else 3.0
                samples = [mean + 0.01 * n for n in range(command.min_samples)]
                self._samples(
                    command, i, latency_ms=samples, compute_s=[x / 1e3 for x in samples],
                    output_bytes=[5000.0], memory_mb=50.0,
                )  # fmt: skip
        elif isinstance(command, ProbeAccuracy):
            for i, target in enumerate(command.targets):
                good = target.config["detect"]["side"] == 640
                self._samples(command, i, scores=[1.0] * (9 if good else 5) + [0.0])
        elif isinstance(command, ProbeLink):
            self._samples(command, 0, rtt_ms=[12.0, 11.0, 10.0], bandwidth_mbps=[90.0, 100.0, 80.0])
        else:
            return
        result = CommandResult(device=self.device, request_id=command.request_id, ok=True)
        self.say(self.topics.result, result)

    def _samples(self, command: Any, target: int, **values: Any) -> None:
        self.seq += 1
        self.say(
            self.topics.probe,
            ProbeSamples(
                device=self.device, request_id=command.request_id, seq=self.seq, target=target,
                done=True, **values,
            ),
        )  # fmt: skip

    def telemetry(
        self, *, routes: list[RouteTelemetry] | None = None,
        instances: list[InstanceTelemetry] | None = None,
        troubles: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.seq += 1
        self.say(
            self.topics.telemetry,
            Telemetry(
                device=self.device, boot_id=self.boot_id, seq=self.seq,
                uptime_s=time.monotonic() - self._started,
                routes=routes or [], instances=instances or [], troubles=troubles or {},
            ),
        )  # fmt: skip


class Bench:
    """One broker, one store, any number of coordinators one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = Broker(folder)
        self.fleet = folder / "fleet.yaml"
        self.fleet.write_text(FLEET)
        self.agents: list[ScriptedAgent] = []
        self.executor = ThreadPoolExecutor(1)

    def settings(self, **changes: Any) -> Settings:
        defaults: dict[str, Any] = {
            "store": self.folder / "store",
            "fleet": self.fleet,
            "api_url": "http://127.0.0.1:1",
            "broker": BrokerSettings(host="127.0.0.1", port=self.broker.port),
            "settle_s": 0.3,
            "debounce_s": 0.05,
            "drain_s": 0.05,
            "grace_s": 0.5,
        }
        return Settings(**{**defaults, **changes})

    def coordinator(self, **changes: Any) -> Coordinator:
        return Coordinator(self.settings(**changes), executor=self.executor)

    async def agent(
        self, device: str, device_class: str = "pi", tier: str = "device"
    ) -> ScriptedAgent:
        made = ScriptedAgent(self.broker, device, device_class, tier)
        self.agents.append(made)
        await made.start()
        return made

    async def fleet_of_two(self) -> tuple[ScriptedAgent, ScriptedAgent]:
        return await self.agent("pi-1"), await self.agent("box-1", "box", "cloud")


@contextlib.asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    made = Bench(folder)
    await made.broker.start()
    try:
        yield made
    finally:
        for agent in made.agents:
            await agent.stop()
        await made.broker.kill()
        made.executor.shutdown()


async def until(condition: Callable[[], Any], what: str, timeout_s: float = SOON_S) -> Any:
    """Poll for something that happens in another task; the deadline only ends a broken test."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"it never came to this: {what}")
