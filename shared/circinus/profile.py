"""Profiles: measured behaviour of operators and the accuracy of pipelines."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from circinus import _checks as check
from circinus.errors import InvalidInput
from circinus.fleet import CORES
from circinus.pipeline import Config

__all__ = [
    "PARTS",
    "AccuracyProfile",
    "LatencyStats",
    "OperatorProfile",
    "Provenance",
    "whole_cores",
    "whole_parts",
]

PARTS = 60
"""An accelerator is handed out in so many parts: halves to sixths of it come out even."""

# So much over a whole number of cores is bookkeeping: a process's helper threads, a clock's tick.
_NO_CORE = 0.1
_ROUNDING = 1e-6


class Provenance(str, enum.Enum):
    """How a number came to be."""

    MEASURED = "measured"
    INTERPOLATED = "interpolated"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStats:
    """Service time of one batch, milliseconds.

    A profile with only a mean is deterministic: every quantile equals the mean.
    """

    mean: float
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    def __post_init__(self) -> None:
        check.not_negative(self.mean, "mean")
        last = 0.0
        for name in ("p50", "p95", "p99"):
            value = getattr(self, name)
            if value is None:
                continue
            check.not_negative(value, name)
            if value < last:
                raise InvalidInput(f"{name} lies below a lower quantile", key=name)
            last = value

    @property
    def deterministic(self) -> bool:
        """True where no quantile was given."""
        return self.p50 is None and self.p95 is None and self.p99 is None

    @classmethod
    def of(cls, samples_ms: list[float]) -> LatencyStats:
        """Mean and nearest-rank quantiles of at least one sample."""
        ordered = sorted(samples_ms)

        def rank(q: float) -> float:
            return ordered[max(0, math.ceil(q * len(ordered)) - 1)]

        return cls(
            mean=math.fsum(ordered) / len(ordered), p50=rank(0.5), p95=rank(0.95), p99=rank(0.99)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorProfile:
    """Measured behaviour of one (operator, config, device class, batch).

    Attributes:
        operator: Name of the operator.
        pipeline: Its pipeline, or None where the row holds for every pipeline with it.
        config: The knobs' values.
        device_class: Where it was measured.
        batch: Requests per batch.
        latency_ms: Service time of the whole batch.
        compute_s: Seconds of each per-second resource, per request.
        memory_mb: Memory of one instance.
        output_bytes: Mean size of one request's output.
        price_usd_per_call: Metered price per request.
        samples: Number of batches measured.
        provenance: How the numbers came to be.
    """

    operator: str
    pipeline: str | None = None
    config: Config = field(default_factory=Config)
    device_class: str
    batch: int = 1
    latency_ms: LatencyStats
    compute_s: Mapping[str, float] = field(default_factory=dict)
    memory_mb: float = 0.0
    output_bytes: float = 0.0
    price_usd_per_call: float = 0.0
    samples: int = 0
    provenance: Provenance = Provenance.MEASURED

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InvalidInput(f"must be at least 1, not {self.batch}", key="batch")
        for name, seconds in self.compute_s.items():
            check.not_negative(seconds, f"compute_s.{name}")
        check.not_negative(self.memory_mb, "memory_mb")
        check.not_negative(self.output_bytes, "output_bytes")
        check.not_negative(self.price_usd_per_call, "price_usd_per_call")
        check.not_negative(self.samples, "samples")

    @property
    def qualified(self) -> str:
        """The operator's name as the scenario writes it: ``pipeline/operator`` or ``operator``."""
        return f"{self.pipeline}/{self.operator}" if self.pipeline else self.operator

    @property
    def busy(self) -> dict[str, float]:
        """Of each resource it uses, how much a batch keeps busy on average while it runs."""
        batch_s = self.latency_ms.mean / 1e3
        return {
            resource: seconds * self.batch / batch_s
            for resource, seconds in self.compute_s.items()
            if seconds > 0 and batch_s > 0
        }

    @property
    def held(self) -> dict[str, float]:
        """Of each resource it uses, what a batch keeps from others: whole cores, whole parts."""
        return {
            resource: float(whole_cores(busy, 1.0))
            if resource == CORES
            else whole_parts(busy, 1.0) / PARTS
            for resource, busy in self.busy.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyProfile:
    """Measured accuracy of a pipeline under one config vector.

    Attributes:
        pipeline: Name of the pipeline.
        config: Config of each operator that has knobs.
        mean: Mean score in [0, 1].
        samples: Labelled samples it was measured on.
        provenance: How the number came to be.
    """

    pipeline: str
    config: Mapping[str, Config]
    mean: float
    samples: int = 0
    provenance: Provenance = Provenance.MEASURED

    def __post_init__(self) -> None:
        check.fraction(self.mean, "mean")
        check.not_negative(self.samples, "samples")

    @property
    def key(self) -> frozenset[tuple[str, Config]]:
        """Identity of the config vector: operators without knobs left out."""
        return frozenset((name, config) for name, config in self.config.items() if len(config))


def whole_cores(core_s: float, busy_s: float) -> int:
    """Cores a worker keeps from others while it runs: as many as it keeps busy, at least one.

    Args:
        core_s: Core-seconds it computes; 0 or less takes none.
        busy_s: Seconds it runs meanwhile, above 0.
    """
    return max(1, math.ceil(core_s / busy_s - _NO_CORE)) if core_s > 0 else 0


def whole_parts(accelerator_s: float, busy_s: float) -> int:
    """Parts of an accelerator (`PARTS` of one) that a worker keeps from others while it runs.

    Args:
        accelerator_s: Accelerator-seconds it computes.
        busy_s: Seconds it runs meanwhile, above 0.
    """
    return math.ceil(accelerator_s / busy_s * PARTS - _ROUNDING)
