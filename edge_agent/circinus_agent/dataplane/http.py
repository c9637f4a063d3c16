"""The agent's HTTP interface: requests in, results out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
from aiohttp import web

from circinus import codec
from circinus.errors import InvalidInput
from circinus_agent.dataplane.frames import MAX_FRAME_BYTES, Span

__all__ = ["Answer", "Requests", "routes"]

LATENCY = "X-Circinus-Latency-Ms"
PLAN = "X-Circinus-Plan"
TRACE = "X-Circinus-Trace"
DEADLINE = "X-Circinus-Deadline-Ms"
MSGPACK = "application/msgpack"
# Some proxies refuse longer header lines.
MAX_TRACE = 4000
# A listener that is slower than this misses results, the oldest first.
MAX_EVENTS = 256
KEEPALIVE_S = 15.0
WRITE_TIMEOUT_S = 30.0

# By kind of failure; anything else is an operator's or a link's fault.
STATUS = {"unknown query": 404, "not admitted": 503, "shed": 503, "expired": 504}


class _Trace(Protocol):
    @property
    def spans(self) -> Sequence[Span]: ...


class Answer(Protocol):
    """How a request ended (`Outcome` is one)."""

    @property
    def ok(self) -> bool:
        """It has a result."""
        ...

    @property
    def cause(self) -> str | None:
        """Why not: ``kind: detail``."""
        ...

    @property
    def plan(self) -> str:
        """The plan it took."""
        ...

    @property
    def payload(self) -> bytes | None:
        """The encoded result."""
        ...

    @property
    def latency_ms(self) -> float:
        """From start to delivery."""
        ...

    @property
    def trace(self) -> _Trace:
        """What its steps took."""
        ...


class Requests(Protocol):
    """Who serves requests (`Runtime` does)."""

    async def submit(
        self, query: str, inputs: bytes | Mapping[str, bytes], deadline_ms: float | None = None
    ) -> Answer:
        """Run one request."""
        ...

    def subscribe_json(self, query: str, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """Call `callback` with every result as JSON; returns how to stop."""
        ...


class _Handlers:
    def __init__(self, requests: Callable[[], Requests | None]) -> None:
        self._requests = requests

    async def submit(self, request: web.Request) -> web.Response:
        served = self._requests()
        query = request.match_info["query"]
        if served is None:
            return _problem(503, query, "the agent is starting")
        try:
            deadline_ms = _deadline(request)
            inputs = await _inputs(request)
        except ValueError as error:
            return _problem(400, query, str(error))
        answer = await served.submit(query, inputs, deadline_ms)
        headers = {
            LATENCY: f"{answer.latency_ms:.3f}",
            PLAN: answer.plan,
            TRACE: _trace(answer.trace.spans),
        }
        if not answer.ok or answer.payload is None:
            kind = (answer.cause or "").partition(": ")[0]
            return _problem(STATUS.get(kind, 502), query, answer.cause or "no result", headers)
        accept = request.headers.get("Accept", "")
        body, content_type = _body(answer.payload, msgpack=MSGPACK in accept)
        return web.Response(body=body, content_type=content_type, headers=headers)

    async def events(self, request: web.Request) -> web.StreamResponse:
        served = self._requests()
        query = request.match_info["query"]
        if served is None:
            return _problem(503, query, "the agent is starting")
        waiting: asyncio.Queue[bytes] = asyncio.Queue(MAX_EVENTS)

        def take(event: bytes) -> None:
            if waiting.full():
                waiting.get_nowait()
            waiting.put_nowait(event)

        # Before the headers go out: who has them must not miss a result.
        stop = served.subscribe_json(query, take)
        try:
            response = web.StreamResponse(
                headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
            )
            await response.prepare(request)
            while True:
                line = b": still here\n\n"
                with contextlib.suppress(asyncio.TimeoutError):
                    line = b"data: " + await asyncio.wait_for(waiting.get(), KEEPALIVE_S) + b"\n\n"
                await asyncio.wait_for(response.write(line), WRITE_TIMEOUT_S)
        except (ConnectionError, asyncio.TimeoutError):
            return response  # the listener is gone
        finally:
            stop()


def _deadline(request: web.Request) -> float | None:
    text = request.headers.get(DEADLINE)
    if text is None:
        return None
    try:
        deadline_ms = float(text)
    except ValueError:
        deadline_ms = 0.0
    if not 0 < deadline_ms < 1e9:
        raise ValueError(f"{DEADLINE} must be a number of milliseconds above 0, not {text!r}")
    return deadline_ms


async def _inputs(request: web.Request) -> bytes | dict[str, bytes]:
    """The body; of a multipart one its parts by name, one per source operator."""
    if not request.content_type.startswith("multipart/"):
        return await request.read()
    form = await request.post()
    inputs: dict[str, bytes] = {}
    for name, value in form.items():
        if isinstance(value, web.FileField):
            inputs[name] = value.file.read()
        else:
            inputs[name] = value.encode() if isinstance(value, str) else bytes(value)
    return inputs


def _body(payload: bytes, *, msgpack: bool) -> tuple[bytes, str]:
    """A result and its content type: bytes as they are, all else as JSON or as msgpack."""
    if msgpack:
        return payload, MSGPACK
    try:
        value = codec.plain(payload)
        if isinstance(value, bytes):
            return value, "application/octet-stream"
        return msgspec.json.encode(value), "application/json"
    except (InvalidInput, TypeError, ValueError):  # a map whose keys JSON does not know
        return payload, MSGPACK


def _trace(spans: Sequence[Span]) -> str:
    """The steps in one line, as in the Server-Timing header."""
    parts = [f"{s.step}@{s.device};wait={s.wait_ms:.2f};dur={s.service_ms:.2f}" for s in spans]
    return ", ".join(parts)[:MAX_TRACE]


def _problem(
    status: int, query: str, cause: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    body = msgspec.json.encode({"error": cause, "query": query})
    return web.Response(
        status=status, body=body, content_type="application/json", headers=headers or {}
    )


def routes(requests: Callable[[], Requests | None]) -> list[web.RouteDef]:
    """The routes of the interface; `requests` tells who serves them, None while nobody does."""
    handlers = _Handlers(requests)
    return [
        web.post("/v1/queries/{query}", handlers.submit),
        web.get("/v1/queries/{query}/events", handlers.events),
    ]


MAX_BODY_BYTES = MAX_FRAME_BYTES
