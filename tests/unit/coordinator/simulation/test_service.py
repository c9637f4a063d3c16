"""Service times: drawn from what a profile row says, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest

from circinus.profile import LatencyStats
from circinus_coordinator.simulation.arrivals import at_rates
from circinus_coordinator.simulation.service import ServiceTime, draws, generator

GRID = (np.arange(2_000_000) + 0.5) / 2_000_000


def mean_of(time: ServiceTime) -> float:
    return float(time.quantile(GRID).mean())


def exponential(mean: float) -> LatencyStats:
    return LatencyStats(
        mean=mean, p50=mean * math.log(2), p95=mean * math.log(20), p99=mean * math.log(100)
    )


def test_a_row_with_only_a_mean_is_deterministic() -> None:
    draw = draws(ServiceTime.of(LatencyStats(mean=7.0)), generator(0))
    assert {draw() for _ in range(100)} == {7.0}


def test_an_exponential_row_gives_back_the_exponential() -> None:
    found = ServiceTime.of(exponential(10)).quantile(GRID)
    assert found == pytest.approx(-10 * np.log1p(-GRID))


@pytest.mark.parametrize(
    "stats",
    [
        LatencyStats(mean=21, p50=20, p95=30, p99=41),
        LatencyStats(mean=10, p50=10, p95=10.5, p99=11),
        LatencyStats(mean=30, p50=20, p95=30, p99=41),  # outliers beyond p99
        LatencyStats(mean=15, p50=20, p95=25, p99=26),  # most of it far below the median
        LatencyStats(mean=20, p95=30),
        LatencyStats(mean=20, p99=50),
        LatencyStats(mean=20, p50=18),
        LatencyStats(mean=0.0, p50=0, p95=0, p99=0),
    ],
)
def test_the_fit_has_the_rows_quantiles_and_its_mean(stats: LatencyStats) -> None:
    time = ServiceTime.of(stats)
    for p, value in ((0.5, stats.p50), (0.95, stats.p95), (0.99, stats.p99)):
        if value is not None:
            assert time.quantile(np.array([p]))[0] == pytest.approx(value)
    assert mean_of(time) == pytest.approx(stats.mean, rel=0.02)


def test_quantiles_are_kept_where_the_mean_contradicts_them() -> None:
    time = ServiceTime.of(LatencyStats(mean=1, p50=20, p95=30, p99=40))
    assert time.quantile(np.array([0.5, 0.95, 0.99])) == pytest.approx([20, 30, 40])
    assert time.quantile(GRID).min() >= 0


def test_draws_have_the_quantiles() -> None:
    draw = draws(ServiceTime.of(LatencyStats(mean=21, p50=20, p95=30, p99=41)), generator(1))
    values = np.array([draw() for _ in range(200_000)])
    assert np.quantile(values, [0.5, 0.95, 0.99]) == pytest.approx([20, 30, 41], rel=0.02)
    assert values.mean() == pytest.approx(21, rel=0.01)


def test_arrivals_at_given_rates_come_in_the_seconds_they_belong_to() -> None:
    times = at_rates([0, 1000, 0, 3000], 1)
    counts, _ = np.histogram(times, bins=[0, 1, 2, 3, 4])
    assert counts[0] == counts[2] == 0
    assert counts[1] == pytest.approx(1000, rel=0.15)
    assert counts[3] == pytest.approx(3000, rel=0.1)
