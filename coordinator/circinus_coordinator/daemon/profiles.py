"""Measurements as views."""

from __future__ import annotations

import math

from circinus.profile import LatencyStats
from circinus_coordinator.daemon.views import AccuracyRow, LinkRow, OperatorRow, ProfilesView
from circinus_coordinator.store import ProfileRecord, Store

__all__ = ["read_profiles"]


def read_profiles(store: Store) -> ProfilesView:
    """All that was measured; blocks."""
    return ProfilesView(
        operators=[_operator(row) for row in store.profiles()],
        accuracy=[
            AccuracyRow(
                pipeline=row.pipeline,
                config={name: dict(config) for name, config in row.config.items()},
                mean=row.mean,
                samples=row.samples,
                cause=row.cause,
            )
            for row in store.accuracy()
        ],
        links=[
            LinkRow(
                between=(row.a, row.b),
                rtt_ms=row.rtt_ms,
                bandwidth_mbps=row.bandwidth_mbps,
                samples=row.samples,
                emulated=row.emulated,
                cause=row.cause,
            )
            for row in store.links()
        ],
    )


def _operator(row: ProfileRecord) -> OperatorRow:
    stats = LatencyStats.of(list(row.latency_ms)) if row.latency_ms else None
    return OperatorRow(
        pipeline=row.pipeline,
        operator=row.operator,
        implementation=row.implementation,
        version=row.version,
        config=dict(row.config),
        device_class=row.device_class,
        batch=row.batch,
        samples=len(row.latency_ms),
        mean_ms=stats.mean if stats else None,
        p50_ms=stats.p50 if stats else None,
        p95_ms=stats.p95 if stats else None,
        compute_s=_mean(row.compute_s),
        memory_mb=row.memory_mb,
        output_bytes=_mean(row.output_bytes),
        price_usd_per_call=_mean(row.price_usd),
        emulated=row.emulated,
        cause=row.cause,
    )


def _mean(samples: tuple[float, ...]) -> float:
    return math.fsum(samples) / len(samples) if samples else 0.0
