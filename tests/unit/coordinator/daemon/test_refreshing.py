"""What is too old is handed out again, and not too often."""

from __future__ import annotations

import pytest

from circinus_coordinator.daemon.refreshing import AGAIN_S, AT_ONCE, EVERY_S, Refreshing
from circinus_coordinator.profiling import Key, LinkKey, Summary, Take

EPOCH_S = 1.7e9
LIMIT_S = 86400.0


def link(i: int) -> LinkKey:
    return LinkKey(a="a", b=f"{i:02}")


ROWS: dict[Key, Summary] = {
    link(i): Summary(
        rtt_ms=[1.0], done=True, takes=[Take(samples=1, time_s=EPOCH_S - 2 * LIMIT_S + i)]
    )
    for i in range(12)
}


def asked(refreshing: Refreshing, now: float, rows: dict[Key, Summary] | None = None) -> list[Key]:
    known = ROWS if rows is None else rows
    return refreshing.due(lambda: known, lambda: ROWS, now)


def test_nothing_is_due_in_the_first_minute_of_a_run() -> None:
    refreshing = Refreshing(LIMIT_S, epoch_s=EPOCH_S)
    assert asked(refreshing, 5.0) == []
    assert asked(refreshing, 4.0 + EVERY_S) == []
    assert asked(refreshing, 5.0 + EVERY_S) == [link(i) for i in range(AT_ONCE)]


def test_the_next_few_are_due_a_minute_later_and_what_failed_not_for_an_hour() -> None:
    refreshing = Refreshing(LIMIT_S, epoch_s=EPOCH_S)
    asked(refreshing, 0.0)
    found = [asked(refreshing, EVERY_S * minute) for minute in range(1, 5)]
    assert found == [[link(4 * m + i) for i in range(AT_ONCE)] for m in range(3)] + [[]]
    assert asked(refreshing, EVERY_S + AGAIN_S) == found[0]


@pytest.mark.parametrize("changes", [{"done": False}, {"cause": "no m"}])
def test_what_is_being_measured_or_was_given_up_is_left_alone(changes: dict[str, object]) -> None:
    refreshing = Refreshing(LIMIT_S, epoch_s=EPOCH_S)
    asked(refreshing, 0.0)
    row = Summary(rtt_ms=[1.0], takes=[Take(samples=1, time_s=0.0)], done=True)
    for name, value in changes.items():
        setattr(row, name, value)
    assert asked(refreshing, EVERY_S, {link(0): row}) == []
    row.done, row.cause = True, None
    assert asked(refreshing, 2 * EVERY_S, {link(0): row}) == [link(0)]
