"""Samples of one target, and when there are enough of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from circinus.fleet import CORES
from circinus.messages import ProbeSamples
from circinus.profile import LatencyStats, OperatorProfile, Provenance
from circinus_coordinator.profiling.flukes import without_fluke
from circinus_coordinator.profiling.keys import AccuracyKey, Key, LinkKey, OperatorKey
from circinus_coordinator.profiling.settings import ProfilingSettings

__all__ = ["Summary", "Take", "median", "operator_profile", "relative_half_width"]

_Z_95 = 1.96
# One sample may be a fluke of starting up; from two on there is a spread to look at.
LEAST_SAMPLES = 2
# A score that was cut off is used from this many inputs on: with 20, the standard error of a
# share of right answers is at most sqrt(0.25 / 20) = 0.11.
LEAST_SCORES = 20
# No probe measures more than this; what says so is broken, and sums of it would not be finite.
_MOST_MS = 1e8  # more than a day
_MOST_S = 1e5
_MOST_BYTES = 1e12
_MOST_USD = 1e6
_MOST_MBPS = 1e9
_MOST_MB = 1e9
_LEAST_MBPS = 1e-6
_MOST_PERCENT = 100.0
# Of one target; nobody asks for as many.
_MOST_SAMPLES = 10_000
# Messages of ten samples come several times a second; one take is kept of so long.
_STRETCH_S = 10.0

V = TypeVar("V", float, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Samples of a target that came together, within some seconds.

    Attributes:
        samples: How many, of what the target is about.
        time_s: When the first came, in seconds of Unix time by the coordinator; None where nobody
            knows.
        device: Where from.
        temperature_c: The device's highest meanwhile.
        throttled: It ran slower than it can, because of heat or a weak supply.
        background_percent: The most that others than the probe used of all its cores, 0 to 100.
        confirmed_s: When what was served last agreed with them, Unix time.
        agreed: Independent batches that were served since, and agreed.
    """

    samples: int
    time_s: float | None = None
    device: str = ""
    temperature_c: float | None = None
    throttled: bool | None = None
    background_percent: float | None = None
    confirmed_s: float | None = None
    agreed: int = 0

    @property
    def last_s(self) -> float | None:
        """Unix time when they were known to be true; None where nobody knows."""
        if self.time_s is None or self.confirmed_s is None:
            return self.confirmed_s if self.time_s is None else self.time_s
        return max(self.time_s, self.confirmed_s)


@dataclass(slots=True, kw_only=True)
class Summary:
    """What is known of one target.

    Attributes:
        latency_ms: Whole batches; with `compute_s`, `output_bytes`, `price_usd` per request.
        scores: Of an accuracy target, in the data set's order, from its first input on.
        mean_only: Every score is the mean of the true ones, which nobody kept.
        population: Inputs the accuracy's data set has; None where nobody told.
        rtt_ms: Of a link, with `bandwidth_mbps`.
        takes: Where the samples come from, in their order; `samples` of them in all.
        done: No more samples are wanted.
        cause: Why there are no samples, where it was given up.
        attempts: How often it failed.
        boot_id: Incarnation of the device it failed on; another one is tried again.
    """

    latency_ms: list[float] = field(default_factory=list)
    compute_s: list[float] = field(default_factory=list)
    output_bytes: list[float] = field(default_factory=list)
    price_usd: list[float] = field(default_factory=list)
    memory_mb: float = 0.0
    scores: list[float] = field(default_factory=list)
    mean_only: bool = False
    population: int | None = None
    rtt_ms: list[float] = field(default_factory=list)
    bandwidth_mbps: list[float] = field(default_factory=list)
    takes: list[Take] = field(default_factory=list)
    emulated: bool = False
    done: bool = False
    cause: str | None = None
    attempts: int = 0
    boot_id: str = ""

    def take(self, message: ProbeSamples, *, first: int = 0, time_s: float | None = None) -> None:
        """Add samples; what cannot be a measurement (negative, beyond reason) is left out.

        Args:
            first: Place of the first of its scores in the data set's order. Scores of inputs
                that have one are not taken again; nor are any that leave out inputs.
            time_s: Unix time.
        """
        before = self.samples
        self.latency_ms += message.latency_ms
        self.compute_s += message.compute_s
        self.output_bytes += message.output_bytes
        self.price_usd += message.price_usd
        self._score(message, first)
        self.rtt_ms += message.rtt_ms
        self.bandwidth_mbps += message.bandwidth_mbps
        self.memory_mb = max(self.memory_mb, *_sound([message.memory_mb or 0.0], _MOST_MB), 0.0)
        self.emulated |= message.emulated
        new = self._sound_only() - before
        if new > 0:
            take = _take(message, new, time_s)
            last = self.takes.pop() if self.takes and _together(self.takes[-1], take) else None
            self.takes.append(_joined(last, take) if last else take)

    def _score(self, message: ProbeSamples, first: int) -> None:
        changed = None not in (self.population, message.population) and (
            self.population != message.population
        )
        # Of a data set with other inputs nothing goes on where the last one ended.
        if changed or (message.scores and self.mean_only and first == 0):
            self.scores, self.takes, self.mean_only = [], [], False
        self.population = message.population or self.population
        known = len(self.scores) - first
        if 0 <= known < len(message.scores) and not self.mean_only:
            self.scores += message.scores[known:]
            del self.scores[self.population or _MOST_SAMPLES :]

    def clean(self) -> None:
        """Leave out what cannot be a measurement, wherever it came from.

        Scores end with the first that is none: those after it would change places.
        """
        self.takes = _covering(self.takes, self._sound_only())

    def _sound_only(self) -> int:
        # A device that does not stop would fill memory and store.
        for values in (self.latency_ms, self.compute_s, self.output_bytes, self.price_usd):
            del values[_MOST_SAMPLES:]
        for values in (self.rtt_ms, self.bandwidth_mbps):
            del values[_MOST_SAMPLES:]
        self.latency_ms = _sound(self.latency_ms, _MOST_MS)
        self.compute_s = _sound(self.compute_s, _MOST_S)
        self.output_bytes = _sound(self.output_bytes, _MOST_BYTES)
        self.price_usd = _sound(self.price_usd, _MOST_USD)
        self.scores = list(itertools.takewhile(lambda score: 0 <= score <= 1, self.scores))
        self.rtt_ms = _sound(self.rtt_ms, _MOST_MS)
        self.bandwidth_mbps = _sound(self.bandwidth_mbps, _MOST_MBPS, least=_LEAST_MBPS)
        self.memory_mb = sum(_sound([self.memory_mb], _MOST_MB))
        return self.samples

    def touched_by(self, device: str, since_s: float) -> bool:
        """Some of the samples were taken on this device, after this Unix time."""
        return any(t.device == device and (t.time_s or 0.0) > since_s for t in self.takes)

    def confirm(self, batches: int, now_s: float) -> None:
        """So many independent batches were served as these samples say, up to this Unix time.

        They keep the samples young, and make no interval narrower.
        """
        self.takes = [
            dataclasses.replace(take, confirmed_s=now_s, agreed=take.agreed + batches)
            for take in self.takes
        ]

    @property
    def next_input(self) -> int:
        """Place of the first input of the data set that has no score yet."""
        return 0 if self.mean_only else len(self.scores)

    @property
    def samples(self) -> int:
        """How many there are of what the target is about."""
        return max(len(self.latency_ms), len(self.scores), len(self.rtt_ms))

    def usable(self, key: Key) -> bool:
        """A row can be made of it for `key`, whatever else a device has sent."""
        if isinstance(key, AccuracyKey):
            return bool(self.scores)
        if isinstance(key, LinkKey):
            return bool(self.rtt_ms)
        return len(self.latency_ms) >= LEAST_SAMPLES

    def cut_off(self, key: Key, settings: ProfilingSettings) -> bool:
        """Too few inputs were scored for a score, if the probe did not get through them all."""
        least = min(LEAST_SCORES, settings.accuracy_samples)
        return isinstance(key, AccuracyKey) and len(self.scores) < least

    def enough(self, settings: ProfilingSettings) -> bool:
        """An operator's mean latency is known as precisely as asked for."""
        n = len(self.latency_ms)
        if n < settings.min_samples:
            return False
        return (
            n >= settings.max_samples or relative_half_width(self.latency_ms) <= settings.precision
        )


