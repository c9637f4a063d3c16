"""A private broker of either kind, and links to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import pytest_asyncio

from circinus.mqtt import BrokerAddress, LinkOptions, MqttLink
from circinus_coordinator.broker import BrokerKind, RunningBroker, start_broker

DEADLINE_S = 20.0


@dataclass
class Received:
    """What a link was handed, in order."""

    messages: asyncio.Queue[tuple[str, bytes, bool]] = field(default_factory=asyncio.Queue)

    async def __call__(self, topic: str, payload: bytes, retain: bool) -> None:
        self.messages.put_nowait((topic, payload, retain))

    async def next(self) -> tuple[str, bytes, bool]:
        return await asyncio.wait_for(self.messages.get(), DEADLINE_S)

    async def until(self, topic: str, payload: bytes) -> None:
        while True:
            got = await self.next()
            if got[:2] == (topic, payload):
                return


@pytest.fixture(
    params=[
        pytest.param(BrokerKind.EMBEDDED, id="embedded"),
        pytest.param(BrokerKind.MOSQUITTO, id="mosquitto", marks=pytest.mark.needs_mosquitto),
    ]
)
def broker_kind(request: pytest.FixtureRequest) -> BrokerKind:
    """Each kind that a coordinator can start."""
    kind: BrokerKind = request.param
    return kind


@pytest_asyncio.fixture
async def broker(broker_kind: BrokerKind, tmp_path: Path) -> AsyncIterator[RunningBroker]:
    """A broker on a free port, of each kind in turn."""
    async with start_broker(kind=broker_kind, data_dir=tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[RunningBroker]:
    """A Mosquitto; the test needs its marker."""
    async with start_broker(kind=BrokerKind.MOSQUITTO, data_dir=tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[RunningBroker]:
    """The embedded broker."""
    async with start_broker(kind=BrokerKind.EMBEDDED, data_dir=tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def start_link() -> AsyncIterator[Callable[..., Any]]:
    """Make a link and run it: `await start_link(address, client_id=…)`; closed at the end."""
    running: list[tuple[MqttLink, asyncio.Task[None]]] = []

    async def start(
        address: BrokerAddress, *, wait: bool = True, fast: bool = True, **arguments: Any
    ) -> MqttLink:
        if fast:
            arguments.setdefault("options", LinkOptions(backoff_cap_s=0.25))
        arguments.setdefault("client_id", f"link-{len(running)}")
        link = MqttLink(address, **arguments)
        running.append((link, asyncio.create_task(link.run(), name=f"link-{len(running)}")))
        if wait:
            await asyncio.wait_for(link.connected.wait(), DEADLINE_S)
        return link

    yield start
    for link, task in running:
        await asyncio.wait_for(link.close(flush_s=0), DEADLINE_S)
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Callable[..., Any]]:
    """Connect a plain MQTT 3.1.1 client, which does nothing by itself."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_client(address: BrokerAddress, **arguments: Any) -> aiomqtt.Client:
            client = aiomqtt.Client(address.host, address.port, **arguments)
            with contextlib.suppress(aiomqtt.MqttError):
                await client.__aenter__()
                stack.push_async_exit(_quietly(client))
            return client

        yield open_client


def _quietly(client: aiomqtt.Client) -> Callable[..., Any]:
    async def leave(*_: object) -> bool:
        with contextlib.suppress(aiomqtt.MqttError):
            await client.__aexit__(None, None, None)
        return False

    return leave
