"""Probing with real processes, some of which die of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fleet import BOX, Fleet, eventually

pytestmark = [pytest.mark.timeout(300), pytest.mark.needs_mosquitto]


def measuring(fleet: Fleet, device: str) -> bool:
    rows = fleet.client.get("/v1/progress")["devices"]
    return any(row["device"] == device and row["running"] for row in rows)


def test_an_agent_that_is_killed_amid_a_probe_is_probed_again_and_all_is_served(
    make_fleet: Callable[[str], Fleet],
) -> None:
    fleet = make_fleet("mosquitto")
    fleet.start()
    fleet.submit()
    eventually(lambda: measuring(fleet, BOX.id), 60, "a probe on the box")
    fleet.kill(BOX.id)
    fleet.start_agent(BOX)
    fleet.wait_serving(120)
    operators = fleet.client.get("/v1/profiles")["operators"]
    assert {row["operator"] for row in operators if row["device_class"] == BOX.device_class}
    assert all(row["cause"] is None for row in operators)
