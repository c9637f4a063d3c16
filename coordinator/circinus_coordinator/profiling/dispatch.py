"""Which probe is sent next, and where.

Links first, which are short and without which nobody knows what plans there are; then accuracy,
then operators, and of each whatever serves most per second of a device: the worth of all queries
that wait for a target, over the time it should take. Targets of one pipeline on one class go
together, as they share the making of their inputs. A class is measured on one of its devices at a
time, and each device does one probe.

Devices that serve nothing come first. Others may be probed for a part of their time only
(`Shares`), and target by target where nobody waits who has no plan yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from circinus_coordinator.profiling.agenda import Agenda
from circinus_coordinator.profiling.choice import preferred
from circinus_coordinator.profiling.keys import AccuracyKey, Key, LinkKey, OperatorKey
from circinus_coordinator.profiling.ledger import Ledger, seconds
from circinus_coordinator.profiling.needs import Needs
from circinus_coordinator.profiling.orders import ProbeDevice
from circinus_coordinator.profiling.probes import Probe, Running
from circinus_coordinator.profiling.settings import ProfilingSettings

__all__ = ["Plan", "Shares", "next_probes"]

_BUSY_CHUNK = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A probe to be sent.

    Attributes:
        ends: Other devices it keeps busy.
        refining: Nobody without a plan waits for it.
    """

    device: ProbeDevice
    keys: tuple[Key, ...]
    text: str
    ends: frozenset[str] = frozenset()
    refining: bool = False


@dataclass(slots=True)
class Shares:
    """When devices that serve may be probed again."""

    settings: ProfilingSettings
    _resume: dict[str, float] = field(default_factory=dict)

    def ended(self, probe: Probe, now: float) -> None:
        """A probe is over: what it took of a device that serves is waited for."""
        share = self._share(refining=probe.refining)
        pause = (now - probe.started) * (1 / share - 1) if probe.device.busy else 0.0
        self._resume[probe.device.id] = now + pause

    def allow(self, device: ProbeDevice, now: float) -> bool:
        """Whether it may be probed now."""
        return not device.busy or now >= self._resume.get(device.id, now)

    def _share(self, *, refining: bool) -> float:
        return self.settings.refining_share if refining else self.settings.waiting_share


def next_probes(
    now: float,
    *,
    settings: ProfilingSettings,
    needs: Needs,
    agenda: Agenda,
    ledger: Ledger,
    devices: Mapping[str, ProbeDevice],
    running: Running,
    shares: Shares,
) -> list[Plan]:
    """All that can be sent now."""
    free = [d for d in devices.values() if d.id not in running.occupied and shares.allow(d, now)]
    limit = settings.max_parallel
    left = len(devices) if limit is None else limit - len(running)
    if left <= 0 or not free:
        return []
    taken = running.keys
    wanted = [key for key in agenda.open() if key not in taken]
    found = _links([key for key in wanted if isinstance(key, LinkKey)], needs, free)[:left]
    gone = {name for plan in found for name in (plan.device.id, *plan.ends)}
    groups: dict[tuple[str, str | None], list[Key]] = {}
    for key in wanted:
        if isinstance(key, OperatorKey) and not running.measures(key.device_class):
            groups.setdefault((key.pipeline, key.device_class), []).append(key)
        elif isinstance(key, AccuracyKey) and not running.scores(key.pipeline):
            groups.setdefault((key.pipeline, None), []).append(key)
    value = {key: agenda.worth(key) / seconds(key, agenda.upto(key), ledger) for key in wanted}
    measured: set[str] = set()
    for (pipeline, device_class), keys in sorted(
        groups.items(),
        # Scoring takes longest and is needed by all plans, so it is what to begin with; where all
        # is measured anyway it comes last, as it keeps a machine from being measured.
        key=lambda item: (
            (item[0][1] is None) != settings.seek,
            -max(value[key] for key in item[1]),
            str(item[0]),
        ),
    ):
        if len(found) >= left or device_class in measured:
            continue
        ordered = sorted(keys, key=lambda key: -value[key])
        device = _device(ordered[0], devices, needs, [d for d in free if d.id not in gone])
        if device is None:
            continue
        found.append(_chunk(pipeline, ordered, device, settings, agenda))
        gone.add(device.id)
        if device_class is not None:
            measured.add(device_class)
    return found


def _links(keys: Iterable[LinkKey], needs: Needs, free: Sequence[ProbeDevice]) -> list[Plan]:
    """Each while both its ends do nothing else."""
    idle = {device.id: device for device in free}
    found = []
    for key in keys:
        caller, peer = needs.links[key]
        if {caller, peer.device} <= idle.keys():
            device = idle.pop(caller)
            del idle[peer.device]
            ends = frozenset({peer.device})
            found.append(Plan(device=device, keys=(key,), text=f"link to {peer.device}", ends=ends))
    return found


def _device(
    key: Key, devices: Mapping[str, ProbeDevice], needs: Needs, free: Sequence[ProbeDevice]
) -> ProbeDevice | None:
    """A free one; scores wait for the machines that are best at it."""
    there = {device.id for device in free}
    candidates = preferred(key, devices.values(), needs)
    return next((device for device in candidates if device.id in there), None)


def _chunk(
    pipeline: str,
    keys: Sequence[Key],
    device: ProbeDevice,
    settings: ProfilingSettings,
    agenda: Agenda,
) -> Plan:
    if isinstance(keys[0], AccuracyKey):
        most, what = settings.accuracy_chunk, "accuracy"
        mine = list(keys)
    else:
        most, what = settings.operator_chunk, "operators"
        mine = [k for k in keys if isinstance(k, OperatorKey) and device.offers(k.implementation)]
    waiting = [key for key in mine if not agenda.refining(key)]
    if device.busy:  # nothing rides along that can wait
        mine = waiting or mine[:_BUSY_CHUNK]
    some, refining = mine[:most], not waiting
    return Plan(device=device, keys=tuple(some), text=f"{pipeline}: {what}", refining=refining)
