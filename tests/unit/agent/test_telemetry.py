from __future__ import annotations

import asyncio
import threading

from circinus.messages import InstanceTelemetry, LinkMeasurement, RouteTelemetry
from circinus_agent.capabilities.hardware import Health
from circinus_agent.telemetry import Telemeter


class Counting:
    """A runtime and a data plane that note which thread asks them."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def _asked(self) -> None:
        self.threads.add(threading.get_ident())

    def route_telemetry(self) -> list[RouteTelemetry]:
        self._asked()
        return []

    def instance_telemetry(self) -> list[InstanceTelemetry]:
        self._asked()
        return []

    def link_measurements(self) -> list[LinkMeasurement]:
        self._asked()
        return []

    def dropped(self) -> dict[str, int]:
        self._asked()
        return {}

    def troubles(self) -> dict[str, str]:
        self._asked()
        return {}


def test_counters_are_read_in_the_loop_and_health_is_not() -> None:
    counting = Counting()
    health_threads: set[int] = set()

    def health() -> Health:
        health_threads.add(threading.get_ident())
        return Health()

    telemeter = Telemeter("d", "boot", counting, counting, health=health, dropped=dict)
    asyncio.run(telemeter.measure())
    here = threading.get_ident()
    assert counting.threads == {here}
    assert here not in health_threads
