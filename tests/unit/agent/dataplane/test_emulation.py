from __future__ import annotations

import pytest

from circinus.messages import LinkEmulation
from circinus_agent.dataplane.emulation import ShapedLink


def link() -> ShapedLink:
    return ShapedLink(LinkEmulation(peer="dc", rtt_ms=40, bandwidth_mbps=8))  # 1 MB/s


def test_a_frame_takes_its_time_on_the_line_and_half_a_round_trip() -> None:
    assert link().arrival(10.0, 100_000) == pytest.approx(10.0 + 0.1 + 0.02)


def test_frames_queue_for_the_line_but_travel_together() -> None:
    shaped = link()
    first, second = shaped.arrival(0.0, 100_000), shaped.arrival(0.0, 100_000)
    assert second - first == pytest.approx(0.1)


def test_an_idle_line_owes_nothing() -> None:
    shaped = link()
    shaped.arrival(0.0, 100_000)
    assert shaped.arrival(5.0, 0) == pytest.approx(5.02)
