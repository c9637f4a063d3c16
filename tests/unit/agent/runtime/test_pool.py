from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from fakes import FakeInstance, FakeLoop

from circinus.messages import InstanceReport, InstanceSpec
from circinus_agent.runtime import pool as pool_module
from circinus_agent.runtime.pool import Pool
from circinus_agent.runtime.settings import RuntimeSettings
from circinus_agent.runtime.stage import Work


class Started(FakeInstance):
    """An instance that needs no process."""

    restarts = 0
    dropped_lines = 0

    def __init__(
        self, spec: InstanceSpec, settings: RuntimeSettings, *, on_change: Callable[[], None]
    ) -> None:
        super().__init__()
        self.spec = spec

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def report(self) -> InstanceReport:
        return InstanceReport(state="ready", ready=1)


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def pool(loop: FakeLoop, monkeypatch: pytest.MonkeyPatch) -> Pool:
    monkeypatch.setattr(pool_module, "Instance", Started)
    return Pool(RuntimeSettings(device="a"), loop, None)


def test_telemetry_tells_what_waits(pool: Pool, loop: FakeLoop) -> None:
    asyncio.run(pool.start(InstanceSpec(key="op", run="op")))
    for _ in range(3):
        pool.stages["op"].submit(Work(b"", loop.now + 60.0, lambda _: None))
    (told,) = pool.telemetry()
    assert told.queued == 2


def test_a_stopped_instance_is_forgotten_after_a_while(pool: Pool) -> None:
    async def come_and_go() -> None:
        for key in ("gone", "stays"):
            await pool.start(InstanceSpec(key=key, run="op"))
        await pool.stop("gone")

    asyncio.run(come_and_go())
    for now, told in ((0.0, ["gone", "stays"]), (599.0, ["gone", "stays"]), (600.0, ["stays"])):
        pool.forget(now)
        assert [t.key for t in pool.telemetry()] == told
    assert list(pool._locks) == ["stays"]
