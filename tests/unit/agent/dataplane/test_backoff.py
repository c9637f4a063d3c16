from __future__ import annotations

import random

from circinus_agent.dataplane.backoff import Backoff


def draws(count: int) -> list[float]:
    backoff = Backoff(first_s=0.5, last_s=8.0, random=random.Random(1))
    return [backoff.next() for _ in range(count)]


def test_waits_never_exceed_the_doubling_ceiling() -> None:
    assert all(d <= min(8.0, 0.5 * 2**i) for i, d in enumerate(draws(40)))


def test_waits_are_spread_over_the_whole_range() -> None:
    late = draws(200)[10:]
    assert min(late) < 1.0
    assert max(late) > 7.0


def test_a_reset_starts_again() -> None:
    backoff = Backoff(first_s=0.5, last_s=8.0, random=random.Random(1))
    for _ in range(10):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 0.5
