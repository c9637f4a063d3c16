from __future__ import annotations

import asyncio
from typing import Any

import pytest

from circinus.messages import (
    CancelProbe,
    CoordinatorStatus,
    Desired,
    DesiredBody,
    Peer,
    ProbeLink,
    body_hash,
    encode,
)
from circinus.topics import COORDINATOR_STATUS, DeviceTopics
from circinus_agent.daemon.inbox import Inbox

TOPICS = DeviceTopics("pi-1")


class Box:
    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.session = 3
        self.inbox = Inbox(
            TOPICS,
            "boot",
            session=lambda: self.session,
            on_desired=self.taken.append,
            on_probe=self.taken.append,
            on_cancel=self.taken.append,
            on_orphaned=lambda: self.taken.append("orphaned"),
        )

    def receive(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        asyncio.run(self.inbox.receive(topic, payload, retained))


@pytest.fixture
def box() -> Box:
    return Box()


def probe(boot_id: str = "boot", session: int = 3) -> bytes:
    peer = Peer(device="edge-1")
    return encode(ProbeLink(request_id="r", boot_id=boot_id, session=session, peer=peer))


def test_a_desired_document_is_handed_on(box: Box) -> None:
    body = DesiredBody()
    document = Desired(device="pi-1", store="s", version=1, hash=body_hash(body), body=body)
    box.receive(TOPICS.desired, encode(document), retained=True)
    assert box.taken == [document]


def test_a_cleared_desired_topic_says_nothing(box: Box) -> None:
    box.receive(TOPICS.desired, b"")
    assert (box.taken, box.inbox.dropped) == ([], {})


def test_a_command_to_this_session_is_handed_on(box: Box) -> None:
    box.receive(TOPICS.command, probe())
    cancel = CancelProbe(request_id="c", boot_id="boot", session=3, probe="r")
    box.receive(TOPICS.command, encode(cancel))
    assert [type(command) for command in box.taken] == [ProbeLink, CancelProbe]


@pytest.mark.parametrize(
    "payload", [probe(boot_id="other"), probe(session=2), probe(session=4)], ids=str
)
def test_a_command_to_another_session_is_ignored(box: Box, payload: bytes) -> None:
    box.receive(TOPICS.command, payload)
    assert (box.taken, box.inbox.dropped) == ([], {"stale command": 1})


def test_a_retained_command_is_ignored(box: Box) -> None:
    box.receive(TOPICS.command, probe(), retained=True)
    assert (box.taken, box.inbox.dropped) == ([], {"retained command": 1})


@pytest.mark.parametrize(
    "payload",
    [b"{", b"\xff", b"[]", b'{"type": "desired"}', b'{"type": "launch"}', bytes(9 << 20)],
    ids=["cut", "bytes", "list", "fields", "kind", "huge"],
)
@pytest.mark.parametrize("topic", [TOPICS.desired, TOPICS.command])
def test_what_cannot_be_decoded_is_counted_and_ignored(
    box: Box, topic: str, payload: bytes
) -> None:
    box.receive(topic, payload)
    assert box.taken == []
    assert sum(box.inbox.dropped.values()) == 1


def test_a_message_of_a_newer_schema_is_ignored(box: Box) -> None:
    box.receive(TOPICS.command, probe().replace(b'"schema":1', b'"schema":2'))
    assert box.inbox.dropped == {"malformed command": 1}


def test_a_flood_is_logged_once(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(100):
        box.receive(TOPICS.command, b"{")
    assert box.inbox.dropped == {"malformed command": 100}
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("online", "taken"), [(True, []), (False, ["orphaned"])])
def test_probes_end_with_the_coordinator_that_wanted_them(
    box: Box, online: bool, taken: list[str]
) -> None:
    box.receive(COORDINATOR_STATUS, encode(CoordinatorStatus(store="s", online=online)))
    assert box.taken == taken


def test_a_foreign_topic_is_ignored(box: Box) -> None:
    box.receive(DeviceTopics("pi-2").desired, b"{}")
    assert box.inbox.dropped == {"unexpected topic": 1}
