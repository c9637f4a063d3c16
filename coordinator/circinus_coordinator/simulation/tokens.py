"""Devices: who may compute now.

As in the agents' runtime (`tokens`): cores and accelerators have a line each, and a batch passes
those of the accelerators it needs before that of the cores.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping

from circinus.fleet import CORES

__all__ = ["Holder", "Line", "Machine"]

# Parts of accelerators are added up and taken off again.
SLACK = 1e-9


class Line:
    """Hands out one resource, first come first served: who is next holds all others up."""

    __slots__ = ("free", "total", "turn", "waiting")

    def __init__(self, total: float) -> None:
        self.total = self.free = total
        self.waiting: deque[tuple[Holder, float]] = deque()
        self.turn: Holder | None = None

    def admit(self, holder: Holder, amount: float) -> bool:
        """Let a batch pass, or wait."""
        if self.turn is holder:
            self.turn = None
            self.waiting.popleft()
        elif self.waiting or self.free < amount - SLACK:
            self.waiting.append((holder, amount))
            return False
        self.free -= amount
        return True

    def wake(self, now: float) -> None:
        """Let those go on who may now, one batch each, in the order of their coming."""
        waiting = self.waiting
        while self.turn is None and waiting and self.free >= waiting[0][1] - SLACK:
            holder = self.turn = waiting[0][0]
            holder.called(now)
            if self.turn is holder:
                self.turn = None
                waiting.popleft()
                holder.forgo(now)

    def reset(self) -> None:
        """Nobody holds anything, nobody waits."""
        self.free = self.total
        self.waiting.clear()
        self.turn = None


class Machine:
    """One device: a line for its cores, handed out whole, and one for each accelerator."""

    __slots__ = ("accelerators", "cores", "down", "id", "slow", "slowdowns")

    def __init__(self, name: str, cores: float, accelerators: Mapping[str, float]) -> None:
        self.id = name
        self.cores = Line(max(1, int(cores)))
        self.accelerators = {name: Line(total) for name, total in sorted(accelerators.items())}
        self.down = 0  # number of reasons
        self.slow = 1.0
        self.slowdowns: list[float] = []

    def reset(self) -> None:
        """As if it had just come up."""
        for line in (self.cores, *self.accelerators.values()):
            line.reset()


class Holder(ABC):
    """What runs batches on a machine, one after another through the lines.

    Args:
        batch: Requests in one.

    Attributes:
        tokens: Cores a batch holds.
        wanted: The lines it passes, and what it holds of each.
        passed: How many of them the batch that is next has passed.
        parked: It waits in the one after these.
        plain: A batch is one request, and passes the line of the cores only.
    """

    __slots__ = ("batch", "cores", "machine", "parked", "passed", "plain", "tokens", "wanted")

    def __init__(self, machine: Machine, batch: int) -> None:
        self.machine = machine
        self.batch = batch
        self.cores = machine.cores
        self.tokens = 0.0
        self.wanted: tuple[tuple[Line, float], ...] = ()
        self.passed = 0
        self.parked = False
        self.plain = False

    @abstractmethod
    def pump(self, now: float) -> None:
        """Start what can be started now."""

    def hold(self, amounts: Mapping[str, float]) -> None:
        """Have each batch hold as much at least, but no more than there is."""
        held = dict(self.wanted)
        lines = (*self.machine.accelerators.items(), (CORES, self.cores))
        most = [
            (line, max(held.get(line, 0.0), min(amounts.get(name, 0.0), line.total)))
            for name, line in lines
        ]
        self.tokens = most[-1][1]
        self.wanted = tuple(pair for pair in most if pair[1] > 0)
        self.plain = self.batch == len(self.wanted) == 1 and self.tokens > 0

    def take(self) -> bool:
        """Take what a batch holds, line by line; False: it waits in one of them."""
        if self.parked:
            return False
        for line, amount in self.wanted[self.passed :]:
            if not line.admit(self, amount):
                self.parked = True
                return False
            self.passed += 1
        self.passed = 0
        return True

    def give(self, now: float) -> None:
        """Give back what a batch held."""
        self._give(now, len(self.wanted))

    def called(self, now: float) -> None:
        """Its turn in a line has come."""
        self.parked = False
        self.pump(now)

    def forgo(self, now: float) -> None:
        """Nothing was started when its turn came: give back what was got in the lines before."""
        passed, self.passed = self.passed, 0
        self._give(now, passed)

    def _give(self, now: float, lines: int) -> None:
        held = self.wanted[:lines]
        for line, amount in held:
            line.free += amount
        for line, _ in held:
            line.wake(now)
