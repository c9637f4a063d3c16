"""Who measures what next: needs, devices and samples in, commands out.

One probe at a time on a device, one device per class, free ones first; links before operators
before accuracy, because the first are short and the last is long. A target is stopped as soon
as its mean is known precisely enough. A probe whose device went away, or got a new session,
is forgotten and what it lacked is given out again: its samples so far are kept, and scoring goes
on after the last input that was scored. A score over few inputs because the probe was cut off
counts as a failure, as does a device that is started anew amid scoring. What fails `attempts`
times is given up for that incarnation of the device, with its cause; queries do not wait for it
and the planner does not see it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from circinus.messages import CancelProbe, CommandResult, ProbeSamples
from circinus_coordinator.profiling.choice import able, preferred
from circinus_coordinator.profiling.commands import (
    accuracy_command,
    link_command,
    operator_command,
)
from circinus_coordinator.profiling.keys import AccuracyKey, Key, LinkKey, OperatorKey
from circinus_coordinator.profiling.needs import Needs
from circinus_coordinator.profiling.orders import (
    DeviceProgress,
    Instruction,
    Keep,
    ProbeCommand,
    ProbeDevice,
    Send,
)
from circinus_coordinator.profiling.settings import ProfilingSettings
from circinus_coordinator.profiling.summary import Summary

__all__ = ["Profiler"]


@dataclass(slots=True, kw_only=True)
class _Probe:
    request_id: str
    device: ProbeDevice
    keys: list[Key]
    text: str
    deadline: float
    closed: set[int] = field(default_factory=set)
    scored: dict[int, int] = field(default_factory=dict)  # place of a target's next score
    ends: frozenset[str] = frozenset()

    @property
    def open(self) -> list[Key]:
        """Targets that still get samples."""
        return [key for target, key in enumerate(self.keys) if target not in self.closed]


class Profiler:
    """The state machine; time comes with the events, in seconds.

    Args:
        prefix: Makes request ids unique among all runs of all coordinators.
        epoch_s: Unix time when the events' time was 0.
    """

    def __init__(self, settings: ProfilingSettings, *, prefix: str, epoch_s: float = 0.0) -> None:
        self._settings = settings
        self._epoch_s = epoch_s
        self._prefix = prefix
        self._count = 0
        self._needs = Needs()
        self._devices: dict[str, ProbeDevice] = {}
        self._known: dict[Key, Summary] = {}
        self._renewed: dict[Key, Summary] = {}  # the old ones hold until these are done
        self._probes: dict[str, _Probe] = {}
        self._lost: dict[str, _Probe] = {}  # the last probe each device did not end
        self._shown: dict[Key, str] = {}  # the device a target was last given to

    def restore(self, rows: Mapping[Key, Summary]) -> None:
        """What an earlier run kept, but for what is no measurement: that is measured again."""
        for key, summary in rows.items():
            summary.clean()
            if summary.usable(key) or summary.cause is not None:
                self._known[key] = summary

    # ---- what there is ----------------------------------------------------------------------

    def summary(self, key: Key) -> Summary | None:
        """A target that is done and has a result."""
        found = self._known.get(key)
        return found if found and found.done and found.cause is None else None

    def missing(self, query: str) -> set[Key]:
        """What a query still waits for."""
        wanted = self._needs.by_query.get(query, frozenset())
        return {key for key in wanted if not self._done(key)}

    @property
    def needs(self) -> Needs:
        """What is wanted now."""
        return self._needs

    def measured_by(self, key: Key) -> frozenset[str]:
        """Devices that the samples of a target are known to come from."""
        summary = self._known.get(key)
        return (
            frozenset(take.device for take in summary.takes if take.device)
            if summary
            else frozenset()
        )

    def results(self) -> dict[Key, Summary]:
        """All that is done, given up included."""
        return {key: summary for key, summary in self._known.items() if summary.done}

    def progress(self) -> tuple[int, int, list[DeviceProgress]]:
        """Targets done, targets known to be needed, and the same by device."""
        done: dict[str, int] = {}
        total: dict[str, int] = {}
        for key in self._needs.keys:
            device = self._shown.get(key) or self._likely(key) or "-"
            total[device] = total.get(device, 0) + 1
            done[device] = done.get(device, 0) + self._done(key)
        running = {probe.device.id: probe.text for probe in self._probes.values()}
        rows = [
            DeviceProgress(
                device=device,
                done=done.get(device, 0),
                total=total.get(device, 0),
                running=running.get(device),
            )
            for device in sorted({*total, *running})
        ]
        return sum(done.values()), sum(total.values()), rows

    # ---- events -----------------------------------------------------------------------------

    def on_needs(self, needs: Needs, now: float) -> list[Instruction]:
        """Queries, pipelines or the fleet changed."""
        self._needs = needs
        wanted = {*needs.keys, *needs.extra}
        orders: list[Instruction] = []
        for probe in list(self._probes.values()):
            if not wanted.intersection(probe.open):
                orders.append(self._cancel(probe))
                orders += self._drop(probe)
        return orders + self._schedule(now)

    def on_devices(self, devices: Mapping[str, ProbeDevice], now: float) -> list[Instruction]:
        """Devices came, went, or have a new session."""
        self._devices = dict(devices)
        kept: list[Instruction] = []
        for probe in list(self._probes.values()):
            present = devices.get(probe.device.id)
            session = present and (present.boot_id, present.session)
            if session != (probe.device.boot_id, probe.device.session):
                kept += self._drop(probe)
                self._lost[probe.device.id] = probe
        kept += [order for device in devices.values() for order in self._returned(device)]
        return kept + self._schedule(now)

    def on_samples(self, message: ProbeSamples, now: float) -> list[Instruction]:
        """Samples came in."""
        probe = self._probes.get(message.request_id)
        if (
            probe is None
            or probe.device.id != message.device
            or not 0 <= message.target < len(probe.keys)
            or message.target in probe.closed
        ):
            return []
        key = probe.keys[message.target]
        summary = self._growing(key)
        # An older agent begins with the first input, wherever it was told to.
        first = probe.scored.get(message.target, 0) if message.first is None else message.first
        probe.scored[message.target] = first + len(message.scores)
        summary.take(message, first=first, time_s=self._epoch_s + now)
        if message.done:
            return self._close(probe, message.target, message.cause)
        if isinstance(key, OperatorKey) and summary.enough(self._enough([key])):
            kept = self._close(probe, message.target, None)
            return [*kept, self._cancel(probe, [message.target])]
        probe.deadline = max(probe.deadline, now + self._settings.answer_s)
        return []

    def on_result(self, message: CommandResult, now: float) -> list[Instruction]:
        """A probe is over."""
        probe = self._probes.get(message.request_id)
        if probe is None or probe.device.id != message.device:
            return []
        return self._end(probe, message.error if not message.ok else None, now)

    def stale(self, keys: Iterable[Key], now: float) -> list[Instruction]:
        """Measure these anew; what is known of them holds until then."""
        for key in keys:
            if key in self._known and self._known[key].done:
                self._renewed.setdefault(key, Summary())
        return self._schedule(now)

    def forget(self, device_class: str, *, before_s: float = math.inf) -> None:
        """What was measured of a class before this Unix time holds no more."""
        for key, summary in list(self._known.items()):
            if not isinstance(key, OperatorKey) or key.device_class != device_class:
                continue
            if any((take.time_s or 0.0) < before_s for take in summary.takes):
                del self._known[key]
                self._renewed.pop(key, None)

    def on_tick(self, now: float) -> list[Instruction]:
        """Time passed."""
        orders: list[Instruction] = []
        for probe in list(self._probes.values()):
            if now >= probe.deadline:
                orders.append(self._cancel(probe))
                orders += self._end(probe, "did not answer in time", now)
        return orders + self._schedule(now)

    # ---- ends -------------------------------------------------------------------------------

    def _end(self, probe: _Probe, error: str | None, now: float) -> list[Instruction]:
        orders: list[Instruction] = []
        for target in range(len(probe.keys)):
            if target not in probe.closed:
                orders += self._close(probe, target, error or "no samples came")
        del self._probes[probe.request_id]
        return orders + self._schedule(now)

    def _close(self, probe: _Probe, target: int, cause: str | None) -> list[Instruction]:
        """A target gets no more samples from this probe: done, given up, or to be tried again."""
        probe.closed.add(target)
        key = probe.keys[target]
        summary = self._growing(key)
        cut_off = cause is not None and summary.cut_off(key, self._settings)
        if summary.usable(key) and not cut_off:
            summary.done = True
            summary.cause = None
            self._known[key] = summary
            self._renewed.pop(key, None)
        else:
            self._failed(summary, cause or "no samples came", probe.device.boot_id)
        if key in self._renewed:  # the old ones go on holding
            if summary.done:
                del self._renewed[key]
            return []
        return [Keep(key=key, summary=summary)] if summary.done or summary.samples else []

    def _growing(self, key: Key) -> Summary:
        """What samples of a target go into."""
        renewed = self._renewed.get(key)
        return self._known.setdefault(key, Summary()) if renewed is None else renewed

    def _failed(self, summary: Summary, cause: str, boot_id: str) -> None:
        summary.attempts += 1
        summary.cause = cause
        summary.boot_id = boot_id
        summary.done = summary.attempts >= self._settings.attempts

    def _drop(self, probe: _Probe) -> list[Instruction]:
        """Nobody waits for it any more; what it has is kept."""
        del self._probes[probe.request_id]
        known = [(key, self._known[key]) for key in probe.open if key in self._known]
        return [Keep(key=key, summary=summary) for key, summary in known if summary.samples]

    def _returned(self, device: ProbeDevice) -> list[Instruction]:
        """A device that was started anew amid scoring: perhaps the operators brought it down.

        One that only lost its connection is not to blame.
        """
        probe = self._lost.pop(device.id, None)
        if probe is None or device.boot_id == probe.device.boot_id:
            return []
        kept: list[Instruction] = []
        elsewhere = {key for other in self._probes.values() for key in other.keys}
        for key in probe.open:
            if isinstance(key, AccuracyKey) and not (key in elsewhere or self._done(key)):
                summary = self._known.setdefault(key, Summary())
                self._failed(summary, "the device was started anew", device.boot_id)
                if summary.done:
                    kept.append(Keep(key=key, summary=summary))
        return kept

    def _cancel(self, probe: _Probe, targets: list[int] | None = None) -> Send:
        return Send(
            device=probe.device.id,
            command=CancelProbe(
                request_id=self._request_id(),
                boot_id=probe.device.boot_id,
                session=probe.device.session,
                probe=probe.request_id,
                targets=targets,
            ),
        )

    def _done(self, key: Key) -> bool:
        if key in self._renewed:
            return False
        summary = self._known.get(key)
        if summary is None or not summary.done:
            return False
        return summary.cause is None or not self._worth_another_try(key, summary)

    def _worth_another_try(self, key: Key, summary: Summary) -> bool:
        """It failed, but all devices that could be asked have been started anew since."""
        boots = {device.boot_id for device in self._able(key)}
        return bool(boots) and summary.boot_id not in boots

    # ---- beginnings -------------------------------------------------------------------------

    def _request_id(self) -> str:
        self._count += 1
        return f"{self._prefix}-{self._count}"

    def _schedule(self, now: float) -> list[Instruction]:
        orders: list[Instruction] = []
        taken = {key for probe in self._probes.values() for key in probe.keys}
        wanted = [*self._needs.keys, *self._needs.extra]
        missing = [key for key in wanted if key not in taken and not self._done(key)]
        for key in missing:
            summary = self._known.get(key)
            if summary is not None and summary.done and key not in self._renewed:
                # Given up once; worth another try, beside the samples there are.
                summary.done, summary.attempts, summary.cause = False, 0, None
        links = [key for key in missing if isinstance(key, LinkKey)]
        operators = [key for key in missing if isinstance(key, OperatorKey)]
        accuracy = [key for key in missing if isinstance(key, AccuracyKey)]
        orders += self._links(links, now)
        orders += self._operators(operators, now)
        orders += self._accuracy(accuracy, now)
        return orders

    def _links(self, missing: list[LinkKey], now: float) -> list[Send]:
        orders = []
        for key in missing:
            caller, peer = self._needs.links[key]
            if {caller, peer.device} <= self._free():
                device = self._devices[caller]
                command = link_command(self._request_id(), device, peer)
                text = f"link to {peer.device}"
                ends = frozenset({peer.device})
                orders.append(self._start(device, [key], command, text, now, ends))
        return orders

    def _operators(self, missing: list[OperatorKey], now: float) -> list[Send]:
        orders = []
        for device_class in sorted({key.device_class for key in missing}):
            if any(_measures_class(probe, device_class) for probe in self._probes.values()):
                continue
            mine = [key for key in missing if key.device_class == device_class]
            device = self._pick(self._able(mine[0]))
            if device is None:
                continue
            pipeline = mine[0].pipeline
            chunk = [
                key
                for key in mine
                if key.pipeline == pipeline and device.offers(key.implementation)
            ][: self._settings.operator_chunk]
            work = self._needs.work[pipeline]
            enough = self._enough(chunk)
            command = operator_command(self._request_id(), device, work, chunk, enough)
            orders.append(self._start(device, chunk, command, f"{pipeline}: operators", now))
        return orders

    def _enough(self, keys: Sequence[OperatorKey]) -> ProfilingSettings:
        """When targets of one class have samples enough."""
        most = max(self._needs.extra.get(key, 0) for key in keys)
        if not most:
            return self._settings
        return dataclasses.replace(self._settings, min_samples=most, max_samples=most)

    def _accuracy(self, missing: list[AccuracyKey], now: float) -> list[Send]:
        orders = []
        for pipeline in sorted({key.pipeline for key in missing}):
            if any(_scores(probe, pipeline) for probe in self._probes.values()):
                continue
            mine = [key for key in missing if key.pipeline == pipeline]
            device = self._pick(preferred(mine[0], self._devices.values(), self._needs))
            if device is None:
                continue
            chunk = mine[: self._settings.accuracy_chunk]
            work = self._needs.work[pipeline]
            first = [known.next_input if (known := self._known.get(key)) else 0 for key in chunk]
            command = accuracy_command(
                self._request_id(), device, work, chunk, self._settings, first=first
            )
            orders.append(self._start(device, chunk, command, f"{pipeline}: accuracy", now))
        return orders

    def _start(
        self,
        device: ProbeDevice,
        keys: Sequence[Key],
        command: ProbeCommand,
        text: str,
        now: float,
        ends: frozenset[str] = frozenset(),
    ) -> Send:
        self._probes[command.request_id] = _Probe(
            request_id=command.request_id,
            device=device,
            keys=list(keys),
            text=text,
            deadline=now + command.budget_s + self._settings.answer_s,
            ends=ends,
        )
        for key in keys:
            self._shown[key] = device.id
        return Send(device=device.id, command=command, text=text)

    # ---- devices ----------------------------------------------------------------------------

    def _free(self) -> set[str]:
        limit = self._settings.max_parallel
        if limit is not None and len(self._probes) >= limit:
            return set()
        taken = {probe.device.id for probe in self._probes.values()}
        taken.update(end for probe in self._probes.values() for end in probe.ends)
        return set(self._devices) - taken

    def _pick(self, candidates: list[ProbeDevice]) -> ProbeDevice | None:
        free = self._free()
        return next((device for device in candidates if device.id in free), None)

    def _able(self, key: Key) -> list[ProbeDevice]:
        return able(key, self._devices.values(), self._needs)

    def _likely(self, key: Key) -> str | None:
        found = preferred(key, self._devices.values(), self._needs)
        return found[0].id if found else None


def _measures_class(probe: _Probe, device_class: str) -> bool:
    key = probe.keys[0]
    return isinstance(key, OperatorKey) and key.device_class == device_class


def _scores(probe: _Probe, pipeline: str) -> bool:
    key = probe.keys[0]
    return isinstance(key, AccuracyKey) and key.pipeline == pipeline
