"""What a link is told, what it counts, and how it fails."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from circinus.errors import Transient
from circinus.mqtt.outbox import Outcome

__all__ = [
    "Counters",
    "LinkOptions",
    "MessageHandler",
    "NotDelivered",
    "Presence",
    "PresenceState",
    "Protocol",
]

MessageHandler = Callable[[str, bytes, bool], Awaitable[None]]
"""Takes topic, payload, and whether the broker had retained the message."""


class Protocol(enum.Enum):
    """Which MQTT to speak."""

    AUTO = "auto"
    """5, and 3.1.1 with a broker that refuses 5."""
    V5 = "5"
    V311 = "3.1.1"


class PresenceState(enum.Enum):
    """What a presence message says."""

    BIRTH = "birth"
    WILL = "will"
    """Published by the broker when the connection breaks."""
    GOODBYE = "goodbye"
    """An orderly end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Birth, will and good-bye: retained QoS 1 on one topic.

    `payload` is called with the state, the boot id and the session number. The will is made before
    its connection is, and carries the session of just that connection: a will that arrives after
    a newer birth can so be told and ignored.
    """

    topic: str
    payload: Callable[[PresenceState, str, int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions:
    """Parameters of a link; the defaults suit an agent on a home or plant network."""

    protocol: Protocol = Protocol.AUTO
    # The broker takes a silent client for dead after 1.5 times this: about 22 s.
    keepalive_s: int = 15
    connect_timeout_s: float = 5.0
    # A live broker acknowledges within milliseconds. Without an answer for this long the
    # connection is given up, since MQTT allows sending again only on a new one.
    ack_timeout_s: float = 20.0
    # The library's 20 limits throughput to 20 messages per round trip; a broker that takes fewer
    # says so when connecting, and that is kept.
    max_inflight: int = 100
    # As large as the largest message that is decoded: see circinus.messages.
    max_payload_bytes: int = 8 << 20
    outbox_messages: int = 10_000
    outbox_bytes: int = 32 << 20
    incoming_messages: int = 10_000
    backoff_base_s: float = 0.25
    # State has to agree within 10 s after a broker comes back.
    backoff_cap_s: float = 8.0
    stable_after_s: float = 10.0


@dataclass(slots=True)
class Counters:
    """What has happened on a link since it was made."""

    attempts: int = 0
    connects: int = 0
    drops: int = 0
    """Connections that broke."""
    published: int = 0
    """QoS 1 messages acknowledged and QoS 0 messages sent."""
    dropped: int = 0
    """Messages given up: outbox full, expired, or QoS 0 without a connection."""
    refused: int = 0
    """Messages and subscriptions that the broker turned down."""
    received: int = 0
    oversized: int = 0
    """Arrived larger than allowed, and ignored."""
    overflowed: int = 0
    """Arrived faster than the handler could take them, and ignored."""
    handler_errors: int = 0

    def ignored(self) -> dict[str, int]:
        """Messages that arrived and were not looked at, by cause; without causes never met."""
        found = {"oversized message": self.oversized, "message too many": self.overflowed}
        return {cause: count for cause, count in found.items() if count}


class NotDelivered(Transient):
    """A message was not acknowledged; whether it arrived is unknown unless `outcome` says so."""

    def __init__(self, topic: str, outcome: Outcome) -> None:
        self.topic = topic
        self.outcome = outcome
        super().__init__(f"{topic}: message {outcome.value}")
