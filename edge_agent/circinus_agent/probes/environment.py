"""What a probe needs of the agent, and what it is told while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from circinus.messages import Artifact, InstanceSpec, Peer, ProbeSamples
from circinus_agent.probes.conditions import Conditions, Load

__all__ = [
    "Budget",
    "Control",
    "Payload",
    "ProbeEnvironment",
    "ProbeFailed",
    "Result",
    "TargetCancelled",
    "TargetStream",
    "Worker",
    "cause_of",
    "raced",
]

Payload = bytes | Mapping[str, bytes]
T = TypeVar("T")

# Samples are sent together, so that a fast operator does not mean a message per sample.
FLUSH_SECONDS = 0.3
FLUSH_SAMPLES = 10


class ProbeFailed(Exception):
    """The probe, or one of its targets, cannot go on; the text is the cause."""


class TargetCancelled(Exception):
    """Nobody needs more samples of the target."""


class Item(Protocol):
    """One request's output, or why there is none."""

    @property
    def payload(self) -> bytes | None:
        """Encoded output."""
        ...

    @property
    def failure(self) -> Any:
        """Why there is none."""
        ...

    @property
    def usd(self) -> float:
        """What the operator metered."""
        ...


class Result(Protocol):
    """A batch's results (`circinus_agent.runtime.BatchResult`)."""

    @property
    def items(self) -> Sequence[Any]:
        """One `Item` per request, in order."""
        ...

    @property
    def service_ms(self) -> float:
        """Duration as serving has it, with the way to the process and back."""
        ...

    @property
    def compute_s(self) -> float:
        """CPU seconds of the batch, emulated where they are."""
        ...


class Worker(Protocol):
    """An operator in processes of its own (`circinus_agent.runtime.Instance`)."""

    @property
    def memory_mb(self) -> float:
        """Resident memory."""
        ...

    async def start(self) -> None:
        """Raises where it cannot be started; leaves no process then."""
        ...

    async def stop(self) -> None:
        """Leaves no process."""
        ...

    async def call(self, batch: Sequence[Payload]) -> Any:
        """One `Result`; failures are in it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeEnvironment:
    """What a probe uses of the agent.

    Attributes:
        device: This device.
        worker: Makes a worker that is measured; the number is its limit for start and for a
            batch, in seconds.
        background: Makes one whose outputs alone count: it gives way to serving.
        encode_input: Encodes a file's bytes as a source's payload.
        resolve: Turns a dataset reference into a folder.
        fetch: Has an artifact in the cache.
        publish: Sends samples; never blocks.
        echo: Probes a link: (rtt_ms, seconds of the payload one way).
        scratch: Folder for what does not fit in memory.
        emulated: Compute on this device is emulated.
        emulated_links: Peers the link to which is emulated.
        slowdown: Emulated compute takes so many times what the processes use.
        conditions: What the machine is like.
        threads: Cores a probe that is not itself a measurement may keep busy.
        path: Folders with user code, for the process that scores.
        clock: Monotonic seconds.
        pause: Lets that many seconds pass.
    """

    device: str
    worker: Callable[[InstanceSpec, float], Worker]
    background: Callable[[InstanceSpec, float], Worker]
    encode_input: Callable[[bytes], bytes]
    resolve: Callable[[str], Path]
    fetch: Callable[[Artifact], Awaitable[Any]]
    publish: Callable[[ProbeSamples], None]
    echo: Callable[[Peer, int, float], Awaitable[tuple[float, float]]]
    scratch: Path
    emulated: bool = False
    emulated_links: frozenset[str] = frozenset()
    slowdown: float = 1.0
    conditions: Conditions = field(default_factory=Conditions)
    threads: int = 1
    path: tuple[str, ...] = ()
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep


class Budget:
    """What is left of a probe's seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left_s(self) -> float:
        """Seconds left; not below 0."""
        return max(0.0, self._end - self._clock())

    def part(self, shares: int) -> Budget:
        """An equal part of what is left, for one of `shares`."""
        return Budget(self.left_s / max(1, shares), self._clock)


