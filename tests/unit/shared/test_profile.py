"""What a profile says of a machine."""

import pytest

from circinus.pipeline import Config
from circinus.profile import LatencyStats, OperatorProfile, whole_cores, whole_parts


@pytest.mark.parametrize(
    ("core_s", "busy_s", "cores"),
    [
        (0.0, 1.0, 0),
        (0.3, 1.0, 1),
        (1.0, 1.0, 1),
        (1.09, 1.0, 1),  # what a clock and a helper thread add is no second core
        (1.2, 1.0, 2),
        (0.36, 0.1, 4),
    ],
)
def test_a_worker_keeps_whole_cores_from_others(core_s: float, busy_s: float, cores: int) -> None:
    assert whole_cores(core_s, busy_s) == cores


@pytest.mark.parametrize(
    ("busy", "parts"), [(1 / 3, 20), (0.334, 21), (1.0, 60), (1.5, 90), (0.001, 1)]
)
def test_a_worker_keeps_whole_parts_of_an_accelerator(busy: float, parts: int) -> None:
    assert whole_parts(busy, 1.0) == parts


def test_a_batch_holds_what_it_keeps_busy_rounded_up() -> None:
    row = OperatorProfile(
        operator="see",
        config=Config(),
        device_class="c",
        latency_ms=LatencyStats(mean=20.0),
        compute_s={"cores": 0.003, "gpu": 0.0025, "npu": 0.0},
        memory_mb=1.0,
        batch=4,
    )
    assert row.held == {"cores": 1.0, "gpu": 0.5}
