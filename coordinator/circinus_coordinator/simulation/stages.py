"""Instances and the queue before each.

This follows the agents' runtime (`stage`, `batching`): most urgent first; a batch needs an idle
replica and its cores; who is hopeless is dropped; a batch that is not full may wait a little.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any

from circinus_coordinator.simulation.service import Draw
from circinus_coordinator.simulation.tokens import Holder, Machine
from circinus_coordinator.simulation.world import Go, World

__all__ = ["QUEUE_LIMIT", "Stage", "Step"]

# As in the runtime's stage and batching.
QUEUE_LIMIT = 128
LINGER_MAX_MS = 5.0
REMEMBERED = 8
DOUBT = 0.9
# Who waits is looked at again when surely hopeless, and not more often than this.
OVERDUE_MS = 1.0


class Stage(Holder):
    """The queue before an instance, and its replicas.

    Args:
        factors: Length of a batch of 1, 2, ... requests / of a full one.
    """

    __slots__ = (
        "batches", "caught_up", "estimate", "factors", "gap_ms", "idle", "last_arrival",
        "learns", "lingering", "looked", "name", "queue", "recent", "replicas", "requests", "slot",
        "steps", "waited", "world",
    )  # fmt: skip

    def __init__(
        self,
        world: World,
        machine: Machine,
        name: tuple[str, str],
        factors: Sequence[float] = (1.0,),
    ) -> None:
        self.world = world
        super().__init__(machine, len(factors))
        self.name = name
        self.factors = tuple(factors)
        self.replicas = self.idle = 0
        self.steps: list[Step] = []
        self.queue: list[tuple[float, int, float, int, Step]] = []
        self.lingering = False
        # The fastest of the last few batches; 0 before the first.
        self.learns = world.shedding or self.batch > 1
        self.estimate = 0.0
        self.recent = [0.0] + [math.inf] * (REMEMBERED - 1)
        self.slot = 0
        self.gap_ms = math.inf
        self.last_arrival = -math.inf
        self.looked = self.caught_up = -math.inf
        self.requests = self.batches = 0
        self.waited = 0.0

    def enqueue(self, now: float, r: int, step: Step) -> None:
        """Take a request into the queue, or refuse it where the device is down or too many wait."""
        world = self.world
        if self.machine.down:
            world.fail(r)
            return
        if self.batch > 1:
            gap = now - self.last_arrival
            self.gap_ms = gap if self.gap_ms == math.inf else 0.8 * self.gap_ms + 0.2 * gap
            self.last_arrival = now
        queue = self.queue
        if queue and world.shedding:
            self.catch_up(now)
        if world.shedding and len(queue) >= QUEUE_LIMIT:
            self._drop_hopeless(now)
            if len(queue) >= QUEUE_LIMIT:
                world.shed(r)
                return
        heapq.heappush(queue, (world.deadlines[r], world.order(), now, r, step))
        if self.idle:
            self.pump(now)
        self.looked = now

    def pump(self, now: float) -> None:
        """Start what can be started now."""
        queue, shedding = self.queue, self.world.shedding
        if queue and shedding:
            self.catch_up(now)
        self.looked = now
        while queue and self.idle and not self.lingering:
            if shedding:
                self._drop_hopeless(now)
                if not queue:
                    return
            if self.batch > 1 and self._linger(now):
                return
            if not self.take():
                return
            self._start(now)

    def _start(self, now: float) -> None:
        self.idle -= 1
        count = min(self.batch, len(self.queue))
        works = []
        for _ in range(count):
            _, _, since, r, step = heapq.heappop(self.queue)
            self.waited += now - since
            works.append((r, step))
        self.requests += count
        self.batches += 1
        first = works[0][1]
        ms = first.draw() * self.factors[count - 1] * self.machine.slow
        first.busy += ms
        if self.batch == 1:
            self.world.at(now + ms, first.done, works[0][0], ms)
        else:
            self.world.at(now + ms, first.batch_done, works, ms)

    def _linger(self, now: float) -> bool:
        """Whether to wait a little for a fuller batch; `pump` is called again then."""
        queue, estimate = self.queue, self.estimate
        if len(queue) >= self.batch or estimate <= 0:
            return False
        slack = queue[0][0] - now - estimate
        limit = min(LINGER_MAX_MS, estimate / 4, slack / 10)
        until = min(item[2] for item in queue) + limit
        if self.gap_ms >= limit or until <= now:
            return False
        self.lingering = True
        self.world.at(until, self.lingered, self)
        return True

    def lingered(self, now: float, _: Any, __: Any) -> None:
        """The wait for a fuller batch is over."""
        self.lingering = False
        self.pump(now)

    def catch_up(self, now: float) -> None:
        """Drop those who became hopeless since the queue was last looked at, each at its time.

        The runtime has a timer for them. Whoever changes queue or estimate calls this first, so
        that nobody can tell the difference.
        """
        queue = self.queue
        while queue and self.caught_up < now:
            time = max(queue[0][0] - self.estimate + OVERDUE_MS, self.looked + OVERDUE_MS)
            if time > now:
                break
            self.looked = time
            self._drop_hopeless(time)
        self.caught_up = now

    def _drop_hopeless(self, now: float) -> None:
        queue = self.queue
        while queue and queue[0][0] - now < self.estimate:
            deadline, _, _, r, _ = heapq.heappop(queue)
            self._give_up(deadline, now, r)

    def _give_up(self, deadline: float, now: float, r: int) -> None:
        if deadline > now:  # the estimate is to blame, so it is doubted
            self.recent = [ms * DOUBT for ms in self.recent]
            self.estimate *= DOUBT
        self.world.shed(r)

    def free(self, now: float, ms: float) -> None:
        """A batch that took `ms` is done: give back what it held, and learn from it."""
        if self.queue and self.world.shedding:
            self.catch_up(now)
        self.idle += 1
        if self.plain:
            cores = self.cores
            cores.free += self.tokens
            if cores.waiting:
                cores.wake(now)
        else:
            self.give(now)
        if self.learns:
            recent, slot = self.recent, self.slot
            gone, recent[slot] = recent[slot], ms
            self.slot = (slot + 1) % REMEMBERED
            if ms <= self.estimate:
                self.estimate = ms
            elif gone <= self.estimate:
                self.estimate = min(recent)


class Step:
    """One operator of one plan, at its instance.

    Args:
        draw: Of service times, ms, of a full batch.
        units: Of each resource, how much is in use on average while it runs.
        needs: Inputs it waits for.
    """

    __slots__ = ("busy", "came", "draw", "needs", "onward", "stage", "units", "world")

    def __init__(self, stage: Stage, draw: Draw, units: Mapping[str, float], needs: int) -> None:
        self.world = stage.world
        self.stage = stage
        self.draw = draw
        self.units = dict(units)
        self.needs = needs
        self.came: dict[int, int] = {}
        self.onward: list[Go] = []
        self.busy = 0.0
        stage.steps.append(self)

    @property
    def entry(self) -> Go:
        """Where inputs go."""
        return self.submit if self.needs <= 1 else self.join

    def join(self, now: float, r: int) -> None:
        """One of several inputs is here."""
        came = self.came.get(r, 0) + 1
        if came < self.needs:
            self.came[r] = came
        else:
            del self.came[r]
            self.submit(now, r)

    def submit(self, now: float, r: int) -> None:
        """All inputs are here: run, or queue."""
        stage = self.stage
        cores, tokens = stage.cores, stage.tokens
        # The short way, for most requests: nobody waits, and everything is free.
        if not stage.plain or stage.queue or not stage.idle or cores.waiting or cores.free < tokens:
            stage.enqueue(now, r, self)
            return
        world = self.world
        if world.shedding and world.deadlines[r] - now < stage.estimate:
            stage._give_up(world.deadlines[r], now, r)  # noqa: SLF001 - two halves of one thing
            return
        stage.idle -= 1
        cores.free -= tokens
        stage.requests += 1
        ms = self.draw() * stage.machine.slow
        self.busy += ms
        heapq.heappush(world.agenda, (now + ms, world.order(), self.done, r, ms))

    def done(self, now: float, r: int, ms: float) -> None:
        """A batch of one is through."""
        stage = self.stage
        stage.free(now, ms)
        for go in self.onward:
            go(now, r)
        if stage.queue:
            stage.pump(now)

    def batch_done(self, now: float, works: list[tuple[int, Step]], ms: float) -> None:
        """A batch is through."""
        stage = self.stage
        stage.free(now, ms)
        for r, step in works:
            for go in step.onward:
                go(now, r)
        if stage.queue:
            stage.pump(now)
