from __future__ import annotations

import pytest

from circinus_agent.runtime.tokens import CoreTokens


class Taker:
    def __init__(self, tokens: CoreTokens, count: int) -> None:
        self.tokens, self.count, self.held = tokens, count, 0

    def go(self) -> None:
        if self.tokens.take(self.count, self.go):
            self.held += 1

    def back(self) -> None:
        self.held -= 1
        self.tokens.give(self.count)


@pytest.mark.parametrize(("cores", "tokens"), [(0.5, 1), (1.0, 1), (3.9, 3)])
def test_there_is_one_token_per_whole_core_and_at_least_one(cores: float, tokens: int) -> None:
    assert CoreTokens(cores).total == tokens


def test_more_threads_than_cores_take_all_of_them() -> None:
    tokens = CoreTokens(2)
    assert tokens.take(8, lambda: None)
    assert tokens.free == 0
    tokens.give(8)
    assert tokens.free == 2


def test_who_waits_is_served_in_the_order_of_coming() -> None:
    tokens = CoreTokens(1)
    takers = [Taker(tokens, 1) for _ in range(3)]
    for taker in takers:
        taker.go()
    for i in range(2):
        takers[i].back()
        assert [t.held for t in takers] == [int(k == i + 1) for k in range(3)]


def test_small_ones_do_not_overtake_a_large_one_for_ever() -> None:
    tokens = CoreTokens(2)
    first, large, small = Taker(tokens, 1), Taker(tokens, 2), Taker(tokens, 1)
    for taker in (first, large, small):
        taker.go()
    assert (large.held, small.held) == (0, 0)
    first.back()
    assert (large.held, small.held) == (1, 0)


def test_a_waiter_that_no_longer_wants_is_passed_over() -> None:
    tokens = CoreTokens(1)
    first, last = Taker(tokens, 1), Taker(tokens, 1)
    first.go()
    assert not tokens.take(1, lambda: None)
    last.go()
    first.back()
    assert last.held == 1
