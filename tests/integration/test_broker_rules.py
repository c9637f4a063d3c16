"""Who is sent what: the same for either broker, whichever way it is implemented."""

from __future__ import annotations

import asyncio
from typing import Any

import aiomqtt
import pytest
from aiomqtt.exceptions import MqttConnectError

from circinus_coordinator.broker import COORDINATOR_USER, RunningBroker
from circinus_coordinator.broker.access import Access, may
from tests.integration.conftest import DEADLINE_S

pytestmark = pytest.mark.asyncio

DESIRED = "circinus/v1/d/{}/down/desired"
STATUS = "circinus/v1/d/{}/up/status"


async def topics_until(client: aiomqtt.Client, last: str) -> list[str]:
    """Topics of the messages up to and with that of topic `last`."""
    topics: list[str] = []

    async def collect() -> None:
        async for message in client.messages:
            topics.append(message.topic.value)
            if topics[-1] == last:
                return

    await asyncio.wait_for(collect(), DEADLINE_S)
    return topics


async def test_client_without_subscription_gets_no_retained_message(
    broker: RunningBroker, connect: Any
) -> None:
    """amqtt on its own sends a new client what anybody has subscribed to."""
    one = await connect(broker.address, identifier="one")
    await one.publish(DESIRED.format("one"), b"secret", qos=1, retain=True)
    await one.subscribe(DESIRED.format("one"), qos=1)
    assert await topics_until(one, DESIRED.format("one"))
    two = await connect(broker.address, identifier="two")
    await two.subscribe("marker", qos=1)
    await two.publish("marker", b"", qos=1)
    assert await topics_until(two, "marker") == ["marker"]


async def test_new_subscription_gets_the_retained_messages_that_match(
    broker: RunningBroker, connect: Any
) -> None:
    one = await connect(broker.address)
    for device in ("a", "b", "c"):
        await one.publish(STATUS.format(device), b"x", qos=1, retain=True)
    two = await connect(broker.address)
    await two.subscribe("circinus/v1/d/+/up/status", qos=1)
    got = {(await asyncio.wait_for(anext(aiter(two.messages)), DEADLINE_S)).topic.value
           for _ in range(3)}  # fmt: skip
    assert got == {STATUS.format(device) for device in ("a", "b", "c")}


async def test_empty_payload_clears_a_retained_message(broker: RunningBroker, connect: Any) -> None:
    one = await connect(broker.address)
    await one.publish("kept", b"x", qos=1, retain=True)
    await one.publish("kept", b"", qos=1, retain=True)
    await one.publish("last", b"x", qos=1, retain=True)
    two = await connect(broker.address)
    await two.subscribe("kept", qos=1)
    await two.subscribe("last", qos=1)
    assert await topics_until(two, "last") == ["last"]


async def test_device_is_not_sent_what_is_for_another(broker: RunningBroker, connect: Any) -> None:
    """The subscription itself is granted by both; only delivery tells."""
    boss = await connect(broker.address, username=COORDINATOR_USER)
    spy = await connect(broker.address, username="pi-2")
    await boss.publish(DESIRED.format("pi-1"), b"kept", qos=1, retain=True)
    await spy.subscribe("circinus/v1/d/#", qos=1)
    await boss.publish(DESIRED.format("pi-1"), b"live", qos=1)
    await boss.publish(DESIRED.format("pi-2"), b"own", qos=1)
    assert await topics_until(spy, DESIRED.format("pi-2")) == [DESIRED.format("pi-2")]


async def test_device_cannot_publish_as_another(broker: RunningBroker, connect: Any) -> None:
    boss = await connect(broker.address, username=COORDINATOR_USER)
    await boss.subscribe("circinus/v1/d/#", qos=1)
    spy = await connect(broker.address, username="pi-2")
    for topic in (STATUS.format("pi-1"), DESIRED.format("pi-2"), STATUS.format("pi-2")):
        await spy.publish(topic, b"x", qos=1, retain=True)
    assert await topics_until(boss, STATUS.format("pi-2")) == [STATUS.format("pi-2")]


async def test_will_of_a_device_keeps_to_its_own_topics(
    broker: RunningBroker, connect: Any
) -> None:
    boss = await connect(broker.address, username=COORDINATOR_USER)
    await boss.subscribe("circinus/v1/d/#", qos=1)
    for device, topic in (("pi-2", STATUS.format("pi-1")), ("pi-3", STATUS.format("pi-3"))):
        client = await connect(
            broker.address, username=device, will=aiomqtt.Will(topic, b"gone", qos=1)
        )
        client._client._sock_close()
    assert await topics_until(boss, STATUS.format("pi-3")) == [STATUS.format("pi-3")]


