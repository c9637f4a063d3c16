from __future__ import annotations

import asyncio

import pytest

from circinus.errors import Transient
from circinus.messages import Peer
from circinus_agent.dataplane import DataPlane
from circinus_agent.dataplane import plane as plane_module


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
