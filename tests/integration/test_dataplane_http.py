"""Requests through the agent's HTTP interface, and results as events."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from circinus import codec
from circinus.client import stream, stream_sync
from circinus.errors import Transient

sys.path.insert(0, str(Path(__file__).parent))

from runtime_fleet import Device, device, pair, route, spec, until

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def serving(run: str = "Pass", **more: Any) -> AsyncIterator[Device]:
    async with device() as a:
        await a.runtime.start_instance(spec(run))
        a.runtime.set_routes([route({"s": ("a", run.lower(), ())}, **more)])
        yield a


@asynccontextmanager
async def post(
    a: Device, data: Any, query: str = "q", **headers: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    url = f"{a.http}/v1/queries/{query}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=named) as r:
        yield r


async def test_bytes_come_back_as_they_are_with_latency_plan_and_trace() -> None:
    async with serving() as a, post(a, b"\x00picture") as response:
        assert response.status == 200
        assert response.content_type == "application/octet-stream"
        assert await response.read() == b"\x00picture"
        assert float(response.headers["X-Circinus-Latency-Ms"]) > 0
        assert response.headers["X-Circinus-Plan"] == "p"
        assert response.headers["X-Circinus-Trace"].startswith("s@a;wait=")


async def test_other_values_come_back_as_json() -> None:
    async with serving("Size") as a, post(a, b"") as response:
        assert response.content_type == "application/json"
        assert await response.json() == 1


async def test_msgpack_is_given_to_those_who_ask() -> None:
    async with serving("Size") as a, post(a, b"", Accept="application/msgpack") as response:
        assert codec.loads(await response.read()) == 1


@pytest.mark.parametrize(
    ("query", "order", "status", "cause"),
    [
        ("zz", b"", 404, "unknown query"),
        ("q", b"raise", 502, "raised: s: ValueError"),
    ],
)
async def test_failures_have_a_status_and_a_cause(
    query: str, order: bytes, status: int, cause: str
) -> None:
    async with serving("Obedient") as a, post(a, order, query) as response:
        assert response.status == status
        assert (await response.json())["error"].startswith(cause)


async def test_what_is_not_admitted_is_unavailable() -> None:
    async with serving(share=0.0) as a, post(a, b"") as response:
        assert response.status == 503
        assert (await response.json())["error"].startswith("not admitted")


@pytest.mark.parametrize("deadline", ["soon", "0", "-1", "nan", "inf"])
async def test_a_senseless_deadline_is_a_bad_request(deadline: str) -> None:
    async with serving() as a, post(a, b"", X_Circinus_Deadline_Ms=deadline) as response:
        assert response.status == 400


async def test_a_deadline_of_its_own_sheds_a_request() -> None:
    async with serving("Size") as a:
        await a.runtime.submit("q", b"")
        async with post(a, b"", X_Circinus_Deadline_Ms="5") as response:
            assert response.status == 503
            assert (await response.json())["error"].startswith("shed")


async def test_a_form_carries_one_payload_per_source() -> None:
    steps = {"l": ("a", "pass", ()), "r": ("a", "pass", ()), "j": ("a", "concat", ("l", "r"))}
    async with device() as a:
        for run in ("Pass", "Concat"):
            await a.runtime.start_instance(spec(run))
        a.runtime.set_routes([route(steps)])
        form = aiohttp.FormData()
        form.add_field("l", b"left", filename="l.bin")
        form.add_field("r", "right")
        async with post(a, form) as response:
            assert await response.json() == {"l": "left", "r": "right"}


async def read_event(response: aiohttp.ClientResponse) -> Any:
    line = await asyncio.wait_for(response.content.readline(), 5.0)
    assert line.startswith(b"data: ")
    assert await response.content.readline() == b"\n"
    return json.loads(line[6:])


async def test_events_arrive_where_the_result_is_delivered_and_at_the_lead() -> None:
    async with pair() as (a, b), aiohttp.ClientSession() as session:
        await a.runtime.start_instance(spec("Pass"))
        await b.runtime.start_instance(spec("Size"))
        across = route({"s": ("a", "pass", ()), "t": ("b", "size", ("s",))})
        for each in (a, b):
            each.runtime.set_routes([across])
        streams = [await session.get(f"{d.http}/v1/queries/q/events") for d in (a, b)]
        assert streams[0].content_type == "text/event-stream"
        await a.runtime.submit("q", b"")
        events = [await read_event(s) for s in streams]
        assert [(e["step"], e["output"]) for e in events] == [("t", 1), ("t", 1)]
        for s in streams:
            s.close()


async def test_a_listener_that_hangs_up_is_forgotten() -> None:
    async with serving() as a, aiohttp.ClientSession() as session:
        listening = await session.get(f"{a.http}/v1/queries/q/events")
        sinks = a.runtime._sinks
        assert sinks.has_subscribers("q")
        listening.close()
        await until(lambda: not sinks.has_subscribers("q"))


async def test_health_names_the_device_and_its_peers() -> None:
    async with (
        pair() as (a, _),
        aiohttp.ClientSession() as session,
        session.get(f"{a.http}/healthz") as response,
    ):
        assert await response.json() == {"ok": True, "device": "a", "peers": {"b": True}}


async def test_an_iterator_is_streamed_in_order_with_bounded_concurrency() -> None:
    taken, most = 0, 0

    def requests() -> Iterator[bytes]:
        nonlocal taken
        for i in range(20):
            taken += 1
            yield b"%d" % i

    async with serving() as a:
        results = []
        async for result in stream(a.http, "q", requests(), concurrency=3):
            results.append(result)
            most = max(most, taken - len(results))
        assert [r.value for r in results] == [b"%d" % i for i in range(20)]
        assert all(r.latency_ms > 0 and r.plan == "p" for r in results)
        assert most <= 3


async def test_a_failed_request_is_a_result_of_the_stream() -> None:
    async with serving("Obedient") as a:
        results = [r async for r in stream(a.http, "q", [b"a", b"raise", b"c"])]
        assert [(r.ok, r.value) for r in results] == [(True, b"a"), (False, None), (True, b"c")]
        assert results[1].cause == "raised: s: ValueError: told to"


async def test_an_agent_that_is_not_there_ends_the_stream() -> None:
    with pytest.raises(Transient, match="cannot reach the agent"):
        _ = [r async for r in stream("http://127.0.0.1:1", "q", [b""])]


async def test_a_program_without_event_loop_streams_too() -> None:
    async with serving() as a:
        payloads = [b"%d" % i for i in range(5)]
        call = asyncio.to_thread(lambda: [r.value for r in stream_sync(a.http, "q", payloads)])
        assert await asyncio.wait_for(call, 20.0) == payloads


async def test_leaving_a_synchronous_stream_early_ends_it() -> None:
    async with serving() as a:

        def first() -> Any:
            results = stream_sync(a.http, "q", (b"x" for _ in range(10_000)))
            return next(results).value

        assert await asyncio.wait_for(asyncio.to_thread(first), 20.0) == b"x"
