"""What is put to the loop is answered, also by one that has ended."""

from __future__ import annotations

import asyncio
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from circinus.errors import Transient
from circinus.scenario import Scenario
from circinus_coordinator.daemon import Settings
from circinus_coordinator.daemon.changes import Changes
from circinus_coordinator.daemon.core import Core
from circinus_coordinator.daemon.effects import Effects
from circinus_coordinator.daemon.loop import EventLoop
from circinus_coordinator.daemon.planner import PlannerPool
from circinus_coordinator.daemon.state import Restored
from circinus_coordinator.store import Store

pytestmark = pytest.mark.asyncio


def nothing(_now: float) -> Effects:
    return Effects()


def event_loop(folder: Path, store: Store, planner: PlannerPool | None = None) -> EventLoop:
    core = Core(
        Settings(store=folder, fleet=folder),
        fleet=Scenario(),
        store_id="s",
        prefix="x",
        restored=Restored(),
        now=0.0,
    )
    return EventLoop(
        core,
        store,
        planner or PlannerPool(None),
        Changes(),
        publish=lambda _message: None,
        connections=lambda: (False, 0),
    )


async def test_what_somebody_should_look_after_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def happened(_now: float) -> Effects:
        effects = Effects()
        effects.note("device", "pi", "two agents", warning=True)
        effects.note("device", "pi", "connected")
        return effects

    store = Store(tmp_path)
    loop = event_loop(tmp_path, store)
    running = asyncio.create_task(loop.run())
    await loop.do(happened)
    loop.close()
    await running
    store.close()
    assert [record.getMessage() for record in caplog.records] == ["pi: two agents"]


class Failing(PlannerPool):
    """A planner that answers with this, or raises it."""

    def __init__(self, answer: bytes | Exception) -> None:
        super().__init__()
        self._answer = answer

    async def plan(self, scenario: bytes, seed: int) -> bytes:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("scenario", "planner", "cause"),
    [
        (OverflowError("fsum"), Failing(b"{}"), "fsum"),
        (b"{}", Failing(OverflowError("sum")), "sum"),
        (b"{}", Failing(Transient("died twice")), "died twice"),
        (b"{}", Failing(b"no decision"), "stored.json"),
    ],
)
async def test_planning_that_fails_is_told_and_the_loop_goes_on(
    tmp_path: Path,
    scenario: bytes | Exception,
    planner: PlannerPool,
    cause: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = asyncio.Event()
    texts: list[str] = []

    def to_plan(core: Core, now: float) -> bytes | None:
        if texts:
            return None
        if isinstance(scenario, Exception):
            raise scenario
        return scenario

    def on_unplanned(core: Core, text: str, now: float) -> Effects:
        texts.append(text)
        told.set()
        return Effects()

    monkeypatch.setattr(Core, "to_plan", to_plan)
    monkeypatch.setattr(Core, "on_unplanned", on_unplanned)
    store = Store(tmp_path)
    loop = event_loop(tmp_path, store, planner)
    running = asyncio.create_task(loop.run())
    await asyncio.wait_for(told.wait(), 10)
    await loop.do(nothing)
    loop.close()
    await running
    store.close()
    assert cause in texts[0]


async def test_a_planner_that_takes_too_long_is_ended_and_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("circinus_coordinator.daemon.planner._DEADLINE_S", 0.0)
    pool = PlannerPool()
    with pytest.raises(Transient, match="longer"):
        await pool.plan(b"", 0)
    assert pool._own is None


async def test_a_worker_that_dies_twice_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    async def died(*_: object) -> bytes:
        raise BrokenProcessPool

    pool = PlannerPool()
    pool.warm()
    monkeypatch.setattr(pool, "_run", died)
    with pytest.raises(Transient, match="died twice"):
        await pool.plan(b"", 0)
    assert pool._own is None


async def test_a_wish_that_met_a_full_queue_is_refused_once_the_loop_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circinus_coordinator.daemon.loop._QUEUE", 1)
    store = Store(tmp_path)
    loop = event_loop(tmp_path, store)
    wishes = [asyncio.create_task(loop.do(nothing)) for _ in range(4)]
    await asyncio.sleep(0)  # one is in the queue, the others wait for room
    loop.close()
    await loop.run()
    done, waiting = await asyncio.wait(wishes, timeout=5)
    store.close()
    assert not waiting
    assert {type(wish.exception()) for wish in done} == {Transient}
