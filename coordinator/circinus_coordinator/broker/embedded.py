"""amqtt in this process: for development, on loopback, MQTT 3.1.1 only.

amqtt 0.12.1 needs help in seven places, each marked below. It is pinned to that version.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Iterator
from typing import Any

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig

from circinus_coordinator.broker.access import Access, may

__all__ = ["EmbeddedBroker"]

log = logging.getLogger(__name__)

STOP_S = 5.0
CONNECT_S = 10.0

# MQTT 3.1.1, 3.1 and 3.2.2.3.
CONNECT = 0x10
MQTT_3_1_1 = 4
REFUSED_VERSION = bytes([0x20, 2, 0, 1])


class _Snapshots(dict[str, Any]):
    """A dict that may change while it is iterated over."""

    def __iter__(self) -> Iterator[str]:
        return iter(list(super().keys()))

    def items(self) -> Any:
        return list(super().items())


class EmbeddedBroker(Broker):  # type: ignore[misc]  # amqtt has no annotations that count
    """A broker for one machine and a few clients."""

    def __init__(self, host: str, port: int) -> None:
        # It warns of each port that is only knocked at; its state machine tells all it does.
        for noisy in ("amqtt", "transitions"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        super().__init__(
            BrokerConfig(
                listeners={"default": ListenerConfig(bind=f"{host}:{port}")},
                plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {}},
            )
        )
        # 1. It awaits while it iterates over these; a client that subscribes meanwhile would cost
        # another its message, or its connection.
        self._subscriptions = _Snapshots()
        self._active: dict[str, tuple[Any, asyncio.Event]] = {}
        self._evictions: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def stop(self) -> None:
        """Disconnect everybody and stop listening."""
        self._stopping = True
        with contextlib.suppress(asyncio.TimeoutError):
            # From Python 3.12 on it waits for clients that connected and never said a word.
            await asyncio.wait_for(self.shutdown(), STOP_S)

    # ---- 2. retained messages go to those who subscribed and may read them ---------------------

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Any
    ) -> None:
        # On connect it calls this for every filter anybody has subscribed to.
        topic_filter, qos = subscription
        subscribers = self._subscriptions.get(topic_filter, ())
        if all(other.client_id != session.client_id for other, _ in subscribers):
            return
        handler = self._get_handler(session)
        if handler is None:
            return
        outcomes = await asyncio.gather(
            *(
                handler.mqtt_publish(kept.topic, kept.data, min(qos, kept.qos or qos), retain=True)
                for kept in list(self._retained_messages.values())
                if self._matches(kept.topic, topic_filter)
                and may(session.username, Access.READ, kept.topic)
            ),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                log.warning("a retained message did not reach %s: %r", session.client_id, outcome)

    async def _topic_filtering(self, session: Any, topic: str, action: Any) -> bool:
        # As with Mosquitto, everybody may subscribe to everything, but is sent only what they may
        # read. Not a plug-in: those are not asked about retained messages.
        if action == Action.SUBSCRIBE:
            return True
        access = Access.WRITE if action == Action.PUBLISH else Access.READ
        return may(session.username, access, topic)

    # ---- 3. a client id belongs to who connected last -------------------------------------------

    async def _delete_session(self, client_id: str) -> None:
        # Before it forgets a session whose connection would go on, unseen and unable to receive.
        await self._evict(client_id)
        await super()._delete_session(client_id)

    async def _handle_client_session(
        self, reader: Any, writer: Any, client_session: Any, handler: Any, *rest: Any
    ) -> None:
        await self._evict(client_session.client_id)
        self._watch_silence(client_session, handler)
        await super()._handle_client_session(reader, writer, client_session, handler, *rest)

    async def _client_message_loop(self, client_session: Any, handler: Any) -> None:
        client_id = client_session.client_id
        # Once more: two may have come in at the same moment.
        await self._evict(client_id)
        ended = asyncio.Event()
        self._active[client_id] = (handler, ended)
        delivering = asyncio.create_task(self._deliver(client_session, handler))
        # Its loop takes messages one by one between other events, and ends before it has taken the
        # last; it gets none, and `_deliver` gets them all.
        handler.mqtt_deliver_next_message = asyncio.Event().wait
        try:
            await super()._client_message_loop(client_session, handler)
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
            ended.set()
            if self._active.get(client_id, (None, None))[0] is handler:
                del self._active[client_id]

    async def _evict(self, client_id: str) -> None:
        active = self._active.get(client_id)
        if active is None:
            return
        handler, ended = active
        await handler.handle_connection_closed()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ended.wait(), STOP_S)

    async def _cleanup_session(self, client_id: str) -> None:
        # Once a second it collects ended sessions and then ends them one by one; a client that
        # came back in between must not be thrown out.
        session, _ = self._sessions.get(client_id, (None, None))
        if self._stopping or session is None or session.transitions.state == "disconnected":
            await super()._cleanup_session(client_id)

    # ---- 4. a silent client is dead -------------------------------------------------------------

    def _watch_silence(self, session: Any, handler: Any) -> None:
        # MQTT 3.1.1, 3.1.2.10: one and a half times the keep-alive. It only notes the silence.
        session.keep_alive = math.ceil(1.5 * session.keep_alive)

        def on_silence() -> None:
            task = asyncio.ensure_future(handler.handle_connection_closed())
            self._evictions.add(task)
            task.add_done_callback(self._evictions.discard)

        handler.handle_read_timeout = on_silence

    # ---- 5. what was acknowledged is delivered --------------------------------------------------

    async def _deliver(self, client_session: Any, handler: Any) -> None:
        queue = client_session.delivered_message_queue
        valid = True
        while True:
            message = asyncio.get_running_loop().create_future()
            message.set_result(await queue.get())
            try:
                if valid and not await self._handle_message_delivery(
                    client_session, handler, message
                ):
                    # An invalid topic ends the connection.
                    valid = False
                    await handler.handle_connection_closed()
            finally:
                queue.task_done()

    async def _handle_disconnect(self, client_session: Any, handler: Any, waiter: Any) -> None:
        # A client that publishes and disconnects would lose its last messages.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(client_session.delivered_message_queue.join(), STOP_S)
        # 6. The topic rule is not asked about wills.
        topic = client_session.will_topic
        if topic and not may(client_session.username, Access.WRITE, topic):
            client_session.will_flag = False
        await super()._handle_disconnect(client_session, handler, waiter)

    # ---- 7. MQTT 5 is refused, not misread ------------------------------------------------------

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Take a connection, if it speaks 3.1.1."""
        # It parses a CONNECT of version 5 as one of 3.1.1 before it looks at the version; the
        # properties shift everything, and with a will it waits for bytes that never come.
        try:
            head, level = await asyncio.wait_for(_read_head(reader), CONNECT_S)
        except (asyncio.IncompleteReadError, asyncio.TimeoutError, OSError):
            writer.close()
            return
        if level is not None and level != MQTT_3_1_1:
            writer.write(REFUSED_VERSION)
            writer.close()
            return
        await self._client_connected(
            listener_name, _Replay(head, reader), StreamWriterAdapter(writer)
        )


class _Replay(StreamReaderAdapter):  # type: ignore[misc]
    """A reader that begins with what was read already."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self._head = head

    async def read(self, n: int = -1) -> bytes:
        if not self._head:
            data: bytes = await super().read(n)
            return data
        if n < 0:
            n = len(self._head)
        taken, self._head = self._head[:n], self._head[n:]
        if len(taken) < n:
            taken += await super().read(n - len(taken))
        return taken


async def _read_head(reader: asyncio.StreamReader) -> tuple[bytes, int | None]:
    """The first bytes of a connection, and the protocol level if they are a CONNECT."""
    head = await reader.readexactly(2)
    # The remaining length has up to four bytes, each but the last with its highest bit set.
    while head[-1] & 0x80 and len(head) < 5:
        head += await reader.readexactly(1)
    if head[0] != CONNECT:
        return head, None
    head += await reader.readexactly(2)
    name_bytes = int.from_bytes(head[-2:], "big")
    if name_bytes > len("MQIsdp"):
        return head, None
    head += await reader.readexactly(name_bytes + 1)
    return head, head[-1]
