"""Core tokens: how many threads of operators may compute on a device at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["CoreTokens"]


class CoreTokens:
    """Hands out a device's cores, first come first served.

    Args:
        total: Cores of the device; a fraction counts down, but there is at least one.
    """

    def __init__(self, total: float) -> None:
        self.total = max(1, int(total))
        self.free = self.total
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()

    def take(self, count: int, retry: Callable[[], None]) -> bool:
        """Take `count` tokens (all of them where it is more than there are).

        Where they are not free, or others wait already, `retry` is called once when it is this
        caller's turn, and False returned.
        """
        count = self._capped(count)
        if not self._waiting and self.free >= count:
            self.free -= count
            return True
        if all(callback != retry for _, callback in self._waiting):
            self._waiting.append((count, retry))
        return False

    def give(self, count: int) -> None:
        """Give `count` tokens back, as they were taken."""
        self.free += self._capped(count)
        self.wake()

    def wake(self) -> None:
        """Call whoever may go on now, in the order of their coming."""
        while self._waiting and self.free >= self._waiting[0][0]:
            _, retry = self._waiting.popleft()
            # With the queue out of the way, so that the caller's `take` is not behind others.
            rest, self._waiting = self._waiting, deque()
            retry()
            self._waiting.extendleft(reversed(rest))

    def _capped(self, count: int) -> int:
        return min(max(1, count), self.total)
