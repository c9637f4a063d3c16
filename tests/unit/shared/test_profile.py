"""What a profile says of a machine."""

import pytest

from circinus.profile import whole_cores


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
