from __future__ import annotations

import pytest

from circinus.mqtt.outbox import Entry, Outbox, Outcome


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(max_messages=3, max_bytes=100)


def taken(outbox: Outbox, now: float = 0.0) -> list[str]:
    entries: list[str] = []
    while (entry := outbox.take(now)) is not None:
        entries.append(entry.payload.decode())
    return entries


def put(outbox: Outbox, *payloads: str, topic: str = "t", latest: bool = False) -> list[Entry]:
    return [outbox.put(topic, payload.encode(), latest=latest) for payload in payloads]


def test_messages_leave_in_order_and_once(outbox: Outbox) -> None:
    put(outbox, "a", "b", "c")
    assert taken(outbox) == ["a", "b", "c"]
    assert taken(outbox) == []
    assert outbox.in_flight == 3


def test_unacknowledged_messages_are_sent_again_before_newer_ones(outbox: Outbox) -> None:
    a, _ = put(outbox, "a", "b")
    taken(outbox)
    outbox.settle(a, Outcome.DELIVERED)
    put(outbox, "c")
    outbox.connection_lost()
    assert taken(outbox) == ["b", "c"]


def test_full_outbox_drops_the_oldest(outbox: Outbox) -> None:
    settled: list[Outcome] = []
    outbox.put("t", b"a", on_done=settled.append)
    put(outbox, "b", "c", "d")
    assert settled == [Outcome.DROPPED]
    assert taken(outbox) == ["b", "c", "d"]


def test_bytes_are_bounded_too(outbox: Outbox) -> None:
    put(outbox, "a" * 60, "b" * 60)
    assert taken(outbox) == ["b" * 60]


def test_message_larger_than_the_bound_is_kept_alone(outbox: Outbox) -> None:
    put(outbox, "a", "b" * 200)
    assert taken(outbox) == ["b" * 200]


def test_waiting_messages_are_dropped_before_those_in_flight(outbox: Outbox) -> None:
    put(outbox, "a")
    taken(outbox)
    put(outbox, "b", "c", "d")
    assert outbox.in_flight == 1
    assert taken(outbox) == ["c", "d"]


def test_latest_takes_the_place_of_one_that_waits(outbox: Outbox) -> None:
    put(outbox, "a", "b", latest=True)
    assert taken(outbox) == ["b"]


def test_latest_is_per_topic(outbox: Outbox) -> None:
    put(outbox, "a", topic="x", latest=True)
    put(outbox, "b", topic="y", latest=True)
    assert taken(outbox) == ["a", "b"]


def test_latest_leaves_one_in_flight_alone(outbox: Outbox) -> None:
    settled: list[Outcome] = []
    old = outbox.put("t", b"a", latest=True, on_done=settled.append)
    taken(outbox)
    put(outbox, "b", latest=True)
    outbox.settle(old, Outcome.DELIVERED)
    assert settled == [Outcome.DELIVERED]
    assert taken(outbox) == ["b"]


def test_older_value_in_flight_is_not_sent_again_behind_a_newer_one(outbox: Outbox) -> None:
    put(outbox, "a", latest=True)
    taken(outbox)
    put(outbox, "b", latest=True)
    outbox.connection_lost()
    assert taken(outbox) == ["b"]


def test_expired_message_is_not_sent(outbox: Outbox) -> None:
    settled: list[Outcome] = []
    outbox.put("t", b"a", expires_at=5.0, on_done=settled.append)
    put(outbox, "b")
    assert taken(outbox, now=5.0) == ["b"]
    assert settled == [Outcome.EXPIRED]


def test_message_settles_once(outbox: Outbox) -> None:
    settled: list[Outcome] = []
    entry = outbox.put("t", b"a", on_done=settled.append)
    outbox.settle(entry, Outcome.DELIVERED)
    outbox.settle(entry, Outcome.DROPPED)
    assert settled == [Outcome.DELIVERED]
    assert len(outbox) == 0


def test_settled_messages_free_their_bytes(outbox: Outbox) -> None:
    for _ in range(10):
        (entry,) = put(outbox, "a" * 60)
        taken(outbox)
        outbox.settle(entry, Outcome.DELIVERED)
    (entry,) = put(outbox, "b" * 40)
    put(outbox, "c" * 60)
    assert entry.outcome is None
