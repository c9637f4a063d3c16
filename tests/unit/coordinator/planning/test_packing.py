"""What of a resource can be used by workers that hold much of it."""

from __future__ import annotations

import heapq
import random

import pytest

from circinus_coordinator.planning.packing import crowded


def most_held(units: list[int], rates: list[float], size: int) -> float:
    """Held on average by exponential jobs of 1 s that are let in one after another, endlessly."""
    rng, free, now, held = random.Random(1), size, 0.0, 0.0
    running: list[tuple[float, int]] = []
    for unit in rng.choices(units, rates, k=20_000):
        while free < unit:
            now, gone = heapq.heappop(running)
            free += gone
        free -= unit
        held += unit
        heapq.heappush(running, (now + rng.expovariate(1), unit))
    return held / now / size


@pytest.mark.parametrize(
    ("units", "busy"),
    [
        ([60], [0.3]),
        ([30], [0.3]),
        ([36], [0.3]),
        ([20, 14, 17, 41, 16, 26], [0.2, 0.2, 0.2, 0.2, 0.2, 0.2]),
        ([10, 25, 35, 50], [0.1, 0.4, 0.2, 0.1]),
        ([5, 45], [1.0, 0.1]),
    ],
)
def test_a_line_is_full_where_no_more_can_be_let_in(units: list[int], busy: list[float]) -> None:
    mean = sum(u * b for u, b in zip(units, busy, strict=True)) / 60
    assert crowded(units, busy, 60) == pytest.approx(mean / most_held(units, busy, 60), rel=0.06)


def test_of_those_who_hold_more_than_half_one_runs_at_a_time() -> None:
    assert crowded([31, 31], [0.5, 0.4], 60) == pytest.approx(0.9)
    assert crowded([31, 36, 50, 1], [0.3, 0.3, 0.3, 0.1], 60) >= 0.9


def test_nobody_crowds_nothing() -> None:
    assert crowded([], [], 60) == crowded([10], [0.0], 60) == 0


def test_so_many_units_are_taken_together() -> None:
    many = crowded([50_000, 50_000_000], [400.0, 0.5], 100_000_000)
    assert many == pytest.approx(crowded([50, 50_000], [400.0, 0.5], 100_000), rel=0.01)
