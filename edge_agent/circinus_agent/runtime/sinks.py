"""Where results go: subscribers, files, MQTT."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
# Some results get through and some do not: told for this long after each that did not.
TOLD_S = 30.0

Subscriber = Callable[[ResultEvent], None]


@dataclass(slots=True)
class _Loss:
    """The last result of a query that was lost; `over` once a later one was not."""

    cause: str
    at: float
    over: bool = False


class Sinks:
    """Hands each result to whoever wants it.

    Args:
        publish: Publishes a small result over MQTT: query and JSON; whether it was sent.
        folder: Where files go whose path is relative.
    """

    def __init__(self, publish: Callable[[str, bytes], bool] | None, folder: Path) -> None:
        self.dropped: Counter[str] = Counter()
        self._publish = publish
        self._folder = folder
        self._subscribers: dict[str, list[Subscriber]] = {}
        self._writer: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._losses: dict[str, _Loss] = {}
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
        """Hand a result to the subscribers alone; one that raises is counted and passed over."""
        for callback in list(self._subscribers.get(event.query, ())):
            try:
                callback(event)
            except Exception:
                # Whoever calls this has other results to answer.
                if not self.dropped["result that a subscriber failed on"]:
                    logger.exception("a subscriber of %s failed (told once)", event.query)
                self.dropped["result that a subscriber failed on"] += 1

    def take(self, event: ResultEvent, spec: SinkSpec) -> None:
        """Hand a result delivered here to its sink and the subscribers."""
        self.tell(event)
        if spec.kind == "file" and spec.path:
            self._in_background(event.query, partial(_append, self._folder / spec.path, event))
        elif spec.kind == "mqtt" and self._publish is not None:
            self._over_mqtt(event, self._publish)

    def troubles(self, now: float) -> dict[str, str]:
        """Why results are lost, by query; `now` is loop time."""
        return {
            query: f"results are lost: {loss.cause}"
            for query, loss in self._losses.items()
            if not loss.over or now - loss.at < TOLD_S
        }

    def keep(self, queries: AbstractSet[str]) -> None:
        """Forget the losses of all other queries."""
        self._losses = {q: loss for q, loss in self._losses.items() if q in queries}

    async def close(self) -> None:
        """Write what waits."""
        if self._writer is not None:
            await asyncio.to_thread(self._writer.shutdown)

    def _over_mqtt(self, event: ResultEvent, publish: Callable[[str, bytes], bool]) -> None:
        if len(event.payload) > MAX_MQTT_BYTES:
            cause = f"one of more than {MAX_MQTT_BYTES} bytes is too large for MQTT"
            self._lost(event.query, "result too large for MQTT", cause)
            return
        try:
            sent = publish(event.query, event_json(event))
        except Exception as error:  # noqa: BLE001 - whoever calls this has results to answer
            self._lost(event.query, "result that could not be published", _cause(error))
            return
        if sent:
            self._delivered(event.query)
        else:
            cause = "the broker does not take them: no connection, or one that is too slow"
            self._lost(event.query, "result without broker", cause)

    def _in_background(self, query: str, write: Callable[[], None]) -> None:
        if self._waiting >= MAX_WAITING:
            self._lost(query, "result for a slow disk", f"{MAX_WAITING} wait for a slow disk")
            return
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="sink")
        self._waiting += 1
        future = self._loop.run_in_executor(self._writer, write)
        future.add_done_callback(partial(self._written, query))

    def _written(self, query: str, future: asyncio.Future[None]) -> None:
        self._waiting -= 1
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._delivered(query)
        else:
            self._lost(query, "result that could not be written", _cause(error))

    def _lost(self, query: str, kind: str, cause: str) -> None:
        self.dropped[kind] += 1
        if cause not in self._warned:
            self._warned.add(cause)
            logger.error("results of query %s are lost: %s", query, cause)
        self._losses[query] = _Loss(cause, self._loop.time())

    def _delivered(self, query: str) -> None:
        if query in self._losses:
            self._losses[query].over = True


def event_json(event: ResultEvent) -> bytes:
    """The event as one JSON object on one line; bytes as base64, arrays as lists.

    Never raises: instead of an output that JSON does not have (a map with a key of None, say)
    it carries ``{"error": why}``.
    """
    output: bytes
    try:
        output = _encode(codec.plain(event.payload))
    except (InvalidInput, TypeError, ValueError, OverflowError, RecursionError) as error:
        output = _encode({"error": f"not to be written as JSON: {error}"})
    return _encode(
        {
            "query": event.query,
            "plan": event.plan,
            "request": event.request,
            "step": event.step,
            "elapsed_ms": round(event.elapsed_ms, 3),
            "output": msgspec.Raw(output),
        }
    )


def _cause(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


_encode = msgspec.json.Encoder().encode


def _append(path: Path, event: ResultEvent) -> None:
    """Add a line; opened each time, so that the file may be moved away meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(event_json(event) + b"\n")
