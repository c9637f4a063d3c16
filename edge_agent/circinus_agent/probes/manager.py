"""Carries out the coordinator's probes, one at a time; the others wait in line."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from circinus.errors import CircinusError
from circinus.messages import (
    CancelProbe,
    CommandResult,
    ProbeAccuracy,
    ProbeLink,
    ProbeOperators,
)
from circinus_agent.probes.accuracy import AccuracyProbe
from circinus_agent.probes.environment import Control, ProbeEnvironment, ProbeFailed, cause_of
from circinus_agent.probes.kept import Kept
from circinus_agent.probes.link import probe_link
from circinus_agent.probes.operators import OperatorProbe

__all__ = ["ProbeManager"]

logger = logging.getLogger(__name__)

AnyProbe = ProbeOperators | ProbeAccuracy | ProbeLink
# More than a coordinator has reason to queue; the rest is refused at once.
MAX_WAITING = 64
# What a scoring probe leaves is there for the next one so long: the coordinator looks at what came
# and asks for more within a second or two, unless another device is to be measured first.
KEEP_S = 20.0


class ProbeManager:
    """Runs probes; create it in the running loop.

    Args:
        answer: Publishes the final answer to a command; never blocks.
    """

    def __init__(
        self, environment: ProbeEnvironment, answer: Callable[[CommandResult], None]
    ) -> None:
        self._environment = environment
        self._answer = answer
        self._waiting: deque[tuple[AnyProbe, Control]] = deque()
        self._known: dict[str, Control] = {}
        self._arrived = asyncio.Event()
        self._kept = Kept()

    @property
    def busy(self) -> bool:
        """Whether a probe runs or waits."""
        return bool(self._known)

    def submit(self, command: AnyProbe) -> None:
        """Queue a probe; a request id that is known already is the same command again."""
        if command.request_id in self._known:
            return
        if len(self._waiting) >= MAX_WAITING:
            self._result(command.request_id, error=f"{MAX_WAITING} probes are waiting already")
            return
        targets = 1 if isinstance(command, ProbeLink) else len(command.targets)
        control = Control(targets)
        self._known[command.request_id] = control
        self._waiting.append((command, control))
        self._arrived.set()

    def cancel(self, command: CancelProbe) -> None:
        """Give up a probe, or some of its targets; an unknown one is over already."""
        control = self._known.get(command.probe)
        if control is not None:
            control.cancel(command.targets)
        self._result(command.request_id)

    def cancel_all(self) -> None:
        """Nobody is there any more who wants the samples."""
        for control in self._known.values():
            control.cancel(None)

    async def run(self) -> None:
        """Work off the queue until cancelled."""
        try:
            while True:
                while self._waiting:
                    command, control = self._waiting.popleft()
                    try:
                        await self._one(command, control)
                    finally:
                        self._known.pop(command.request_id, None)
                self._arrived.clear()
                if not self._waiting:
                    await self._arrival()
        finally:
            await self._kept.clear()

    async def _arrival(self) -> None:
        if not self._kept.empty:
            arrived = asyncio.ensure_future(self._arrived.wait())
            pause = asyncio.ensure_future(self._environment.pause(KEEP_S))
            try:
                await asyncio.wait({arrived, pause}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (arrived, pause):
                    task.cancel()
                await asyncio.gather(arrived, pause, return_exceptions=True)
            if not self._arrived.is_set():
                await self._kept.clear()
        await self._arrived.wait()

    async def _one(self, command: AnyProbe, control: Control) -> None:
        numbers = itertools.count(1)

        def seq() -> int:
            return next(numbers)

        logger.info("probe %s of %d targets begins", command.request_id, control.targets)
        watch = asyncio.create_task(self._environment.conditions.watch(), name="probe-conditions")
        try:
            data = await self._run(command, control, seq)
        # Before Python 3.11 asyncio's TimeoutError is no OSError.
        except (ProbeFailed, CircinusError, OSError, asyncio.TimeoutError) as error:
            cause = cause_of(error) or "timeout"
            logger.warning("probe %s failed: %s", command.request_id, cause)
            self._result(command.request_id, error=cause)
        except asyncio.CancelledError:
            self._result(command.request_id, error="the agent stops")
            raise
        else:
            logger.info("probe %s done", command.request_id)
            self._result(command.request_id, data=data)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _run(
        self, command: AnyProbe, control: Control, seq: Callable[[], int]
    ) -> dict[str, Any]:
        if isinstance(command, ProbeLink):
            return await probe_link(self._environment, command, control, seq)
        for artifact in command.artifacts:
            await asyncio.wait_for(self._environment.fetch(artifact), command.budget_s)
        if isinstance(command, ProbeOperators):
            await self._kept.rest()  # what is measured has the machine to itself
            return await OperatorProbe(self._environment, command, control, seq).run()
        try:
            probe = AccuracyProbe(self._environment, command, control, seq, self._kept)
            data = await probe.run()
            self._kept.spare(())
            return data
        except (ProbeFailed, CircinusError, OSError):
            await self._kept.clear()
            raise

    def _result(
        self, request_id: str, error: str | None = None, data: dict[str, Any] | None = None
    ) -> None:
        self._answer(
            CommandResult(
                device=self._environment.device,
                request_id=request_id,
                ok=error is None,
                error=error,
                data=data or {},
            )
        )
