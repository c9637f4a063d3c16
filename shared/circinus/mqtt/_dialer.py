"""Getting a connection: the will that goes with it, and the MQTT version the broker takes."""

from __future__ import annotations

import asyncio
import ssl

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from circinus.mqtt._client import Arrival, Client, reason
from circinus.mqtt.address import BrokerAddress
from circinus.mqtt.options import Counters, LinkOptions, Presence, PresenceState, Protocol

__all__ = ["Dialer"]

# CONNACK with "unsupported protocol version": MQTT 5.0, 3.2.2.2 and MQTT 3.1.1, 3.2.2.3.
WRONG_VERSION = frozenset({0x84, 0x01})


class Dialer:
    """Makes one connection after the other to one broker.

    Args:
        address: The broker.
        client_id: The MQTT client identifier.
        boot_id: Goes into each will.
        presence: Makes the wills.
        tls: For an ``mqtts://`` address.
        options: Time-outs and limits.
        counters: Counts the attempts.
        on_arrival: Called for each message that a connection brings.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        client_id: str,
        boot_id: str,
        presence: Presence | None,
        tls: ssl.SSLContext | None,
        options: LinkOptions,
        counters: Counters,
        on_arrival: Arrival,
    ) -> None:
        self.session = 0
        """The number of the current or last attempt."""
        self.protocol = Protocol.V311 if options.protocol is Protocol.V311 else Protocol.V5
        """What the current connection speaks, or the next attempt tries first."""
        self._address = address
        self._client_id = client_id
        self._boot_id = boot_id
        self._presence = presence
        self._tls = tls
        self._options = options
        self._counters = counters
        self._on_arrival = on_arrival

    async def dial(self, *, until: asyncio.Event) -> Client | None:
        """Connect, with 3.1.1 right after a broker did not take 5; None once told to stop.

        Raises:
            aiomqtt.MqttError: there is no connection to be had now.
        """
        while True:
            client = self._make_client()
            try:
                return client if await _connect(client, until=until) else None
            except aiomqtt.MqttError as error:
                client.abandon()
                if self._falls_back(client, error):
                    self.protocol = Protocol.V311
                    continue
                if self._options.protocol is Protocol.AUTO:
                    # What comes next may be another broker, or this one when it is well again.
                    self.protocol = Protocol.V5
                raise

    def _make_client(self) -> Client:
        self.session += 1
        self._counters.attempts += 1
        will = None
        if self._presence is not None:
            payload = self._presence.payload(PresenceState.WILL, self._boot_id, self.session)
            will = aiomqtt.Will(self._presence.topic, payload, qos=1, retain=True)
        is_5 = self.protocol is Protocol.V5
        return Client(
            self._address,
            client_id=self._client_id,
            version=aiomqtt.ProtocolVersion.V5 if is_5 else aiomqtt.ProtocolVersion.V311,
            will=will,
            tls=self._tls,
            options=self._options,
            on_arrival=self._on_arrival,
        )

    def _falls_back(self, client: Client, error: aiomqtt.MqttError) -> bool:
        if self._options.protocol is not Protocol.AUTO or self.protocol is Protocol.V311:
            return False
        if isinstance(error, MqttConnectError):
            return reason(error.rc) in WRONG_VERSION
        # Brokers that predate MQTT 5 may also hang up, or wait for bytes that never come.
        return client.reached


async def _connect(client: Client, *, until: asyncio.Event) -> bool:
    # The library connects in a thread, which cannot be interrupted; left to itself, the task
    # cleans up once that is through.
    opening = asyncio.create_task(client.__aenter__(), name="mqtt-connect")
    closing = asyncio.create_task(until.wait(), name="mqtt-closing")
    try:
        await asyncio.wait({opening, closing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        closing.cancel()
        if not opening.done():
            opening.add_done_callback(lambda task: _discard(task, client))
    if not opening.done():
        return False
    opening.result()
    return True


def _discard(task: asyncio.Task[aiomqtt.Client], client: Client) -> None:
    if not task.cancelled():
        task.exception()
    client.abandon()
