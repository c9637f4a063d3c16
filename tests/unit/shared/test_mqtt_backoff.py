from __future__ import annotations

import random

import pytest

from circinus.mqtt import Backoff


class Highest(random.Random):
    """Draws the upper end, which makes the ceiling visible."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_ceiling_doubles_up_to_its_cap() -> None:
    backoff = Backoff(base_s=1, cap_s=5, rng=Highest())
    assert [backoff.next_delay_s(0) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_delay_is_anywhere_between_nothing_and_the_ceiling() -> None:
    delays = [Backoff(base_s=1, cap_s=5, rng=random.Random(s)).next_delay_s(0) for s in range(500)]
    assert min(delays) < 0.05
    assert max(delays) > 0.95
    assert sum(delays) / len(delays) == pytest.approx(0.5, abs=0.05)


def test_connection_that_drops_at_once_does_not_reset_the_ceiling() -> None:
    backoff = Backoff(base_s=1, cap_s=100, stable_after_s=10, rng=Highest())
    assert [backoff.next_delay_s(0.01) for _ in range(4)] == [1, 2, 4, 8]


def test_connection_that_lasted_resets_the_ceiling() -> None:
    backoff = Backoff(base_s=1, cap_s=100, stable_after_s=10, rng=Highest())
    for _ in range(4):
        backoff.next_delay_s(0)
    assert backoff.next_delay_s(10) == 1


def test_many_attempts_do_not_overflow() -> None:
    backoff = Backoff(base_s=1, cap_s=60, rng=Highest())
    for _ in range(5000):
        backoff.next_delay_s(0)
    assert backoff.ceiling_s == 60


def test_base_above_cap_is_refused() -> None:
    with pytest.raises(ValueError, match="at most cap_s"):
        Backoff(base_s=2, cap_s=1)
