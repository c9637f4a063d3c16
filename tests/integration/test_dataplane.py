"""Two agents over loopback: connections, emulated links, requests across them."""

from __future__ import annotations

import asyncio
import struct
import sys
from pathlib import Path

import aiohttp
import pytest

from circinus import codec
from circinus.errors import InvalidInput, Transient
from circinus.messages import Peer, SourceSpec
from circinus_agent.dataplane import DataPlane, Frame, Kind, frames
from circinus_agent.dataplane.plane import Handler
from circinus_agent.runtime import Runtime

sys.path.insert(0, str(Path(__file__).parent))

from runtime_fleet import Device, device, pair, route, spec, until

pytestmark = pytest.mark.asyncio

ACROSS = {"s": ("a", "pass", ()), "t": ("b", "pass", ("s",))}


async def serve(a: Device, b: Device, *, run: str = "Pass") -> None:
    await asyncio.gather(
        a.runtime.start_instance(spec("Pass")), b.runtime.start_instance(spec(run, "pass"))
    )
    for each in (a, b):
        each.runtime.set_routes([route(ACROSS)])


async def test_the_runtime_fits_the_data_plane() -> None:
    async with device() as a:
        handler: Handler = a.runtime  # for the type checker
        assert isinstance(handler, Runtime)


async def test_a_request_crosses_over_and_its_result_comes_back() -> None:
    async with pair() as (a, b):
        await serve(a, b)
        payload = bytes(range(256)) * 600
        outcome = await a.runtime.submit("q", payload)
        assert codec.loads(outcome.payload or b"") == payload
        assert [(s.step, s.device) for s in outcome.trace.spans] == [("s", "a"), ("t", "b")]
        (counted,) = a.runtime.route_telemetry()
        assert counted.network_bytes == {"a>b": len(payload) + 5}
        assert b.runtime.route_telemetry() == []


async def test_the_emulated_link_delays_and_the_return_trip_is_left_out() -> None:
    async with pair(link=(40.0, 8.0)) as (a, b):  # 1 MB/s
        await serve(a, b)
        started = asyncio.get_running_loop().time()
        outcome = await a.runtime.submit("q", bytes(100_000))
        total_ms = (asyncio.get_running_loop().time() - started) * 1e3
        assert 120 <= outcome.latency_ms < 200  # 100 on the line, 20 on the way
        assert total_ms >= outcome.latency_ms + 110  # and all the way back
        assert 40 <= (a.plane.rtt_ms("b") or 0.0) < 60


async def test_a_link_probe_measures_round_trip_and_bandwidth() -> None:
    async with pair(link=(20.0, 40.0)) as (a, _):
        rtt_ms, seconds = await a.plane.echo(Peer(device="b"), 250_000)
        assert 20 <= rtt_ms < 40
        assert 250_000 * 8e-6 / (seconds - rtt_ms / 1e3) == pytest.approx(40, rel=0.4)


async def test_a_link_probe_dials_a_peer_that_is_not_connected() -> None:
    async with device("a") as a, device("b") as b:
        rtt_ms, seconds = await a.plane.echo(Peer(device="b", url=b.url), 1000)
        assert 0 < rtt_ms < seconds * 1e3 + 50
        await until(lambda: not b.plane.connected("a"))


@pytest.mark.parametrize("url", [None, "ws://127.0.0.1:1"])
async def test_a_link_probe_of_an_unreachable_peer_is_transient(url: str | None) -> None:
    async with device("a") as a:
        with pytest.raises(Transient):
            await a.plane.echo(Peer(device="b", url=url), 1000, timeout_s=2.0)


async def test_a_lost_peer_fails_requests_at_once_and_is_dialled_again() -> None:
    async with device("a") as a:
        async with device("b") as b:
            port = b.plane.port
            a.plane.set_peers([Peer(device="b", url=b.url)])
            await until(lambda: a.plane.connected("b"))
            await serve(a, b, run="Size")
            for _ in range(2):  # the second has to wait, so it is surely under way
                request = asyncio.create_task(a.runtime.submit("q", b""))
            await until(lambda: b.runtime.instance_telemetry()[0].requests >= 1)
            closing = asyncio.create_task(b.plane.close())
            outcome = await asyncio.wait_for(request, 5.0)
            assert outcome.cause == "link: lost the connection to b"
            await closing
        unconnected = await a.runtime.submit("q", b"")
        assert unconnected.cause == "link: no connection to b"
        async with device("b", port=port):
            await until(lambda: a.plane.connected("b"))


