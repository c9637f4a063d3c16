"""What probing has cost, in seconds of devices."""

from __future__ import annotations

from dataclasses import dataclass

from circinus_coordinator.profiling.keys import AccuracyKey, OperatorKey
from circinus_coordinator.profiling.probes import Probe

__all__ = ["Spending"]


@dataclass(slots=True)
class Spending:
    """Seconds from sending a probe to its end, summed over devices.

    Attributes:
        operators_s: For service times.
        accuracy_s: For scores.
        links_s: For links; both ends count.
    """

    operators_s: float = 0.0
    accuracy_s: float = 0.0
    links_s: float = 0.0

    @property
    def device_s(self) -> float:
        """All of it."""
        return self.operators_s + self.accuracy_s + self.links_s

    def ended(self, probe: Probe, now: float) -> None:
        """A probe is over."""
        took = now - probe.started
        if isinstance(probe.keys[0], OperatorKey):
            self.operators_s += took
        elif isinstance(probe.keys[0], AccuracyKey):
            self.accuracy_s += took
        else:
            self.links_s += took * (1 + len(probe.ends))
