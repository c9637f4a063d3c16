"""How devices differ from their class."""

from __future__ import annotations

import pytest

from circinus.histogram import Histogram
from circinus.pipeline import Config
from circinus.profile import LatencyStats, OperatorProfile, Provenance
from circinus_coordinator.profiling.drift import DriftSettings
from circinus_coordinator.profiling.factors import Change, Factor, Factors, Seen, scaled

SETTINGS = DriftSettings(hold_s=10.0, hold_cap_s=40.0)
CLASS_MS = {"detect": (20.0,) * 20, "read": (50.0,) * 20}


def _seen(name: str, times: float, expected: float = 1.0, batches: int = 20) -> Seen:
    served = Histogram()
    for _ in range(batches):
        served.add(CLASS_MS[name][0] * times)
    return Seen(
        instance=f"{name}-1",
        implementation=name,
        class_ms=CLASS_MS[name],
        expected_ms=tuple(ms * expected for ms in CLASS_MS[name]),
        served=served,
        seconds=2.0,
    )


class _Time:
    """Messages every two seconds."""

    def __init__(self, factors: Factors) -> None:
        self.factors, self.now = factors, 0.0

    def serve(self, *seen: Seen, seconds: float = 60.0) -> Change | None:
        """The first change within `seconds`."""
        until = self.now + seconds
        while self.now < until:
            self.now += 2.0
            change = self.factors.served("cam-1", seen, self.now)
            if change is not None:
                return change
        return None


@pytest.fixture
def time() -> _Time:
    return _Time(Factors(SETTINGS))


def test_a_device_slow_at_all_it_serves_has_one_factor(time: _Time) -> None:
    assert time.serve(_seen("detect", 1.0), _seen("read", 1.1)) is None
    change = time.serve(_seen("detect", 3.0), _seen("read", 3.1))
    assert change is not None
    assert change.factor is not None
    assert change.factor.operators == {}
    assert change.factor.of("never seen") == pytest.approx(3.0, rel=0.02)
    assert change.ratio == pytest.approx(3.0, rel=0.05)
    assert 0 < change.seconds <= 20
    assert time.factors.apart == {"cam-1": change.factor}


def test_one_slow_operator_among_others_says_nothing_of_the_device(time: _Time) -> None:
    change = time.serve(_seen("detect", 3.0), _seen("read", 1.0))
    assert change is not None
    assert change.factor is not None
    assert change.factor.value == 1.0
    assert change.factor.of("detect") == pytest.approx(3.0, rel=0.02)
    assert change.factor.of("read") == 1.0


def test_what_was_known_of_an_operator_holds_while_it_serves_nothing(time: _Time) -> None:
    assert time.serve(_seen("detect", 3.0), _seen("read", 1.0)) is not None
    change = time.serve(_seen("read", 2.0))
    assert change is not None
    assert change.factor is not None
    assert change.factor.of("detect") == pytest.approx(3.0, rel=0.02)
    assert change.factor.of("read") == pytest.approx(2.0, rel=0.02)


def test_it_is_not_noticed_twice(time: _Time) -> None:
    change = time.serve(_seen("detect", 3.0))
    assert change is not None
    assert change.factor is not None
    assert time.serve(_seen("detect", 3.0, expected=change.factor.value), seconds=600) is None


def test_what_changes_within_tolerance_of_the_profile_is_no_change(time: _Time) -> None:
    assert time.serve(_seen("detect", 1.4), seconds=200) is None  # its yardstick by now
    assert time.serve(_seen("detect", 0.85), seconds=200) is None
    change = time.serve(_seen("detect", 3.0))
    assert change is not None


def test_it_comes_back_to_its_class_the_same_way(time: _Time) -> None:
    change = time.serve(_seen("detect", 3.0))
    assert change is not None
    change = time.serve(_seen("detect", 1.0, expected=3.0))
    assert change is not None
    assert change.factor is None
    assert change.ratio == pytest.approx(1.0, rel=0.02)
    assert time.factors.apart == {}


def test_each_change_makes_the_next_one_wait_longer(time: _Time) -> None:
    waits, before = [], 0.0
    for i in range(6):
        times = (3.0, 1.0)[i % 2]
        change = time.serve(_seen("detect", times, expected=4.0 - times))
        assert change is not None
        waits.append(time.now - before)
        before = time.now
    assert waits[1] >= 10
    assert waits[2] >= 20
    assert waits[3] >= 40
    assert max(waits) < 50  # it does not wait longer than the cap, and the noticing


def test_a_probe_gives_one_more_device_its_factor() -> None:
    factors = Factors(SETTINGS)
    assert factors.probed("cam-2", {"detect": [1.2, 1.1], "read": [1.0]}, 0.0) is None
    assert factors.apart == {}
    change = factors.probed("cam-2", {"detect": [2.0, 2.2], "read": [1.9]}, 1.0)
    assert change is not None
    assert change.factor == Factor(value=1.9)
    # The same again is no change, which would be planned anew for.
    assert factors.probed("cam-2", {"detect": [2.1], "read": [2.0]}, 2.0) is None


def test_what_agrees_with_the_profile_is_told_every_ten_minutes(time: _Time) -> None:
    assert time.serve(_seen("detect", 1.0), seconds=598) is None
    assert time.factors.confirmed("cam-1") == {}
    assert time.serve(_seen("detect", 1.0), seconds=2) is None
    assert time.factors.confirmed("cam-1") == {"detect-1": 300 * 8.0}  # four a second count
    assert time.factors.confirmed("cam-1") == {}


def test_a_scaled_row_is_interpolated_and_keeps_what_is_no_time() -> None:
    row = OperatorProfile(
        operator="detect", config=Config({"side": 640}), device_class="pi", memory_mb=100.0,
        latency_ms=LatencyStats(mean=20, p50=19, p95=30, p99=None), compute_s={"cores": 0.02},
        output_bytes=7.0, price_usd_per_call=0.1, samples=20,
    )  # fmt: skip
    found = scaled(row, 3.0, "pi@cam-1")
    assert found.device_class == "pi@cam-1"
    assert found.latency_ms == LatencyStats(mean=60, p50=57, p95=90, p99=None)
    assert found.compute_s["cores"] == pytest.approx(0.06)
    assert (found.memory_mb, found.output_bytes, found.price_usd_per_call) == (100.0, 7.0, 0.1)
    assert found.provenance is Provenance.INTERPOLATED
