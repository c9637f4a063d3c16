"""How devices differ from their class: by a factor each, and by operator where need be.

One notion for two things. A device that has slowed down since it was measured, and one more device
of a class that others were measured for, both serve as their class's profile says, times a
factor. The one shows by what it serves (`Factors.served`), the other by a short probe
(`Factors.probed`), and either may speak for both.

A device whose factor is beyond tolerance is apart: planned as the only one of a class of its own
(`own_class`), whose rows are its class's times the factor until they are measured there. Once it is
like its class again, the class's rows hold for it again; they were never touched.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from circinus.histogram import Histogram
from circinus.profile import LatencyStats, OperatorProfile, Provenance
from circinus_coordinator.profiling.drift import DriftSettings, Shift, Watch, ratio, typical_ms

__all__ = ["Change", "Factor", "Factors", "Seen", "own_class", "scaled"]

# An operator that served so many batches since another one changed shows whether it did, too.
_TELLING = 5
# Longer ago than this nobody looks.
_LATELY_S = 120.0
# A profile is confirmed by what was served this often: it ages by days, and each is written.
_CONFIRM_S = 600.0
_LONGEST_NAME = 128  # of a device class in a scenario


def own_class(device_class: str, device: str) -> str:
    """Name of the class that has one device only."""
    name = f"{device_class}@{device}"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """Service times of a device over those of its class.

    Attributes:
        value: Of all operators but those below.
        operators: By implementation.
        since_s: Unix time from which on it holds; what the device measured for its class since
            then needs no factor.
    """

    value: float = 1.0
    operators: Mapping[str, float] = field(default_factory=dict)
    since_s: float = field(default=math.inf, compare=False)

    def of(self, implementation: str) -> float:
        """Of one operator."""
        return self.operators.get(implementation, self.value)


def scaled(row: OperatorProfile, factor: float, device_class: str) -> OperatorProfile:
    """A row of a class, for a device of it that serves `factor` times as slowly.

    Compute seconds grow as much: a device that is slow because others use it has less to offer.
    """
    times = row.latency_ms
    return dataclasses.replace(
        row,
        device_class=device_class,
        latency_ms=LatencyStats(
            mean=times.mean * factor,
            p50=None if times.p50 is None else times.p50 * factor,
            p95=None if times.p95 is None else times.p95 * factor,
            p99=None if times.p99 is None else times.p99 * factor,
        ),
        compute_s={name: seconds * factor for name, seconds in row.compute_s.items()},
        provenance=Provenance.INTERPOLATED,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What an instance served between two messages.

    Attributes:
        instance: Its key on the device.
        implementation: Of its operator.
        class_ms: Samples of its class's profile.
        expected_ms: What it was planned with: those times the factor, or samples of its own.
        served: Service times of batches of the profile's size.
        seconds: Between the messages.
    """

    instance: str
    implementation: str
    class_ms: tuple[float, ...]
    expected_ms: tuple[float, ...]
    served: Histogram
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A device has another factor from now on.

    Attributes:
        factor: None where it is like its class again.
        implementation: Of the operator it was noticed by; None where a probe told.
        ratio: How that operator compares with its class now.
        seconds: It began so long ago; 0 where a probe told.
    """

    device: str
    factor: Factor | None
    implementation: str | None = None
    ratio: float = 1.0
    seconds: float = 0.0


@dataclass(slots=True)
class _Site:
    """An instance that is watched."""

    expected_ms: tuple[float, ...]
    class_ms: tuple[float, ...]
    implementation: str
    watch: Watch
    lately: deque[tuple[float, Histogram]] = field(default_factory=deque)
    untold_s: float = 0.0

    def take(self, seen: Seen) -> Shift | None:
        self.untold_s += seen.seconds
        self.lately.append((seen.seconds, seen.served))
        while sum(seconds for seconds, _ in self.lately) > _LATELY_S and len(self.lately) > 1:
            self.lately.popleft()
        return self.watch.observe(seen.served, seen.seconds)

    def against_class(self, shift: Shift) -> float:
        return shift.ratio * typical_ms(self.expected_ms) / typical_ms(self.class_ms)

    def ratio(self, seconds: float) -> float | None:
        """Against the class, over the last `seconds`; None where too little was served."""
        total, past = Histogram(), 0.0
        for lasted, served in reversed(self.lately):
            if past >= seconds:
                break
            past += lasted
            total.merge(served)
        return ratio(total, self.class_ms) if total.total >= _TELLING else None


@dataclass(slots=True)
class _Device:
    factor: Factor | None = None
    sites: dict[str, _Site] = field(default_factory=dict)
    hold_until: float = -math.inf
    hold_s: float = 0.0


class Factors:
    """The factors of all devices; time comes with the events, in seconds."""

    def __init__(self, settings: DriftSettings) -> None:
        self._settings = settings
        self._devices: dict[str, _Device] = {}

    def restore(self, factors: Mapping[str, Factor]) -> None:
        """What an earlier run knew."""
        for device, factor in factors.items():
            self._device(device).factor = factor

    @property
    def apart(self) -> dict[str, Factor]:
        """Devices that are not like their class, by id."""
        return {
            name: state.factor
            for name, state in sorted(self._devices.items())
            if state.factor is not None
        }

    def served(self, device: str, seen: Iterable[Seen], now: float) -> Change | None:
        """Compare what a device served since its last message with what was expected of it."""
        state = self._device(device)
        loudest: tuple[_Site, Shift] | None = None
        for one in seen:
            site = state.sites.get(one.instance)
            if site is None or site.expected_ms != one.expected_ms:
                site = state.sites[one.instance] = _Site(
                    expected_ms=one.expected_ms,
                    class_ms=one.class_ms,
                    implementation=one.implementation,
                    watch=Watch(one.expected_ms, self._settings),
                )
            shift = site.take(one)
            if shift and (loudest is None or shift.batches > loudest[1].batches):
                loudest = site, shift
        if loudest is None or now < state.hold_until:
            return None
        site, shift = loudest
        factor = self._since(state, site, shift)
        if self._alike(factor or Factor(), state.factor or Factor()):
            # Another than a moment ago, and still what the profile says.
            state.sites.clear()
            return None
        self._set(state, factor, now)
        return Change(
            device=device,
            factor=factor,
            implementation=site.implementation,
            ratio=site.against_class(shift),
            seconds=shift.seconds,
        )

    def probed(
        self, device: str, ratios: Mapping[str, Sequence[float]], now: float
    ) -> Change | None:
        """Take in what a probe of a device says.

        Args:
            ratios: By implementation, service times over the class's, one or more: one for each
                config.

        Returns:
            What has changed; None where the device is what it was taken for.
        """
        state = self._device(device)
        found = self._combined({n: statistics.geometric_mean(r) for n, r in ratios.items()})
        if self._alike(found or Factor(), state.factor or Factor()):
            return None
        self._set(state, found, now)
        return Change(device=device, factor=found)

    def confirmed(self, device: str) -> dict[str, float]:
        """By instance, how many independent batches went as expected; each is told once."""
        told = {}
        for instance, site in self._device(device).sites.items():
            if site.watch.worth >= _TELLING and site.untold_s >= _CONFIRM_S:
                told[instance], site.watch.worth, site.untold_s = site.watch.worth, 0.0, 0.0
        return told

    def forget(self, device: str) -> None:
        """It was withdrawn, or is of another class now."""
        self._devices.pop(device, None)

    # ---- inside -----------------------------------------------------------------------------

    def _device(self, device: str) -> _Device:
        return self._devices.setdefault(device, _Device())

    def _since(self, state: _Device, changed: _Site, shift: Shift) -> Factor | None:
        """The factor by all that was served since one operator changed."""
        before = state.factor or Factor()
        ratios = dict(before.operators)
        for site in state.sites.values():
            seen = site.ratio(shift.seconds)
            if seen is not None:
                ratios[site.implementation] = seen
        ratios[changed.implementation] = changed.against_class(shift)
        return self._combined(ratios)

    def _far(self, now: float, before: float) -> bool:
        return abs(math.log(now / before)) > 0.5 * math.log(self._settings.tolerance)

    def _combined(self, ratios: Mapping[str, float]) -> Factor | None:
        """A device's factor by those of some operators; None where it is like its class.

        Of the others nothing is believed but what these have in common: the least of it.
        """
        common = min(ratios.values(), key=lambda one: abs(math.log(one)))
        value = common if self._settings.beyond(common) else 1.0
        operators = {
            name: one
            for name, one in sorted(ratios.items())
            if self._far(one, value) and (value != 1.0 or self._settings.beyond(one))
        }
        return Factor(value=value, operators=operators) if value != 1.0 or operators else None

    def _alike(self, a: Factor, b: Factor) -> bool:
        names = {*a.operators, *b.operators}
        pairs = [(a.value, b.value), *((a.of(name), b.of(name)) for name in names)]
        return not any(self._far(one, other) for one, other in pairs)

    def _set(self, state: _Device, factor: Factor | None, now: float) -> None:
        """Each change makes the next one wait longer, until there was none for long."""
        settings = self._settings
        rested = now >= state.hold_until + settings.hold_cap_s
        state.hold_s = settings.hold_s if rested else min(2 * state.hold_s, settings.hold_cap_s)
        state.hold_until = now + state.hold_s
        state.factor = factor
        state.sites.clear()
