"""One connection at work: it empties the outbox and keeps a window of messages in flight."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from circinus.mqtt._client import FAILURE, Client, Refusal, reason
from circinus.mqtt.options import Counters, LinkOptions
from circinus.mqtt.outbox import Entry, Outbox, Outcome

__all__ = ["Connection"]

log = logging.getLogger(__name__)

# Fixed header, packet identifier and properties of a PUBLISH beside topic and payload.
PUBLISH_OVERHEAD_BYTES = 32


class Connection:
    """Sends and subscribes on one open client."""

    def __init__(
        self,
        client: Client,
        *,
        outbox: Outbox,
        options: LinkOptions,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._outbox = outbox
        self._options = options
        self._counters = counters
        self._clock = clock
        self._window = min(options.max_inflight, client.receive_maximum)
        self._unacknowledged = 0
        self._work = asyncio.Event()
        self._work.set()
        self._overdue: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """There is something in the outbox."""
        self._work.set()

    async def run(self, *, until: asyncio.Event) -> None:
        """Send what the outbox holds until told to stop.

        Raises:
            aiomqtt.MqttError: the connection broke.
        """
        tasks: set[asyncio.Future[Any]] = {
            asyncio.create_task(until.wait(), name="mqtt-closing"),
            asyncio.create_task(self._client.lost(), name="mqtt-lost"),
            asyncio.create_task(self._empty_outbox(), name="mqtt-outbox"),
            self._overdue,
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def send_retained(self, topic: str, payload: bytes) -> None:
        """Publish past the outbox and wait for PUBACK."""
        acknowledged = self._client.send(topic, payload, qos=1, retain=True)
        try:
            await asyncio.wait_for(acknowledged, self._options.connect_timeout_s)
        except asyncio.TimeoutError:
            raise aiomqtt.MqttError(f"no acknowledgement for {topic}") from None

    def send_once(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Publish at QoS 0; False if there is no connection."""
        try:
            self._client.send(topic, payload, qos=0, retain=retain)
        except aiomqtt.MqttError:
            return False
        return True

    async def subscribe(self, filters: Mapping[str, int]) -> None:
        """Subscribe, and say where the broker refuses."""
        if not filters:
            return
        answers: Iterable[int | ReasonCode] = await self._client.subscribe(list(filters.items()))
        for topic_filter, answer in zip(filters, answers, strict=False):
            if reason(answer) >= FAILURE:
                self._counters.refused += 1
                log.error("%s: the broker refused the subscription (%s)", topic_filter, answer)

    async def _empty_outbox(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._unacknowledged < self._window:
                entry = self._outbox.take(self._clock())
                if entry is None:
                    break
                self._send(entry)
                # Give the reader its turn: a full outbox must not starve incoming messages.
                await asyncio.sleep(0)

    def _send(self, entry: Entry) -> None:
        size = len(entry.topic) + len(entry.payload) + PUBLISH_OVERHEAD_BYTES
        if size > self._client.maximum_packet_size:
            # Sent all the same, it would end this connection and each one after it.
            log.warning("%s: %d bytes are more than the broker takes", entry.topic, size)
            self._outbox.settle(entry, Outcome.REFUSED)
            return
        left_s = None if entry.expires_at is None else entry.expires_at - self._clock()
        acknowledged = self._client.send(
            entry.topic, entry.payload, qos=1, retain=entry.retain, expiry_s=left_s
        )
        self._unacknowledged += 1
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._options.ack_timeout_s, self._give_up, entry.topic)

        def on_acknowledged(future: asyncio.Future[None]) -> None:
            timer.cancel()
            if future.cancelled():
                return  # the connection ended; the entry waits for the next one
            self._unacknowledged -= 1
            self._work.set()
            self._settle(entry, future.exception())

        acknowledged.add_done_callback(on_acknowledged)

    def _settle(self, entry: Entry, error: BaseException | None) -> None:
        if error is None:
            self._outbox.settle(entry, Outcome.DELIVERED)
            return
        if isinstance(error, Refusal):
            log.warning("%s: the broker refused a message: %s", entry.topic, error)
        self._outbox.settle(entry, Outcome.REFUSED)

    def _give_up(self, topic: str) -> None:
        if not self._overdue.done():
            self._overdue.set_exception(aiomqtt.MqttError(f"no acknowledgement for {topic}"))
