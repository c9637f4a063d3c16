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
    return Pool(RuntimeSettings(device="a", accelerators={"gpu": 1.0}), loop, None)


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


def dispatched(pool: Pool, key: str) -> int:
    return len(pool.stages[key]._instance.batches)  # type: ignore[attr-defined]


def give(pool: Pool, loop: FakeLoop, *keys: str) -> None:
    for key in keys:
        pool.stages[key].submit(Work(b"", loop.now + 60.0, lambda _: None))


def test_who_waits_for_the_gpu_holds_up_nobody_else(pool: Pool, loop: FakeLoop) -> None:
    async def start() -> None:
        for key, parts in (("see", {"gpu": 0.6}), ("hear", {"gpu": 0.6}), ("count", {})):
            await pool.start(InstanceSpec(key=key, run="op", cores=0, accelerators=parts))

    asyncio.run(start())
    give(pool, loop, "see", "hear", "count")
    assert [dispatched(pool, key) for key in ("see", "hear", "count")] == [1, 0, 1]


def test_what_batches_hold_changes_without_a_new_process(pool: Pool, loop: FakeLoop) -> None:
    async def start(part: float) -> None:
        await pool.start(InstanceSpec(key="see", run="op", accelerators={"gpu": part}))

    asyncio.run(start(0.2))
    give(pool, loop, "see")
    before = pool.stages["see"]
    asyncio.run(start(0.7))
    assert pool.stages["see"] is before
    before._instance.finish()  # type: ignore[attr-defined]
    assert pool._resources.free["gpu"] == 1.0
    give(pool, loop, "see")
    assert pool._resources.free["gpu"] == pytest.approx(0.3)
