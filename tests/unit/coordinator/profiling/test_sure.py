"""How sure a profile's numbers are said to be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from circinus.pipeline import Config
from circinus_coordinator.profiling import Summary, operator_profile, sure
from circinus_coordinator.profiling.flukes import fluke, without_fluke
from circinus_coordinator.profiling.keys import OperatorKey

STALL_MS = 162_000.0
QUIET = tuple(float(x) for x in np.random.default_rng(1).normal(40, 2, 60))


def test_accuracy_is_known_once_every_input_was_scored() -> None:
    scores = (1.0, 0.0, 1.0, 1.0)
    assert sure.accuracy(scores, 4).interval.width == 0
    assert sure.accuracy(scores, 5).interval.width > 0


def test_scores_beyond_a_data_set_are_of_another_one() -> None:
    """It shrank since: what is left of it is not known."""
    scores = (1.0,) * 30
    assert sure.accuracy(scores, 20) == sure.accuracy(scores, None)


def test_a_larger_data_set_is_known_less() -> None:
    scores = tuple((np.random.default_rng(1).random(40) < 0.8).astype(float))
    widths = [sure.accuracy(scores, n).interval.width for n in (50, 100, 1000)]
    assert widths == sorted(widths)


def test_means_of_unbounded_samples_are_marked_as_asymptotic() -> None:
    assert sure.mean(QUIET).interval.asymptotic
    assert not sure.quantile(QUIET, 0.5).interval.asymptotic
    assert not sure.accuracy((1.0, 0.0)).interval.asymptotic


def test_samples_that_follow_one_another_are_worth_fewer() -> None:
    rng = np.random.default_rng(2)
    hot = np.cumsum(rng.normal(0, 1, 200))
    series = tuple(float(x) for x in hot - hot.min() + 10)
    shuffled = tuple(float(x) for x in rng.permutation(series))
    for found in (lambda x: sure.quantile(x, 0.5), sure.mean):
        assert found(series).worth < 30 < found(shuffled).worth
        assert found(series).interval.width > 2 * found(shuffled).interval.width


def test_equal_samples_leave_room_for_what_was_never_seen() -> None:
    few, many = sure.mean((5.0,) * 20), sure.mean((5.0,) * 200)
    assert few.interval.high == pytest.approx(5.25)
    assert many.interval.high == pytest.approx(5.025)


def test_a_mean_of_few_samples_says_nothing() -> None:
    assert sure.mean(QUIET[:7]).interval.high == math.inf
    assert sure.mean(QUIET[:8]).interval.high < math.inf


# ---- one outlier --------------------------------------------------------------------------


def test_one_stall_moves_no_promise() -> None:
    """Quantiles do not feel it, and it is set aside from the mean."""
    with_it = [*QUIET[:30], STALL_MS, *QUIET[30:]]
    key = OperatorKey(
        pipeline="p", operator="o", implementation="i", version="", signature="s",
        config=Config(), device_class="c", batch=1,
    )  # fmt: skip
    plain = operator_profile(key, Summary(latency_ms=list(QUIET)))
    found = operator_profile(key, Summary(latency_ms=with_it))
    assert found.latency_ms == plain.latency_ms
    assert found.samples == 61


def test_intervals_leave_out_no_sample() -> None:
    """What is set aside from the number still makes it less sure."""
    with_it = (*QUIET, STALL_MS)
    assert sure.mean(with_it).value == sure.mean(QUIET).value
    assert sure.mean(with_it).interval.high > STALL_MS / 62
    assert sure.mean(with_it).samples == 61
    # Of 300 samples a p95 has an upper end, and one stall does not move it far.
    long = tuple(float(x) for x in np.random.default_rng(3).normal(40, 2, 400))
    stalled = sure.quantile((*long, STALL_MS), 0.95)
    assert stalled.interval.high < 50
    assert sure.quantile((*long, STALL_MS), 0.999).interval.high == math.inf


def test_two_stalls_count() -> None:
    twice = [*QUIET, STALL_MS, STALL_MS / 2]
    assert without_fluke(twice) == twice


def test_among_few_samples_nothing_is_a_fluke() -> None:
    """It may be every twentieth request, and a p95 would feel it."""
    assert fluke([1.0] * 18 + [100.0]) is None
    assert fluke([1.0] * 19 + [100.0]) == 19


def test_a_sample_of_another_size_is_no_fluke() -> None:
    assert fluke([1.0] * 30 + [9.0]) is None
