"""Waiting and service where batches need not be full."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circinus_coordinator.planning.batches import factors, running, sojourn
from circinus_coordinator.planning.latency import Station, wait_one

LONGER = factors([1, 4], [10.0, 25.0])


def found(
    load: float, scale: tuple[float, ...] = LONGER, *, servers: int = 1, cv2: float = 0.0
) -> tuple[float, float]:
    """Mean and variance where a full batch takes 25 ms, `load` if all were full."""
    station = Station()
    station.add(load * servers / 25, 25.0, cv2 * 625, 1.0, 1)
    return sojourn(station, servers, scale, (25.0, cv2 * 625))


def test_sizes_between_the_measured_ones_are_interpolated() -> None:
    assert pytest.approx((0.4, 0.6, 0.8, 1.0)) == LONGER


def test_at_light_load_a_request_takes_what_it_takes_alone() -> None:
    mean, variance = found(1e-6)
    assert mean == pytest.approx(10, rel=1e-3)
    assert variance == pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize("load", [0.2, 0.6, 0.8])
def test_batches_of_one_wait_as_single_requests_do(load: float) -> None:
    station = Station()
    station.add(load / 25, 25.0, 0.25 * 625, 1.0, 1)
    mean, variance = wait_one(station, servers=1, utilisation=load)
    whole = sojourn(station, 1, (1.0,), (25.0, 0.25 * 625))
    assert whole[0] == pytest.approx(mean + 25, rel=0.01)
    assert whole[1] == pytest.approx(variance + 0.25 * 625, rel=0.03)


def test_clockwork_requests_of_one_source_start_as_the_batch_before_ends() -> None:
    """At 0.3 of full batches alone, one after the other; at 0.8 in twos or more."""
    light, heavy = Station(), Station()
    light.add(0.5 / 25, 25.0, 0.0, 0.0, 1)  # 4 requests each, one every 12.5 ms, 10 ms alone
    assert sojourn(light, 1, LONGER, (25.0, 0.0)) == pytest.approx((10, 0))
    heavy.add(0.8 / 25, 25.0, 0.0, 0.0, 1)  # n every 7.8125 n ms, taking 5 + 5 n
    size = 5 / (7.8125 - 5)
    assert sojourn(heavy, 1, LONGER, (25.0, 0.0))[0] == pytest.approx(1.5 * 7.8125 * size)


def test_what_holds_a_worker_up_counts_as_much_for_small_batches() -> None:
    """Alone for 10 ms, behind a line of 10 ms: 20 ms from start to start."""
    station = Station()
    station.add(0.02 / 4, 25.0, 0.0, 1.0, 1)
    mean, _ = sojourn(station, 1, LONGER, (25.0, 0.0), 10.0)
    assert mean == pytest.approx(10 + 0.02 * 20**2 / 2 / (1 - 0.02 * 20), rel=0.15)


def test_batches_that_are_not_full_start_more_often() -> None:
    station = Station()
    station.add(0.001 / 25, 25.0, 0.0, 1.0, 1)
    busy, starts = running(station, 1, LONGER)
    assert starts == pytest.approx(4 * 0.001 / 25, rel=0.01)
    assert busy == pytest.approx(starts * 10, rel=0.01)


def test_near_the_limit_batches_are_full_and_queue() -> None:
    assert found(0.99)[0] > 25 + 25
    assert found(1.0) == (math.inf, 0.0)


@given(
    st.floats(0, 0.99), st.floats(0, 0.99), st.sampled_from((1, 2, 3)), st.sampled_from((0.0, 0.5))
)
def test_it_grows_with_the_load(a: float, b: float, servers: int, cv2: float) -> None:
    low, high = sorted((a, b))
    less, more = found(low, servers=servers, cv2=cv2), found(high, servers=servers, cv2=cv2)
    assert less[0] <= more[0] * (1 + 1e-9)
