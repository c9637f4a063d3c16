"""Forgetting what has been gone for long, so that years of plans do not pile up."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable
from typing import Generic, TypeVar

__all__ = ["FORGET_S", "Absence"]

# Long enough that the last figures reach the coordinator, also over a broker that comes and goes.
FORGET_S = 600.0

K = TypeVar("K", bound=Hashable)


class Absence(Generic[K]):
    """Notes since when keys are gone.

    Args:
        keep_s: Seconds after which one that did not come back is told as over.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._since: dict[K, float] = {}

    def over(self, known: Iterable[K], present: Container[K], now: float) -> list[K]:
        """Those of `known` that are gone for so long; `now` in monotonic seconds."""
        gone = [key for key in known if key not in present]
        since = {key: self._since.get(key, now) for key in gone}
        over = [key for key in gone if now - since[key] >= self._keep_s]
        self._since = {key: at for key, at in since.items() if now - at < self._keep_s}
        return over
