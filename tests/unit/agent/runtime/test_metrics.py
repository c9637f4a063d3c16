"""Which metrics are loaded, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from circinus_agent.runtime import metrics as module
from circinus_agent.runtime.metrics import Metrics
from circinus_agent.runtime.outcome import WorkerFailed

DEADLINE_S = 10.0


class Fake:
    """A scorer that can be loaded once `failures` have been used up."""

    def __init__(self, failures: list[str]) -> None:
        self.state = "made"
        self._failures = failures

    async def start(self) -> None:
        if self._failures:
            raise WorkerFailed("m", self._failures.pop())
        self.state = "started"

    async def stop(self) -> None:
        self.state = "stopped"

    def score(self, output: bytes, label: bytes, done: Callable[[float], None]) -> None:
        raise AssertionError


class Bench:
    def __init__(self, *failures: str) -> None:
        self.failures = list(failures)
        self.made: list[Fake] = []
        self.metrics = Metrics(self.make)

    def make(self, metric: str) -> Fake:
        self.made.append(Fake(self.failures))
        return self.made[-1]

    async def ready(self, metric: str) -> None:
        async def appears() -> None:
            while self.metrics.get(metric) is None:
                await asyncio.sleep(0)

        await asyncio.wait_for(appears(), DEADLINE_S)


def test_a_metric_ends_with_the_last_query_that_needs_it() -> None:
    async def script() -> None:
        bench = Bench()
        bench.metrics.set({"m"})
        await bench.ready("m")
        bench.metrics.set({"m"})
        bench.metrics.set(set())
        assert bench.metrics.get("m") is None
        await bench.metrics.close()
        assert [fake.state for fake in bench.made] == ["stopped"]

    asyncio.run(script())


def test_a_metric_that_could_not_be_loaded_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_FIRST_S", 0.0)

    async def script() -> None:
        bench = Bench("killed: out of memory")
        bench.metrics.set({"m"})
        await bench.ready("m")
        assert [fake.state for fake in bench.made] == ["stopped", "started"]
        await bench.metrics.close()

    asyncio.run(script())
