"""How old samples count as, whatever clocks do."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from circinus_coordinator.profiling import AccuracyKey, Key, LinkKey, Summary, Take
from circinus_coordinator.profiling.age import age_s, due, settled, stale, widened
from circinus_coordinator.profiling.sequences import Interval

NOW = 1_700_000_000.0
DAY = 86400.0
WEEK = 7 * DAY


def takes(*ages: float | None, samples: int = 10) -> list[Take]:
    return [Take(samples=samples, time_s=None if a is None else NOW - a) for a in ages]


def test_half_of_the_samples_are_at_least_as_old_as_the_row() -> None:
    assert age_s(takes(DAY, 5.0, 3.0), NOW) == 5.0
    assert age_s([*takes(DAY, samples=1), *takes(4.0, samples=30)], NOW) == 4.0


def test_a_row_most_of_which_has_no_date_has_no_age() -> None:
    assert age_s(takes(None, None, 3.0), NOW) is None
    assert age_s(takes(None, 5.0, 3.0), NOW) == 5.0
    assert age_s([], NOW) is None


def test_a_clock_that_was_set_back_makes_nothing_negative() -> None:
    assert age_s(takes(-DAY), NOW) == 0.0
    (take,) = settled(takes(-DAY), NOW)
    # It ages from the restart on, not from when the clock comes by there again.
    assert age_s([take], NOW + 60) == 60.0


@pytest.mark.parametrize("time_s", [0.0, -5.0, 1e9, math.nan])
def test_a_date_before_anybody_can_have_measured_is_none(time_s: float) -> None:
    (take,) = settled([Take(samples=1, time_s=time_s)], NOW)
    assert take.time_s is None


def test_a_clock_that_was_set_forward_does_not_trigger_everything_at_once() -> None:
    rows: dict[Key, Summary] = {
        LinkKey(a="a", b=str(i)): Summary(rtt_ms=[1.0], takes=takes(WEEK + i, samples=1))
        for i in range(500)
    }
    later = NOW + 1000 * DAY
    first = due(rows, later, limit_s=WEEK, at_once=3)
    assert first == [LinkKey(a="a", b=str(i)) for i in (499, 498, 497)]


def test_accuracy_does_not_age() -> None:
    key = AccuracyKey(pipeline="p", signature="s", config=())
    rows: dict[Key, Summary] = {key: Summary(scores=[1.0], takes=takes(1000 * DAY, samples=1))}
    assert due(rows, NOW, limit_s=WEEK, at_once=9) == []


@pytest.mark.parametrize(
    ("age", "limit", "expected"),
    [(WEEK, WEEK, False), (WEEK + 1, WEEK, True), (None, WEEK, False), (1e12, None, False)],
)
def test_what_is_older_than_the_limit_is_stale(
    age: float | None, limit: float | None, expected: bool
) -> None:
    assert stale(age, limit) is expected


def test_the_interval_of_a_stale_row_widens_with_its_age_and_stays_around_its_number() -> None:
    interval = Interval(low=90.0, high=140.0, asymptotic=True)
    ages = [DAY, WEEK, 2 * WEEK, 4 * WEEK, 9 * WEEK, 1000 * WEEK]
    found = [widened(interval, 100.0, age, WEEK) for age in ages]
    assert found[:2] == [interval, interval]
    for young, old in pairwise(found[1:5]):
        assert old.low < young.low < 100.0 < young.high < old.high
    assert (found[3].low, found[3].high) == (80.0, 180.0)  # twice as far after four times as long
    assert found[-1] == widened(interval, 100.0, 16 * WEEK, WEEK)
    assert all(interval.asymptotic for interval in found)


def test_a_stale_number_is_never_as_sure_as_equal_samples_made_it() -> None:
    point = Interval(low=100.0, high=100.0)
    assert widened(point, 100.0, 4 * WEEK, WEEK).width == 10.0


def test_widening_leaves_open_ends_open_and_nothing_below_zero() -> None:
    found = widened(Interval(low=1.0, high=math.inf), 30.0, 9 * WEEK, WEEK)
    assert (found.low, found.high) == (0.0, math.inf)


def test_what_is_served_keeps_samples_young_until_it_stops() -> None:
    rows = [Take(samples=4, time_s=2e9), Take(samples=4, time_s=None)]
    summary = Summary(latency_ms=[1.0] * 8, takes=rows)
    summary.confirm(3, 2e9 + 100)
    assert age_s(summary.takes, 2e9 + 130) == 30
    summary.confirm(2, 2e9 + 110)
    assert [take.agreed for take in summary.takes] == [5, 5]
    assert age_s(settled(summary.takes, 2e9 + 105), 2e9 + 130) == 25  # the clock was set back
