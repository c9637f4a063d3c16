"""Instructions of the machines as records and messages."""

from __future__ import annotations

import time
from typing import Any

from circinus.messages import Telemetry, encode
from circinus.topics import DeviceTopics
from circinus_coordinator.daemon.effects import Message
from circinus_coordinator.daemon.state import Planned
from circinus_coordinator.fleet import Publish
from circinus_coordinator.profiling import Change, Factor, Key, LinkKey, OperatorKey, Send
from circinus_coordinator.store import DecisionRecord, DecisionState

__all__ = ["command_message", "decided", "desired_message", "deviation", "named", "unlike"]

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


def deviation(
    change: Change, began_s: float, telemetry: Telemetry | None
) -> tuple[str, dict[str, Any]]:
    """How a device differs from its class now, for people and as data, with what may explain it.

    Args:
        began_s: Unix time when the change began.
        telemetry: The device's last.
    """
    clock = time.strftime("%H:%M:%S UTC", time.gmtime(began_s))
    since = f" since {clock}" if change.implementation else ""
    if change.factor is None:
        text = f"serves as its profile says again{since}"
    elif change.implementation:
        text = f"serves {change.implementation} {_times(change.ratio)} than its profile{since}"
    else:
        text = f"measured: {unlike(change.factor)}"
    data: dict[str, Any] = {
        "warning": change.factor is not None,
        "factor": change.factor.value if change.factor else 1.0,
        "operators": dict(change.factor.operators) if change.factor else {},
        "began_s": began_s,
    }
    if telemetry is None:
        return text, data
    context = []
    if telemetry.temperature_c is not None:
        context.append(f"{telemetry.temperature_c:.0f} °C")
    if telemetry.throttled:
        context.append("throttled")
    context.append(f"{telemetry.cpu_percent:.0f} % of its cores busy")
    data |= {
        "temperature_c": telemetry.temperature_c,
        "throttled": telemetry.throttled,
        "cpu_percent": telemetry.cpu_percent,
    }
    return f"{text}; {', '.join(context)}", data


def unlike(factor: Factor) -> str:
    """How a device that is apart compares with its class."""
    operators = [f"{name} {_times(times)}" for name, times in factor.operators.items()]
    common = [_times(factor.value)] if factor.value != 1.0 else []
    return f"{', '.join(common + operators)} than its class"


def _times(ratio: float) -> str:
    if ratio < 1:
        return f"{1 / ratio:.1f} times faster"
    return f"{ratio:.1f} times slower"
