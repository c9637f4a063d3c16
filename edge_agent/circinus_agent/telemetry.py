"""What the agent tells of its work: cumulative counters, so that a lost message costs nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import psutil

from circinus.messages import (
    InstanceTelemetry,
    LinkMeasurement,
    RouteTelemetry,
    Telemetry,
)
from circinus_agent.capabilities.hardware import BYTES_PER_MB, Health

__all__ = ["IDLE_PERIOD_S", "SERVING_PERIOD_S", "PlaneCounters", "RuntimeCounters", "Telemeter"]

# The monitor compares measured with promised over tens of seconds.
SERVING_PERIOD_S = 2.0
# A sign of life; the will tells of a loss sooner.
IDLE_PERIOD_S = 10.0


class RuntimeCounters(Protocol):
    """What is used of the runtime."""

    def route_telemetry(self) -> list[RouteTelemetry]:
        """Counters of routes."""
        ...

    def instance_telemetry(self) -> list[InstanceTelemetry]:
        """Counters of instances."""
        ...

    def dropped(self) -> dict[str, int]:
        """What was dropped."""
        ...

    def troubles(self) -> dict[str, str]:
        """Sources and sinks that do not work, by query."""
        ...


class PlaneCounters(Protocol):
    """What is used of the data plane."""

    def link_measurements(self) -> list[LinkMeasurement]:
        """Links as they are."""
        ...

    def dropped(self) -> dict[str, int]:
        """What was dropped."""
        ...


class Telemeter:
    """Makes the messages.

    Args:
        health: Reads temperature and throttling; may block for some milliseconds, so
            it is called in a thread.
        dropped: The daemon's own counts of what it ignored, by cause.
    """

    def __init__(
        self,
        device: str,
        boot_id: str,
        runtime: RuntimeCounters,
        plane: PlaneCounters,
        *,
        health: Callable[[], Health],
        dropped: Callable[[], Mapping[str, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._boot_id = boot_id
        self._runtime = runtime
        self._plane = plane
        self._health = health
        self._dropped = dropped
        self._clock = clock
        self._started = clock()
        self._seq = 0
        psutil.cpu_percent(None)  # the first call only sets the mark

    async def measure(self) -> Telemetry:
        """The state now; CPU is the mean since the last call, of all cores together.

        Counters are read in the event loop, which alone changes them.
        """
        self._seq += 1
        health = await asyncio.to_thread(self._health)
        memory = psutil.virtual_memory()
        return Telemetry(
            device=self._device,
            boot_id=self._boot_id,
            seq=self._seq,
            uptime_s=round(self._clock() - self._started, 3),
            cpu_percent=psutil.cpu_percent(None),
            memory_mb=round((memory.total - memory.available) / BYTES_PER_MB, 1),
            temperature_c=health.temperature_c,
            throttled=health.throttled,
            routes=self._runtime.route_telemetry(),
            instances=self._runtime.instance_telemetry(),
            links=self._plane.link_measurements(),
            dropped=self._merged(),
            troubles=self._runtime.troubles(),
        )

    def _merged(self) -> dict[str, int]:
        merged = dict(self._dropped())
        for counts in (self._runtime.dropped(), self._plane.dropped()):
            for cause, count in counts.items():
                merged[cause] = merged.get(cause, 0) + count
        return merged
