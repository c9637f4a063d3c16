"""Instructions of the machines as records and messages."""

from __future__ import annotations

from circinus.messages import encode
from circinus.topics import DeviceTopics
from circinus_coordinator.daemon.effects import Message
from circinus_coordinator.daemon.state import Planned
from circinus_coordinator.fleet import Publish
from circinus_coordinator.profiling import Key, LinkKey, OperatorKey, Send
from circinus_coordinator.store import DecisionRecord, DecisionState

__all__ = ["command_message", "decided", "desired_message", "named"]

# A command that waits longer for a broker is for a session that is over by then.
_COMMAND_EXPIRY_S = 60.0


def decided(planned: Planned, state: DecisionState, cause: str | None) -> DecisionRecord:
    """A decision and what became of it."""
    return DecisionRecord(
        id=planned.id,
        scenario=planned.scenario_bytes,
        decision=planned.decision_bytes,
        state=state,
        cause=cause,
    )


def desired_message(order: Publish) -> Message:
    """A promise to a device, as the retained topic carries it."""
    topic = DeviceTopics(order.desired.device).desired
    return Message(topic=topic, payload=encode(order.desired), retain=True)


def command_message(order: Send) -> Message:
    """A probe, or the end of one."""
    return Message(
        topic=DeviceTopics(order.device).command,
        payload=encode(order.command),
        expiry_s=_COMMAND_EXPIRY_S,
    )


def named(key: Key) -> str:
    """A target, for people."""
    if isinstance(key, OperatorKey):
        return f"{key.pipeline}/{key.operator} [{key.config}] on {key.device_class}"
    if isinstance(key, LinkKey):
        return f"link {key.a}-{key.b}"
    return f"accuracy of {key.pipeline}"