@dataclass(slots=True)
class Control:
    """What the coordinator no longer wants of a running probe."""

    targets: int
    _events: list[asyncio.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._events = [asyncio.Event() for _ in range(self.targets)]

    def cancel(self, targets: Sequence[int] | None) -> None:
        """Give up these targets; all of them where None. Unknown ones do no harm."""
        for position in range(self.targets) if targets is None else targets:
            if 0 <= position < self.targets:
                self._events[position].set()

    def cancelled(self, target: int) -> bool:
        """Whether nobody needs more of it."""
        return self._events[target].is_set()

    async def wait(self, targets: Sequence[int]) -> None:
        """Return once all of `targets` are cancelled."""
        for target in targets:
            await self._events[target].wait()


class TargetStream:
    """Gathers the samples of one target and sends them in batches.

    Args:
        seq: Gives the number of the probe's next message.
    """

    def __init__(
        self,
        environment: ProbeEnvironment,
        request_id: str,
        target: int,
        seq: Callable[[], int],
        *,
        emulated: bool,
    ) -> None:
        self._environment = environment
        self._request_id = request_id
        self._target = target
        self._seq = seq
        self._emulated = emulated
        self._samples: dict[str, list[float]] = {}
        self._flushed_at = environment.clock()
        self._load = Load(environment.conditions, environment.clock)
        self.memory_mb: float | None = None
        self.first: int | None = None
        """Place of the next score among the data set's inputs."""
        self.population: int | None = None
        self.own_core_s = 0.0
        """CPU the probe itself used since samples were last sent."""
        self.count = 0
        self.closed = False

    def add(self, **sample: float) -> None:
        """Take one sample: values by the field of `ProbeSamples` they belong to."""
        for name, value in sample.items():
            self._samples.setdefault(name, []).append(value)
        self.count += 1
        if self.count == 1:  # what came before was starting up
            self._background()
        pending = max(len(values) for values in self._samples.values())
        if (
            pending >= FLUSH_SAMPLES
            or self._environment.clock() - self._flushed_at >= FLUSH_SECONDS
        ):
            self._send(done=False, cause=None)

    def close(self, cause: str | None = None) -> None:
        """Send the rest and that the target is done; `cause` where it has not all samples."""
        if not self.closed:
            self.closed = True
            self._send(done=True, cause=cause)

    def _send(self, *, done: bool, cause: str | None) -> None:
        samples: dict[str, Any] = self._samples
        health = self._environment.conditions.health
        self._environment.publish(
            ProbeSamples(
                device=self._environment.device,
                request_id=self._request_id,
                seq=self._seq(),
                target=self._target,
                memory_mb=self.memory_mb,
                first=self.first,
                population=self.population,
                temperature_c=health.temperature_c,
                throttled=health.throttled,
                background_percent=self._background() if samples else None,
                done=done,
                cause=cause,
                emulated=self._emulated,
                **samples,
            )
        )
        if self.first is not None:
            self.first += len(samples.get("scores", ()))
        self._samples = {}
        self._flushed_at = self._environment.clock()

    def _background(self) -> float | None:
        percent = self._load.percent(self.own_core_s)
        self.own_core_s = 0.0
        return percent


def cause_of(error: Exception) -> str:
    """The error in one line, without the name of a process nobody asked for."""
    return str(getattr(error, "cause", None) or error)


async def raced(
    work: Coroutine[Any, Any, T], control: Control, targets: Sequence[int], timeout_s: float
) -> T:
    """Await `work`, but no longer than somebody needs it.

    Raises:
        TargetCancelled: If all of `targets` were cancelled first.
        ProbeFailed: If `timeout_s` passed first.
    """
    if all(control.cancelled(target) for target in targets):
        work.close()
        raise TargetCancelled
    task = asyncio.create_task(work, name="probe-step")
    watch = asyncio.create_task(control.wait(targets), name="probe-cancel")
    try:
        await asyncio.wait({task, watch}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if watch.done():
            raise TargetCancelled
        raise ProbeFailed("budget used up")
    finally:
        for pending in (task, watch):
            pending.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)
