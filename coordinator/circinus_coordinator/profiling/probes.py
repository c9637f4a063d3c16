"""Probes that run, and how a target of one ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from circinus.messages import CancelProbe
from circinus_coordinator.profiling.keys import AccuracyKey, Key, OperatorKey
from circinus_coordinator.profiling.orders import ProbeCommand, ProbeDevice, Send

__all__ = ["Probe", "Running", "cancel"]


@dataclass(slots=True, kw_only=True)
class Probe:
    """A probe that was sent and has not ended.

    Attributes:
        keys: By number of the target.
        started: When it was sent.
        deadline: When it counts as lost.
        ends: Other devices it keeps busy.
        closed: Targets that get no more samples.
        gained: Targets that got some.
        scored: Place of a target's next score.
        refining: Nobody without a plan waits for it.
    """

    command: ProbeCommand
    device: ProbeDevice
    keys: list[Key]
    text: str
    started: float
    deadline: float
    ends: frozenset[str] = frozenset()
    closed: set[int] = field(default_factory=set)
    gained: set[int] = field(default_factory=set)
    scored: dict[int, int] = field(default_factory=dict)
    refining: bool = False

    @property
    def request_id(self) -> str:
        """Of its command."""
        return self.command.request_id

    @property
    def open(self) -> list[Key]:
        """Targets that still get samples."""
        return [key for target, key in enumerate(self.keys) if target not in self.closed]

    @property
    def suspects(self) -> list[Key]:
        """Targets that may have brought the device down.

        Operators are measured one after another, so it is the first that is not over; vectors
        share the operators that are run for them.
        """
        return self.open[:1] if isinstance(self.keys[0], OperatorKey) else self.open


@dataclass(slots=True)
class Running:
    """All that run, by request id."""

    by_id: dict[str, Probe] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Probe]:
        return iter(list(self.by_id.values()))

    def __len__(self) -> int:
        return len(self.by_id)

    def add(self, probe: Probe) -> None:
        """One was sent."""
        self.by_id[probe.request_id] = probe

    def remove(self, probe: Probe) -> None:
        """It ended."""
        del self.by_id[probe.request_id]

    def get(self, request_id: str, device: str) -> Probe | None:
        """The one of this device."""
        probe = self.by_id.get(request_id)
        return probe if probe is not None and probe.device.id == device else None

    @property
    def keys(self) -> set[Key]:
        """Targets of all of them, those that are over included."""
        return {key for probe in self.by_id.values() for key in probe.keys}

    @property
    def occupied(self) -> set[str]:
        """Devices that have one, or are the other end of one."""
        taken = {probe.device.id for probe in self.by_id.values()}
        return taken.union(*(probe.ends for probe in self.by_id.values()))

    def measures(self, device_class: str) -> bool:
        """Operators are measured on a device of this class."""
        return any(
            isinstance(key := probe.keys[0], OperatorKey) and key.device_class == device_class
            for probe in self.by_id.values()
        )

    def scores(self, pipeline: str) -> bool:
        """Vectors of this pipeline are scored."""
        return any(
            isinstance(key := probe.keys[0], AccuracyKey) and key.pipeline == pipeline
            for probe in self.by_id.values()
        )


def cancel(probe: Probe, request_id: str, targets: Iterable[int] | None = None) -> Send:
    """The order that ends a probe, or some of its targets."""
    return Send(
        device=probe.device.id,
        command=CancelProbe(
            request_id=request_id,
            boot_id=probe.device.boot_id,
            session=probe.device.session,
            probe=probe.request_id,
            targets=None if targets is None else list(targets),
        ),
    )
