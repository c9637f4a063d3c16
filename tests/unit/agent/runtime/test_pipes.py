from __future__ import annotations

import logging

import pytest

from circinus_agent.runtime.pipes import LINES_BURST, MAX_LINE, LineLog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock, caplog: pytest.LogCaptureFixture) -> LineLog:
    caplog.set_level(logging.INFO)
    return LineLog(logging.getLogger("test"), "op", clock)


def test_lines_are_cut_where_they_end(log: LineLog, caplog: pytest.LogCaptureFixture) -> None:
    log.feed(b"one\ntw")
    log.feed(b"o\n\nrest")
    assert caplog.messages == ["op: one", "op: two"]


def test_a_flood_is_dropped_and_counted(
    log: LineLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    log.feed(b"x\n" * 5000)
    assert len(caplog.messages) == LINES_BURST
    assert log.dropped == 5000 - LINES_BURST
    clock.now += 10.0
    log.feed(b"later\n")
    assert caplog.messages[-1] == "op: later"


def test_an_endless_line_is_cut(log: LineLog, caplog: pytest.LogCaptureFixture) -> None:
    log.feed(b"x" * (3 * MAX_LINE))
    assert caplog.messages == ["op: " + "x" * MAX_LINE]


def test_control_characters_do_not_reach_a_terminal(
    log: LineLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.feed(b"\x1b[31mred\x07\n")
    assert caplog.messages == ["op: [31mred"]
