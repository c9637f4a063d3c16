"""What the machine is like while a probe measures: heat, and what else it has to do.

Kept beside samples as context, so that a slow hour can be told from a slow device.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from circinus_agent.capabilities.hardware import Health

__all__ = ["Conditions", "Load", "machine_core_s"]

# Temperatures move within seconds; on some machines asking takes a short child.
HEALTH_PERIOD_S = 2.0
# Ticks of the kernel's counters are 10 ms: over less, a percentage says nothing.
LEAST_S = 0.2
# Guests' time is in `user` already; stolen time is what a neighbouring machine took.
_WORKING = ("user", "nice", "system", "irq", "softirq", "steal")


def machine_core_s() -> float:
    """Core seconds this machine has worked since it was started, for anybody."""
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in _WORKING)


@dataclass(slots=True, kw_only=True)
class Conditions:
    """Kept up to date by `watch` while a probe runs.

    Attributes:
        read: Temperature and throttling now; may block for some milliseconds.
        core_s: Core seconds the machine has worked; None where it does not tell.
        cores: Of the machine, whatever the agent may use of them.
        health: As last read.
    """

    read: Callable[[], Health] = Health
    core_s: Callable[[], float] | None = None
    cores: float = 1.0
    health: Health = field(default_factory=Health)

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            self.health = await asyncio.to_thread(self.read)
            await asyncio.sleep(HEALTH_PERIOD_S)


class Load:
    """What others than the probe use of the machine."""

    def __init__(self, conditions: Conditions, clock: Callable[[], float]) -> None:
        self._conditions = conditions
        self._clock = clock
        self._since: tuple[float, float] | None = None

    def percent(self, own_core_s: float) -> float | None:
        """Since the last call, of all cores together, 0 to 100; None the first time.

        Args:
            own_core_s: What the probe has used of them meanwhile.
        """
        if self._conditions.core_s is None:
            return None
        now, worked = self._clock(), self._conditions.core_s()
        before, self._since = self._since, (now, worked)
        if before is None or now - before[0] < LEAST_S:
            return None
        others = (worked - before[1] - own_core_s) / (now - before[0]) / self._conditions.cores
        return round(min(max(100 * others, 0.0), 100.0), 1)
