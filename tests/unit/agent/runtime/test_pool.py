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
