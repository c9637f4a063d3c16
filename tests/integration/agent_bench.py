"""An agent as a process, a broker, and someone who plays the coordinator."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from circinus.messages import (
    Capabilities,
    CommandResult,
    Desired,
    DesiredBody,
    InstanceSpec,
    ProbeSamples,
    Reported,
    Route,
    RouteStep,
    Status,
    Telemetry,
    body_hash,
    decode,
    encode,
    instance_key,
)
from circinus.mqtt import BrokerAddress, LinkOptions, MqttLink
from circinus.topics import ALL_UP, DeviceTopics, split_up
from circinus_coordinator.broker import BrokerKind

HERE = Path(__file__).parent
DEVICE = "pi-1"
KINDS: dict[str, Any] = {
    "status": Status,
    "capabilities": Capabilities,
    "reported": Reported,
    "probe": ProbeSamples,
    "result": CommandResult,
    "telemetry": Telemetry,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A broker that can be killed and started again; it forgets everything then."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        folder.chmod(0o755)
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
        assert program is not None
        self._process = subprocess.Popen(  # noqa: ASYNC220 - a fork takes a millisecond
            [program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    async def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


SERVE = """
import asyncio, pathlib, signal, sys
from circinus_coordinator.broker import BrokerKind, start_broker

async def main():
    kind, folder, port = BrokerKind(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    async with start_broker(data_dir=folder, kind=kind, port=port):
        await end.wait()

asyncio.run(main())
"""


class Started:
    """A broker as the coordinator starts it, in a process of its own."""

    def __init__(self, folder: Path, kind: BrokerKind) -> None:
        self.port = free_port()
        folder = folder / "broker"
        folder.mkdir()
        self._command = [sys.executable, "-c", SERVE, kind.value, str(folder), str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: ASYNC220 - a fork takes a millisecond
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    async def kill(self) -> None:
        if self._process is not None:
            # Not SIGKILL: the broker may be a child of this one. Not SIGINT: it is ignored in
            # whatever a shell started in the background.
            self._process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(self._process.wait, 10)
            self._process = None


class AgentProcess:
    """``python -m circinus_agent`` with a state folder that outlives it."""

    def __init__(
        self, folder: Path, broker_port: int, device: str = DEVICE, flags: Sequence[str] = ()
    ) -> None:
        self.state = folder / ("state" if device == DEVICE else device)
        self.port = free_port()
        self.command = [
            *(sys.executable, "-m", "circinus_agent", "--device", device, "--class", "small"),
            *("--tier", "device", "--broker", f"127.0.0.1:{broker_port}"),
            *("--listen", f"127.0.0.1:{self.port}", "--endpoint", "auto"),
            *("--state", str(self.state), "--path", str(HERE)),
            *flags,
        ]
        self._log = folder / f"{device}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        return self.process

    def children(self) -> list[psutil.Process]:
        assert self.process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    async def end(self, number: signal.Signals, timeout_s: float = 15.0) -> int:
        """Signal it, and wait until it and all it started are gone."""
        assert self.process is not None
        children = self.children()
        self.process.send_signal(number)
        code = await asyncio.to_thread(self.process.wait, timeout_s)
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, 5)
        assert not alive, f"orphans: {alive}"
        return code

    async def post(self, query: str, body: bytes) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.port}/v1/queries/{query}"
        timeout = aiohttp.ClientTimeout(total=10)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=body) as response,
        ):
            return response.status, await response.json(content_type=None)

    @property
    def log(self) -> str:
        return self._log.read_text()


class Coordinator:
    """Hears all that devices say, and says what a test wants said."""

    def __init__(self, port: int) -> None:
        self.topics = DeviceTopics(DEVICE)
        self.heard: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        self._news = asyncio.Condition()
        self.link = MqttLink(
            BrokerAddress(host="127.0.0.1", port=port),
            client_id="test-coordinator",
            on_message=self._receive,
            subscriptions=[(ALL_UP, 1)],
            options=LinkOptions(backoff_base_s=0.05, backoff_cap_s=0.2),
        )

    async def _receive(self, topic: str, payload: bytes, retained: bool) -> None:
        found = split_up(topic)
        if found is None or not payload or found[1] not in KINDS:
            return
        async with self._news:
            self.heard[found[1]].append(decode(payload, KINDS[found[1]]))
            self._news.notify_all()

    async def until(
        self, kind: str, condition: Callable[[Any], bool] = bool, timeout_s: float = 20.0
    ) -> Any:
        """The first message of `kind` not yet forgotten that fulfils `condition`."""

        def found() -> Any:
            return next((m for m in self.heard[kind] if condition(m)), None)

        async with self._news:
            try:
                await asyncio.wait_for(self._news.wait_for(lambda: found() is not None), timeout_s)
            except asyncio.TimeoutError:
                raise AssertionError(f"no such {kind}; heard {self.heard[kind][-3:]}") from None
        return found()

    def forget(self) -> None:
        for messages in self.heard.values():
            messages.clear()

    async def push(self, document: Desired) -> None:
        await self.link.publish(self.topics.desired, encode(document), retain=True)

    async def converge(self, document: Desired) -> Reported:
        await self.push(document)
        reported: Reported = await self.until(
            "reported", lambda r: r.version == document.version and r.phase == "converged"
        )
        return reported


class Bench:
    def __init__(self, folder: Path, broker: Any, flags: Sequence[str]) -> None:
        self.broker = broker
        self.agent = AgentProcess(folder, broker.port, flags=flags)
        self.coordinator = Coordinator(broker.port)


@contextlib.asynccontextmanager
async def bench(folder: Path, broker: Any, flags: Sequence[str] = ()) -> AsyncIterator[Bench]:
    """Broker, agent and coordinator; nothing of them is left afterwards."""
    await broker.start()
    made = Bench(folder, broker, flags)
    link = asyncio.create_task(made.coordinator.link.run())
    made.agent.start()
    try:
        await made.coordinator.until("status", lambda s: s.online)
        # Birth comes before the subscription; what follows it tells that commands are heard.
        await made.coordinator.until("capabilities")
        yield made
    finally:
        await made.coordinator.link.close(flush_s=0.1)
        link.cancel()
        await asyncio.gather(link, return_exceptions=True)
        process = made.agent.process
        if process is not None and process.poll() is None:
            await made.agent.end(signal.SIGTERM)
        await broker.kill()


def desired(version: int, query: str = "q", times: int = 1, run: str = "Shout") -> Desired:
    """One query of one operator on this device."""
    name = f"agent_operators:{run}"
    config: dict[str, Any] = {"times": times} if run == "Shout" else {}
    key = instance_key(name, config, 1)
    body = DesiredBody(
        instances=[InstanceSpec(key=key, run=name, config=config)],
        routes=[
            Route(
                query=query,
                plan=f"plan-{times}",
                share=1.0,
                active=True,
                lead=DEVICE,
                sources={"shout": DEVICE},
                steps=[RouteStep(name="shout", device=DEVICE, instance=key)],
                rate_rps=100.0,
            )
        ],
    )
    return Desired(device=DEVICE, store="s", version=version, hash=body_hash(body), body=body)
