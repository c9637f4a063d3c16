"""An operator instance: its replicas, kept alive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from circinus.messages import InstanceReport, InstanceSpec
from circinus_agent.runtime.outcome import Failure
from circinus_agent.runtime.settings import RuntimeSettings

__all__ = ["BatchResult", "Instance", "ItemResult", "Payload"]

Payload = bytes | Mapping[str, bytes]
"""One request's input, encoded: of a join, a map from upstream step to its output."""


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One request's output (encoded), or why there is none; `usd` is what it metered."""

    payload: bytes | None
    failure: Failure | None = None
    usd: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A batch's results in order.

    Attributes:
        service_ms: Duration of the batch on this device, emulated where it is.
        compute_s: CPU seconds of the batch, times the slow-down.
    """

    items: Sequence[ItemResult]
    service_ms: float = 0.0
    compute_s: float = 0.0


class Instance:
    """Supervises the replicas of one spec.

    Args:
        on_change: Called after every change of `report()`.
    """

    def __init__(
        self,
        spec: InstanceSpec,
        settings: RuntimeSettings,
        *,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def memory_mb(self) -> float:
        """Resident memory of the largest replica after its setup or last batch."""
        raise NotImplementedError

    @property
    def version(self) -> str:
        """`Operator.version` of the class that runs."""
        raise NotImplementedError

    async def start(self) -> None:
        """Start all replicas; returns when all are ready.

        Raises:
            WorkerFailed: If one could not be started; the others are stopped again.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop all replicas: batches under way get the grace, then SIGKILL."""
        raise NotImplementedError

    async def call(self, batch: Sequence[Payload]) -> BatchResult:
        """Run one batch on the next idle replica; a dead replica fails it, it never raises."""
        raise NotImplementedError

    def report(self) -> InstanceReport:
        """starting, ready, failed or stopping."""
        raise NotImplementedError
