"""The metrics of the queries led here: loaded while one needs them, tried again, then ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Protocol

from circinus_agent.dataplane.backoff import Backoff
from circinus_agent.runtime.outcome import WorkerFailed

__all__ = ["MetricScorer", "Metrics"]

logger = logging.getLogger(__name__)

# A metric that cannot be loaded may be mended, or its machine may have been short of memory.
RETRY_FIRST_S, RETRY_LAST_S = 10.0, 600.0


class MetricScorer(Protocol):
    """What is needed of a `Scorer`."""

    async def start(self) -> None:
        """Load the metric; raises `WorkerFailed`."""
        ...

    async def stop(self) -> None:
        """End its process."""
        ...

    def score(self, output: bytes, label: bytes, done: Callable[[float], None]) -> None:
        """Score an encoded output."""
        ...


class Metrics:
    """A scorer for each metric in use. Made and used in the event loop.

    Args:
        make: Makes the scorer of a metric.
    """

    def __init__(self, make: Callable[[str], MetricScorer]) -> None:
        self._make = make
        self._ready: dict[str, MetricScorer] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def get(self, metric: str | None) -> MetricScorer | None:
        """The scorer of `metric`; None where it is not loaded, or not yet."""
        return self._ready.get(metric) if metric else None

    def set(self, wanted: AbstractSet[str]) -> None:
        """Load these, and end the processes of all others."""
        for metric in self._lives.keys() - wanted:
            self._end(metric)
        for metric in sorted(wanted - self._lives.keys()):
            task = asyncio.create_task(self._live(metric), name=f"metric {metric}")
            self._lives[metric] = task

    async def close(self) -> None:
        """End all processes."""
        for metric in list(self._lives):
            self._end(metric)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _end(self, metric: str) -> None:
        self._ready.pop(metric, None)
        task = self._lives.pop(metric)
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _live(self, metric: str) -> None:
        """Load it, in as many tries as it takes; end it when cancelled."""
        backoff = Backoff(first_s=RETRY_FIRST_S, last_s=RETRY_LAST_S)
        told = ""
        while True:
            scorer = self._make(metric)
            try:
                await scorer.start()
                if self._lives.get(metric) is not asyncio.current_task():
                    return  # ended meanwhile
                self._ready[metric] = scorer
                await asyncio.Event().wait()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may do
                cause = error.cause if isinstance(error, WorkerFailed) else str(error)
                if cause != told:
                    told = cause
                    logger.error("outputs are not scored: metric %s: %s", metric, cause)
            finally:
                await scorer.stop()
            await asyncio.sleep(backoff.next())
