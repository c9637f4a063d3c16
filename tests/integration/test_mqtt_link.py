"""What a link does while its connection holds, with either broker."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from circinus.errors import InvalidInput
from circinus.mqtt import LinkOptions, NotDelivered, Outcome, Presence, Protocol
from circinus_coordinator.broker import RunningBroker
from tests.integration.conftest import DEADLINE_S, Received

pytestmark = pytest.mark.asyncio


def presence(topic: str = "who") -> Presence:
    return Presence(
        topic=topic, payload=lambda state, boot, session: f"{state.value} {boot} {session}".encode()
    )


async def test_published_message_arrives(broker: RunningBroker, start_link: Any) -> None:
    received = Received()
    await start_link(broker.address, on_message=received, subscriptions=[("a/+", 1)])
    sender = await start_link(broker.address)
    await sender.publish("a/b", b"payload")
    assert await received.next() == ("a/b", b"payload", False)


async def test_link_speaks_the_best_that_the_broker_has(
    broker: RunningBroker, start_link: Any
) -> None:
    link = await start_link(broker.address)
    assert link.protocol is broker.protocol_versions[0]


@pytest.mark.needs_mosquitto
async def test_version_can_be_chosen(mosquitto: RunningBroker, start_link: Any) -> None:
    link = await start_link(mosquitto.address, options=LinkOptions(protocol=Protocol.V311))
    assert link.protocol is Protocol.V311


async def test_nagle_is_off(broker: RunningBroker, start_link: Any) -> None:
    link = await start_link(broker.address)
    assert link._connection is not None
    sock = link._connection._client._client.socket()
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_birth_is_retained_before_the_link_says_connected(
    broker: RunningBroker, start_link: Any
) -> None:
    link = await start_link(broker.address, presence=presence(), boot_id="boot")
    received = Received()
    await start_link(broker.address, on_message=received, subscriptions=[("who", 1)])
    assert await received.next() == ("who", f"birth boot {link.session}".encode(), True)


async def test_close_says_good_bye(broker: RunningBroker, start_link: Any) -> None:
    received = Received()
    link = await start_link(broker.address, presence=presence(), boot_id="boot")
    await start_link(broker.address, on_message=received, subscriptions=[("who", 1)])
    await link.close()
    await received.until("who", f"goodbye boot {link.session}".encode())


async def test_close_sends_what_waits(broker: RunningBroker, start_link: Any) -> None:
    received = Received()
    link = await start_link(broker.address)
    await start_link(broker.address, on_message=received, subscriptions=[("a", 1)])
    for i in range(50):
        link.publish_soon("a", b"%d" % i)
    await link.close()
    await received.until("a", b"49")


async def test_cancelled_link_leaves_its_will(broker: RunningBroker, start_link: Any) -> None:
    from circinus.mqtt import MqttLink

    received = Received()
    await start_link(broker.address, on_message=received, subscriptions=[("who", 1)])
    link = MqttLink(broker.address, client_id="short", presence=presence(), boot_id="boot")
    task = asyncio.create_task(link.run())
    await asyncio.wait_for(link.connected.wait(), DEADLINE_S)
    task.cancel()
    await received.until("who", f"will boot {link.session}".encode())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_subscription_can_be_added_while_connected(
    broker: RunningBroker, start_link: Any
) -> None:
    received = Received()
    link = await start_link(broker.address, on_message=received)
    await link.subscribe("late")
    await link.publish("late", b"x")
    assert (await received.next())[0] == "late"


async def test_handler_that_raises_is_asked_again(broker: RunningBroker, start_link: Any) -> None:
    received = Received()

    async def handler(topic: str, payload: bytes, retain: bool) -> None:
        if payload == b"bad":
            raise ValueError("cannot take this")
        await received(topic, payload, retain)

    link = await start_link(broker.address, on_message=handler, subscriptions=[("a", 1)])
    await link.publish("a", b"bad")
    await link.publish("a", b"good")
    assert await received.next() == ("a", b"good", False)
    assert link.counters.handler_errors == 1


async def test_oversized_message_is_counted_and_logged_once(
    broker: RunningBroker, start_link: Any, caplog: pytest.LogCaptureFixture
) -> None:
    received = Received()
    link = await start_link(
        broker.address,
        on_message=received,
        subscriptions=[("a", 1)],
        options=LinkOptions(max_payload_bytes=10),
    )
    sender = await start_link(broker.address)
    for payload in (b"x" * 11, b"y" * 12, b"fits"):
        await sender.publish("a", payload)
    assert (await received.next())[1] == b"fits"
    assert link.counters.oversized == 2
    assert caplog.text.count("ignored a payload") == 1


async def test_oversized_message_is_not_queued(broker: RunningBroker, start_link: Any) -> None:
    link = await start_link(broker.address, options=LinkOptions(max_payload_bytes=10))
    with pytest.raises(InvalidInput, match="11 bytes"):
        link.publish_soon("a", b"x" * 11)


async def test_burst_larger_than_the_window_arrives_in_order(
    broker: RunningBroker, start_link: Any
) -> None:
    received = Received()
    await start_link(broker.address, on_message=received, subscriptions=[("a", 1)])
    sender = await start_link(broker.address, options=LinkOptions(max_inflight=10))
    for i in range(500):
        sender.publish_soon("a", b"%d" % i)
    assert [int((await received.next())[1]) for _ in range(500)] == list(range(500))
    assert await sender.flush(DEADLINE_S)
    assert sender.counters.published == 500


async def test_qos_0_without_connection_is_counted_as_dropped(start_link: Any) -> None:
    from circinus.mqtt import BrokerAddress

    link = await start_link(BrokerAddress(host="127.0.0.1", port=1), wait=False)
    link.publish_soon("a", b"x", qos=0)
    assert link.counters.dropped == 1


async def test_publish_without_connection_ends_at_its_deadline(start_link: Any) -> None:
    from circinus.mqtt import BrokerAddress

    link = await start_link(BrokerAddress(host="127.0.0.1", port=1), wait=False)
    with pytest.raises(NotDelivered) as caught:
        await link.publish("a", b"x", timeout_s=0.05)
    assert caught.value.outcome is Outcome.WITHDRAWN
    assert await link.flush(0), "nothing is left to be sent later"


@pytest.mark.needs_mosquitto
async def test_message_expires_at_the_broker(mosquitto: RunningBroker, start_link: Any) -> None:
    """MQTT 5: what a device fetches late carries how long it is still good for."""
    link = await start_link(mosquitto.address)
    await link.publish("a", b"x", retain=True, expiry_s=30)
    import aiomqtt

    async with aiomqtt.Client(
        mosquitto.host, mosquitto.port, protocol=aiomqtt.ProtocolVersion.V5
    ) as client:
        await client.subscribe("a")
        message = await asyncio.wait_for(anext(aiter(client.messages)), DEADLINE_S)
    assert message.properties is not None
    assert 0 < message.properties.MessageExpiryInterval <= 30


async def test_second_link_of_one_id_evicts_the_first(
    broker: RunningBroker, start_link: Any
) -> None:
    first = await start_link(
        broker.address,
        client_id="same",
        options=LinkOptions(backoff_base_s=1000, backoff_cap_s=1000),
    )
    second = await start_link(broker.address, client_id="same")
    await asyncio.wait_for(_cleared(first.connected), DEADLINE_S)
    received = Received()
    second._inbox._handler = received
    await second.subscribe("a")
    await second.publish("a", b"x")
    await received.until("a", b"x")


async def test_will_of_the_evicted_does_not_outlast_the_birth_of_the_next(
    broker: RunningBroker, start_link: Any
) -> None:
    await start_link(
        broker.address,
        client_id="same",
        presence=presence(),
        boot_id="old",
        options=LinkOptions(backoff_base_s=1000, backoff_cap_s=1000),
    )
    link = await start_link(broker.address, client_id="same", presence=presence(), boot_id="new")
    received = Received()
    await start_link(broker.address, on_message=received, subscriptions=[("who", 1)])
    assert (await received.next())[1] == f"birth new {link.session}".encode()


async def _cleared(event: asyncio.Event) -> None:
    while event.is_set():
        await asyncio.sleep(0.01)
