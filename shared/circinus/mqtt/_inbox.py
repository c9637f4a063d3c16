"""What arrived, on its way to the handler."""

from __future__ import annotations

import asyncio
import logging

from circinus.mqtt.options import Counters, LinkOptions, MessageHandler

__all__ = ["Inbox"]

log = logging.getLogger(__name__)

# Topics whose oversized messages have been logged; a hostile publisher must not fill the memory.
MAX_REMEMBERED_TOPICS = 1000


class Inbox:
    """A bounded queue of messages; it outlives connections, so that no handler is cut short."""

    def __init__(
        self, handler: MessageHandler | None, options: LinkOptions, counters: Counters
    ) -> None:
        self._handler = handler
        self._max_payload_bytes = options.max_payload_bytes
        self._counters = counters
        self._queue: asyncio.Queue[tuple[str, bytes, bool]] = asyncio.Queue(
            options.incoming_messages
        )
        self._oversized: set[str] = set()

    def arrived(self, topic: str, payload: bytes, retain: bool) -> None:
        """Take a message, or count why not."""
        self._counters.received += 1
        if len(payload) > self._max_payload_bytes:
            self._counters.oversized += 1
            if topic not in self._oversized and len(self._oversized) < MAX_REMEMBERED_TOPICS:
                self._oversized.add(topic)
                log.warning("%s: ignored a payload of %d bytes", topic, len(payload))
            return
        try:
            self._queue.put_nowait((topic, payload, retain))
        except asyncio.QueueFull:
            self._counters.overflowed += 1

    async def run(self) -> None:
        """Hand message after message to the handler, until cancelled."""
        while True:
            topic, payload, retain = await self._queue.get()
            if self._handler is None:
                continue
            try:
                await self._handler(topic, payload, retain)
            except Exception:
                self._counters.handler_errors += 1
                log.exception("%s: handler failed", topic)
