"""What the profiler is told about devices, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass

from circinus.messages import CancelProbe, ProbeAccuracy, ProbeLink, ProbeOperators
from circinus_coordinator.profiling.factors import own_class
from circinus_coordinator.profiling.keys import Key
from circinus_coordinator.profiling.summary import Summary

__all__ = ["DeviceProgress", "Instruction", "Keep", "ProbeCommand", "ProbeDevice", "Send"]

ProbeCommand = ProbeOperators | ProbeAccuracy | ProbeLink


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeDevice:
    """A device that is online.

    Attributes:
        tier: Position of its tier, larger is further out.
        busy: It serves requests, which a probe would disturb; a free one is preferred.
        apart: It is not like its class now; one that is measures for its class in its place.
        operators: Names of installed operators; empty where it does not tell.
    """

    id: str
    boot_id: str
    session: int
    device_class: str
    tier: int
    cores: float
    busy: bool = False
    apart: bool = False
    operators: frozenset[str] = frozenset()

    def stands_for(self, device_class: str) -> bool:
        """True if it is of this class, or the only one of it."""
        return device_class in (self.device_class, own_class(self.device_class, self.id))

    def offers(self, implementation: str) -> bool:
        """True unless it is known not to have this operator."""
        return ":" in implementation or not self.operators or implementation in self.operators


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send this command to this device; `text` tells people what it is about."""

    device: str
    command: ProbeCommand | CancelProbe
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Keep this target: it is done, or its probe ended and it has samples."""

    key: Key
    summary: Summary


Instruction = Send | Keep


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProgress:
    """Targets of a device, and what it measures now."""

    device: str
    done: int
    total: int
    running: str | None
