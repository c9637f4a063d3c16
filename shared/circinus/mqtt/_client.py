"""aiomqtt's client with what a fleet needs besides.

aiomqtt waits for its timeout when a broker closes before CONNACK, ignores what PUBACK says, hides
what CONNACK offers and queues messages of any size. Its hooks for these begin with an underscore;
aiomqtt is pinned below 3 for that and other reasons.
"""

# The hooks have the signatures of the library, needed or not.
# ruff: noqa: ARG002
from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from circinus.mqtt.address import BrokerAddress
from circinus.mqtt.options import LinkOptions

__all__ = ["FAILURE", "Arrival", "Client", "ClosedEarly", "Refusal", "reason", "why_ended"]

Arrival = Callable[[str, bytes, bool], None]

# Without it an awaited QoS 1 publish takes about 48 ms instead of about 6: Nagle's algorithm holds
# a small packet back until the last one is acknowledged, and the peer delays that.
NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

# MQTT 5.0, 3.2.2.3.3: the value where a broker names none.
RECEIVE_MAXIMUM = 65_535

# From here on a reason code says failure (MQTT 5.0, 2.4; in SUBACK also MQTT 3.1.1, 3.9.3).
FAILURE = 0x80

# MQTT 5.0, 3.14.2.1. Not every broker says so: Mosquitto 2.0.11 just closes, and for that the
# library makes up the other one.
TAKEN_OVER = 0x8E
UNSPECIFIED = 0x80


class ClosedEarly(aiomqtt.MqttError):
    """The broker closed the connection before it answered CONNECT."""


class Refusal(aiomqtt.MqttError):
    """The broker took the message and turned it down."""


class Client(aiomqtt.Client):
    """One connection, used once.

    Args:
        address: The broker.
        client_id: The MQTT client identifier.
        version: MQTT 5 or 3.1.1.
        will: Published by the broker when the connection breaks.
        tls: For an ``mqtts://`` address.
        options: Time-outs and limits.
        on_arrival: Called for each message, in order; must not block.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        client_id: str,
        version: aiomqtt.ProtocolVersion,
        will: aiomqtt.Will | None,
        tls: ssl.SSLContext | None,
        options: LinkOptions,
        on_arrival: Arrival,
    ) -> None:
        self.version = version
        self.reached = False
        """Whether somebody listened at the address."""
        self.receive_maximum = RECEIVE_MAXIMUM
        self.maximum_packet_size: float = math.inf
        self._on_arrival = on_arrival
        self._acknowledgements: dict[int, asyncio.Future[None]] = {}
        super().__init__(
            address.host,
            address.port,
            username=address.username,
            password=address.password,
            identifier=client_id,
            protocol=version,
            will=will,
            # The outbox and the retained topics hold the state; a session at the broker would be
            # a second copy that fills up while a device is away.
            clean_session=None if self.speaks_5 else True,
            clean_start=True if self.speaks_5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
            keepalive=options.keepalive_s,
            timeout=options.connect_timeout_s,
            max_inflight_messages=options.max_inflight,
            tls_context=tls,
            socket_options=[NO_DELAY],
        )

    @property
    def speaks_5(self) -> bool:
        """Whether this connection is MQTT 5."""
        return self.version is aiomqtt.ProtocolVersion.V5

    def send(
        self, topic: str, payload: bytes, *, qos: int, retain: bool, expiry_s: float | None = None
    ) -> asyncio.Future[None]:
        """Hand a message to the socket; the future resolves on PUBACK, at once for QoS 0.

        Raises:
            aiomqtt.MqttError: there is no connection.
        """
        properties = None
        if expiry_s is not None and self.speaks_5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = max(1, math.ceil(expiry_s))
        info = self._client.publish(topic, payload, qos, retain, properties)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(info.rc, "Could not publish message")
        acknowledged: asyncio.Future[None] = self._loop.create_future()
        if qos == 0:
            acknowledged.set_result(None)
        else:
            self._acknowledgements[info.mid] = acknowledged
        return acknowledged

    def check(self) -> None:
        """Raise where the connection ended together with its beginning.

        On entering, aiomqtt forgets a disconnection that came right behind CONNACK, and would wait
        for ever for the next one.

        Raises:
            aiomqtt.MqttError: it ended.
        """
        if self._client.socket() is None:
            raise aiomqtt.MqttError("closed right behind CONNACK")

    async def lost(self) -> None:
        """Wait for the end of the connection.

        Raises:
            aiomqtt.MqttError: always; it says what ended the connection.
        """
        try:
            await asyncio.shield(self._disconnected)
        except aiomqtt.MqttError:
            raise
        except Exception as error:
            # Whatever the library met while reading: a broken pipe, a malformed packet.
            raise aiomqtt.MqttError(repr(error)) from error
        raise aiomqtt.MqttError("closed by the broker")

    async def unless_lost(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, which waits for the broker, and stop waiting when the connection ends.

        Raises:
            aiomqtt.MqttError: it ended, or `work` failed.
        """
        tasks = (asyncio.create_task(work), asyncio.create_task(self.lost()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            next(task for task in tasks if task.done()).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def abandon(self) -> None:
        """Close the socket without a DISCONNECT, upon which the broker publishes the will."""
        # paho has no public way to do this: disconnect() would suppress the will.
        self._client._sock_close()  # noqa: SLF001
        if self._misc_task is not None:
            self._misc_task.cancel()
        for future in self._acknowledgements.values():
            future.cancel()
        self._acknowledgements.clear()
        _look_at(self._connected)
        _look_at(self._disconnected)

    def _client_connect(self) -> None:
        super()._client_connect()
        self.reached = True

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.receive_maximum = getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM)
        self.maximum_packet_size = getattr(properties, "MaximumPacketSize", math.inf)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done():
            self._connected.set_exception(ClosedEarly("closed before CONNACK"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)
        _look_at(self._disconnected)

    def _on_publish(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        acknowledged = self._acknowledgements.pop(mid, None)
        if acknowledged is None or acknowledged.done():
            return
        if reason_code.value >= FAILURE:
            acknowledged.set_exception(Refusal(str(reason_code)))
        else:
            acknowledged.set_result(None)

    def _on_message(
        self,
        client: paho.Client,
        userdata: Any,
        message: paho.MQTTMessage,
    ) -> None:
        # An exception here would end the connection, again and again for a retained message.
        with contextlib.suppress(UnicodeDecodeError):
            self._on_arrival(message.topic, bytes(message.payload), message.retain)


def reason(code: int | ReasonCode | None) -> int:
    """A reason code as a number; -1 where there is none."""
    if isinstance(code, ReasonCode):
        return int(code.value)
    return -1 if code is None else int(code)


def why_ended(error: aiomqtt.MqttError, client_id: str) -> str:
    """What ended a connection, for people."""
    code = reason(error.rc) if isinstance(error, aiomqtt.MqttCodeError) else -1
    if code == TAKEN_OVER:
        return f"another client connected as {client_id!r}"
    return "closed by the broker or the network" if code == UNSPECIFIED else str(error)


def _look_at(future: asyncio.Future[None]) -> None:
    # asyncio reports exceptions that nobody retrieved.
    if future.done() and not future.cancelled():
        future.exception()
