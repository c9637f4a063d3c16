"""Measurements as views: each number with how sure it is, how old, and where from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from circinus.fleet import CORES, Link
from circinus.profile import OperatorProfile, Provenance
from circinus.scenario import Scenario
from circinus_coordinator.daemon.profile_views import (
    AccuracyRow,
    IntervalView,
    LinkRow,
    OperatorRow,
    ProfileFilter,
    ProfilesView,
)
from circinus_coordinator.daemon.records import takes_of
from circinus_coordinator.profiling import age, flukes, sure
from circinus_coordinator.profiling.sequences import Interval
from circinus_coordinator.store import AccuracyRecord, LinkRecord, ProfileRecord, Store

__all__ = ["read_profiles"]

_QUANTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}


def read_profiles(
    store: Store,
    *,
    planned: Scenario | None = None,
    now_s: float,
    stale_after_s: float,
    wanted: ProfileFilter,
) -> ProfilesView:
    """All that was measured, and what the planner went by where nothing was; blocks.

    Args:
        planned: What the planner was last given.
        now_s: Unix time.
    """
    at = _At(now_s=now_s, limit_s=stale_after_s)
    operators = [_operator(row, at) for row in store.profiles() if _fits(row, wanted)]
    accuracy = [
        _accuracy(row, at) for row in store.accuracy() if wanted.pipeline in (None, row.pipeline)
    ]
    links = [_link(row, at) for row in store.links()]
    if planned is not None:
        operators += _not_measured(planned, wanted)
        measured = {frozenset(row.between) for row in links if row.cause is None}
        links += [_assumed(link) for link in planned.links if _needed(link, planned, measured)]
    return ProfilesView(operators=operators, accuracy=accuracy, links=links)


@dataclass(frozen=True, slots=True, kw_only=True)
class _At:
    """When it is looked at."""

    now_s: float
    limit_s: float

    def origin(
        self, row: ProfileRecord | AccuracyRecord | LinkRecord, *, ages: bool
    ) -> dict[str, Any]:
        """What all rows have of `_Row` but their numbers."""
        takes = age.settled(takes_of(row), self.now_s)
        old = age.age_s(takes, self.now_s)
        heat = [take.temperature_c for take in takes if take.temperature_c is not None]
        load = [take.background_percent for take in takes if take.background_percent is not None]
        throttled = [take.throttled for take in takes if take.throttled is not None]
        return {
            "emulated": row.emulated,
            "cause": row.cause,
            "done": row.done,
            "age_s": old,
            "stale": ages and age.stale(old, self.limit_s),
            "agreed": max((take.agreed for take in takes), default=0),
            "devices": sorted({take.device for take in takes if take.device}),
            "temperature_c": max(heat, default=None),
            "throttled": any(throttled) if throttled else None,
            "background_percent": max(load, default=None),
        }

    def aged(self, number: sure.Sure, old: float | None) -> IntervalView:
        """Of what ages."""
        return _interval(age.widened(number.interval, number.value, old, self.limit_s))


def _fits(row: ProfileRecord | OperatorProfile, wanted: ProfileFilter) -> bool:
    return (
        wanted.pipeline in (None, row.pipeline)
        and wanted.operator in (None, row.operator)
        and wanted.device_class in (None, row.device_class)
    )


def _operator(row: ProfileRecord, at: _At) -> OperatorRow:
    origin = at.origin(row, ages=True)
    numbers: dict[str, sure.Sure] = {}
    if row.latency_ms:
        numbers["mean_ms"] = sure.mean(row.latency_ms)
        for name, part in _QUANTILES.items():
            numbers[name] = sure.quantile(row.latency_ms, part)
    means = (
        ("compute_s", row.compute_s),
        ("output_bytes", row.output_bytes),
        ("price_usd_per_call", row.price_usd),
    )
    numbers.update({name: sure.mean(samples) for name, samples in means if any(samples)})
    fluke = flukes.fluke(row.latency_ms)
    value = {name: number.value for name, number in numbers.items()}
    return OperatorRow(
        pipeline=row.pipeline,
        operator=row.operator,
        implementation=row.implementation,
        version=row.version,
        config=dict(row.config),
        device_class=row.device_class,
        batch=row.batch,
        samples=len(row.latency_ms),
        mean_ms=value.get("mean_ms"),
        p50_ms=value.get("p50_ms"),
        p95_ms=value.get("p95_ms"),
        p99_ms=value.get("p99_ms"),
        compute_s=_mean(row.compute_s),
        memory_mb=row.memory_mb,
        output_bytes=_mean(row.output_bytes),
        price_usd_per_call=_mean(row.price_usd),
        set_aside_ms=None if fluke is None else row.latency_ms[fluke],
        intervals={name: at.aged(number, origin["age_s"]) for name, number in numbers.items()},
        worth=numbers["p95_ms"].worth if numbers.get("p95_ms") else 0,
        **origin,
    )


def _accuracy(row: AccuracyRecord, at: _At) -> AccuracyRow:
    number = None
    if row.scores:
        number = sure.accuracy(row.scores, row.population)
    elif row.mean is not None and row.samples:
        number = sure.mean_accuracy(row.mean, row.samples)
    return AccuracyRow(
        pipeline=row.pipeline,
        config={name: dict(config) for name, config in row.config.items()},
        mean=row.mean,
        samples=row.samples,
        population=row.population,
        intervals={"mean": _interval(number.interval)} if number else {},
        worth=number.worth if number else 0,
        **at.origin(row, ages=False),
    )


def _link(row: LinkRecord, at: _At) -> LinkRow:
    origin = at.origin(row, ages=True)
    numbers = {
        name: sure.median(samples)
        for name, samples in (("rtt_ms", row.rtts_ms), ("bandwidth_mbps", row.bandwidths_mbps))
        if samples
    }
    return LinkRow(
        between=(row.a, row.b),
        rtt_ms=row.rtt_ms,
        bandwidth_mbps=row.bandwidth_mbps,
        samples=row.samples,
        intervals={name: at.aged(number, origin["age_s"]) for name, number in numbers.items()},
        worth=numbers["rtt_ms"].worth if numbers else 0,
        **origin,
    )


def _not_measured(planned: Scenario, wanted: ProfileFilter) -> Iterator[OperatorRow]:
    """Rows the planner went by that are made of others."""
    for row in planned.profiles:
        if row.provenance is Provenance.MEASURED or not _fits(row, wanted):
            continue
        spec = planned.pipelines[row.pipeline].operators[row.operator] if row.pipeline else None
        times = row.latency_ms
        yield OperatorRow(
            pipeline=row.pipeline or "",
            operator=row.operator,
            implementation=spec.implementation if spec else row.operator,
            version="",
            config=dict(row.config),
            device_class=row.device_class,
            batch=row.batch,
            samples=row.samples,
            provenance=row.provenance,
            mean_ms=times.mean,
            p50_ms=times.p50,
            p95_ms=times.p95,
            p99_ms=times.p99,
            compute_s=row.compute_s.get(CORES, 0.0),
            memory_mb=row.memory_mb,
            output_bytes=row.output_bytes,
            price_usd_per_call=row.price_usd_per_call,
        )


def _assumed(link: Link) -> LinkRow:
    return LinkRow(
        between=link.between,
        rtt_ms=link.rtt_ms,
        bandwidth_mbps=link.bandwidth_mbps,
        samples=0,
        provenance=Provenance.ASSUMED,
    )


def _needed(link: Link, planned: Scenario, measured: AbstractSet[frozenset[str]]) -> bool:
    """Some pair of devices it is about was not measured."""
    tiers: dict[str, list[str]] = {}
    for device in planned.devices:
        tiers.setdefault(device.tier, []).append(device.id)
    ends = [[end] if end in planned.device else tiers.get(end, []) for end in link.between]
    return any(a != b and frozenset((a, b)) not in measured for a in ends[0] for b in ends[1])


def _interval(found: Interval) -> IntervalView:
    return IntervalView(
        low=found.low,
        high=found.high if math.isfinite(found.high) else None,
        asymptotic=found.asymptotic,
    )


def _mean(samples: Iterable[float]) -> float:
    found = list(samples)
    return math.fsum(found) / len(found) if found else 0.0
