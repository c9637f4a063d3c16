"""What a link does when its connection does not hold."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from circinus.mqtt import BrokerAddress, LinkOptions, MqttLink, Presence, Protocol
from circinus_coordinator.broker import RunningBroker
from tests.integration.conftest import DEADLINE_S, Received
from tests.integration.coordinator_bench import until

pytestmark = pytest.mark.asyncio

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

ACCEPTED_311 = bytes([0x20, 2, 0, 0])
ACCEPTED_5 = bytes([0x20, 3, 0, 0, 0])
# DISCONNECT with "session taken over".
TAKEN_OVER = bytes([0xE0, 1, 0x8E])
# With a Receive Maximum (0x21) of 2.
ACCEPTED_5_WINDOW_2 = bytes([0x20, 6, 0, 0, 3, 0x21, 0, 2])


class ScriptedBroker:
    """Answers CONNECT as told and keeps count."""

    def __init__(self, answer: Answer) -> None:
        self.connects = 0
        self.levels: list[int] = []
        self.connected = asyncio.Condition()
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> BrokerAddress:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return BrokerAddress(host="127.0.0.1", port=self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def seen(self, connects: int) -> None:
        async with self.connected:
            await asyncio.wait_for(
                self.connected.wait_for(lambda: self.connects >= connects), DEADLINE_S
            )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            _, connect = await read_packet(reader)
            self.levels.append(connect[6])
            async with self.connected:
                self.connects += 1
                self.connected.notify_all()
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                await self._answer(reader, writer)
        finally:
            writer.close()
            self._tasks.discard(task)


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind = (await reader.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return kind, await reader.readexactly(length)


@pytest_asyncio.fixture
async def scripted() -> AsyncIterator[Callable[[Answer], Awaitable[Any]]]:
    brokers: list[ScriptedBroker] = []

    async def start(answer: Answer) -> tuple[ScriptedBroker, BrokerAddress]:
        broker = ScriptedBroker(answer)
        brokers.append(broker)
        return broker, await broker.start()

    yield start
    for broker in brokers:
        await broker.stop()


class RecordedDelays(random.Random):
    """Draws nothing, so that nobody waits, and keeps the ceilings."""

    def __init__(self) -> None:
        super().__init__(0)
        self.ceilings: list[float] = []

    def uniform(self, a: float, b: float) -> float:
        self.ceilings.append(b)
        return 0.0


async def test_connection_that_drops_at_once_backs_off(scripted: Any, start_link: Any) -> None:
    async def accept_and_drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ACCEPTED_5)
        await writer.drain()

    broker, address = await scripted(accept_and_drop)
    rng = RecordedDelays()
    await start_link(
        address, rng=rng, wait=False, options=LinkOptions(backoff_base_s=1, backoff_cap_s=60)
    )
    await broker.seen(6)
    assert rng.ceilings[:5] == [1, 2, 4, 8, 16]


async def test_a_second_client_of_the_same_id_is_named_where_the_broker_tells(
    scripted: Any, start_link: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def take_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ACCEPTED_5)
        await read_packet(reader)
        writer.write(TAKEN_OVER)

    broker, address = await scripted(take_over)
    presence = Presence(topic="who", payload=lambda *_: b"x")
    await start_link(address, client_id="pi", presence=presence, rng=RecordedDelays(), wait=False)
    await broker.seen(3)
    assert "another client connected as 'pi'" in caplog.text


@pytest.mark.needs_mosquitto
async def test_two_clients_of_one_id_are_suspected_where_the_broker_just_closes(
    mosquitto: RunningBroker, start_link: Any, caplog: pytest.LogCaptureFixture
) -> None:
    address = BrokerAddress(host=mosquitto.host, port=mosquitto.port)
    links = [
        await start_link(address, client_id="twin", fast=False, rng=RecordedDelays(), wait=False)
        for _ in range(2)
    ]
    await until(lambda: max(link.counters.connects for link in links) >= 5, "they took turns")
    hints = [r.getMessage() for r in caplog.records if "is another client connected as" in r.msg]
    assert hints
    assert len(hints) <= 2, "once by each"


async def test_connection_that_ends_during_the_birth_is_noticed_at_once(
    scripted: Any, start_link: Any
) -> None:
    async def take_birth_and_drop(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(ACCEPTED_5)
        await read_packet(reader)

    broker, address = await scripted(take_birth_and_drop)
    await start_link(
        address,
        wait=False,
        rng=RecordedDelays(),
        presence=Presence(topic="who", payload=lambda *_: b"x"),
        options=LinkOptions(connect_timeout_s=1000),
    )
    await broker.seen(2)


async def test_broker_that_hangs_up_on_version_5_is_asked_in_3_1_1(
    scripted: Any, start_link: Any
) -> None:
    attempts = 0

    async def only_311(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            writer.write(ACCEPTED_311)
            await reader.read()

    _, address = await scripted(only_311)
    rng = RecordedDelays()
    link = await start_link(address, rng=rng)
    assert link.protocol is Protocol.V311
    assert rng.ceilings == [], "no waiting in between"


async def test_version_5_comes_first_again_after_3_1_1_failed_too(
    scripted: Any, start_link: Any
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    broker, address = await scripted(hang_up)
    await start_link(address, rng=RecordedDelays(), wait=False)
    await broker.seen(4)
    assert broker.levels[:4] == [5, 4, 5, 4]


async def test_receive_maximum_of_the_broker_is_kept(scripted: Any, start_link: Any) -> None:
    published: asyncio.Queue[bytes] = asyncio.Queue()
    release = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ACCEPTED_5_WINDOW_2)
        waiting: list[bytes] = []
        while True:
            kind, body = await read_packet(reader)
            if kind & 0xF0 != 0x30:
                continue
            topic_bytes = int.from_bytes(body[:2], "big")
            waiting.append(body[2 + topic_bytes : 4 + topic_bytes])
            published.put_nowait(waiting[-1])
            if len(waiting) == 2:
                await release.wait()
                for packet_id in waiting:
                    writer.write(bytes([0x40, 2]) + packet_id)
                waiting.clear()

    _, address = await scripted(answer)
    link = await start_link(address)
    for _ in range(4):
        link.publish_soon("a", b"x")
    await published.get()
    await published.get()
    connection = link._connection
    assert connection is not None
    assert connection._unacknowledged == 2
    release.set()
    assert await link.flush(DEADLINE_S)


async def test_missing_acknowledgement_ends_the_connection(scripted: Any, start_link: Any) -> None:
    async def never_acknowledge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ACCEPTED_5)
        await reader.read()

    broker, address = await scripted(never_acknowledge)
    link = await start_link(address, options=LinkOptions(ack_timeout_s=0.05, backoff_cap_s=0.25))
    link.publish_soon("a", b"x")
    await broker.seen(2)
    assert link.counters.drops >= 1


async def test_silent_broker_is_left_after_the_connect_timeout(
    scripted: Any, start_link: Any
) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    broker, address = await scripted(say_nothing)
    await start_link(
        address, wait=False, options=LinkOptions(connect_timeout_s=0.05, backoff_cap_s=0.25)
    )
    await broker.seen(3)


async def test_close_does_not_wait_for_a_silent_broker(scripted: Any) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    broker, address = await scripted(say_nothing)
    link = MqttLink(address, client_id="x", options=LinkOptions(connect_timeout_s=1000))
    task = asyncio.create_task(link.run())
    await broker.seen(1)
    await asyncio.wait_for(link.close(), DEADLINE_S)
    await task


async def test_each_will_carries_the_session_of_its_own_connection(
    scripted: Any, start_link: Any
) -> None:
    wills: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    def payload(state: Any, boot_id: str, session: int) -> bytes:
        made = f"{state.value} {session}".encode()
        if state.value == "will":
            wills.put_nowait((session, made))
        return made

    async def drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ACCEPTED_5)
        await writer.drain()

    broker, address = await scripted(drop)
    await start_link(
        address, wait=False, rng=RecordedDelays(), presence=Presence(topic="who", payload=payload)
    )
    await broker.seen(3)
    assert [(await wills.get())[1] for _ in range(3)] == [b"will 1", b"will 2", b"will 3"]


# ---- a real broker that is killed --------------------------------------------------------------


def kill(broker: RunningBroker) -> None:
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)


async def dropped(link: MqttLink) -> None:
    while link.connected.is_set():
        await asyncio.sleep(0.01)


@pytest.mark.needs_mosquitto
async def test_link_returns_after_the_broker_is_killed(
    mosquitto: RunningBroker, start_link: Any
) -> None:
    received = Received()
    link = await start_link(mosquitto.address, on_message=received, subscriptions=[("a", 1)])
    kill(mosquitto)
    await asyncio.wait_for(dropped(link), DEADLINE_S)
    await asyncio.wait_for(link.connected.wait(), DEADLINE_S)
    await link.publish("a", b"again")
    assert (await received.next())[:2] == ("a", b"again")
    assert link.counters.drops == 1
    assert link.counters.connects == 2


@pytest.mark.needs_mosquitto
async def test_outbox_survives_the_death_of_the_broker(
    mosquitto: RunningBroker, start_link: Any
) -> None:
    received = Received()
    await start_link(mosquitto.address, on_message=received, subscriptions=[("a", 1)])
    sender = await start_link(mosquitto.address)
    kill(mosquitto)
    await asyncio.wait_for(dropped(sender), DEADLINE_S)
    for i in range(20):
        # Retained, so that a receiver that comes back later than the sender still gets the last.
        sender.publish_soon("a", b"%d" % i, retain=True, latest=False)
    assert await sender.flush(DEADLINE_S)
    await received.until("a", b"19")


@pytest.mark.needs_mosquitto
async def test_awaited_publish_spans_a_reconnect(mosquitto: RunningBroker, start_link: Any) -> None:
    link = await start_link(mosquitto.address)
    kill(mosquitto)
    await asyncio.wait_for(dropped(link), DEADLINE_S)
    await link.publish("a", b"x", timeout_s=DEADLINE_S)
    assert link.counters.published == 1


@pytest.mark.needs_mosquitto
async def test_only_the_latest_of_a_retained_topic_is_sent_after_a_break(
    mosquitto: RunningBroker, start_link: Any
) -> None:
    sender = await start_link(mosquitto.address)
    kill(mosquitto)
    await asyncio.wait_for(dropped(sender), DEADLINE_S)
    for i in range(20):
        sender.publish_soon("state", b"%d" % i, retain=True)
    assert await sender.flush(DEADLINE_S)
    assert sender.counters.published == 1
    received = Received()
    await start_link(mosquitto.address, on_message=received, subscriptions=[("state", 1)])
    assert await received.next() == ("state", b"19", True)


@pytest.mark.needs_mosquitto
async def test_birth_is_renewed_on_each_connection(
    mosquitto: RunningBroker, start_link: Any
) -> None:
    presence = Presence(topic="who", payload=lambda state, _, n: f"{state.value} {n}".encode())
    link = await start_link(mosquitto.address, presence=presence)
    kill(mosquitto)
    await asyncio.wait_for(dropped(link), DEADLINE_S)
    await asyncio.wait_for(link.connected.wait(), DEADLINE_S)
    received = Received()
    await start_link(mosquitto.address, on_message=received, subscriptions=[("who", 1)])
    assert await received.next() == ("who", f"birth {link.session}".encode(), True)
