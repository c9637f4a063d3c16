"""Subscribers see changes in order and may leave at any time."""

from __future__ import annotations

import asyncio

import pytest

from circinus_coordinator.daemon import Change
from circinus_coordinator.daemon.changes import Changes

pytestmark = pytest.mark.asyncio


def change(seq: int) -> Change:
    return Change(seq=seq, time_s=0, kind="k", subject="s", text="t")


async def test_changes_from_the_subscription_on_are_seen() -> None:
    changes = Changes()
    changes.publish(change(1))
    subscription = changes.subscribe()
    changes.publish(change(2))
    assert (await anext(subscription)).seq == 2


async def test_a_slow_subscriber_loses_the_oldest() -> None:
    changes = Changes()
    subscription = changes.subscribe()
    for seq in range(1, 1502):
        changes.publish(change(seq))
    assert (await anext(subscription)).seq == 502


async def test_closing_wakes_who_waits() -> None:
    changes = Changes()
    subscription = changes.subscribe()
    waiting = asyncio.create_task(anext(subscription, None))
    await asyncio.sleep(0)
    changes.close()
    assert await asyncio.wait_for(waiting, 5) is None


async def test_who_left_is_told_nothing() -> None:
    changes = Changes()
    subscription = changes.subscribe()
    await subscription.aclose()
    changes.publish(change(1))
    assert [c async for c in subscription] == []
