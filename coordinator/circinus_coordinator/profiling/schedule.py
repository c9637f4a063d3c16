"""The profiler's state machine: needs, devices and samples in, commands out.

What is wanted is the agenda's to say, where it is measured dispatch's; here probes are followed.
A target ends as soon as nobody wants more of it. A probe whose device went away, or got a new
session, is forgotten and what it lacked is given out again: its samples so far are kept, and
scoring goes on after the last input that was scored. A score over few inputs because the probe
was cut off counts as a failure, as does a device that is started anew amid a target. What fails
`attempts` times is given up for that incarnation of the device, with its cause; queries do not
wait for it and the planner does not see it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from circinus.messages import CommandResult, ProbeSamples
from circinus_coordinator.profiling.agenda import Agenda
from circinus_coordinator.profiling.choice import able, preferred
from circinus_coordinator.profiling.commands import (
    accuracy_command,
    link_command,
    operator_command,
)
from circinus_coordinator.profiling.dispatch import Plan, Shares, next_probes
from circinus_coordinator.profiling.keys import AccuracyKey, Key, LinkKey, OperatorKey, upstream
from circinus_coordinator.profiling.ledger import START_S, Ledger
from circinus_coordinator.profiling.needs import Needs
from circinus_coordinator.profiling.orders import (
    DeviceProgress,
    Instruction,
    Keep,
    ProbeCommand,
    ProbeDevice,
    Send,
)
from circinus_coordinator.profiling.probes import Probe, Running, cancel
from circinus_coordinator.profiling.settings import ProfilingSettings
from circinus_coordinator.profiling.spending import Spending
from circinus_coordinator.profiling.summary import Summary

__all__ = ["Profiler"]

# What may have brought a device down is tried again after so long, then twice ... and at last this.
_PAUSE_S = 60.0
_LONGEST_PAUSE_S = 3600.0
_STARTED_ANEW = "the device was started anew"


class Profiler:
    """See the module; time comes with the events, in seconds.

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
        self._ledger = Ledger()
        self._agenda = Agenda(settings, self._ledger)
        self._shares = Shares(settings)
        self._running = Running()
        self._lost: dict[str, Probe] = {}  # the last probe each device did not end
        self._pauses: dict[Key, float] = {}  # the last one of what may bring devices down
        self._waits: dict[Key, float] = {}  # until when
        self._shown: dict[Key, str] = {}  # the device a target was last given to
        self.spending = Spending()

    def restore(self, rows: Mapping[Key, Summary]) -> None:
        """What an earlier run kept, but for what is no measurement: that is measured again."""
        for key, summary in rows.items():
            summary.clean()
            if summary.usable(key) or summary.cause is not None:
                self._ledger.rows[key] = summary
            if summary.cause == _STARTED_ANEW:  # how long it was to wait is not kept
                self._waits[key] = 0.0

    # ---- what there is ----------------------------------------------------------------------

    @property
    def needs(self) -> Needs:
        """What is wanted now."""
        return self._needs

    @property
    def version(self) -> int:
        """Changes whenever planning anew may give something else."""
        return self._agenda.version

    def ready(self, query: str) -> bool:
        """It may be planned: some plan can be promised, or nothing more is to be known."""
        return self._agenda.ready(query)

    def missing(self, query: str) -> set[Key]:
        """What a query still waits for."""
        return self._agenda.lacking(query)

    def summary(self, key: Key) -> Summary | None:
        """A target with a result that may be told."""
        found = self._ledger.rows.get(key)
        return found if found and found.cause is None and self._agenda.tell(key) else None

    def measured_by(self, key: Key) -> frozenset[str]:
        """Devices that the samples of a target are known to come from."""
        summary = self._ledger.rows.get(key)
        return (
            frozenset(take.device for take in summary.takes if take.device)
            if summary
            else (frozenset())
        )

    def results(self) -> dict[Key, Summary]:
        """All that the planner may be told, given up included."""
        return {key: row for key, row in self._ledger.rows.items() if self._agenda.tell(key)}

    def mean_accuracy(self, key: AccuracyKey) -> float | None:
        """Of a vector; never above a floor it is not certain to reach."""
        return self._agenda.mean_accuracy(key)

    def progress(self) -> tuple[int, int, list[DeviceProgress]]:
        """Targets that have what was asked for, targets asked for, and the same by device."""
        done: dict[str, int] = {}
        total: dict[str, int] = {}
        for key in self._needs.keys:
            if self._agenda.upto(key) or self._ledger.count(key) or self._ledger.over(key):
                device = self._shown.get(key) or self._likely(key) or "-"
                total[device] = total.get(device, 0) + 1
                done[device] = done.get(device, 0) + self._agenda.met(key)
        running = {probe.device.id: probe.text for probe in self._running}
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
        self._try_again(now)
        self._agenda.on_needs(needs)
        return self._unwanted(now) + self._schedule(now)

    def on_devices(self, devices: Mapping[str, ProbeDevice], now: float) -> list[Instruction]:
        """Devices came, went, or have a new session."""
        self._devices = dict(devices)
        orders: list[Instruction] = []
        for probe in self._running:
            present = devices.get(probe.device.id)
            session = present and (present.boot_id, present.session)
            if session != (probe.device.boot_id, probe.device.session):
                orders += self._drop(probe, now)
                self._lost[probe.device.id] = probe
        for device in devices.values():
            orders += self._returned(device, now)
        self._try_again(now)
        return orders + self._schedule(now)

    def on_samples(self, message: ProbeSamples, now: float) -> list[Instruction]:
        """Samples came in."""
        probe = self._running.get(message.request_id, message.device)
        target = message.target
        if probe is None or not 0 <= target < len(probe.keys) or target in probe.closed:
            return []
        key = probe.keys[target]
        summary = self._ledger.growing(key)
        before = summary.samples
        # An older agent begins with the first input, wherever it was told to.
        first = probe.scored.get(target, 0) if message.first is None else message.first
        probe.scored[target] = first + len(message.scores)
        summary.take(message, first=first, time_s=self._epoch_s + now)
        if summary.samples > before:
            probe.gained.add(target)
            self._agenda.on_samples(key)
        if message.done:
            if isinstance(key, AccuracyKey) and message.cause is None:
                # An older agent does not say how many there are, but scores all it was allowed.
                summary.population = summary.population or summary.samples or None
            return self._close(probe, target, message.cause)
        if not isinstance(key, LinkKey) and self._enough(key):
            kept = self._close(probe, target, None)
            return [*kept, cancel(probe, self._request_id(), [target])]
        probe.deadline = max(probe.deadline, now + self._settings.answer_s)
        return []

    def on_result(self, message: CommandResult, now: float) -> list[Instruction]:
        """A probe is over."""
        probe = self._running.get(message.request_id, message.device)
        if probe is None:
            return []
        return self._end(probe, message.error if not message.ok else None, now)

    def on_tick(self, now: float) -> list[Instruction]:
        """Time passed."""
        self._agenda.on_tick()
        if self._waits:
            needed = frozenset(self._needs.keys)
            if any(until <= now and key in needed for key, until in self._waits.items()):
                self._try_again(now)
        orders = self._unwanted(now)
        for probe in self._running:
            if now >= probe.deadline:
                orders.append(cancel(probe, self._request_id()))
                orders += self._end(probe, "did not answer in time", now)
        return orders + self._schedule(now)

    def turned_away(self, queries: Iterable[str]) -> None:
        """These got no room by the last decision, or not for all of their traffic."""
        self._agenda.turned_away(queries)

    def stale(self, keys: Iterable[Key], now: float) -> list[Instruction]:
        """Measure these anew; what is known of them holds until then."""
        for key in keys:
            if self._ledger.over(key):
                self._ledger.renewed.setdefault(key, Summary())
        return self._schedule(now)

    def forget(self, device_class: str, *, before_s: float = math.inf) -> None:
        """What was measured of a class before this Unix time holds no more."""
        gone = [
            key
            for key, summary in self._ledger.rows.items()
            if isinstance(key, OperatorKey)
            and key.device_class == device_class
            and any((take.time_s or 0.0) < before_s for take in summary.takes)
        ]
        for key in gone:
            self._ledger.forget(key)
        self._agenda.restart(gone)

    # ---- ends -------------------------------------------------------------------------------

    def _enough(self, key: Key) -> bool:
        """Nobody wants more of it now, nor soon at little cost."""
        if not self._agenda.met(key):
            return False
        if self._agenda.checking(key):
            return True
        n, most = self._ledger.count(key), self._settings.max_samples
        if not (self._settings.seek and isinstance(key, OperatorKey)) or not 0 < n < most:
            return True
        pipeline = self._needs.work[key.pipeline].pipeline
        # Whoever wants more later has to start it again, and all before it that make its inputs.
        again_s = START_S * len(upstream(pipeline, {key.operator}))
        mean_s = float(self._ledger.array(key, "latency_ms").mean()) / 1e3
        return (most - n) * mean_s > again_s

    def _end(self, probe: Probe, error: str | None, now: float) -> list[Instruction]:
        orders: list[Instruction] = []
        for target in range(len(probe.keys)):
            if target not in probe.closed:
                orders += self._close(probe, target, error or "no samples came")
        self._remove(probe, now)
        return orders + self._schedule(now)

    def _remove(self, probe: Probe, now: float) -> None:
        self._running.remove(probe)
        self._shares.ended(probe, now)
        self.spending.ended(probe, now)

    def _close(self, probe: Probe, target: int, cause: str | None) -> list[Instruction]:
        """A target gets no more samples from this probe: done, given up, or to be tried again."""
        probe.closed.add(target)
        key = probe.keys[target]
        summary = self._ledger.growing(key)
        cut_off = cause is not None and summary.cut_off(key, self._settings)
        vain = summary.done and target not in probe.gained and not self._agenda.met(key)
        if summary.usable(key) and not (cut_off or vain):
            summary.done, summary.cause, summary.attempts = True, None, 0
            self._agenda.on_samples(key)
            self._ledger.settle(key)
        else:
            self._failed(summary, cause or "no samples came", probe.device.boot_id)
            if key in self._ledger.renewed:  # the old ones go on holding
                if summary.done:
                    del self._ledger.renewed[key]
                return []
            if self._settings.seek and self._agenda.enough_to_tell(key):
                if summary.done:  # there will be no more
                    self._ledger.exhausted.add(key)
                summary.done, summary.cause = True, None  # but what there is will do
        self._agenda.on_samples(key)
        return [Keep(key=key, summary=summary)] if summary.done or summary.samples else []

    def _failed(self, summary: Summary, cause: str, boot_id: str) -> None:
        summary.attempts += 1
        summary.cause = cause
        summary.boot_id = boot_id
        summary.done = summary.attempts >= self._settings.attempts

    def _drop(self, probe: Probe, now: float) -> list[Instruction]:
        """Nobody waits for it any more; what it has is kept."""
        self._remove(probe, now)
        known = [(key, self._ledger.rows[key]) for key in probe.open if key in self._ledger.rows]
        for key, summary in known:
            if self._settings.seek and self._agenda.enough_to_tell(key):
                summary.done, summary.cause = True, None
        return [Keep(key=key, summary=summary) for key, summary in known if summary.samples]

    def _unwanted(self, now: float) -> list[Instruction]:
        """Give up probes of which nobody wants anything any more."""
        orders: list[Instruction] = []
        needed = frozenset(self._needs.keys) if len(self._running) else frozenset()
        for probe in self._running:
            # What nobody needs at all does not go on for being quick.
            if all(
                self._agenda.met(key) and (key not in needed or self._enough(key))
                for key in probe.open
            ):
                orders.append(cancel(probe, self._request_id()))
                orders += self._drop(probe, now)
        return orders

    def _returned(self, device: ProbeDevice, now: float) -> list[Instruction]:
        """A device that was started anew amid a target: perhaps that brought it down.

        One that only lost its connection is not to blame.
        """
        probe = self._lost.pop(device.id, None)
        if probe is None or device.boot_id == probe.device.boot_id:
            return []
        kept: list[Instruction] = []
        elsewhere = self._running.keys
        for key in probe.suspects:
            if isinstance(key, LinkKey) or key in elsewhere or self._agenda.met(key):
                continue
            summary = self._ledger.row(key)
            self._failed(summary, _STARTED_ANEW, device.boot_id)
            if summary.done:
                pause = min(2 * self._pauses.get(key, _PAUSE_S / 2), _LONGEST_PAUSE_S)
                self._pauses[key], self._waits[key] = pause, now + pause
                kept.append(Keep(key=key, summary=summary))
                self._agenda.on_samples(key)
        return kept

    def _try_again(self, now: float) -> None:
        """Have targets measured that failed on devices that were all started anew since.

        One that may have brought them down waits for a while, twice as long each time.
        """
        again = []
        for key in self._needs.keys:
            if self._ledger.given_up(key) and now >= self._waits.get(key, now):
                waited = self._waits.pop(key, None) is not None
                summary = self._ledger.rows[key]
                boots = {d.boot_id for d in able(key, self._devices.values(), self._needs)}
                if boots and (waited or summary.boot_id not in boots):
                    summary.done, summary.attempts, summary.cause = False, 0, None
                    again.append(key)
        if again:
            self._agenda.restart(again)

    # ---- beginnings -------------------------------------------------------------------------

    def _request_id(self) -> str:
        self._count += 1
        return f"{self._prefix}-{self._count}"

    def _schedule(self, now: float) -> list[Instruction]:
        plans = next_probes(
            now,
            settings=self._settings,
            needs=self._needs,
            agenda=self._agenda,
            ledger=self._ledger,
            devices=self._devices,
            running=self._running,
            shares=self._shares,
        )
        return [self._start(plan, now) for plan in plans]

    def _start(self, plan: Plan, now: float) -> Send:
        command = self._command(plan)
        self._running.add(
            Probe(
                command=command,
                device=plan.device,
                keys=list(plan.keys),
                text=plan.text,
                started=now,
                deadline=now + command.budget_s + self._settings.answer_s,
                ends=plan.ends,
                refining=plan.refining,
            )
        )
        for key in plan.keys:
            self._shown[key] = plan.device.id
        return Send(device=plan.device.id, command=command, text=plan.text)

    def _command(self, plan: Plan) -> ProbeCommand:
        request_id, device, first = self._request_id(), plan.device, plan.keys[0]
        if isinstance(first, LinkKey):
            return link_command(request_id, device, self._needs.links[first][1])
        work = self._needs.work[first.pipeline]
        if isinstance(first, OperatorKey):
            operators = [key for key in plan.keys if isinstance(key, OperatorKey)]
            few = max(self._needs.extra.get(key, 0) for key in operators)
            return operator_command(request_id, device, work, operators, self._settings, few)
        vectors = [key for key in plan.keys if isinstance(key, AccuracyKey)]
        spans = []
        for key in vectors:
            begin = self._ledger.growing(key).next_input
            spans.append((begin, max(self._agenda.upto(key) - begin, 1)))
        return accuracy_command(request_id, device, work, vectors, self._settings, spans)

    def _likely(self, key: Key) -> str | None:
        found = preferred(key, self._devices.values(), self._needs)
        return found[0].id if found else None
