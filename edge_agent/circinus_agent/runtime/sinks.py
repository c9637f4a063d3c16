"""Where results go: subscribers, files, MQTT."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import msgspec

from circinus import codec
from circinus.errors import InvalidInput
from circinus.messages import SinkSpec
from circinus_agent.runtime.outcome import ResultEvent

__all__ = ["Sinks", "event_json"]

logger = logging.getLogger(__name__)

# Results that wait for a slow disk; more are dropped and counted.
MAX_WAITING = 1000
# The broker carries small results only.
MAX_MQTT_BYTES = 64 << 10

Subscriber = Callable[[ResultEvent], None]


class Sinks:
    """Hands each result to whoever wants it.

    Args:
        publish: Publishes a small result over MQTT: query and JSON.
    """

    def __init__(self, publish: Callable[[str, bytes], None] | None) -> None:
        self.dropped: Counter[str] = Counter()
        self._publish = publish
        self._subscribers: dict[str, list[Subscriber]] = {}
        self._writer: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._warned: set[str] = set()
        self._loop = asyncio.get_running_loop()

    def subscribe(self, query: str, callback: Subscriber) -> Callable[[], None]:
        """Call `callback` with every result of `query`; returns how to stop."""
        listeners = self._subscribers.setdefault(query, [])
        listeners.append(callback)

        def stop() -> None:
            if callback in listeners:
                listeners.remove(callback)
            if not listeners and self._subscribers.get(query) is listeners:
                del self._subscribers[query]

        return stop

    def has_subscribers(self, query: str) -> bool:
        """Whether anybody listens."""
        return query in self._subscribers

    def tell(self, event: ResultEvent) -> None:
        """Hand a result to the subscribers alone."""
        for callback in list(self._subscribers.get(event.query, ())):
            callback(event)

    def take(self, event: ResultEvent, spec: SinkSpec) -> None:
        """Hand a result delivered here to its sink and the subscribers."""
        self.tell(event)
        if spec.kind == "file" and spec.path:
            self._in_background(partial(_append, Path(spec.path), event))
        elif spec.kind == "mqtt" and self._publish is not None:
            if len(event.payload) > MAX_MQTT_BYTES:
                self.dropped["result too large for MQTT"] += 1
            else:
                self._publish(event.query, event_json(event))

    async def close(self) -> None:
        """Write what waits."""
        if self._writer is not None:
            await asyncio.to_thread(self._writer.shutdown)

    def _in_background(self, write: Callable[[], None]) -> None:
        if self._waiting >= MAX_WAITING:
            self.dropped["result for a slow disk"] += 1
            return
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="sink")
        self._waiting += 1
        future = self._loop.run_in_executor(self._writer, write)
        future.add_done_callback(self._written)

    def _written(self, future: asyncio.Future[None]) -> None:
        self._waiting -= 1
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self.dropped["result that could not be written"] += 1
            if str(error) not in self._warned:
                self._warned.add(str(error))
                logger.error("a result could not be written: %s", error)


def event_json(event: ResultEvent) -> bytes:
    """The event as one JSON object on one line; bytes as base64, arrays as lists."""
    try:
        output = codec.plain(event.payload)
    except InvalidInput as error:
        output = {"error": str(error)}
    return _encode(
        {
            "query": event.query,
            "plan": event.plan,
            "request": event.request,
            "step": event.step,
            "elapsed_ms": round(event.elapsed_ms, 3),
            "output": output,
        }
    )


_encode = msgspec.json.Encoder().encode


def _append(path: Path, event: ResultEvent) -> None:
    """Add a line; opened each time, so that the file may be moved away meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(event_json(event) + b"\n")
