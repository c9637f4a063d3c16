"""What failed is tried again, ever more seldom."""

from __future__ import annotations

import random

from circinus_coordinator.daemon.retry import Retry


class Longest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


def test_pauses_double_up_to_the_cap() -> None:
    retry = Retry(base_s=5, cap_s=30, rng=Longest())
    now, pauses = 0, []
    for _ in range(4):
        retry.failed(now)
        pause = next(s for s in range(100) if retry.due(now + s))
        pauses.append(pause)
        now += pause
    assert pauses == [5, 10, 20, 30]


def test_several_failures_of_one_try_count_once() -> None:
    retry = Retry(base_s=5, cap_s=30, rng=Longest())
    retry.failed(0)
    retry.failed(1)
    assert retry.due(5)


def test_after_a_success_nothing_is_due() -> None:
    retry = Retry(base_s=5, cap_s=30)
    retry.failed(0)
    retry.reset()
    assert not retry.due(100)
