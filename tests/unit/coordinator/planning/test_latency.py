"""The percentile model and the waiting it adds, against textbook values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circinus.profile import LatencyStats
from circinus_coordinator.planning.latency import (
    SUMS,
    Station,
    Wait,
    dealt_scv,
    lengthened,
    lengthened_one,
    percentile_factor,
    percentile_ms,
    service_variance,
    wait,
    wait_one,
)
from circinus_coordinator.planning.spacing import waited


@pytest.mark.parametrize("percentile", [95.0, 99.0])
def test_a_single_step_gives_back_the_quantile_that_was_measured(percentile: float) -> None:
    stats = LatencyStats(mean=21, p50=20, p95=30, p99=41)
    expected = {95.0: 30, 99.0: 41}[percentile]
    variance = service_variance(stats, percentile)
    assert percentile_ms(21, variance, percentile) == pytest.approx(expected)


def test_a_deterministic_profile_has_no_variance() -> None:
    assert service_variance(LatencyStats(mean=5), 99) == 0
    assert percentile_ms(5, 0, 99) == 5


def test_the_median_is_used_where_no_tail_was_measured() -> None:
    assert service_variance(LatencyStats(mean=10, p50=9), 95) == pytest.approx(30)


def test_a_tail_below_the_mean_promises_the_mean() -> None:
    assert service_variance(LatencyStats(mean=10, p50=8, p95=9), 95) == 0


def test_the_factor_is_that_of_a_gamma_of_shape_four_and_never_negative() -> None:
    assert percentile_factor(95) == pytest.approx((7.7537 - 4) / 2, abs=1e-4)
    assert percentile_factor(99) == pytest.approx((10.0451 - 4) / 2, abs=1e-4)
    assert percentile_factor(20) == 0


def test_four_exponential_steps_are_estimated_within_five_percent() -> None:
    step = service_variance(LatencyStats(mean=1, p95=-math.log(0.05)), 95)
    assert percentile_ms(4, 4 * step, 95) == pytest.approx(7.754, rel=0.05)


def waiting(
    utilisation: float, *, cv2: float, servers: float = 1, scv: float = 1.0, streams: int = 1
) -> tuple[float, float]:
    """Mean and variance of the wait, in service times."""
    station = Station()
    station.add(utilisation * servers, 1.0, cv2, scv, streams)
    found = wait(
        **{name: np.array(getattr(station, name)) for name in SUMS},
        servers=np.array(servers),
        utilisation=np.array(utilisation),
        batch=np.array(1.0),
    )
    return float(found.mean), float(found.variance)


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.8])
def test_one_worker_waits_as_pollaczek_and_khinchine_say(rho: float) -> None:
    assert waiting(rho, cv2=1)[0] == pytest.approx(rho / (1 - rho))
    assert waiting(rho, cv2=0)[0] == pytest.approx(rho / (1 - rho) / 2)
    # M/M/1: E[W^2] = 2 rho / (1 - rho)^2; M/D/1: 2 E[W]^2 + rho / (3 (1 - rho))
    mean, variance = waiting(rho, cv2=1)
    assert variance == pytest.approx(2 * rho / (1 - rho) ** 2 - mean**2)
    mean, variance = waiting(rho, cv2=0)
    assert variance == pytest.approx(mean**2 + rho / (3 * (1 - rho)))


@pytest.mark.parametrize(("servers", "rho"), [(2, 0.5), (2, 0.8), (4, 0.8), (8, 0.8)])
def test_several_workers_wait_about_as_erlang_says(servers: int, rho: float) -> None:
    load = servers * rho
    top = load**servers / math.factorial(servers) / (1 - rho)
    erlang_c = top / (sum(load**k / math.factorial(k) for k in range(servers)) + top)
    exact = erlang_c / (servers * (1 - rho))
    assert waiting(rho, cv2=1, servers=servers)[0] == pytest.approx(exact, rel=0.12)


def test_clockwork_arrivals_of_one_source_do_not_wait_but_many_together_do() -> None:
    assert waiting(0.5, cv2=0, scv=0.0)[0] == 0
    many = waiting(0.5, cv2=0, scv=0.0, streams=300)[0]
    assert many == pytest.approx(waiting(0.5, cv2=0)[0], rel=0.05)


@pytest.mark.parametrize(
    ("rho", "scv", "exact"),
    # E2/D/1, four million of Lindley steps, and D/M/1; in service times.
    [(0.5, 0.5, 0.177), (0.8, 0.5, 0.902), (0.5, 0.0, None), (0.8, 0.0, None)],
)
def test_regular_arrivals_wait_less(rho: float, scv: float, exact: float | None) -> None:
    """D/M/1: sigma = exp(-(1 - sigma) / rho), the wait is sigma / (1 - sigma)."""
    cv2 = 0.0 if exact else 1.0
    if exact is None:
        sigma = 0.5
        for _ in range(500):
            sigma = math.exp(-(1 - sigma) / rho)
        exact = sigma / (1 - sigma)
    assert waiting(rho, cv2=cv2, scv=scv)[0] == pytest.approx(exact, rel=0.15)


def test_a_plan_that_is_dealt_every_nth_request_sees_erlang_gaps() -> None:
    assert dealt_scv(1.0, 0.25) == pytest.approx(0.25)
    # In turn two gaps and one: mean 1.5, variance 1.5 + 0.25.
    assert dealt_scv(1.0, 2 / 3) == pytest.approx(1.75 / 2.25)
    assert dealt_scv(1.0, 1.0) == dealt_scv(1.0, 3.0) == 1.0
    assert dealt_scv(0.0, 0.5) == 0.0


@pytest.mark.parametrize("rho", [0.01, 0.3, 0.5, 0.7])
def test_the_95th_percentile_of_a_markovian_queue_is_met_within_ten_percent(rho: float) -> None:
    mean, variance = waiting(rho, cv2=1)
    exact = -math.log(0.05) / (1 - rho)
    assert percentile_ms(1 + mean, 1 + variance, 95) == pytest.approx(exact, rel=0.1)


def test_a_light_load_hardly_waits() -> None:
    mean, variance = waiting(0.02, cv2=0.1)
    assert percentile_ms(1 + mean, variance, 95) < 1.2


def test_a_full_station_waits_for_ever() -> None:
    assert waiting(1.0, cv2=1)[0] == math.inf


@pytest.mark.parametrize(
    ("streams", "rho", "exact"),
    [(2, 0.8, 0.2), (3, 0.8, 0.3378), (5, 0.5, 0.2732), (10, 0.7, 0.6313), (30, 0.8, 1.27)],
)
def test_a_few_sources_like_clockwork_wait_as_the_exact_queue_says(
    streams: int, rho: float, exact: float
) -> None:
    """Mean waits in services, from the formula of Roberts, Mocci and Virtamo for nD/D/1."""
    mean, _ = waiting(rho, cv2=0, scv=0.0, streams=streams)
    assert mean == pytest.approx(exact, rel=0.05)


def test_who_has_waited_before_does_not_wait_again() -> None:
    """Constant services in a row wait together as long as at the longest one (Friedman 1965)."""
    before, here = Station(), Station()
    before.add(0.08, 8.0, 0.0, 1.0, 1)
    wait_before, _ = wait_one(before, servers=1, utilisation=0.64)
    here.add(0.08, 10.0, 0.0, 1.0, 1, waited(((8.0, 0.0),), 10.0, 0.08, 0.8))
    wait_here, _ = wait_one(here, servers=1, utilisation=0.8)
    assert wait_before + wait_here == pytest.approx(10 * 0.8 / (2 * 0.2))


def test_a_rare_long_job_does_not_lengthen_the_wait_for_the_first_of_many_to_end() -> None:
    """99 of 100 jobs that hold the machine take 1 ms, one takes a second."""
    station = Station()
    station.add(0.99, 1.0, 1.0, 1.0, 1)
    station.add(0.01, 1000.0, 1e6, 1.0, 1)
    mean, _ = wait_one(station, servers=20, utilisation=0.5, chance=0.1)
    typical = 0.99 * 1 + 0.01 * 1000
    assert mean == pytest.approx(0.1 * typical / (20 * 0.5))


STREAMS = st.tuples(
    st.floats(1e-6, 10),  # jobs per ms
    st.floats(1e-3, 1e4),  # ms of service
    st.just(0.0) | st.floats(0.01, 4),  # its squared coefficient of variation
    st.floats(0.1, 4),  # that of the gaps
    st.floats(0.05, 20),  # streams
)


@st.composite
def stations(draw: st.DrawFn) -> Station:
    station = Station()
    for rate, mean, cv2, scv, streams in draw(st.lists(STREAMS, max_size=3)):
        station.add(rate, mean, cv2 * mean**2, scv, streams)
    return station


def arrays(station: Station) -> dict[str, np.ndarray]:
    return {name: np.array([getattr(station, name)]) for name in SUMS}


@given(
    stations(),
    st.floats(0.1, 30),
    st.floats(0, 1.1),
    st.sampled_from([1, 2, 8]),
    st.none() | st.floats(0, 1),
)
def test_a_single_station_waits_as_one_among_many(
    station: Station, servers: float, utilisation: float, batch: int, chance: float | None
) -> None:
    many = wait(
        **arrays(station),
        servers=np.array([servers]),
        utilisation=np.array([utilisation]),
        batch=np.array([batch]),
        chance=None if chance is None else np.array([chance]),
    )
    mean, variance = wait_one(
        station, servers=servers, utilisation=utilisation, batch=batch, chance=chance
    )
    assert mean == pytest.approx(many.mean[0], rel=1e-12)
    rounding = 1e-12 * mean**2 if mean < math.inf else 0.0  # the mean's square is subtracted
    assert variance == pytest.approx(many.variance[0], rel=1e-12, abs=rounding)


@given(stations(), st.sampled_from([0.0, math.inf]) | st.floats(1e-6, 1e4), st.floats(0, 1e6))
def test_a_single_station_is_lengthened_as_one_among_many(
    station: Station, mean: float, variance: float
) -> None:
    many = lengthened(arrays(station), Wait(np.array([mean]), np.array([variance])))
    one = lengthened_one(station, (mean, variance))
    for name in SUMS:
        assert getattr(one, name) == pytest.approx(many[name][0], rel=1e-12, abs=0)
