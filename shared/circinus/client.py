"""Send requests to an agent from Python.

::

    async for result in stream("http://127.0.0.1:7400", "gate-3", pictures):
        print(result.value, result.latency_ms)

`stream_sync` does the same for programs without an event loop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from circinus import codec
from circinus.errors import Transient

__all__ = ["Result", "stream", "stream_sync"]

Request = bytes | Mapping[str, bytes]
"""A payload, or one per source operator."""

CONCURRENCY = 8
# Beyond the agent's own limit for requests without deadline, so that its answer comes first.
TIMEOUT_S = 90.0
MSGPACK = "application/msgpack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to one request.

    Attributes:
        ok: There is a value.
        value: What the last operator gave; of several last ones a map by name.
        cause: Why there is none: ``kind: detail``.
        latency_ms: From the source to delivery, as the agent measured it.
        plan: The plan it took.
        trace: What each step took, in one line.
    """

    ok: bool
    value: Any = None
    cause: str | None = None
    latency_ms: float = 0.0
    plan: str = ""
    trace: str = ""


async def stream(
    agent_url: str,
    query: str,
    requests: Iterable[Request] | AsyncIterable[Request],
    *,
    concurrency: int = CONCURRENCY,
    deadline_ms: float | None = None,
    timeout_s: float = TIMEOUT_S,
) -> AsyncIterator[Result]:
    """The results of `requests`, in their order; a failed request is a result too.

    Args:
        agent_url: Where the agent of the query's source listens, ``http://host:port``.
        concurrency: Requests under way at once; the next is taken when one is through.

    Raises:
        Transient: If the agent cannot be reached.
    """
    url = f"{agent_url.rstrip('/')}/v1/queries/{quote(query, safe='')}"
    headers = {"Accept": MSGPACK}
    if deadline_ms is not None:
        headers["X-Circinus-Deadline-Ms"] = f"{deadline_ms:g}"
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    under_way: deque[asyncio.Task[Result]] = deque()
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        try:
            async for request in _each(requests):
                task = asyncio.create_task(_send(session, url, request), name=f"request to {query}")
                under_way.append(task)
                while len(under_way) >= concurrency or (under_way and under_way[0].done()):
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)


def stream_sync(
    agent_url: str,
    query: str,
    requests: Iterable[Request],
    *,
    concurrency: int = CONCURRENCY,
    deadline_ms: float | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Iterator[Result]:
    """As `stream`, for programs without an event loop; `requests` is iterated in a thread.

    Raises:
        Transient: If the agent cannot be reached.
    """
    # Bounded, so that a slow consumer slows the requests down and not the memory up.
    results: queue.Queue[Result | BaseException | None] = queue.Queue(maxsize=1)
    gone = threading.Event()

    async def pump() -> None:
        answers = stream(
            agent_url,
            query,
            requests,
            concurrency=concurrency,
            deadline_ms=deadline_ms,
            timeout_s=timeout_s,
        )
        async for result in answers:
            await asyncio.to_thread(results.put, result)
            if gone.is_set():
                return

    def run() -> None:
        try:
            asyncio.run(pump())
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            results.put(error)
        else:
            results.put(None)

    thread = threading.Thread(target=run, name=f"requests to {query}", daemon=True)
    thread.start()
    try:
        while (item := results.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        gone.set()
        while thread.is_alive():  # make room for whatever it still has to say
            try:
                results.get(timeout=0.05)
            except queue.Empty:
                continue


async def _each(
    requests: Iterable[Request] | AsyncIterable[Request],
) -> AsyncIterator[Request]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
        return
    for request in requests:
        yield request
        await asyncio.sleep(0)  # an iterator that never waits must not hold up the answers


async def _send(session: aiohttp.ClientSession, url: str, request: Request) -> Result:
    try:
        async with session.post(url, data=_body(request)) as response:
            body = await response.read()
            headers = response.headers
            common: dict[str, Any] = {
                "latency_ms": float(headers.get("X-Circinus-Latency-Ms", "0")),
                "plan": headers.get("X-Circinus-Plan", ""),
                "trace": headers.get("X-Circinus-Trace", ""),
            }
            if response.status == 200:
                return Result(ok=True, value=codec.loads(body), **common)
            return Result(ok=False, cause=_cause(response.status, body), **common)
    except asyncio.TimeoutError:
        return Result(ok=False, cause="expired: the agent did not answer")
    except (aiohttp.ClientError, OSError) as error:
        raise Transient(f"cannot reach the agent at {url}: {error}") from None


def _body(request: Request) -> bytes | aiohttp.FormData:
    if not isinstance(request, Mapping):
        return bytes(request)
    form = aiohttp.FormData()
    for name, data in request.items():
        form.add_field(name, data, filename=name)
    return form


def _cause(status: int, body: bytes) -> str:
    import msgspec

    try:
        return str(msgspec.json.decode(body)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"failed: HTTP status {status}"
