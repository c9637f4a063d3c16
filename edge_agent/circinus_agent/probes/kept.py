"""What scoring probes of one pipeline leave to the next: loaded operators and steps' outputs.

The coordinator asks for a few config vectors at a time. Most of what one costs is starting
processes and running the steps it has in common with the vectors before it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from circinus_agent.probes.environment import Worker
from circinus_agent.probes.outputs import Outputs

__all__ = ["Kept", "Node"]

# Starting an operator loads its model; vectors alternate between a few of them.
WARM_WORKERS = 4
# Of outputs that no vector of the present probe needs. What is larger than 32 MB lies on disk.
SPARE_BYTES = 64 << 20

Node = tuple[str, str]
"""A step and the canonical configs of it and of all it depends on."""


class Kept:
    """Belongs to one data set, and to steps that differ in config only."""

    def __init__(self) -> None:
        self._of = ""
        self.outputs: OrderedDict[Node, Outputs] = OrderedDict()
        self._workers: OrderedDict[str, Worker] = OrderedDict()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to give up."""
        return not (self.outputs or self._workers)

    async def begin(self, of: str) -> None:
        """Give up everything that is of something else."""
        if self._of != of:
            await self.clear()
            self._of = of

    def of(self, node: Node, scratch: Path) -> Outputs:
        """A step's outputs as far as they go, to be added to."""
        if node not in self.outputs:
            self.outputs[node] = Outputs(scratch)
        self.outputs.move_to_end(node)
        return self.outputs[node]

    async def worker(
        self, key: str, make: Callable[[], Worker], start: Callable[[Worker], Awaitable[None]]
    ) -> Worker:
        """A running one; the one that was not used for longest makes room for another."""
        if key in self._workers:
            self._workers.move_to_end(key)
            return self._workers[key]
        while len(self._workers) >= WARM_WORKERS:
            _, oldest = self._workers.popitem(last=False)
            await asyncio.shield(oldest.stop())
        worker = make()
        self._workers[key] = worker  # so that it is stopped whatever happens from here on
        try:
            await start(worker)
        except BaseException:
            await self.drop(key)
            raise
        return worker

    async def drop(self, key: str) -> None:
        """One that went wrong is not used again."""
        worker = self._workers.pop(key, None)
        if worker is not None:
            await asyncio.shield(worker.stop())

    def spare(self, needed: Collection[Node]) -> None:
        """Free outputs nobody needs now, the oldest first, but for a few megabytes."""
        idle = [node for node in self.outputs if node not in needed]
        size = sum(self.outputs[node].size_bytes for node in idle)
        for node in idle:
            if size <= SPARE_BYTES:
                return
            size -= self.outputs[node].size_bytes
            self.outputs.pop(node).close()

    async def rest(self) -> None:
        """Leave no process."""
        while self._workers:
            await self.drop(next(iter(self._workers)))

    async def clear(self) -> None:
        """Leave no process, no memory and no file."""
        await self.rest()
        while self.outputs:
            self.outputs.popitem()[1].close()
