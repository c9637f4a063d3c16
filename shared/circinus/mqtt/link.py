"""A lasting link to a broker, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
import time
import uuid
from collections.abc import Callable, Iterable

import aiomqtt

from circinus.errors import InvalidInput
from circinus.mqtt._client import Client, why_ended
from circinus.mqtt._connection import Connection
from circinus.mqtt._dialer import Dialer
from circinus.mqtt._inbox import Inbox
from circinus.mqtt.address import BrokerAddress
from circinus.mqtt.backoff import Backoff
from circinus.mqtt.options import (
    Counters,
    LinkOptions,
    MessageHandler,
    NotDelivered,
    Presence,
    PresenceState,
    Protocol,
)
from circinus.mqtt.outbox import Entry, Outbox, Outcome

__all__ = ["MqttLink"]

log = logging.getLogger(__name__)

# A broker that does not close on DISCONNECT is not worth more.
DISCONNECT_S = 2.0

# Connections in a row that the broker ended soon after it took them. A broker that restarts ends
# one; two clients of one identifier end each other's for as long as both run.
SUSPICIOUS_DROPS = 3


class MqttLink:
    """Publishes and receives while `run` runs, and reconnects for as long.

    Args:
        address: The broker.
        client_id: The MQTT client identifier; a second link with the same one evicts this one.
        on_message: Awaited for each message, one at a time and in order of arrival. What it
            raises is logged and counted.
        subscriptions: Topic filters with their QoS, renewed on each connection.
        presence: Birth, will and good-bye, where others should see this side come and go.
        boot_id: Names this start of the program; drawn if not given.
        tls: For an ``mqtts://`` address; the system's authorities if not given.
        options: Time-outs and limits.
        rng: Source of the reconnect jitter.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        client_id: str,
        on_message: MessageHandler | None = None,
        subscriptions: Iterable[tuple[str, int]] = (),
        presence: Presence | None = None,
        boot_id: str | None = None,
        tls: ssl.SSLContext | None = None,
        options: LinkOptions | None = None,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self._client_id = client_id
        self._short = 0  # connections in a row that did not last
        self.boot_id = boot_id or uuid.uuid4().hex
        self.counters = Counters()
        self.connected = asyncio.Event()
        self._presence = presence
        if tls is None and address.tls:
            tls = ssl.create_default_context()
        self._options = options or LinkOptions()
        self._clock = clock
        self._backoff = Backoff(
            base_s=self._options.backoff_base_s,
            cap_s=self._options.backoff_cap_s,
            stable_after_s=self._options.stable_after_s,
            rng=rng,
        )
        self._outbox = Outbox(
            max_messages=self._options.outbox_messages,
            max_bytes=self._options.outbox_bytes,
            on_settled=self._settled,
        )
        self._subscriptions = dict(subscriptions)
        self._inbox = Inbox(on_message, self._options, self.counters)
        self._dialer = Dialer(
            address,
            client_id=client_id,
            boot_id=self.boot_id,
            presence=presence,
            tls=tls,
            options=self._options,
            counters=self.counters,
            on_arrival=self._inbox.arrived,
        )
        self._connection: Connection | None = None
        self._closing = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._running = False
        self._finished = asyncio.Event()

    @property
    def session(self) -> int:
        """The number of the current or last connection attempt; its birth and will carry it."""
        return self._dialer.session

    @property
    def protocol(self) -> Protocol:
        """What the current connection speaks, or the next one tries first."""
        return self._dialer.protocol

    # ---- lifetime -------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the link up until `close`, or until cancelled.

        Cancelled, it drops the connection, so that the broker publishes the will.
        """
        if self._running:
            raise RuntimeError("a link runs once")
        self._running = True
        inbox = asyncio.create_task(self._inbox.run(), name="mqtt-inbox")
        try:
            while not self._closing.is_set():
                uptime_s = await self._connect_once()
                if uptime_s is not None:
                    await self._pause(self._backoff.next_delay_s(uptime_s))
        finally:
            self._finished.set()
            inbox.cancel()
            await asyncio.gather(inbox, return_exceptions=True)

    async def close(self, *, flush_s: float = 2.0) -> None:
        """End `run`: send what waits, for up to `flush_s`, say good-bye, disconnect."""
        if self._running and not self._finished.is_set() and self.connected.is_set():
            await self.flush(flush_s)
        self._closing.set()
        if self._running:
            await self._finished.wait()

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued is acknowledged or given up; False if time ran out."""
        if self._empty.is_set():
            return True  # wait_for would not look before a time-out of nothing
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        return True

    # ---- sending and subscribing ----------------------------------------------------------

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry_s: float | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        """Publish and wait for the broker's acknowledgement, over reconnects if need be.

        Args:
            topic: Where to.
            payload: At most the options' `max_payload_bytes`.
            qos: 0 returns at once, and loses the message where there is no connection.
            retain: The broker keeps it; a newer one takes the place of one that still waits.
            expiry_s: Worthless after this long, here and (MQTT 5) at the broker.
            timeout_s: How long to wait.

        Raises:
            NotDelivered: not acknowledged in time, refused, expired or pushed out; it is then no
                longer queued, but may have arrived if it was sent.
            InvalidInput: the payload is too large.
        """
        if qos == 0:
            self.publish_soon(topic, payload, qos=0, retain=retain, expiry_s=expiry_s)
            return
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def settled(outcome: Outcome) -> None:
            if not done.done():
                done.set_result(outcome)

        entry = self._queue(topic, payload, retain, expiry_s, latest=retain, on_done=settled)
        try:
            await asyncio.wait_for(done, timeout_s)
        except asyncio.TimeoutError:
            pass
        finally:
            self._outbox.settle(entry, Outcome.WITHDRAWN)
        outcome = entry.outcome or Outcome.WITHDRAWN
        if outcome is not Outcome.DELIVERED:
            raise NotDelivered(topic, outcome)

    def publish_soon(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry_s: float | None = None,
        latest: bool | None = None,
    ) -> None:
        """Publish without waiting; QoS 1 is kept until acknowledged, expired or pushed out.

        Args:
            topic: Where to.
            payload: At most the options' `max_payload_bytes`.
            qos: 0 or 1.
            retain: The broker keeps it.
            expiry_s: Worthless after this long.
            latest: Take the place of one that waits for the same topic; if not given, `retain`.

        Raises:
            InvalidInput: the payload is too large.
        """
        if qos == 0:
            self._check_size(topic, payload)
            if self._connection is None or not self._connection.send_once(topic, payload, retain):
                self.counters.dropped += 1
            else:
                self.counters.published += 1
            return
        self._queue(topic, payload, retain, expiry_s, latest=retain if latest is None else latest)

    async def subscribe(self, topic_filter: str, qos: int = 1) -> None:
        """Subscribe now, if connected, and on each connection from here on."""
        self._subscriptions[topic_filter] = qos
        if self._connection is not None:
            await self._connection.subscribe({topic_filter: qos})

    def _queue(
        self,
        topic: str,
        payload: bytes,
        retain: bool,
        expiry_s: float | None,
        *,
        latest: bool,
        on_done: Callable[[Outcome], None] | None = None,
    ) -> Entry:
        self._check_size(topic, payload)
        entry = self._outbox.put(
            topic,
            payload,
            retain=retain,
            latest=latest,
            expires_at=None if expiry_s is None else self._clock() + expiry_s,
            on_done=on_done,
        )
        self._empty.clear()
        if self._connection is not None:
            self._connection.wake()
        return entry

    def _check_size(self, topic: str, payload: bytes) -> None:
        limit = self._options.max_payload_bytes
        if len(payload) > limit:
            raise InvalidInput(f"{topic}: a payload of {len(payload)} bytes is over {limit}")

    def _settled(self, outcome: Outcome) -> None:
        if outcome is Outcome.DELIVERED:
            self.counters.published += 1
        elif outcome is Outcome.REFUSED:
            self.counters.refused += 1
        elif outcome in (Outcome.DROPPED, Outcome.EXPIRED):
            self.counters.dropped += 1
        if not self._outbox:
            self._empty.set()

    # ---- one connection -------------------------------------------------------------------

    async def _connect_once(self) -> float | None:
        """How long a connection lasted, in seconds; None once closed before there was one."""
        try:
            client = await self._dialer.dial(until=self._closing)
        except aiomqtt.MqttError as error:
            # A broker that is away for a day must not fill the log.
            capped = self._backoff.ceiling_s >= self._options.backoff_cap_s
            level = logging.DEBUG if capped else logging.WARNING
            log.log(level, "%s: cannot connect: %s", self.address, error)
            return 0.0
        if client is None:
            return None
        started = self._clock()
        try:
            client.check()
            await self._serve(client)
        except aiomqtt.MqttError as error:
            self.counters.drops += 1
            log.warning("%s: connection lost: %s", self.address, why_ended(error, self._client_id))
            self._suspect(self._clock() - started)
        finally:
            self.connected.clear()
            self._connection = None
            client.abandon()
            self._outbox.connection_lost()
        return self._clock() - started

    def _suspect(self, uptime_s: float) -> None:
        """Name the likely cause where one connection after the other ends early; once."""
        self._short = self._short + 1 if uptime_s < self._options.stable_after_s else 0
        if self._short == SUSPICIOUS_DROPS:
            log.error(
                "%s: %d connections in a row ended within %g s: is another client connected "
                "as %r? Each takes the connection from the other until one of them is stopped "
                "or given another name",
                self.address,
                self._short,
                self._options.stable_after_s,
                self._client_id,
            )

    async def _serve(self, client: Client) -> None:
        connection = Connection(
            client,
            outbox=self._outbox,
            options=self._options,
            counters=self.counters,
            clock=self._clock,
        )
        await client.unless_lost(self._announce(connection, PresenceState.BIRTH))
        await client.unless_lost(connection.subscribe(self._subscriptions))
        self.counters.connects += 1
        self._connection = connection
        self.connected.set()
        log.info("%s: connected, MQTT %s", self.address, self.protocol.value)
        await connection.run(until=self._closing)
        self.connected.clear()
        with contextlib.suppress(aiomqtt.MqttError, asyncio.TimeoutError):
            await client.unless_lost(self._announce(connection, PresenceState.GOODBYE))
            await asyncio.wait_for(client.__aexit__(None, None, None), DISCONNECT_S)

    async def _announce(self, connection: Connection, state: PresenceState) -> None:
        if self._presence is None:
            return
        payload = self._presence.payload(state, self.boot_id, self.session)
        await connection.send_retained(self._presence.topic, payload)

    async def _pause(self, delay_s: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._closing.wait(), delay_s)