async def test_second_client_of_one_id_evicts_the_first(
    broker: RunningBroker, connect: Any
) -> None:
    first = await connect(broker.address, identifier="same")
    second = await connect(broker.address, identifier="same")
    with pytest.raises(aiomqtt.MqttError):
        await asyncio.wait_for(anext(aiter(first.messages)), DEADLINE_S)
    await second.subscribe("a", qos=1)
    await second.publish("a", b"x", qos=1)
    assert await topics_until(second, "a") == ["a"]


async def test_evicted_session_that_was_to_last_hands_over(
    broker: RunningBroker, connect: Any
) -> None:
    """Without a clean session both connections share one session object in amqtt."""
    first = await connect(broker.address, identifier="same", clean_session=False)
    await first.subscribe("a", qos=1)
    second = await connect(broker.address, identifier="same", clean_session=False)
    await second.publish("a", b"x", qos=1)
    assert await topics_until(second, "a") == ["a"]


async def test_silent_client_is_given_up(broker: RunningBroker, connect: Any) -> None:
    """A client whose process hangs must not look alive for ever."""
    watcher = await connect(broker.address)
    await watcher.subscribe("will", qos=1)
    reader, writer = await asyncio.open_connection(broker.host, broker.port)
    # CONNECT: clean session, will of QoS 0, keep-alive 1 s.
    body = b"\x00\x04MQTT\x04\x06\x00\x01\x00\x03hng\x00\x04will\x00\x01x"
    writer.write(bytes([0x10, len(body)]) + body)
    assert await asyncio.wait_for(reader.readexactly(4), DEADLINE_S) == b"\x20\x02\x00\x00"
    assert await topics_until(watcher, "will") == ["will"]
    writer.close()


async def test_messages_before_a_disconnect_are_delivered(
    broker: RunningBroker, connect: Any
) -> None:
    watcher = await connect(broker.address)
    await watcher.subscribe("n", qos=1)
    reader, writer = await asyncio.open_connection(broker.host, broker.port)
    body = b"\x00\x04MQTT\x04\x02\x00\x00\x00\x03abc"
    writer.write(bytes([0x10, len(body)]) + body)
    assert await asyncio.wait_for(reader.readexactly(4), DEADLINE_S) == b"\x20\x02\x00\x00"
    for i in range(20):
        writer.write(b"\x32\x06\x00\x01n" + bytes([0, i + 1, i]))
    writer.write(b"\xe0\x00")
    messages = aiter(watcher.messages)
    for i in range(20):
        assert (await asyncio.wait_for(anext(messages), DEADLINE_S)).payload == bytes([i])
    writer.close()


async def test_client_that_returns_to_its_subscriptions_survives_those_of_others(
    embedded: RunningBroker, connect: Any
) -> None:
    """amqtt iterates over all subscriptions and awaits in between."""
    first = await connect(embedded.address, identifier="same", clean_session=False)
    for i in range(50):
        await first.publish(f"kept/{i}", b"x", qos=1, retain=True)
        await first.subscribe(f"kept/{i}", qos=1)
    others = [await connect(embedded.address) for _ in range(5)]

    async def churn(client: aiomqtt.Client, name: int) -> None:
        for i in range(50):
            await client.subscribe(f"churn/{name}/{i}")

    tasks = [asyncio.create_task(churn(client, i)) for i, client in enumerate(others)]
    second = await connect(embedded.address, identifier="same", clean_session=False)
    await second.subscribe("marker", qos=1)
    await second.publish("marker", b"x", qos=1)
    assert "kept/49" in await topics_until(second, "marker")
    await asyncio.gather(*tasks)


async def test_version_5_is_refused_and_not_misread(embedded: RunningBroker) -> None:
    """With a will, amqtt would wait for bytes that never come."""
    client = aiomqtt.Client(
        embedded.host,
        embedded.port,
        identifier="l1",
        protocol=aiomqtt.ProtocolVersion.V5,
        will=aiomqtt.Will("who", b"will 1", qos=1),
    )
    with pytest.raises(MqttConnectError):
        await client.__aenter__()


@pytest.mark.parametrize(
    ("user", "access", "topic", "allowed"),
    [
        ("pi-1", Access.WRITE, STATUS.format("pi-1"), True),
        ("pi-1", Access.WRITE, STATUS.format("pi-10"), False),
        ("pi-1", Access.WRITE, DESIRED.format("pi-1"), False),
        ("pi-1", Access.READ, DESIRED.format("pi-1"), True),
        ("pi-1", Access.READ, STATUS.format("pi-1"), False),
        ("pi-1", Access.READ, "circinus/v1/coordinator/status", True),
        ("pi-1", Access.WRITE, "circinus/v1/coordinator/status", False),
        ("coordinator", Access.WRITE, DESIRED.format("pi-1"), True),
        (None, Access.WRITE, "anything", True),
    ],
)
async def test_rule(user: str | None, access: Access, topic: str, allowed: bool) -> None:
    assert may(user, access, topic) is allowed