def relative_half_width(samples: Sequence[float]) -> float:
    """Half the 95 % confidence interval of the mean over the mean; needs two samples."""
    mean = statistics.fmean(samples)
    if mean <= 0:
        return 0.0
    return _Z_95 * statistics.stdev(samples, mean) / math.sqrt(len(samples)) / mean


def median(samples: Sequence[float]) -> float | None:
    """The lower one of two; None of nothing."""
    return sorted(samples)[(len(samples) - 1) // 2] if samples else None


def operator_profile(key: OperatorKey, summary: Summary) -> OperatorProfile:
    """The scenario's row for a target with usable samples."""
    return OperatorProfile(
        operator=key.operator,
        pipeline=key.pipeline,
        config=key.config,
        device_class=key.device_class,
        batch=key.batch,
        latency_ms=LatencyStats.of(without_fluke(summary.latency_ms)),
        compute_s={CORES: _mean(summary.compute_s)},
        memory_mb=summary.memory_mb,
        output_bytes=_mean(summary.output_bytes),
        price_usd_per_call=_mean(summary.price_usd),
        samples=len(summary.latency_ms),
        provenance=Provenance.MEASURED,
    )


def _take(message: ProbeSamples, samples: int, time_s: float | None) -> Take:
    heat, load = message.temperature_c, message.background_percent
    return Take(
        samples=samples,
        time_s=time_s,
        device=message.device,
        temperature_c=heat if heat is not None and math.isfinite(heat) else None,
        throttled=message.throttled,
        background_percent=load if load is not None and 0 <= load <= _MOST_PERCENT else None,
    )


def _together(last: Take, new: Take) -> bool:
    """Of one device and one stretch of time, in which its heat and load hardly change."""
    if last.device != new.device or last.time_s is None or new.time_s is None:
        return False
    return last.confirmed_s is None and 0 <= new.time_s - last.time_s < _STRETCH_S


def _joined(last: Take, new: Take) -> Take:
    return dataclasses.replace(
        last,
        samples=last.samples + new.samples,
        temperature_c=_larger(last.temperature_c, new.temperature_c),
        throttled=_larger(last.throttled, new.throttled),
        background_percent=_larger(last.background_percent, new.background_percent),
    )


def _larger(a: V | None, b: V | None) -> V | None:
    return b if a is None or (b is not None and b > a) else a


def _covering(takes: Sequence[Take], samples: int) -> list[Take]:
    """As many samples as there are: of the oldest nobody knows where they come from."""
    found: list[Take] = []
    for take in reversed(takes):
        left = samples - sum(later.samples for later in found)
        if left > 0 and take.samples > 0:
            found.insert(0, dataclasses.replace(take, samples=min(take.samples, left)))
    unknown = samples - sum(take.samples for take in found)
    return [Take(samples=unknown), *found] if unknown else found


def _mean(samples: Sequence[float]) -> float:
    return math.fsum(samples) / len(samples) if samples else 0.0


def _sound(samples: Sequence[float], most: float, *, least: float = 0.0) -> list[float]:
    return [value for value in samples if least <= value <= most]  # NaN is not
