"""The MQTT link that agents and the coordinator share.

Reconnects with full jitter, announces itself by birth and will, keeps QoS 1 messages until the
broker has acknowledged them, and speaks MQTT 5 or, where the broker does not, 3.1.1.
"""

from __future__ import annotations

from circinus.mqtt.address import BrokerAddress
from circinus.mqtt.backoff import Backoff
from circinus.mqtt.link import MqttLink
from circinus.mqtt.options import (
    Counters,
    LinkOptions,
    MessageHandler,
    NotDelivered,
    Presence,
    PresenceState,
    Protocol,
)
from circinus.mqtt.outbox import Outcome

__all__ = [
    "Backoff",
    "BrokerAddress",
    "Counters",
    "LinkOptions",
    "MessageHandler",
    "MqttLink",
    "NotDelivered",
    "Outcome",
    "Presence",
    "PresenceState",
    "Protocol",
]
