"""The facade that the agent's daemon uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from circinus.messages import (
    InstanceReport,
    InstanceSpec,
    InstanceTelemetry,
    Route,
    RouteTelemetry,
)
from circinus_agent.dataplane.frames import Frame
from circinus_agent.runtime.outcome import Outcome, ResultEvent
from circinus_agent.runtime.settings import RuntimeSettings

__all__ = ["Runtime", "Transport"]


class Transport(Protocol):
    """What the runtime needs of the data plane."""

    def send(self, device: str, frame: Frame) -> bool:
        """Queue a frame for `device`; False where it is not connected or too far behind."""
        ...

    def rtt_ms(self, device: str) -> float | None:
        """Round-trip time to `device`, if known."""
        ...

    def transit_ms(self, device: str, size_bytes: int) -> float:
        """Best guess of what a frame from or to `device` takes."""
        ...


class Runtime:
    """Runs instances and routes requests through them.

    Args:
        transport: The data plane (`DataPlane`); give it this runtime by `attach`.
        resolve: Turns a folder reference (a path or ``sha256:...``) into a folder.
        publish: Publishes a small result of a query whose sink is MQTT.
        on_change: Called with an instance's key after its report has changed.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        *,
        transport: Transport,
        resolve: Callable[[str], Path] = Path,
        publish: Callable[[str, bytes], None] | None = None,
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        raise NotImplementedError

    async def start_instance(self, spec: InstanceSpec) -> None:
        """Start an instance; returns when it is ready. A key that runs already is left alone.

        Raises:
            WorkerFailed: With the cause, if it could not be started.
        """
        raise NotImplementedError

    async def stop_instance(self, key: str) -> None:
        """Stop an instance; what waits for it fails with ``stopped``. Unknown keys are fine."""
        raise NotImplementedError

    def set_routes(self, routes: Sequence[Route]) -> None:
        """Take these routes and no others, at once; requests of removed ones finish.

        Call it from the event loop.
        """
        raise NotImplementedError

    def drained(self, plans: Iterable[str]) -> bool:
        """True once removed routes of these plans have nothing under way here any more."""
        raise NotImplementedError

    async def wait_drained(self, plans: Iterable[str], timeout_s: float) -> bool:
        """Wait for `drained`; False where `timeout_s` passed first."""
        raise NotImplementedError

    async def submit(
        self,
        query: str,
        inputs: bytes | Mapping[str, bytes],
        deadline_ms: float | None = None,
    ) -> Outcome:
        """Run one request of `query` through one of its active routes.

        Args:
            inputs: The payload of the sources on this device, or one per source operator.
            deadline_ms: Overrides the route's.
        """
        raise NotImplementedError

    def subscribe(self, query: str, callback: Callable[[ResultEvent], None]) -> Callable[[], None]:
        """Call `callback` with every result of `query` delivered here; returns how to stop."""
        raise NotImplementedError

    def instance_reports(self) -> dict[str, InstanceReport]:
        """State of every instance."""
        raise NotImplementedError

    def route_telemetry(self) -> list[RouteTelemetry]:
        """Counters of every route led here, also of those gone; cumulative."""
        raise NotImplementedError

    def instance_telemetry(self) -> list[InstanceTelemetry]:
        """Counters of every instance, also of those gone; cumulative."""
        raise NotImplementedError

    def dropped(self) -> dict[str, int]:
        """What was dropped, by cause: frames of unknown plans, lines of operators' output."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop sources, instances and sinks."""
        raise NotImplementedError
