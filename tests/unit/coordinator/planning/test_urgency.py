"""Who waits longer because others are served first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circinus_coordinator.planning.urgency import urgency

LOADS = {10.0: 0.3, 60.0: 0.2, 500.0: 0.25}


def ratios(busy: dict[float, float], wait_ms: float, chance: float = 0.7) -> dict[float, float]:
    return {spare: urgency(busy, spare, 1, wait_ms, chance) for spare in busy}


def test_deadlines_far_apart_are_priorities_by_class() -> None:
    """Cobham 1954: W0 / ((1 - load before) (1 - load up to it)) over W0 / (1 - load)."""
    found = ratios({1e3: 0.3, 1e6: 0.2, 1e9: 0.25}, wait_ms=1.0)
    expected = (0.25 / 0.7, 0.25 / (0.7 * 0.5), 0.25 / (0.5 * 0.25))
    assert tuple(found.values()) == pytest.approx(expected, rel=1e-3)


def test_equal_times_to_spare_are_first_come_first_served() -> None:
    assert urgency({10.0: 0.5}, 10.0, 1, 7.0, 0.5) == 1
    near = ratios({10.0: 0.4, 10.001: 0.2}, wait_ms=20.0)
    assert tuple(near.values()) == pytest.approx((1, 1), rel=1e-3)


@given(st.floats(0.1, 1e4), st.floats(0.05, 1), st.floats(0.05, 0.6), st.floats(0.05, 0.3))
def test_what_two_classes_wait_together_stays_the_same(
    wait_ms: float, chance: float, first: float, second: float
) -> None:
    """Kleinrock's conservation law."""
    found = ratios({50.0: first, 90.0: second}, wait_ms, chance)
    together = first * found[50.0] + second * found[90.0]
    assert together == pytest.approx(first + second)
    assert 0 < found[50.0] <= 1 <= found[90.0]
