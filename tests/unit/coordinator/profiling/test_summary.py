"""What is kept of samples, and where it is said to come from."""

from __future__ import annotations

import math
from typing import Any

from circinus.messages import ProbeSamples
from circinus_coordinator.profiling import Summary, Take


def message(**values: Any) -> ProbeSamples:
    return ProbeSamples(device="d", request_id="r", seq=0, target=0, **values)


def test_samples_know_when_where_and_in_what_heat_they_were_taken() -> None:
    summary = Summary()
    heat = {"temperature_c": 71.5, "throttled": True, "background_percent": 12.0}
    summary.take(message(latency_ms=[1.0, 2.0], **heat), time_s=1e9)
    summary.take(message(latency_ms=[3.0]), time_s=1e9 + 50)
    assert summary.takes == [
        Take(samples=2, time_s=1e9, device="d", **heat),  # type: ignore[arg-type]
        Take(samples=1, time_s=1e9 + 50, device="d"),
    ]


def test_messages_of_one_stretch_are_one_take_with_the_worst_of_its_heat_and_load() -> None:
    summary = Summary()
    heats = ((60.0, False, 5.0), (None, None, None), (62.0, True, 3.0))
    for second, (heat, throttled, load) in enumerate(heats):
        conditions = {"temperature_c": heat, "throttled": throttled, "background_percent": load}
        summary.take(message(latency_ms=[1.0] * 10, **conditions), time_s=1e9 + second)
    summary.take(message(latency_ms=[1.0]), time_s=1e9 + 10)
    assert summary.takes == [
        Take(samples=30, time_s=1e9, device="d", temperature_c=62.0, throttled=True,
             background_percent=5.0),
        Take(samples=1, time_s=1e9 + 10, device="d"),
    ]  # fmt: skip


def test_what_was_confirmed_since_is_joined_with_nothing() -> None:
    summary = Summary()
    summary.take(message(latency_ms=[1.0]), time_s=1e9)
    summary.confirm(7, 1e9 + 1)
    summary.take(message(latency_ms=[1.0]), time_s=1e9 + 2)
    assert [(take.samples, take.agreed) for take in summary.takes] == [(1, 7), (1, 0)]


def test_a_message_without_samples_is_no_take() -> None:
    summary = Summary()
    summary.take(message(done=True), time_s=1.0)
    assert summary.takes == []


def test_what_is_no_measurement_is_not_counted_as_taken() -> None:
    summary = Summary()
    summary.take(message(latency_ms=[math.nan, 1.0, -1.0]), time_s=1.0)
    assert [take.samples for take in summary.takes] == [1]


def test_conditions_that_cannot_be_are_unknown() -> None:
    summary = Summary()
    summary.take(message(latency_ms=[1.0], temperature_c=math.inf, background_percent=-3.0))
    assert summary.takes == [Take(samples=1, device="d")]


def test_scores_end_with_the_first_that_is_none() -> None:
    """Those after it would stand at other inputs' places."""
    summary = Summary()
    summary.take(message(scores=[1.0, 1.5, 0.5]))
    summary.take(message(scores=[0.25]), first=3)
    assert (summary.scores, summary.next_input) == ([1.0], 1)


def test_scores_that_come_twice_are_kept_once() -> None:
    summary = Summary()
    for first, scores in ((0, [1.0, 0.5]), (0, [1.0, 0.5]), (1, [0.5, 0.25])):
        summary.take(message(scores=scores), first=first)
    assert summary.scores == [1.0, 0.5, 0.25]
    assert sum(take.samples for take in summary.takes) == 3


def test_a_data_set_has_no_more_scores_than_inputs() -> None:
    summary = Summary()
    summary.take(message(scores=[1.0] * 5, population=3))
    assert summary.scores == [1.0] * 3
    assert sum(take.samples for take in summary.takes) == 3


def test_scores_of_a_data_set_with_other_inputs_do_not_go_on_where_the_last_ended() -> None:
    summary = Summary()
    summary.take(message(scores=[1.0] * 5, population=40))
    summary.take(message(scores=[0.0], population=41), first=5)
    assert (summary.scores, summary.next_input) == ([], 0)
    summary.take(message(scores=[0.0], population=41))
    assert (summary.scores, summary.population) == ([0.0], 41)


def test_a_device_that_does_not_stop_fills_no_store() -> None:
    summary = Summary()
    for _ in range(3):
        summary.take(message(latency_ms=[1.0] * 9000, rtt_ms=[1.0] * 9000), time_s=1.0)
    assert len(summary.latency_ms) == len(summary.rtt_ms) == 10_000
    assert [take.samples for take in summary.takes] == [10_000]


def test_scores_of_which_only_the_mean_was_kept_are_made_anew() -> None:
    summary = Summary(scores=[0.75] * 4, mean_only=True)
    assert summary.next_input == 0
    summary.take(message(scores=[1.0, 0.0]))
    assert (summary.scores, summary.mean_only) == ([1.0, 0.0], False)


def test_of_samples_older_than_their_takes_nobody_knows_the_origin() -> None:
    summary = Summary(latency_ms=[1.0] * 5, takes=[Take(samples=2, device="d")])
    summary.clean()
    assert summary.takes == [Take(samples=3), Take(samples=2, device="d")]
