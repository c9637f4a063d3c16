"""What goes into an instance and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circinus_agent.runtime.outcome import Failure

__all__ = ["BatchResult", "ItemResult", "Payload", "failed_batch"]

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
        service_ms: From handing the batch to its process until its results are here, which is
            how long the process can take no other; with what emulation adds. 0 where the
            process did not live to tell.
        compute_s: CPU seconds of the batch, times the slow-down.
    """

    items: Sequence[ItemResult]
    service_ms: float = 0.0
    compute_s: float = 0.0


def failed_batch(size: int, failure: Failure) -> BatchResult:
    """A batch of which every request failed."""
    return BatchResult([ItemResult(None, failure)] * size)
