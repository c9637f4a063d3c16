"""What is malformed is counted, told once and ignored."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circinus.messages import MAX_MESSAGE_BYTES, Status, encode
from circinus_coordinator.daemon.core import Upward
from circinus_coordinator.daemon.effects import Effects
from circinus_coordinator.daemon.inbox import Inbox

STATUS = Status(device="d", boot_id="b", session=1, online=True)
TOPIC = "circinus/v1/d/d/up/status"


def test_a_sound_message_is_handed_on() -> None:
    assert Inbox().decode(TOPIC, encode(STATUS)) == STATUS


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"type":"telemetry"}',
        b'{"type":"status","device":"d"}',
        encode(Status(device="other", boot_id="b", session=1, online=True)),
        encode(Status(device="d", boot_id="b", session=1, online=True, schema=99)),
        encode(Status(device="d", boot_id="b", session=2**63 - 1, online=True)),
        b" " * (MAX_MESSAGE_BYTES + 1),
    ],
)
def test_a_malformed_one_is_counted(payload: bytes) -> None:
    inbox = Inbox()
    assert inbox.decode(TOPIC, payload) is None
    assert inbox.malformed == {("d", "status"): 1}


def test_only_the_first_of_a_kind_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            inbox.decode(TOPIC, b"{")
    assert len(caplog.records) == 1


def test_what_cannot_be_taken_in_is_counted_and_the_loop_goes_on() -> None:
    def take(message: Upward, now: float) -> Effects:
        raise OverflowError(message, now)

    inbox = Inbox()
    assert inbox.guarded(TOPIC, STATUS, take)(1.0) == Effects()
    assert inbox.malformed == {("d", "status"): 1}


def test_a_cleared_retained_topic_is_no_mistake() -> None:
    inbox = Inbox()
    assert inbox.decode(TOPIC, b"") is None
    assert not inbox.malformed


def test_topics_that_are_not_for_the_coordinator_are_left_alone() -> None:
    inbox = Inbox()
    assert inbox.decode("circinus/v1/d/d/up/event", b"{") is None
    assert inbox.decode("other/topic", b"{") is None
    assert not inbox.malformed


@given(st.binary(max_size=60), st.sampled_from(["status", "reported", "probe", "telemetry"]))
def test_no_payload_whatever_raises(payload: bytes, leaf: str) -> None:
    Inbox().decode(f"circinus/v1/d/d/up/{leaf}", payload)
