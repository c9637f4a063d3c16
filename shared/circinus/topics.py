"""MQTT topics. A device publishes only under its own ``up/`` and reads only its own ``down/``."""

from __future__ import annotations

from dataclasses import dataclass

from circinus import _checks as check

__all__ = ["ALL_UP", "COORDINATOR_STATUS", "ROOT", "DeviceTopics", "split_up"]

ROOT = "circinus/v1"
COORDINATOR_STATUS = f"{ROOT}/coordinator/status"
ALL_UP = f"{ROOT}/d/+/up/+"
"""What the coordinator subscribes to."""


@dataclass(frozen=True, slots=True)
class DeviceTopics:
    """The topics of one device.

    ``status``, ``capabilities`` and ``reported`` are retained QoS 1, ``probe`` and ``result``
    QoS 1, ``telemetry`` and ``event`` QoS 0; ``desired`` is retained QoS 1, ``command`` QoS 1
    and never retained.
    """

    device: str

    def __post_init__(self) -> None:
        check.identifier(self.device, "device")

    def _up(self, leaf: str) -> str:
        return f"{ROOT}/d/{self.device}/up/{leaf}"

    @property
    def status(self) -> str:
        """Birth and will."""
        return self._up("status")

    @property
    def capabilities(self) -> str:
        """What the device is and has."""
        return self._up("capabilities")

    @property
    def reported(self) -> str:
        """How far it is with its desired document."""
        return self._up("reported")

    @property
    def probe(self) -> str:
        """Samples of running probes."""
        return self._up("probe")

    @property
    def result(self) -> str:
        """Answers to commands."""
        return self._up("result")

    @property
    def telemetry(self) -> str:
        """Counters and histograms of served requests."""
        return self._up("telemetry")

    @property
    def event(self) -> str:
        """Small results of queries whose sink is MQTT."""
        return self._up("event")

    @property
    def desired(self) -> str:
        """What it should run."""
        return f"{ROOT}/d/{self.device}/down/desired"

    @property
    def command(self) -> str:
        """What it should do once, now."""
        return f"{ROOT}/d/{self.device}/down/command"

    @property
    def all_down(self) -> str:
        """What the device subscribes to."""
        return f"{ROOT}/d/{self.device}/down/+"


def split_up(topic: str) -> tuple[str, str] | None:
    """Device and leaf of an ``up/`` topic; None for any other topic."""
    parts = topic.split("/")
    if len(parts) == 6 and parts[:3] == ["circinus", "v1", "d"] and parts[4] == "up":
        return parts[3], parts[5]
    return None
