"""What a device hands out while batches run: cores and accelerators, each with its own line.

See docs/adr/0008. A batch passes the lines of the accelerators it needs, by name, and then that of
the cores, and keeps what it has got while it waits for the rest. So nobody waits for what he does
not need, all wait for one another in the same direction, and in no line anybody is overtaken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

__all__ = ["Claim", "Lines"]

# Parts of accelerators are added up and taken off again.
SLACK = 1e-9


class Lines:
    """The lines of a device.

    Args:
        cores: Handed out whole; a fraction counts down, but there is at least one.
        accelerators: How much there is of each; one that is not named here is not rationed.
    """

    def __init__(self, cores: float, accelerators: Mapping[str, float] | None = None) -> None:
        self._cores = _Line(max(1, int(cores)))
        self._accelerators = {
            name: _Line(amount) for name, amount in sorted((accelerators or {}).items())
        }

    @property
    def free(self) -> dict[str, float]:
        """What nobody holds now, by name; ``cores`` among them."""
        return {n: line.free for n, line in (("cores", self._cores), *self._accelerators.items())}

    def claim(
        self, cores: int, accelerators: Mapping[str, float], retry: Callable[[], None]
    ) -> Claim:
        """A claim on so many cores and such parts of accelerators, no more than there are.

        Args:
            cores: That a batch holds; 0 waits for none.
            accelerators: What it holds of each.
            retry: Called when the claim's turn has come, to `take` again.
        """
        wanted = [
            (line, min(accelerators[name], line.total))
            for name, line in self._accelerators.items()
            if accelerators.get(name, 0.0) > 0
        ]
        if cores > 0:
            wanted.append((self._cores, min(float(cores), self._cores.total)))
        return Claim(wanted, retry)


class Claim:
    """What each batch of an instance holds; made by `Lines`."""

    def __init__(self, wanted: Sequence[tuple[_Line, float]], retry: Callable[[], None]) -> None:
        self._wanted = tuple(wanted)
        self._retry = retry
        self._passed = 0  # lines, by the batch that is next
        self._waits = False

    def take(self) -> bool:
        """Take what one batch holds.

        Where it must wait, `retry` is called once when its turn has come, and False returned. Who
        does not take then is passed over, and loses what he had got.
        """
        if self._waits:
            return False
        for line, amount in self._wanted[self._passed :]:
            if not line.admit(self, amount):
                self._waits = True
                return False
            self._passed += 1
        self._passed = 0
        return True

    def give(self) -> None:
        """Give back what a batch held."""
        self._give(len(self._wanted))

    def call(self) -> None:
        """The line's word that its turn has come."""
        self._waits = False
        self._retry()

    def forgo(self) -> None:
        """Give back what was got in the lines before."""
        passed, self._passed = self._passed, 0
        self._give(passed)

    def _give(self, lines: int) -> None:
        held = self._wanted[:lines]
        for line, amount in held:
            line.free += amount
        for line, _ in held:
            line.wake()


class _Line:
    """Hands out one resource, first come first served: who is next holds all others up."""

    def __init__(self, total: float) -> None:
        self.total = self.free = float(total)
        self._waiting: deque[tuple[Claim, float]] = deque()
        self._turn: Claim | None = None

    def admit(self, claim: Claim, amount: float) -> bool:
        """Let a claim pass, or have it wait."""
        if self._turn is claim:
            self._turn = None
            self._waiting.popleft()
        elif self._waiting or self.free < amount - SLACK:
            self._waiting.append((claim, amount))
            return False
        self.free -= amount
        return True

    def wake(self) -> None:
        """Call whoever may go on now, one batch each, in the order of their coming."""
        while self._turn is None and self._waiting and self.free >= self._waiting[0][1] - SLACK:
            # In the line until it takes, so that nobody slips in before.
            claim = self._turn = self._waiting[0][0]
            claim.call()
            if self._turn is claim:
                self._turn = None
                self._waiting.popleft()
                claim.forgo()
