from __future__ import annotations

import asyncio
from collections import Counter
from typing import cast

import aiohttp
import pytest

from circinus.errors import Transient
from circinus.messages import Peer
from circinus_agent.dataplane import DataPlane, dialling
from circinus_agent.dataplane import plane as plane_module
from circinus_agent.dataplane.connection import Connection
from circinus_agent.dataplane.frames import Frame, Kind, encode


def test_a_peer_that_does_not_take_the_call_in_time_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def dial(*_: object) -> None:
        await asyncio.Event().wait()

    async def probe() -> None:
        plane = DataPlane("a", host="127.0.0.1", port=0)
        try:
            await plane.echo(Peer(device="b", url="ws://b:1"), 0, timeout_s=0.01)
        finally:
            await plane.close()

    monkeypatch.setattr(plane_module, "dial", dial)
    with pytest.raises(Transient, match="did not answer within"):
        asyncio.run(probe())


class Socket:
    """Says what it is given, then closes."""

    def __init__(self, *frames: Frame) -> None:
        binary = [(aiohttp.WSMsgType.BINARY, encode(frame)) for frame in frames]
        closed = (aiohttp.WSMsgType.CLOSED, None)
        self._said = iter([aiohttp.WSMessage(*said, None) for said in (*binary, closed)])

    async def receive(self) -> aiohttp.WSMessage:
        return next(self._said)

    async def send_bytes(self, data: bytes) -> None:
        pass

    async def close(self) -> None:
        pass


def test_a_frame_that_fails_here_does_not_end_the_connection() -> None:
    taken: list[int] = []
    dropped: Counter[str] = Counter()

    def on_frame(device: str, frame: Frame) -> None:
        taken.append(frame.request)
        if frame.request == 1:
            raise TypeError("a fault")

    async def serve() -> None:
        frames = [Frame(kind=Kind.HELLO, device="b")]
        frames += [Frame(kind=Kind.WORK, request=number) for number in (1, 2)]
        socket = cast("aiohttp.ClientWebSocketResponse", Socket(*frames))
        connection = Connection(
            "a", socket, shaping=lambda device: None, on_frame=on_frame, dropped=dropped
        )
        await connection.greet()
        await connection.run()

    asyncio.run(serve())
    assert taken == [1, 2]
    assert dropped == {"frame that failed here": 1}


def test_a_peer_is_dialled_again_whatever_ended_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dialling, "FIRST_S", 0.0)

    async def dial(*_: object) -> Socket:
        return Socket()

    async def again() -> None:
        tries = 0
        twice = asyncio.Event()

        async def serve(socket: object, device: str) -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise KeyError("a fault")
            twice.set()

        session = cast("aiohttp.ClientSession", None)
        dialler = dialling.Dialler(Peer(device="b", url="ws://b:1"), session, serve)
        try:
            await asyncio.wait_for(twice.wait(), 10.0)
        finally:
            await dialler.stop()

    monkeypatch.setattr(dialling, "dial", dial)
    asyncio.run(again())
