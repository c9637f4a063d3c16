"""Which devices are not like their class: what they serve, and what probes of them say.

Joins what does not know one another: documents and telemetry of devices, the profiler's samples,
and their factors. Time is the core's, in seconds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

import msgspec

from circinus.messages import DesiredBody
from circinus.pipeline import Config
from circinus_coordinator.fleet import Served
from circinus_coordinator.profiling import (
    Change,
    DriftSettings,
    Factor,
    Factors,
    Key,
    Needs,
    OperatorKey,
    Profiler,
    Seen,
    Summary,
    compared,
    own_class,
    telling,
)
from circinus_coordinator.store import MetaRecord

__all__ = ["FACTORS", "Deviations"]

FACTORS = "factors"

_Place = tuple[str, str, Config, int]


class _Kept(msgspec.Struct, kw_only=True, frozen=True):
    """A device that is apart, as it is stored."""

    device_class: str
    since_s: float
    """Unix time; what was measured of it alone before then was of another time."""
    value: float
    operators: dict[str, float] = {}


@dataclasses.dataclass(slots=True, kw_only=True)
class _Probing:
    """What is measured of a device alone.

    Attributes:
        targets: Its own keys, with those of its class.
        asked: Those whose samples tell next how it compares with its class.
        open: Those of them that are not measured yet.
        again_at: When to look whether it is still apart.
    """

    device_class: str
    targets: dict[OperatorKey, OperatorKey] = dataclasses.field(default_factory=dict)
    asked: set[OperatorKey] = dataclasses.field(default_factory=set)
    open: set[OperatorKey] = dataclasses.field(default_factory=set)
    again_at: float | None = None
    again_s: float = 0.0


class Deviations:
    """See the module.

    Args:
        profiler: With all that earlier runs measured.
        kept: What `record` made of them in an earlier run; None where there was none.
        samples: Of each config of a device that is apart; enough for a row.
        epoch_s: Unix time when the events' time was 0.
    """

    def __init__(
        self,
        settings: DriftSettings,
        profiler: Profiler,
        kept: bytes | None = None,
        *,
        samples: int,
        now: float,
        epoch_s: float = 0.0,
    ) -> None:
        self._samples_apart = samples
        self._epoch_s = epoch_s
        self._since_s: dict[str, float] = {}
        self._settings = settings
        self._profiler = profiler
        self._factors = Factors(settings)
        self._probing: dict[str, _Probing] = {}
        self._places: dict[_Place, list[OperatorKey]] = {}
        self._placed: Needs | None = None
        self._spoilt: list[OperatorKey] = []
        """Of classes, measured by devices that were not like them and have changed since."""
        rows = msgspec.json.decode(kept, type=dict[str, _Kept]) if kept else {}
        for device, row in rows.items():
            self._probing[device] = _Probing(device_class=row.device_class)
            # As with samples' dates: what was to come, by a clock that was set back, is of now.
            since_s = self._since_s[device] = min(row.since_s, epoch_s + now)
            profiler.forget(own_class(row.device_class, device), before_s=since_s)
        self._factors.restore(
            {d: Factor(value=row.value, operators=row.operators) for d, row in rows.items()}
        )

    @property
    def apart(self) -> Mapping[str, Factor]:
        """Devices that are not like their class."""
        return {
            device: dataclasses.replace(factor, since_s=self._since_s[device])
            for device, factor in self._factors.apart.items()
        }

    def record(self) -> MetaRecord:
        """They, for the store."""
        rows = {
            device: _Kept(
                device_class=self._probing[device].device_class,
                since_s=self._since_s[device],
                value=factor.value,
                operators=dict(factor.operators),
            )
            for device, factor in self.apart.items()
        }
        return MetaRecord(name=FACTORS, value=msgspec.json.encode(rows))

    # ---- events -----------------------------------------------------------------------------

    def served(
        self,
        device: str,
        device_class: str,
        served: Iterable[Served],
        body: DesiredBody,
        now: float,
    ) -> Change | None:
        """What a device served since its last message.

        Args:
            body: What it was told to run.
        """
        probing = self._probing.get(device)
        if probing is not None and probing.device_class != device_class:
            self._over(device, probing.device_class)
            self._factors.forget(device)
        keys = self._running(self._profiler.needs, device_class, body)
        seen = [
            found
            for one in served
            if one.instance in keys
            and (found := self._seen(device, keys[one.instance], one)) is not None
        ]
        change = self._factors.served(device, seen, now)
        if change is not None:
            self._over(device, device_class)
            if change.factor is not None:
                running = [key for found in keys.values() for key in found]
                self._begin(device, device_class, running, now)
        elif seen and device in self._probing:
            # What it serves shows whether it recovers.
            self._probing[device].again_at = now + self._settings.again_s
        return change

    def confirmed(
        self, device: str, device_class: str, body: DesiredBody, now: float
    ) -> list[tuple[OperatorKey, Summary]]:
        """Targets that what a device served agrees with: their samples are young again."""
        found = []
        running = self._running(self._profiler.needs, device_class, body)
        for instance, batches in self._factors.confirmed(device).items():
            for key in running.get(instance, ()):
                mine = _own(key, device) if device in self.apart else key
                summary = self._profiler.summary(mine)
                if summary is not None:
                    summary.confirm(int(batches), self._epoch_s + now)
                    found.append((mine, summary))
        return found

    def kept(self, key: Key, now: float) -> Change | None:
        """A target is done."""
        for device, probing in self._probing.items():
            if key in probing.open:
                probing.open.discard(key)
                return None if probing.open else self._probed(device, probing, now)
        return None

    def wanted(
        self, needs: Needs, present: Mapping[str, str], bodies: Mapping[str, DesiredBody]
    ) -> Needs:
        """What the fleet needs, and what is to be known of single devices.

        Args:
            present: Class of each device that is there.
            bodies: What each of them was told to run.

        A device is compared with its class once something is served: the first plans do not wait
        for it.
        """
        serving = any(body.routes for body in bodies.values())
        wanted = set(needs.keys)
        extra: dict[OperatorKey, int] = {}
        for device, device_class in sorted(present.items()):
            running = self._running(needs, device_class, bodies[device])
            if device in self.apart:
                probing = self._probing[device]
                self._aim(device, probing, [key for keys in running.values() for key in keys])
            elif serving and not running and device not in self._probing:
                self._calibrate(device, device_class, needs)
            if (found := self._probing.get(device)) is not None:
                apart = device in self.apart
                samples = self._samples_apart if apart else self._settings.calibration_samples
                extra |= {own: samples for own, key in found.targets.items() if key in wanted}
        return dataclasses.replace(needs, extra=extra)

    def due(self, now: float) -> list[OperatorKey]:
        """Targets to be measured anew: of devices that may have recovered, for all that is seen."""
        found, self._spoilt = self._spoilt, []
        for device, probing in self._probing.items():
            if probing.again_at is None:  # an earlier run's; it may have looked a moment ago
                self._later(probing, now)
            if device not in self.apart or probing.again_at is None or now < probing.again_at:
                continue
            if not probing.targets:  # an earlier run knew them
                self._aim(
                    device, probing, self._telling(probing.device_class, self._profiler.needs)
                )
            keys = list(probing.targets)[: max(self._settings.calibrated, 1)]
            probing.asked, probing.open = set(keys), set(keys)
            self._later(probing, now)
            found += keys
        return found

    # ---- inside -----------------------------------------------------------------------------

    def _running(
        self, needs: Needs, device_class: str, body: DesiredBody
    ) -> dict[str, list[OperatorKey]]:
        """By instance, the keys of its class that stand for it."""
        if self._placed is not needs:
            self._placed, self._places = needs, {}
            for key in needs.keys:
                if isinstance(key, OperatorKey):
                    place = (key.device_class, key.implementation, key.config, key.batch)
                    self._places.setdefault(place, []).append(key)
        found = {}
        for spec in body.instances:
            place = (device_class, spec.run, Config(spec.config), spec.batch)
            if place in self._places:
                found[spec.key] = self._places[place]
        return found

    def _seen(self, device: str, keys: list[OperatorKey], served: Served) -> Seen | None:
        class_ms: list[float] = []
        own_ms: list[float] = []
        factor = self.apart.get(device)
        for key in keys:
            class_ms += self._of_class(key, device)
            own_ms += self._samples(_own(key, device)) if factor is not None else ()
        if not class_ms:
            return None
        if factor is None:
            own_ms = class_ms
        elif not own_ms:
            own_ms = [ms * factor.of(keys[0].implementation) for ms in class_ms]
        return Seen(
            instance=served.instance,
            implementation=keys[0].implementation,
            class_ms=tuple(class_ms),
            expected_ms=tuple(own_ms),
            served=served.full,
            seconds=served.seconds,
        )

    def _of_class(self, key: OperatorKey, device: str) -> list[float]:
        """Samples of a class's target, to hold the device against; none where they are its own."""
        summary = self._profiler.summary(key)
        since_s = self._since_s.get(device, math.inf)
        if summary is None or summary.touched_by(device, since_s):
            return []
        return summary.latency_ms

    def _samples(self, key: OperatorKey) -> list[float]:
        summary = self._profiler.summary(key)
        return summary.latency_ms if summary is not None else []

    def _calibrate(self, device: str, device_class: str, needs: Needs) -> None:
        """Have one more device of a class that others were measured for compared with them."""
        telling = self._telling(device_class, needs)
        known = any(self._samples(_own(key, device)) for key in telling)
        others = [by for key in telling if (by := self._profiler.measured_by(key))]
        if not others or known or any(device in by for by in others):
            return
        probing = self._probing[device] = _Probing(device_class=device_class)
        self._aim(device, probing, telling)

    def _telling(self, device_class: str, needs: Needs) -> list[OperatorKey]:
        keys = (k for k in needs.keys if isinstance(k, OperatorKey))
        known = {k: self._samples(k) for k in keys if k.device_class == device_class}
        return telling({key: ms for key, ms in known.items() if ms}, self._settings)

    def _begin(
        self, device: str, device_class: str, keys: Iterable[OperatorKey], now: float
    ) -> None:
        probing = self._probing[device] = _Probing(device_class=device_class)
        self._since_s[device] = self._epoch_s + now
        self._aim(device, probing, keys)
        self._later(probing, now)

    def _later(self, probing: _Probing, now: float) -> None:
        settings = self._settings
        probing.again_s = min(2 * probing.again_s or settings.again_s, settings.again_cap_s)
        probing.again_at = now + probing.again_s

    def _aim(self, device: str, probing: _Probing, keys: Iterable[OperatorKey]) -> None:
        for key in keys:
            own = _own(key, device)
            if own in probing.targets:
                continue
            probing.targets[own] = key
            if self._profiler.summary(own) is None:
                probing.asked.add(own)
                probing.open.add(own)

    def _probed(self, device: str, probing: _Probing, now: float) -> Change | None:
        pairs = [(probing.targets[own], own) for own in probing.asked]
        mine = {key: self._samples(own) for key, own in pairs}
        theirs = {key: self._of_class(key, device) for key, _ in pairs}
        ratios = compared(mine, theirs, self._settings)
        change = self._factors.probed(device, ratios, now) if ratios else None
        if change is None:
            return None
        self._over(device, probing.device_class)  # what was not asked for is of another time
        if change.factor is not None:
            self._begin(device, probing.device_class, probing.targets.values(), now)
        return change

    def _over(self, device: str, device_class: str) -> None:
        """What was measured of a device alone holds no more."""
        self._probing.pop(device, None)
        since_s = self._since_s.pop(device, math.inf)
        for key in self._profiler.needs.keys:
            if isinstance(key, OperatorKey) and key.device_class == device_class:
                summary = self._profiler.summary(key)
                if summary is not None and summary.touched_by(device, since_s):
                    self._spoilt.append(key)
        self._profiler.forget(own_class(device_class, device))


def _own(key: OperatorKey, device: str) -> OperatorKey:
    return dataclasses.replace(key, device_class=own_class(key.device_class, device))
