"""One child process: started, fed, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import msgspec

from circinus.messages import InstanceSpec
from circinus_agent.runtime import wire
from circinus_agent.runtime.heap import CHILD_ENVIRONMENT
from circinus_agent.runtime.outcome import Failure, WorkerFailed
from circinus_agent.runtime.pipes import LineLog, PipeReader, PipeWriter, open_pipe
from circinus_agent.runtime.results import BatchResult, ItemResult, Payload
from circinus_agent.runtime.settings import RuntimeSettings

__all__ = ["Replica"]

logger = logging.getLogger(__name__)

# Libraries that start one thread per core unless told otherwise.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Between the end of the child's pipe and the news of its end.
REAP_S = 2.0
REAP_EVERY_S = 0.02

Done = Callable[[BatchResult], None]


@dataclass(slots=True)
class _Running:
    """The batch under way."""

    number: int
    size: int
    done: Done
    hang: asyncio.TimerHandle
    sent_s: float


class Replica:
    """A child process that runs one operator.

    Args:
        on_end: Called once when the process is gone, with the reason; the batch under way has
            been answered by then.
    """

    def __init__(
        self,
        spec: InstanceSpec,
        settings: RuntimeSettings,
        *,
        nice: int = 0,
        on_end: Callable[[Replica, Failure], None],
    ) -> None:
        self.ready: wire.Ready | None = None
        self.memory_mb = 0.0
        self.alive = False
        self._spec = spec
        self._settings = settings
        self._nice = nice
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._log = LineLog(logger, spec.key)
        self._parser = wire.Parser()
        self._running: _Running | None = None
        self._number = 0
        self._end: Failure | None = None
        self._started: asyncio.Future[wire.Ready] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._pidfd = -1

    @property
    def pid(self) -> int:
        """Process id, also its group's."""
        return self._process.pid

    @property
    def dropped_lines(self) -> int:
        """Printed lines that did not reach the log."""
        return self._log.dropped

    @property
    def busy(self) -> bool:
        """Whether a batch is under way."""
        return self._running is not None

    async def start(self) -> wire.Ready:
        """Start the process and set the operator up.

        Raises:
            WorkerFailed: With the cause; the process is gone then.
        """
        self._spawn()
        try:
            self.ready = await asyncio.wait_for(self._started, self._settings.start_timeout_s)
        except asyncio.TimeoutError:
            limit = self._settings.start_timeout_s
            self.kill(Failure("hung", f"not ready after {limit:g} s"))
            await self._ended.wait()
            raise WorkerFailed(self._spec.key, f"not ready after {limit:g} s") from None
        except WorkerFailed:
            await self._ended.wait()
            raise
        except asyncio.CancelledError:
            self.kill(Failure("stopped"))
            await self._ended.wait()
            raise
        self.memory_mb = self.ready.memory_mb
        return self.ready

    def send(self, batch: Sequence[Payload], done: Done) -> None:
        """Run a batch; `done` is called exactly once. The replica must be alive and not busy."""
        assert self.alive
        assert self._running is None
        self._number += 1
        hang = self._loop.call_later(self._settings.hang_timeout_s, self._hung)
        self._running = _Running(self._number, len(batch), done, hang, perf_counter())
        self._writer.write(wire.pack_batch(self._number, batch))

    async def stop(self) -> None:
        """End the process: asked first, killed after the grace."""
        if self._ended.is_set() or not self.alive:
            return
        self._end = self._end or Failure("stopped")
        self._writer.close()
        try:
            await asyncio.wait_for(self._ended.wait(), self._settings.stop_grace_s)
        except asyncio.TimeoutError:
            self.kill(Failure("stopped"))
            await self._ended.wait()

    def kill(self, why: Failure) -> None:
        """End the process and all it started, at once."""
        self._end = self._end or why
        if self.alive:
            _kill_group(self.pid)

    # ---- the process ------------------------------------------------------------------------

    def _spawn(self) -> None:
        program = [sys.executable, "-m", "circinus_agent.runtime.worker"]
        threads = {name: str(self._spec.threads) for name in THREAD_VARIABLES}
        opened: list[int] = []
        try:
            for make in (open_pipe, open_pipe, os.pipe):
                opened += make()
            command_read, command_write, result_read, result_write, log_read, log_write = opened
            # Popen and not asyncio's: that one keeps a thread waiting for each child.
            self._process = subprocess.Popen(
                [*program, str(command_read), str(result_write), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log_write,
                stderr=log_write,
                pass_fds=(command_read, result_write),
                start_new_session=True,
                env={**CHILD_ENVIRONMENT, **os.environ, **threads, "PYTHONUNBUFFERED": "1"},
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            for fd in opened:
                os.close(fd)
            self._ended.set()
            raise WorkerFailed(self._spec.key, f"cannot start a process: {error}") from None
        for fd in (command_read, result_write, log_write):
            os.close(fd)
        self.alive = True
        self._writer = PipeWriter(command_write)
        self._results = PipeReader(result_read, self._incoming, self._pipe_ended)
        self._printed = PipeReader(log_read, self._log.feed, lambda: None)
        self._watch()
        self._writer.write([wire.pack_header(self._init())])

    def _init(self) -> wire.Init:
        settings = self._settings
        return wire.Init(
            run=self._spec.run,
            config=self._spec.config,
            paths=list(settings.paths),
            threads=self._spec.threads,
            providers=list(settings.providers),
            cache_dir=settings.cache_dir,
            device_class=settings.device_class,
            slowdown=settings.slowdown,
            realtime=settings.realtime,
            nice=self._nice,
        )

    def _watch(self) -> None:
        """Hear of the process's end by a pidfd; where there is none, by the end of its pipe."""
        with contextlib.suppress(OSError, AttributeError):
            self._pidfd = os.pidfd_open(self.pid)
            self._loop.add_reader(self._pidfd, self._exited)

    # ---- what comes from it -----------------------------------------------------------------

    def _incoming(self, data: bytes) -> None:
        try:
            for header, body in self._parser.feed(data):
                self._message(wire.to_agent.decode(header), body)
        except (ValueError, msgspec.DecodeError):
            self.kill(Failure("killed", wire.BROKEN))

    def _message(
        self, message: wire.Ready | wire.StartFailed | wire.BatchDone, body: memoryview
    ) -> None:
        if isinstance(message, wire.BatchDone):
            self._batch_done(message, body)
        elif isinstance(message, wire.Ready):
            if not self._started.done():
                self._started.set_result(message)
        elif not self._started.done():
            self._end = self._end or Failure("raised", message.cause)
            error = WorkerFailed(self._spec.key, message.cause, final=message.final)
            self._started.set_exception(error)

    def _batch_done(self, message: wire.BatchDone, body: memoryview) -> None:
        running = self._running
        if running is None or running.number != message.number:
            return  # answered before, as hung
        items: list[ItemResult] = []
        position = 0
        for item in message.items:
            if item.error is None:
                items.append(
                    ItemResult(bytes(body[position : position + item.size]), None, item.usd)
                )
                position += item.size
            else:
                items.append(ItemResult(None, Failure("raised", item.error), item.usd))
        self.memory_mb = max(message.memory_mb, 0.0) or self.memory_mb
        # Measured here and not in the process, so that a step's time holds what a request waits
        # for: copying through the pipes and waking twice. Probes and serving both pass here.
        service_ms = (perf_counter() - running.sent_s) * 1e3 + message.unspent_ms
        self._finish(BatchResult(items, service_ms, message.compute_s))

    def _finish(self, result: BatchResult) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.hang.cancel()
            running.done(result)

    def _hung(self) -> None:
        self.kill(Failure("hung", f"no answer within {self._settings.hang_timeout_s:g} s"))

    def _pipe_ended(self) -> None:
        if self._pidfd < 0:
            self._reap(self._loop.time() + REAP_S)
        elif self.alive:
            # It closed its pipe and lives on: of no more use.
            self._loop.call_later(REAP_S, self.kill, Failure("killed", "it closed its pipe"))

    def _reap(self, until: float) -> None:
        if self._process.poll() is not None:
            self._exited()
        elif self._loop.time() >= until:
            self.kill(Failure("killed", "it closed its pipe"))
            self._loop.call_later(REAP_EVERY_S, self._reap, until + REAP_S)
        else:
            self._loop.call_later(REAP_EVERY_S, self._reap, until)

    def _exited(self) -> None:
        code = self._process.poll()
        if code is None or not self.alive:
            return
        self.alive = False
        self._results.drain()  # a result written with its last breath counts
        self._printed.drain()
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        for end in (self._writer, self._results, self._printed):
            end.close()
        _kill_group(self.pid)  # what it started goes with it
        failure = self._end or Failure("killed", self._epitaph(code))
        if not self._started.done():
            self._started.set_exception(WorkerFailed(self._spec.key, str(failure)))
        running = self._running
        if running is not None:
            self._finish(BatchResult([ItemResult(None, failure)] * running.size))
        self._ended.set()
        self._on_end(self, failure)

    def _epitaph(self, code: int) -> str:
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"its process died of {signal.Signals(-code).name}"
        last = f" ({self._log.last[-1]})" if self._log.last else ""
        return f"its process ended with exit code {code}{last}"


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
