"""When a device no longer serves as its profile says."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from circinus.errors import InvalidInput
from circinus.histogram import Histogram
from circinus_coordinator.profiling.drift import DriftSettings, Shift, Watch, ratio, typical_ms

Draw = Callable[[np.random.Generator, int], np.ndarray]
# So short that false alarms can be counted.
NERVOUS = DriftSettings(tolerance=1.2, least_ms=0.0, false_alarm_days=400 / 86_400)


def _lognormal(mean_ms: float, sd: float) -> Draw:
    return lambda rng, n: mean_ms * np.exp(sd * rng.standard_normal(n))


def _counted(times_ms: object) -> Histogram:
    served = Histogram()
    for ms in np.asarray(times_ms):
        served.add(float(ms))
    return served


def _noticed(
    watch: Watch, draw: Draw, rng: np.random.Generator, *, messages: int, batches: int = 10
) -> tuple[int, Shift] | None:
    """The first message, two seconds after the one before, by which a change was noticed."""
    for message in range(messages):
        shift = watch.observe(_counted(draw(rng, batches)), 2.0)
        if shift is not None:
            return message + 1, shift
    return None


def test_three_times_slower_is_noticed_within_five_messages() -> None:
    rng = np.random.default_rng(0)
    watch = Watch(list(_lognormal(20, 0.1)(rng, 20)), DriftSettings())
    assert _noticed(watch, _lognormal(20, 0.1), rng, messages=50) is None
    found = _noticed(watch, _lognormal(60, 0.1), rng, messages=6)
    assert found is not None
    messages, shift = found
    assert messages <= 6
    assert shift.ratio == pytest.approx(3.0, rel=0.1)
    assert shift.seconds == pytest.approx(2 * messages, abs=2)


def test_three_times_faster_is_noticed_as_well() -> None:
    rng = np.random.default_rng(0)
    watch = Watch(list(_lognormal(60, 0.1)(rng, 20)), DriftSettings())
    found = _noticed(watch, _lognormal(20, 0.1), rng, messages=6)
    assert found is not None
    assert found[1].ratio == pytest.approx(1 / 3, rel=0.1)


@pytest.mark.parametrize("sd", [0.05, 0.3, 1.0])
def test_false_alarms_are_no_more_frequent_than_stated(sd: float) -> None:
    # Service at the edge of tolerance, the worst that is no drift: of 40 streams of 400 s, whose
    # mean time between alarms is 400 s or more, two in three would alarm by then at the most.
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(40):
        watch = Watch(list(_lognormal(20, sd)(rng, 60)), NERVOUS)
        alarms += _noticed(watch, _lognormal(24, sd), rng, messages=200) is not None
    assert alarms <= 40 * 0.63


@pytest.mark.parametrize("outlier_ms", [162_000.0, 0.001])
def test_single_outliers_are_no_drift(outlier_ms: float) -> None:
    rng = np.random.default_rng(2)
    watch = Watch(list(_lognormal(20, 0.1)(rng, 20)), DriftSettings())

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        times = _lognormal(20, 0.1)(rng, n)
        times[0] = outlier_ms
        return times

    assert _noticed(watch, draw, rng, messages=300, batches=5) is None


def test_a_burst_of_slow_batches_within_a_moment_is_no_drift() -> None:
    rng = np.random.default_rng(3)
    watch = Watch(list(_lognormal(20, 0.1)(rng, 20)), DriftSettings())
    assert watch.observe(_counted(_lognormal(100, 0.1)(rng, 500)), 2.0) is None
    assert _noticed(watch, _lognormal(20, 0.1), rng, messages=100) is None


def test_what_lasts_shorter_than_asked_for_is_no_drift() -> None:
    rng = np.random.default_rng(6)
    watch = Watch(list(_lognormal(20, 0.1)(rng, 20)), DriftSettings(lasts_s=20.0))
    for _ in range(10):
        assert _noticed(watch, _lognormal(60, 0.1), rng, messages=8, batches=40) is None
        assert _noticed(watch, _lognormal(20, 0.1), rng, messages=40, batches=40) is None
    found = _noticed(watch, _lognormal(60, 0.1), rng, messages=12, batches=40)
    assert found is not None
    assert found[0] == 10


def test_differences_of_few_milliseconds_are_no_drift() -> None:
    rng = np.random.default_rng(4)
    watch = Watch(list(_lognormal(0.5, 0.1)(rng, 20)), DriftSettings())
    assert _noticed(watch, _lognormal(2.0, 0.1), rng, messages=100) is None


def test_what_was_served_is_a_finer_yardstick_than_a_profile_of_20_samples() -> None:
    # Times that differ as much as by inputs: twice as slow is within what 20 samples leave open.
    def noticed(messages: int) -> int:
        found = 0
        for seed in range(6):
            rng = np.random.default_rng(seed)
            watch = Watch(list(_lognormal(50, 0.6)(rng, 20)), DriftSettings())
            assert _noticed(watch, _lognormal(50, 0.6), rng, messages=messages) is None
            found += _noticed(watch, _lognormal(100, 0.6), rng, messages=60) is not None
        return found

    assert noticed(120) == 6
    assert noticed(5) <= 3


def test_what_is_served_as_expected_is_worth_what_its_dependence_allows() -> None:
    rng = np.random.default_rng(5)
    watch = Watch(list(_lognormal(20, 0.1)(rng, 20)), DriftSettings(dependence_s=0.5))
    watch.observe(_counted(_lognormal(20, 0.1)(rng, 400)), 2.0)
    assert watch.worth == 4
    watch.observe(_counted(_lognormal(20, 0.1)(rng, 3)), 2.0)
    assert watch.worth == 7


def test_nothing_served_is_no_news() -> None:
    watch = Watch([20.0], DriftSettings())
    assert watch.observe(Histogram(), 2.0) is None
    assert watch.worth == 0


def test_a_typical_time_does_not_look_at_the_tails() -> None:
    assert typical_ms([10, 10, 10, 10, 162_000]) == pytest.approx(10)
    assert typical_ms([10, 40]) == pytest.approx(20)
    assert ratio(_counted([30] * 9 + [162_000]), [10, 10, 10]) == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize(
    "wrong", [{"tolerance": 1.0}, {"tolerance": math.nan}, {"hold_s": 0.0}, {"calibrated": -1}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        DriftSettings(**wrong)  # type: ignore[arg-type]
