from __future__ import annotations

import pytest

from circinus.errors import InvalidInput
from circinus_agent.dataplane import frames
from circinus_agent.dataplane.frames import Frame, Hop, Kind, Span

WORK = Frame(
    kind=Kind.WORK,
    query="q",
    plan="p",
    request=7,
    producer="s0",
    steps=("s1", "s2"),
    budget_ms=400.0,
    remaining_ms=123.5,
    want=True,
    spans=(Span("s0", "pi", 0.5, 20.0, 2, 0.25),),
    hops=(Hop("s0", "pi>dc", 5),),
    payload=b"\x00\xffpicture",
)


@pytest.mark.parametrize("frame", [WORK, Frame(kind=Kind.HELLO, device="pi")])
def test_a_frame_survives_the_round_trip(frame: Frame) -> None:
    assert frames.decode(frames.encode(frame)) == frame


def test_the_payload_is_not_encoded_again() -> None:
    assert frames.encode(WORK).endswith(WORK.payload)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\xff\xff\xff\xffxx", b"\x01\x00\x00\x00\xc1", b"\x00\x00\x00\x00"],
)
def test_nonsense_is_invalid_input(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        frames.decode(data)


def test_every_truncation_is_invalid_input_or_a_shorter_payload() -> None:
    data = frames.encode(WORK)
    header = len(data) - len(WORK.payload)
    for end in range(header):
        with pytest.raises(InvalidInput):
            frames.decode(data[:end])


def test_a_newer_protocol_is_refused_with_a_remedy() -> None:
    data = frames.encode(Frame(kind=Kind.HELLO, protocol=frames.PROTOCOL + 1))
    with pytest.raises(InvalidInput, match="upgrade"):
        frames.decode(data)
