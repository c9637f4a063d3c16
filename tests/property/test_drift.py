"""Whatever the times: no alarm within tolerance, one far beyond it, and units do not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circinus.histogram import Histogram
from circinus.pipeline import Config
from circinus_coordinator.profiling.calibration import compared
from circinus_coordinator.profiling.drift import DriftSettings, Watch, typical_ms
from circinus_coordinator.profiling.factors import Factor, Factors, Seen
from circinus_coordinator.profiling.keys import OperatorKey

SETTINGS = DriftSettings(least_ms=0.0)
seeds = st.integers(0, 10_000)


def _served(times: np.ndarray) -> Histogram:
    served = Histogram()
    for ms in times:
        served.add(float(ms))
    return served


@given(seed=seeds, samples=st.integers(2, 60), batches=st.integers(1, 40))
@settings(max_examples=30)
def test_service_never_beyond_tolerance_of_any_sample_is_no_drift(
    seed: int, samples: int, batches: int
) -> None:
    rng = np.random.default_rng(seed)
    base = np.exp(rng.uniform(0, 8))
    watch = Watch((base * rng.uniform(1.0, 1.2, samples)).tolist(), SETTINGS)
    for _ in range(60):
        # 1.2 of the quickest sample up to 1.5 of it is within tolerance of each.
        assert watch.observe(_served(base * rng.uniform(0.82, 1.45, batches)), 2.0) is None


@given(seed=seeds, samples=st.integers(2, 60), times=st.sampled_from([1 / 20, 1 / 4, 4.0, 50.0]))
@settings(max_examples=30)
def test_service_far_beyond_it_is_noticed_with_its_ratio(
    seed: int, samples: int, times: float
) -> None:
    rng = np.random.default_rng(seed)
    expected = np.exp(rng.uniform(0, 8)) * rng.uniform(1.0, 1.5, samples)
    watch = Watch(expected.tolist(), SETTINGS)
    shift = None
    for _ in range(60):
        shift = watch.observe(_served(times * rng.choice(expected, 10)), 2.0)
        if shift is not None:
            break
    assert shift is not None
    assert shift.ratio == pytest.approx(times, rel=0.25)


@given(seed=seeds, unit=st.sampled_from([1e-2, 10.0, 1e4]))
@settings(max_examples=20)
def test_a_typical_time_has_the_unit_of_its_samples(seed: int, unit: float) -> None:
    times = np.random.default_rng(seed).lognormal(2, 1, 17)
    assert typical_ms(times * unit) == pytest.approx(unit * typical_ms(times))
    assert times.min() <= typical_ms(times) <= times.max()


@given(seed=seeds, times=st.floats(0.1, 10.0))
@settings(max_examples=30)
def test_a_probe_on_the_classes_inputs_finds_the_factor_however_inputs_differ(
    seed: int, times: float
) -> None:
    inputs = np.random.default_rng(seed).lognormal(3, 1.5, 20)
    key = OperatorKey(
        pipeline="p", operator="o", implementation="o", version="", signature="",
        config=Config(), device_class="c", batch=1,
    )  # fmt: skip
    found = compared({key: (times * inputs[:5]).tolist()}, {key: inputs.tolist()}, SETTINGS)
    assert found == {"o": [pytest.approx(times)]}


@given(
    ratios=st.dictionaries(
        st.sampled_from("abcd"), st.floats(0.05, 20.0).map(lambda x: [x]), min_size=1
    )
)
def test_what_a_probe_said_is_what_the_factor_says(ratios: dict[str, list[float]]) -> None:
    factors = Factors(SETTINGS)
    factors.probed("d", ratios, 0.0)
    factor = factors.apart.get("d", Factor())
    for name, (ratio,) in ratios.items():
        # Within tolerance of the class counts as the class; operators alike share one factor.
        near = SETTINGS.tolerance**0.5 if SETTINGS.beyond(ratio) else SETTINGS.tolerance**1.5
        assert 1 / near - 1e-9 <= factor.of(name) / ratio <= near + 1e-9
    assert factors.probed("d", ratios, 1.0) is None


@given(order=st.permutations(["a", "b", "c"]))
def test_the_order_of_instances_does_not_matter(order: list[str]) -> None:
    profile = (20.0,) * 10
    factors = Factors(SETTINGS)
    for now in range(2, 60, 2):
        seen = [
            Seen(
                instance=name, implementation=name, class_ms=profile, expected_ms=profile,
                served=_served(np.full(10, 60.0)), seconds=2.0,
            )
            for name in order
        ]  # fmt: skip
        change = factors.served("d", seen, now)
        if change is not None:
            break
    assert factors.apart["d"].value == pytest.approx(3, rel=0.02)
    assert factors.apart["d"].operators == {}
