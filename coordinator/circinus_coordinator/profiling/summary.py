"""Samples of one target, and when there are enough of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from circinus.fleet import CORES
from circinus.messages import ProbeSamples
from circinus.profile import LatencyStats, OperatorProfile, Provenance
from circinus_coordinator.profiling.keys import OperatorKey
from circinus_coordinator.profiling.settings import ProfilingSettings

__all__ = ["Summary", "operator_profile", "relative_half_width"]

_Z_95 = 1.96
# One sample may be a fluke of starting up; from two on there is a spread to look at.
LEAST_SAMPLES = 2


@dataclass(slots=True, kw_only=True)
class Summary:
    """What is known of one target.

    Attributes:
        latency_ms: Whole batches; with `compute_s`, `output_bytes`, `price_usd` per request.
        scores: Of an accuracy target.
        rtt_ms: Of a link, with `bandwidth_mbps`.
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
    rtt_ms: list[float] = field(default_factory=list)
    bandwidth_mbps: list[float] = field(default_factory=list)
    emulated: bool = False
    done: bool = False
    cause: str | None = None
    attempts: int = 0
    boot_id: str = ""

    def take(self, message: ProbeSamples) -> None:
        """Add samples; what cannot be a measurement (negative) is left out."""
        self.latency_ms += _sound(message.latency_ms)
        self.compute_s += _sound(message.compute_s)
        self.output_bytes += _sound(message.output_bytes)
        self.price_usd += _sound(message.price_usd)
        self.scores += [score for score in message.scores if 0 <= score <= 1]
        self.rtt_ms += _sound(message.rtt_ms)
        self.bandwidth_mbps += [rate for rate in message.bandwidth_mbps if rate > 0]
        self.memory_mb = max(self.memory_mb, message.memory_mb or 0.0)
        self.emulated |= message.emulated

    @property
    def samples(self) -> int:
        """How many there are of what the target is about."""
        return max(len(self.latency_ms), len(self.scores), len(self.rtt_ms))

    @property
    def usable(self) -> bool:
        """A row can be made of it."""
        if self.scores:
            return True
        return bool(self.rtt_ms) or len(self.latency_ms) >= LEAST_SAMPLES

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


def operator_profile(key: OperatorKey, summary: Summary) -> OperatorProfile:
    """The scenario's row for a target with usable samples."""
    return OperatorProfile(
        operator=key.operator,
        pipeline=key.pipeline,
        config=key.config,
        device_class=key.device_class,
        batch=key.batch,
        latency_ms=LatencyStats.of(summary.latency_ms),
        compute_s={CORES: _mean(summary.compute_s)},
        memory_mb=summary.memory_mb,
        output_bytes=_mean(summary.output_bytes),
        price_usd_per_call=_mean(summary.price_usd),
        samples=len(summary.latency_ms),
        provenance=Provenance.MEASURED,
    )


def _mean(samples: Sequence[float]) -> float:
    return math.fsum(samples) / len(samples) if samples else 0.0


def _sound(samples: Sequence[float]) -> list[float]:
    return [value for value in samples if value >= 0 and math.isfinite(value)]
