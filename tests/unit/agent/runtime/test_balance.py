from __future__ import annotations

from collections import Counter

from circinus_agent.runtime.balance import Balance


def picks(shares: dict[str, float], count: int, *, refuse: bool = True) -> list[str | None]:
    balance = Balance()
    balance.set(shares)
    return [balance.pick(refuse=refuse) for _ in range(count)]


def test_plans_get_their_shares_and_the_rest_is_refused() -> None:
    assert Counter(picks({"a": 0.5, "b": 0.3}, 1000)) == {"a": 500, "b": 300, None: 200}


def test_picks_are_spread_evenly() -> None:
    sequence = picks({"a": 0.75, "b": 0.25}, 40)
    assert all(Counter(sequence[i : i + 4]) == {"a": 3, "b": 1} for i in range(0, 40, 4))


def test_without_refusal_shares_count_in_proportion() -> None:
    assert Counter(picks({"a": 0.3, "b": 0.1}, 400, refuse=False)) == {"a": 300, "b": 100}


def test_shares_that_miss_one_by_rounding_refuse_nobody() -> None:
    assert None not in picks({str(i): 0.1 for i in range(10)}, 5000)


def test_without_plans_everything_is_refused() -> None:
    assert picks({}, 2) == [None, None]


def test_a_change_of_shares_takes_effect_at_once() -> None:
    balance = Balance()
    balance.set({"a": 1.0})
    balance.pick(refuse=True)
    balance.set({"b": 1.0})
    assert balance.pick(refuse=True) == "b"
