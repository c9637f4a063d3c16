"""What is put to the loop is answered, also by one that has ended."""

from __future__ import annotations

import asyncio
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


def event_loop(folder: Path, store: Store) -> EventLoop:
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
        PlannerPool(None),
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
