"""Queries in the order of their price, resource by resource, while they come and go."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

__all__ = ["Ranks"]

Valid = Callable[[str, int, float], bool]


class Ranks:
    """A heap for each resource; entries that no longer hold are dropped when they are met.

    A sorted list would move half of its entries for each that comes, and a pool has thousands.
    """

    def __init__(self, valid: Valid, *, dearest_first: bool = False) -> None:
        """Start with nobody.

        Args:
            valid: Whether a query (its name, a resource, its price) still stands there.
            dearest_first: Else the cheapest comes first.
        """
        self._valid, self._sign = valid, -1.0 if dearest_first else 1.0
        self._heaps: dict[int, list[tuple[float, str]]] = defaultdict(list)

    def add(self, row: int, price: float, name: str) -> None:
        """A query stands in a resource's line."""
        heapq.heappush(self._heaps[row], (self._sign * price, name))

    def first(self, row: int) -> tuple[float, str] | None:
        """Price and name of who comes first."""
        heap = self._heaps[row]
        while heap:
            price, name = heap[0]
            if self._valid(name, row, self._sign * price):
                return self._sign * price, name
            heapq.heappop(heap)
        return None

    def top(self, row: int, most: int) -> list[tuple[float, str]]:
        """Price and name of the first ones, `most` at most."""
        found: list[tuple[float, str]] = []
        while len(found) < most and (first := self.first(row)) is not None:
            heapq.heappop(self._heaps[row])
            if first not in found:
                found.append(first)
        for price, name in found:
            self.add(row, price, name)
        return found

    def leave(self, rows: Iterable[int]) -> Iterator[str]:
        """Those who stand in some lines, in order; each leaves its line when it is told."""
        fronts = []
        for row in rows:
            found = self.first(row)
            if found is not None:
                fronts.append((self._sign * found[0], found[1], row))
        heapq.heapify(fronts)
        while fronts:
            _, name, row = heapq.heappop(fronts)
            heapq.heappop(self._heaps[row])
            yield name
            found = self.first(row)
            if found is not None:
                heapq.heappush(fronts, (self._sign * found[0], found[1], row))
