"""Queues before links, against textbook values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circinus_coordinator.planning.wires import Wires

WIRE = ("link", "a", "b")
UPLINK = ("uplink", "a", "out")


def waiting(*streams: tuple[float, float, float], regular: bool = False) -> tuple[float, float]:
    """Mean and deviation where each stream is (use, ms, scv of its gaps)."""
    wires = Wires()
    for use, ms, scv in streams:
        wires.add({(WIRE, ms): 1}, use / ms * 1e3, scv, 1)
    mean, variance = wires.wait((WIRE,), regular=regular)
    return mean, math.sqrt(variance)


@pytest.mark.parametrize("use", [0.1, 0.5, 0.8])
def test_transfers_of_one_length_wait_as_pollaczek_and_khinchine_say(use: float) -> None:
    mean = 10 * use / (1 - use) / 2
    deviation = math.sqrt(mean**2 + 100 * use / (3 * (1 - use)))
    assert waiting((use, 10, 1)) == pytest.approx((mean, deviation))


def test_what_comes_like_clockwork_never_waits_for_itself() -> None:
    assert waiting((0.6, 10, 0), regular=True) == (0, 0)


def test_a_rare_small_transfer_meets_what_is_left_of_one_that_comes_like_clockwork() -> None:
    """It finds the wire busy 60 % of the time, then half a frame is left, evenly distributed."""
    mean, deviation = waiting((0.6, 20, 0), (1e-6, 0.1, 1))
    assert mean == pytest.approx(6, rel=1e-3)
    assert deviation == pytest.approx(math.sqrt(0.6 * 400 / 3 - 36), rel=1e-3)


def test_part_of_a_stream_that_is_dealt_in_turn_waits_as_regularly_as_it_comes() -> None:
    wires = Wires()
    wires.add({(WIRE, 5.0): 1}, 60, 1, 0.25)  # every fourth request
    wires.add({(WIRE, 8.0): 1}, 40, 1, 1)
    assert wires.regularity([(WIRE, 5.0)]) == pytest.approx(0.75)
    assert wires.regularity([(WIRE, 8.0)]) == 0
    waits = [wires.wait((WIRE,), regular=part)[0] for part in (1, 0.75, 0)]
    assert waits[0] < waits[1] < waits[2]


def test_a_full_wire_waits_for_ever() -> None:
    assert waiting((1.0, 10, 1)) == (math.inf, 0)


def test_a_transfer_waits_for_the_busiest_wire_on_its_way() -> None:
    wires = Wires()
    wires.add({(WIRE, 2.0): 1, (UPLINK, 4.0): 1}, 100, 1, 1)
    assert wires.wait((WIRE, UPLINK), regular=False) == wires.wait((UPLINK,), regular=False)
    assert wires.wait((UPLINK,), regular=False) > wires.wait((WIRE,), regular=False) > (0, 0)


def test_a_stream_dealt_over_several_plans_is_one_stream_again_on_its_uplink() -> None:
    """Each quarter of it is more regular than the whole, and they take turns."""
    dealt, whole = Wires(), Wires()
    for _ in range(4):
        dealt.add({(UPLINK, 10.0): 1}, 20, 1, 0.25)
    whole.add({(UPLINK, 10.0): 1}, 80, 1, 1)
    assert dealt.wait((UPLINK,), regular=False) == pytest.approx(
        whole.wait((UPLINK,), regular=False)
    )


def test_what_was_added_is_taken_back_to_the_last_bit() -> None:
    wires = Wires()
    wires.add({(WIRE, 3.0): 2}, 100, 1, 1)
    before = wires.wait((WIRE,), regular=False)
    undo = wires.add({(WIRE, 3.0): 1, (WIRE, 0.7): 1, (UPLINK, 1.0): 1}, 60, 0, 0.5)
    assert wires.wait((WIRE,), regular=False) > before
    wires.restore(undo)
    assert wires.wait((WIRE,), regular=False) == before
    assert wires.wait((UPLINK,), regular=False) == (0, 0)


USES = st.floats(0.01, 0.45)
LENGTHS = st.floats(0.1, 50)


@given(USES, LENGTHS, st.sampled_from((0.0, 1.0)), USES, LENGTHS, st.booleans())
def test_waits_grow_with_what_poisson_streams_add(
    use: float, ms: float, scv: float, more: float, other: float, regular: bool
) -> None:
    assert waiting((use, ms, scv), regular=regular)[0] <= waiting(
        (use, ms, scv), (more, other, 1), regular=regular
    )[0] * (1 + 1e-9)
