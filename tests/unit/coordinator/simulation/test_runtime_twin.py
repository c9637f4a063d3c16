"""The simulated stage does what the agents' real one does, request by request.

The real `Stage` and `Lines` run in a loop of virtual time, with the arrivals and service times
of the simulation; who is served when, and who is shed, has to be the same.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from circinus.messages import InstanceSpec
from circinus_agent.runtime.outcome import Failure
from circinus_agent.runtime.results import BatchResult, ItemResult, Payload
from circinus_agent.runtime.stage import Completed, Work
from circinus_agent.runtime.stage import Stage as RealStage
from circinus_agent.runtime.tokens import Lines
from circinus_coordinator.simulation.stages import Stage, Step
from circinus_coordinator.simulation.tokens import Machine
from circinus_coordinator.simulation.world import SERVED, World


class Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualLoop:
    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Timer]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._agenda, (when, next(self._order), timer))
        return timer

    def run(self) -> None:
        while self._agenda:
            when, _, timer = heapq.heappop(self._agenda)
            self.now = max(self.now, when)
            if timer.callback is not None:
                timer.callback()


class Replicas:
    def __init__(self, loop: VirtualLoop, count: int, draw: Callable[[], float]) -> None:
        self.loop, self.free, self.draw = loop, count, draw
        self.down: Failure | None = None
        self.on_idle: Callable[[], None] = lambda: None

    @property
    def idle(self) -> int:
        return self.free

    def dispatch(self, batch: Sequence[Payload], done: Callable[[BatchResult], None]) -> bool:
        self.free -= 1
        ms = self.draw()

        def finished() -> None:
            self.free += 1
            done(BatchResult([ItemResult(b"") for _ in batch], ms, 0.0))
            self.on_idle()

        self.loop.call_at(self.loop.now + ms / 1e3, finished)
        return True


Requests = list[tuple[float, float, int]]  # (arrival ms, deadline ms, stage)
Setting = tuple[int, int, int, dict[str, float]]
"""Of a stage: batch, replicas, cores, parts of accelerators."""

ACCELERATORS = {"gpu": 1.0, "npu": 2.0}


def really(requests: Requests, settings: list[Setting], cores: int, times: list[list[float]]):
    loop, lines = VirtualLoop(), Lines(cores, ACCELERATORS)
    stages = []
    for k, (batch, replicas, held, parts) in enumerate(settings):
        spec = InstanceSpec(
            key=str(k), run="x", batch=batch, replicas=replicas, cores=held, accelerators=parts
        )
        instance = Replicas(loop, replicas, deque(times[k]).popleft)
        stages.append(RealStage(spec, instance, lines, loop))
    ends: dict[int, float | None] = {}

    def submit(r: int, deadline: float, k: int) -> None:
        def done(end: Completed | Failure) -> None:
            ends[r] = loop.now * 1e3 if isinstance(end, Completed) else None

        stages[k].submit(Work(b"", deadline / 1e3, done))

    for r, (start, deadline, k) in enumerate(requests):
        loop.call_at(start / 1e3, lambda r=r, d=deadline, k=k: submit(r, d, k))
    loop.run()
    return [ends[r] for r in range(len(requests))]


def simulated(requests: Requests, settings: list[Setting], cores: int, times: list[list[float]]):
    world = World(
        np.array([start for start, _, _ in requests]),
        np.array([deadline for _, deadline, _ in requests]),
        shedding=True,
    )
    machine = Machine("d", cores, ACCELERATORS)
    steps = []
    for k, (batch, replicas, held, parts) in enumerate(settings):
        stage = Stage(world, machine, (str(k), "-"), [1.0] * batch)
        stage.hold({"cores": float(held), **parts})
        stage.replicas = stage.idle = replicas
        step = Step(stage, deque(times[k]).popleft, {}, 1)
        step.onward.append(world.finish)
        steps.append(step)
    world.run((steps[k].submit for _, _, k in requests), float("inf"))
    return [
        end if status == SERVED else None
        for end, status in zip(world.ends, world.status, strict=True)
    ]


@pytest.mark.parametrize("load", [0.5, 0.95, 1.6])
@pytest.mark.parametrize(
    ("settings", "cores"),
    [
        ([(1, 1, 1, {})], 4),
        ([(1, 3, 2, {})], 4),
        ([(4, 1, 1, {})], 4),
        ([(1, 2, 1, {}), (1, 2, 2, {}), (4, 1, 1, {})], 2),
        ([(8, 2, 1, {}), (1, 3, 1, {})], 2),
        ([(1, 3, 1, {"gpu": 0.4}), (1, 2, 0, {"gpu": 0.7}), (1, 2, 1, {})], 2),
        ([(4, 2, 1, {"gpu": 0.6, "npu": 0.9}), (1, 3, 2, {"npu": 1.2}), (1, 2, 1, {})], 2),
    ],
)
def test_same_requests_same_ends(settings: list[Setting], cores: int, load: float) -> None:
    rng = random.Random(f"{settings} {cores} {load}")
    full = sum(min(n, cores) * batch / 10 for batch, n, *_ in settings) / len(settings)
    now, requests = 0.0, []
    for _ in range(3000):
        now += rng.expovariate(load * full)
        requests.append((now, now + rng.choice([15, 40, 150, 1000]), rng.randrange(len(settings))))
    times = [[rng.lognormvariate(2.2, 0.5) for _ in range(3000)] for _ in settings]
    expected = really(requests, settings, cores, times)
    found = simulated(requests, settings, cores, times)
    assert [end is None for end in found] == [end is None for end in expected]
    served = [(a, b) for a, b in zip(found, expected, strict=True) if a is not None]
    assert [a for a, _ in served] == pytest.approx([b for _, b in served])
    assert load < 1 or any(end is None for end in found)
