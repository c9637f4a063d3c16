"""The MQTT broker of a coordinator: started as a child, embedded, or somebody else's."""

from __future__ import annotations

from circinus_coordinator.broker.access import COORDINATOR_USER
from circinus_coordinator.broker.start import (
    BrokerFailed,
    BrokerKind,
    RunningBroker,
    find_mosquitto,
    start_broker,
)

__all__ = [
    "COORDINATOR_USER",
    "BrokerFailed",
    "BrokerKind",
    "RunningBroker",
    "find_mosquitto",
    "start_broker",
]