async def test_connections_to_peers_no_longer_wanted_are_closed() -> None:
    async with pair() as (a, b):
        a.plane.set_peers([])
        await until(lambda: not b.plane.connected("a"))
        assert a.plane.link_measurements() == []
        assert [m.connected for m in b.plane.link_measurements()] == [False]


async def test_who_answers_under_another_name_is_no_peer() -> None:
    async with device("a") as a, device("b") as b:
        a.plane.set_peers([Peer(device="c", url=b.url)])
        with pytest.raises(Transient, match="who answers there is b, not c"):
            await a.plane.echo(Peer(device="c", url=b.url), 10)
        assert not a.plane.connected("c")


async def test_a_device_pulls_the_input_of_another_source(tmp_path: Path) -> None:
    for source in ("l", "r"):
        (tmp_path / source).mkdir()
        (tmp_path / source / "file").write_text(source)
    both = route(
        {"l": ("a", "pass", ()), "r": ("b", "pass", ()), "j": ("b", "concat", ("l", "r"))},
        sources={"l": "a", "r": "b"},
        input=SourceSpec(kind="folder", path=str(tmp_path)),
        rate_rps=50.0,
        deadline_ms=5000.0,
    )
    async with pair() as (a, b):
        for each, run in ((a, "Pass"), (b, "Pass"), (b, "Concat")):
            await each.runtime.start_instance(spec(run))
        heard: list[bytes] = []
        b.runtime.subscribe("q", lambda event: heard.append(event.payload))
        for each in (b, a):
            each.runtime.set_routes([both])
        await until(lambda: len(heard) >= 5)
        assert codec.loads(heard[-1]) == {"l": "l", "r": "r"}


HELLO = frames.encode(Frame(kind=Kind.HELLO, device="stranger"))


@pytest.mark.parametrize(
    "sent",
    [
        [b""],
        [b"\xff" * 100],
        [HELLO, struct.pack("<I", 3) + b"\xc1\xc1\xc1"],
        [HELLO, b"xx"],
        [frames.encode(Frame(kind=Kind.PULL))],
    ],
)
async def test_malformed_frames_are_counted_and_close_the_connection(sent: list[bytes]) -> None:
    async with device("a") as a, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{a.http}/v1/peer") as socket:
            for data in sent:
                await socket.send_bytes(data)
            while (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.BINARY:
                pass
        await until(lambda: sum(a.plane.dropped().values()) == 1)
        assert (await session.get(f"{a.http}/healthz")).status == 200


async def test_oversized_frames_close_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circinus_agent.dataplane.plane.MAX_FRAME_BYTES", 10_000)
    async with device("a") as a, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{a.http}/v1/peer") as socket:
            await socket.send_bytes(HELLO)
            await socket.receive()
            await socket.send_bytes(bytes(20_000))
            while (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.BINARY:
                pass
            assert socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        await until(lambda: a.plane.dropped() == {"malformed frame": 1})


async def test_frames_of_strangers_reach_no_operator() -> None:
    async with pair() as (a, b), aiohttp.ClientSession() as session:
        await serve(a, b)
        work = Frame(kind=Kind.WORK, query="q", plan="p", steps=("t",), payload=codec.dumps(b""))
        async with session.ws_connect(f"{b.http}/v1/peer") as socket:
            await socket.send_bytes(HELLO)
            await socket.send_bytes(frames.encode(work))
            await until(lambda: b.runtime.dropped() == {"frame of an unknown plan": 1})


async def test_a_taken_port_is_named_with_the_remedy() -> None:
    async with device("a") as a:
        second = DataPlane("b", host="127.0.0.1", port=a.plane.port)
        with pytest.raises(InvalidInput) as error:
            await second.start()
        assert f"port {a.plane.port} on 127.0.0.1 is taken" in str(error.value)
        assert "--listen" in str(error.value)
