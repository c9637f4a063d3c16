"""Devices with runtime and data plane in one process, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from circinus.messages import InstanceSpec, LinkEmulation, Peer, Route, RouteStep
from circinus_agent.dataplane import DataPlane
from circinus_agent.runtime import Runtime, RuntimeSettings

HERE = str(Path(__file__).parent)


def settings(device: str, **more: Any) -> RuntimeSettings:
    usual: dict[str, Any] = {"cores": 4, "paths": (HERE,), "stop_grace_s": 1.0}
    return RuntimeSettings(device=device, **{**usual, **more})


def spec(run: str, key: str | None = None, **more: Any) -> InstanceSpec:
    return InstanceSpec(key=key or run.lower(), run=f"runtime_operators:{run}", **more)


def route(steps: Mapping[str, tuple[str, str, Sequence[str]]], **more: Any) -> Route:
    """Steps by name: (device, instance, needs)."""
    made = [
        RouteStep(name=n, device=d, instance=i, needs=list(needs))
        for n, (d, i, needs) in steps.items()
    ]
    usual: dict[str, Any] = {
        "query": "q", "plan": "p", "share": 1.0, "active": True, "lead": "a", "rate_rps": 1.0,
        "sources": {s.name: "a" for s in made if not s.needs},
    }  # fmt: skip
    return Route(steps=made, **{**usual, **more})


class Device:
    def __init__(self, name: str, plane: DataPlane, runtime: Runtime) -> None:
        self.name, self.plane, self.runtime = name, plane, runtime
        self.changed = asyncio.Event()

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.plane.port}"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.plane.port}"

    async def state(self, key: str, state: str, timeout_s: float = 20.0) -> None:
        """Wait until the instance is in that state."""

        async def reached() -> None:
            while self.runtime.instance_reports()[key].state != state:
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(reached(), timeout_s)


@asynccontextmanager
async def device(
    name: str = "a", *, port: int = 0, links: Sequence[LinkEmulation] = (), **more: Any
) -> AsyncIterator[Device]:
    plane = DataPlane(name, host="127.0.0.1", port=port, links=links)
    arguments = {k: more.pop(k) for k in ("publish", "resolve", "results") if k in more}
    made: list[Device] = []
    runtime = Runtime(
        settings(name, **more),
        transport=plane,
        on_change=lambda key: made[0].changed.set(),
        **arguments,
    )
    made.append(Device(name, plane, runtime))
    plane.attach(runtime)
    await plane.start()
    try:
        yield made[0]
    finally:
        await runtime.close()
        await plane.close()


@asynccontextmanager
async def pair(
    link: tuple[float, float] | None = None, **more: Any
) -> AsyncIterator[tuple[Device, Device]]:
    """Devices a and b, connected; a has dialled. `link` is an emulated (rtt_ms, Mbit/s)."""

    def links(peer: str) -> list[LinkEmulation]:
        if link is None:
            return []
        return [LinkEmulation(peer=peer, rtt_ms=link[0], bandwidth_mbps=link[1])]

    async with AsyncExitStack() as stack:
        b = await stack.enter_async_context(device("b", links=links("a"), **more))
        a = await stack.enter_async_context(device("a", links=links("b"), **more))
        b.plane.set_peers([Peer(device="a")])
        a.plane.set_peers([Peer(device="b", url=b.url)])
        await until(lambda: a.plane.rtt_ms("b") is not None and b.plane.rtt_ms("a") is not None)
        yield a, b


async def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Wait for what no event tells of."""

    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), timeout_s)
