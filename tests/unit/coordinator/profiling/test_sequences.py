"""Confidence sequences: right at every time to stop, whatever the samples are like."""

import math

import numpy as np
import pytest
from scipy import stats

from circinus.errors import InvalidInput
from circinus_coordinator.profiling.sequences import (
    FAMILIES,
    Interval,
    autocorrelation_time,
    block_means,
    independent_length,
    mean_interval,
    quantile_interval,
    thinned,
    unbounded_mean_interval,
)

DELTA = 0.05
families = pytest.mark.parametrize("family", FAMILIES)


def _ever_outside(family: str, p: float, streams: int) -> int:
    """How many streams of zeros and ones ever spoke evidently against their true mean."""
    rng, bets = np.random.default_rng(3), FAMILIES[family]
    wrong = 0
    for _ in range(streams):
        x = (rng.random(400) < p).astype(float)
        above = bets.above(x, p, DELTA / 2).max()
        below = bets.above(1 - x, 1 - p, DELTA / 2).max()
        wrong += max(above, below) >= math.log(2 / DELTA)
    return wrong


@families
@pytest.mark.parametrize("p", [0.5, 0.95])
def test_the_truth_is_hardly_ever_outside_whenever_one_stops(family: str, p: float) -> None:
    # More than 34 of 400 has a chance of 0.1 % where each has one of 5 %.
    assert _ever_outside(family, p, 400) <= stats.binom.ppf(0.999, 400, DELTA)


@families
def test_evidence_falls_with_the_mean_it_is_against(family: str) -> None:
    x = np.random.default_rng(1).random(60)
    rows = [FAMILIES[family].above(x, mean, DELTA) for mean in np.linspace(0.01, 0.99, 25)]
    assert (np.diff(rows, axis=0) <= 1e-9).all()


@families
def test_more_samples_never_widen_an_interval(family: str) -> None:
    # The bets are the same for the first samples, whatever comes.
    x = np.random.default_rng(2).beta(8, 2, 300)
    last = Interval(low=0, high=1)
    for n in (0, 1, 5, 20, 100, 300):
        now = mean_interval(x[:n], delta=DELTA, family=FAMILIES[family])
        assert last.low <= now.low <= now.high <= last.high
        last = now
    assert 0.8 in last
    assert last.width < 0.25


def test_betting_makes_much_of_little_spread() -> None:
    x = np.random.default_rng(4).beta(90, 10, 300)
    widths = {f: mean_interval(x, delta=DELTA, family=FAMILIES[f]).width for f in FAMILIES}
    assert widths["betting"] < 0.5 * widths["hoeffding"]
    assert widths["betting"] < widths["empirical-bernstein"]


def test_nothing_seen_is_nothing_known() -> None:
    assert mean_interval([], delta=DELTA) == Interval(low=0, high=1)
    assert quantile_interval([], 0.95, delta=DELTA) == Interval(low=-math.inf, high=math.inf)
    assert unbounded_mean_interval([3.0], delta=DELTA).width == math.inf


def test_a_p95_is_not_bounded_from_above_before_enough_samples_were_below() -> None:
    # Of n samples of which none is above, (1 / 0.95)^n must reach 2 / delta: 72 at the least.
    x = np.linspace(1, 2, 60)
    assert quantile_interval(x, 0.95, delta=DELTA).high == math.inf
    assert quantile_interval(np.tile(x, 3), 0.95, delta=DELTA).high < math.inf


def test_a_quantile_on_a_tie_is_inside() -> None:
    x = np.ceil(np.random.default_rng(5).exponential(10, 500))
    found = quantile_interval(x, 0.5, delta=DELTA)
    assert 7 in found  # the median of an exponential of 10 is 6.9, which the clock shows as 7
    assert found.low >= 5
    assert found.high <= 9


def test_one_enormous_sample_hardly_moves_a_quantile() -> None:
    x = np.random.default_rng(6).lognormal(3, 0.3, 200)
    plain = quantile_interval(x, 0.9, delta=DELTA)
    x[100] = 162_000.0
    assert quantile_interval(x, 0.9, delta=DELTA).high <= 1.2 * plain.high


def test_the_mean_of_unbounded_samples_is_told_as_of_the_limit() -> None:
    x = np.random.default_rng(7).exponential(20, 500)
    found = unbounded_mean_interval(x, delta=DELTA)
    assert found.asymptotic
    assert 20 in found
    assert found.width < 12


@pytest.mark.parametrize("samples", [[0.5, float("nan")], [1.2], [-0.1], [[0.5]]])
def test_what_is_no_score_is_refused(samples: list[float]) -> None:
    with pytest.raises(InvalidInput, match="samples"):
        mean_interval(samples, delta=DELTA)


@pytest.mark.parametrize("part", [0.0, 1.0, 95.0, float("nan")])
def test_what_is_no_part_is_refused(part: float) -> None:
    with pytest.raises(InvalidInput, match="part"):
        quantile_interval([1.0], part, delta=DELTA)


def _correlated(phi: float, n: int) -> np.ndarray:
    rng = np.random.default_rng(8)
    x = np.empty(n)
    x[0] = rng.standard_normal()
    for i in range(1, n):
        x[i] = phi * x[i - 1] + math.sqrt(1 - phi * phi) * rng.standard_normal()
    return x


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_the_autocorrelation_time_of_a_process_is_found(phi: float) -> None:
    assert autocorrelation_time(_correlated(phi, 20_000)) == pytest.approx(
        (1 + phi) / (1 - phi), rel=0.2
    )


def test_independent_samples_are_used_one_by_one_and_others_in_blocks() -> None:
    assert independent_length(_correlated(0.0, 500)) == 1
    assert 20 <= independent_length(_correlated(0.9, 5000)) <= 80
    assert independent_length([4.0] * 50) == 1
    assert independent_length(range(10)) == 10  # worth one, not none


def test_blocks_leave_out_what_does_not_fill_one() -> None:
    assert list(block_means([1, 3, 5, 7, 100], 2)) == [2, 6]
    assert list(thinned([1, 3, 5, 7, 100], 2)) == [3, 7]
    assert list(block_means([1, 2], 3)) == []
