"""What the daemon shows of measurements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from circinus.profile import Provenance

__all__ = [
    "AccuracyRow",
    "IntervalView",
    "LinkRow",
    "OperatorRow",
    "ProfileFilter",
    "ProfilesView",
]

ConfigDict = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFilter:
    """Which rows to show; None for any. Links belong to no pipeline, scores to no class."""

    pipeline: str | None = None
    operator: str | None = None
    device_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalView:
    """Where the truth is: wrong with a chance of at most 5 %, whenever one looks.

    Attributes:
        high: None where the samples say nothing of how large it can be.
        asymptotic: True of many samples only; no promise rests on it.
    """

    low: float
    high: float | None
    asymptotic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """What is known of a number's origin.

    Attributes:
        samples: Measured, whatever they are worth.
        emulated: On a device part of which is made up.
        cause: Why there are no more samples, where measuring failed.
        provenance: ``measured``; ``interpolated`` where it is another class's times a factor;
            ``assumed`` where it stands in the fleet file.
        done: No more samples were wanted.
        intervals: By the name of the number; those of stale rows widen with their age.
        worth: Independent samples that those are worth: fewer where they resemble one another.
        age_s: Half of the samples are at least so old, or were last agreed with by what was
            served; None where nobody knows.
        stale: Older than ``stale_after_s``.
        agreed: Independent batches that were served since, and agreed.
        devices: Where the samples come from.
        temperature_c: The highest while they were taken; None where nobody could tell.
        throttled: A device was, meanwhile.
        background_percent: The most that others used of a device, meanwhile.
    """

    samples: int
    emulated: bool = False
    cause: str | None = None
    provenance: Provenance = Provenance.MEASURED
    done: bool = True
    intervals: dict[str, IntervalView] = field(default_factory=dict)
    worth: int = 0
    age_s: float | None = None
    stale: bool = False
    agreed: int = 0
    devices: list[str] = field(default_factory=list)
    temperature_c: float | None = None
    throttled: bool | None = None
    background_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow(_Row):
    """A (pipeline/operator, config, device class, batch).

    Attributes:
        set_aside_ms: One sample that has nothing in common with the others and is in no number,
            but in every interval; None where there is none.
    """

    pipeline: str
    operator: str
    implementation: str
    version: str
    config: ConfigDict
    device_class: str
    batch: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    compute_s: float
    memory_mb: float
    output_bytes: float
    price_usd_per_call: float
    set_aside_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRow(_Row):
    """A config vector of a pipeline.

    Attributes:
        population: Inputs of the data set, `samples` of which have a score; None where unknown.
    """

    pipeline: str
    config: dict[str, ConfigDict]
    mean: float | None
    population: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRow(_Row):
    """A link between two devices; between any two of two tiers where it is assumed."""

    between: tuple[str, str]
    rtt_ms: float | None
    bandwidth_mbps: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilesView:
    """All that was measured, and what the planner goes by where nothing was."""

    operators: list[OperatorRow]
    accuracy: list[AccuracyRow]
    links: list[LinkRow]
