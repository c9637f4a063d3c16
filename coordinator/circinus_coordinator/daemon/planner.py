"""Planning in a process of its own, so that the loop goes on answering."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from circinus.decision import encode_decision
from circinus.errors import Transient
from circinus.scenario import decode_scenario
from circinus_coordinator import planning

__all__ = ["PlannerPool", "compute"]

# The worker looks for its parent this often; a coordinator that was killed cannot tell it.
_PARENT_CHECK_S = 1.0
# Longer than any planning of a fleet this size; a planner that hangs must not be waited for.
_DEADLINE_S = 600.0


def compute(scenario: bytes, seed: int) -> bytes:
    """The decision for a scenario: what ``circinus plan`` does with the exported file."""
    decision = planning.plan(
        decode_scenario(scenario, name="scenario.json"), seed=seed, clock=time.perf_counter
    )
    return encode_decision(decision)


class PlannerPool:
    """Runs `compute`, in `executor` or in one worker process.

    Args:
        executor: Somebody else's; it is not shut down here.
    """

    def __init__(self, executor: Executor | None = None) -> None:
        self._given = executor
        self._own: ProcessPoolExecutor | None = None

    def warm(self) -> None:
        """Start the worker now: its imports take most of a second."""
        if self._given is None:
            self._pool().submit(os.getpid)

    async def plan(self, scenario: bytes, seed: int) -> bytes:
        """The decision; a worker that died (out of memory, killed) is replaced once.

        Raises:
            Transient: If it died again or takes too long; the next call has a worker of its own.
        """
        try:
            return await self._run(scenario, seed)
        except BrokenProcessPool:
            await asyncio.to_thread(self.close)
        try:
            return await self._run(scenario, seed)
        except BrokenProcessPool:
            await asyncio.to_thread(self.close)
            raise Transient("the planner's process died twice") from None

    async def _run(self, scenario: bytes, seed: int) -> bytes:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._given or self._pool(), compute, scenario, seed)
        try:
            return await asyncio.wait_for(future, _DEADLINE_S)
        except asyncio.TimeoutError:
            await asyncio.to_thread(self.close)
            raise Transient(f"the planner took longer than {_DEADLINE_S:g} s") from None

    def close(self) -> None:
        """End the worker, whatever it does."""
        own, self._own = self._own, None
        if own is None:
            return
        # Before Python 3.14 an executor offers no way to stop a running call.
        workers = list((getattr(own, "_processes", None) or {}).values())
        own.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            with contextlib.suppress(ProcessLookupError, ValueError):
                worker.terminate()
        for worker in workers:
            worker.join(2)

    def _pool(self) -> ProcessPoolExecutor:
        if self._own is None:
            self._own = ProcessPoolExecutor(
                max_workers=1,
                # fork would copy the loop's threads' locks in whatever state they are.
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(os.getpid(),),
            )
        return self._own


def _begin(parent: int) -> None:
    """In the worker: leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
