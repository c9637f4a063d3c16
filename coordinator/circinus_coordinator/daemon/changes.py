"""Who wants to know what happens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from circinus_coordinator.daemon.views import Change

__all__ = ["Changes", "Subscription"]

# A subscriber that is further behind is not reading.
_BACKLOG = 1000


class Changes:
    """Hands every change to every subscriber."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def subscribe(self) -> Subscription:
        """Changes from now on."""
        subscription = Subscription(self._subscriptions)
        self._subscriptions.add(subscription)
        return subscription

    def publish(self, change: Change) -> None:
        """Tell everybody."""
        for subscription in self._subscriptions:
            subscription.put(change)

    def close(self) -> None:
        """End all subscriptions."""
        for subscription in list(self._subscriptions):
            subscription.close()


class Subscription(AsyncIterator[Change]):
    """An iterator over changes; `aclose` ends it."""

    def __init__(self, registered: set[Subscription]) -> None:
        self._registered = registered
        self._backlog: deque[Change] = deque(maxlen=_BACKLOG)
        self._news = asyncio.Event()
        self._closed = False

    def put(self, change: Change) -> None:
        """Something happened."""
        self._backlog.append(change)
        self._news.set()

    def close(self) -> None:
        """No more; what waits can still be read."""
        self._closed = True
        self._registered.discard(self)
        self._news.set()

    async def aclose(self) -> None:
        """As for an asynchronous generator."""
        self._backlog.clear()
        self.close()

    async def __anext__(self) -> Change:
        while not self._backlog:
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._backlog.popleft()
