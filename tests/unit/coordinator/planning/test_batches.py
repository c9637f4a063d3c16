"""Waiting and service where batches need not be full."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circinus_coordinator.planning.batches import factors, sojourn
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
