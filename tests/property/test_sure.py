"""Intervals of profiles: the truth is in them at every number of samples, and never narrower than
the data allow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from circinus_coordinator.profiling import sure
from circinus_coordinator.profiling.sequences import (
    Interval,
    independent_length,
    quantile_interval,
    thinned,
    unbounded_mean_interval,
)

SEEDS = range(80)
MOMENTS = (1, 3, 8, 20, 45, 80)


def _most_wrong(streams: int) -> int:
    """What chance alone exceeds once in a thousand times."""
    return int(stats.binom.ppf(0.999, streams, sure.DELTA))


def _scores(rng: np.random.Generator, kind: str, n: int) -> np.ndarray:
    if kind == "right or wrong":
        return (rng.random(n) < rng.uniform(0.3, 0.98)).astype(float)
    return np.clip(rng.beta(6, 2, n), 0, 1)


@pytest.mark.parametrize("kind", ["right or wrong", "between"])
def test_the_accuracy_on_the_data_set_is_inside_whenever_one_looks(kind: str) -> None:
    wrong = 0
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        labelled = _scores(rng, kind, 90)
        order = rng.permutation(labelled)
        found = [sure.accuracy(tuple(order[:n]), 90).interval for n in MOMENTS]
        wrong += any(labelled.mean() not in interval for interval in found)
    assert wrong <= _most_wrong(len(SEEDS))


def test_the_mean_of_an_endless_stream_is_inside_whenever_one_looks() -> None:
    wrong = 0
    for seed in SEEDS[:30]:
        rng = np.random.default_rng(seed)
        x = tuple(rng.beta(6, 2, 80))
        wrong += any(0.75 not in sure.accuracy(x[:n]).interval for n in MOMENTS)
    assert wrong <= _most_wrong(30)


@pytest.mark.parametrize("part", [0.5, 0.95])
def test_the_quantile_is_inside_whenever_one_looks(part: float) -> None:
    truth, wrong = math.exp(stats.norm.ppf(part)), 0
    for seed in SEEDS:
        x = tuple(np.random.default_rng(seed).lognormal(0, 1, 200))
        found = [sure.quantile(x[:n], part).interval for n in (*MOMENTS, 200)]
        wrong += any(truth not in interval for interval in found)
    assert wrong <= _most_wrong(len(SEEDS))


@pytest.mark.parametrize("n", [1, 5, 20, 60, 300])
def test_no_end_is_nearer_than_any_interval_of_so_many_samples_can_have_it(n: int) -> None:
    """All of n samples agree with a chance of delta where the truth is what they deny by that."""
    ones = sure.accuracy((1.0,) * n).interval
    assert ones.low <= sure.DELTA ** (1 / n)
    assert sure.mean_accuracy(1.0, n).interval.low <= sure.DELTA ** (1 / n)
    for part in (0.5, 0.95, 0.99):
        upper = sure.quantile(tuple(np.arange(1.0, n + 1)), part).interval.high
        if part**n > sure.DELTA:  # all samples may well be below it
            assert upper == math.inf


def test_the_same_samples_said_again_make_nothing_surer() -> None:
    """But for chance: blocks and every k-th sample are others than before."""
    medians, means = [], []
    for seed in range(20):
        x = np.random.default_rng(seed).lognormal(3, 0.4, 60)
        said = tuple(np.repeat(x, 4))
        assert max(sure.quantile(said, 0.5).worth, sure.mean(said).worth) <= 60
        once = quantile_interval(x, 0.5, delta=sure.DELTA).width
        medians.append(sure.quantile(said, 0.5).interval.width / once)
        once = unbounded_mean_interval(x, delta=sure.DELTA).width
        means.append(sure.mean(said).interval.width / once)
    assert min(np.median(medians), np.median(means)) >= 0.9  # 0.5 where nothing is done


@pytest.mark.parametrize("seed", range(10))
def test_a_kept_mean_is_no_surer_than_its_scores(seed: int) -> None:
    x = _scores(np.random.default_rng(seed), "between", 50)
    kept = sure.mean_accuracy(float(x.mean()), 50).interval
    scored = sure.accuracy(tuple(x)).interval
    assert kept.width >= scored.width


@pytest.mark.parametrize("seed", range(20))
def test_ranks_give_what_looking_at_every_value_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.choice([1.0, 2.0, 2.5, 4.0], 120) if seed % 4 == 0 else rng.lognormal(3, 0.3, 120)
    for part in (0.5, 0.9):
        found = sure.quantile(tuple(x), part)
        kept = thinned(x, independent_length(x))
        every = quantile_interval(kept, part, delta=sure.DELTA)
        assert (max(found.interval.low, 0), found.interval.high) == (max(every.low, 0), every.high)


@pytest.mark.parametrize("seed", range(20))
def test_values_are_inside_and_nothing_is_negative(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 90))
    x = tuple(np.abs(np.cumsum(rng.normal(0, 1, n))) * rng.choice([0.0, 1.0, 1e8]))
    scores = tuple(np.round(rng.random(n), int(rng.integers(0, 3))))
    found = [
        *(sure.quantile(x, part) for part in (0.5, 0.95, 0.99)),
        *(sure.median(x), sure.mean(x), sure.accuracy(scores), sure.accuracy(scores, 200)),
        sure.mean_accuracy(float(np.mean(scores)), n),
    ]
    for number in found:
        assert isinstance(number.interval, Interval)
        assert number.interval.low >= 0
        assert number.value in number.interval
    assert all(number.interval.high <= 1 for number in found[-3:])
