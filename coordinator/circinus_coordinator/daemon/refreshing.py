"""Has measurements that became too old made anew, a few at a time; the old ones hold until then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from circinus_coordinator.profiling import Key, Summary
from circinus_coordinator.profiling.age import due

__all__ = ["Refreshing"]

# After a clock was set forward everything is old at once. So many targets a minute keep probes,
# of some seconds each, a small part of what a fleet does, and a thousand rows fresh in some hours.
EVERY_S = 60.0
AT_ONCE = 4
# What could not be measured anew is tried again no sooner.
AGAIN_S = 3600.0


class Refreshing:
    """See the module; time is the core's, in seconds.

    Args:
        limit_s: Older rows are stale.
        epoch_s: Unix time when the core's time was 0.
    """

    def __init__(self, limit_s: float, *, epoch_s: float) -> None:
        self._limit_s = limit_s
        self._epoch_s = epoch_s
        self._next: float | None = None
        self._asked: dict[Key, float] = {}

    def due(
        self,
        rows: Callable[[], Mapping[Key, Summary]],
        wanted: Callable[[], Iterable[Key]],
        now: float,
    ) -> list[Key]:
        """What to measure anew now, none of it before a minute has passed.

        Args:
            rows: All that is known; asked for once a minute.
            wanted: What is of use to anybody.
        """
        if self._next is None:
            self._next = now + EVERY_S
        if now < self._next:
            return []
        self._next = now + EVERY_S
        self._asked = {key: at for key, at in self._asked.items() if now - at < AGAIN_S}
        known = rows()
        sound = {
            key: row
            for key in wanted()
            if (row := known.get(key)) and row.done and row.cause is None and key not in self._asked
        }
        found = due(sound, self._epoch_s + now, limit_s=self._limit_s, at_once=AT_ONCE)
        self._asked.update(dict.fromkeys(found, now))
        return found
