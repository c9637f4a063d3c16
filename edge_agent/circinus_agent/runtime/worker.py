"""The operator's process: reads batches from one pipe, writes results to another.

Started as ``python -m circinus_agent.runtime.worker COMMANDS RESULTS PARENT`` with two inherited
file descriptors. It leads a session of its own, so that Ctrl-C in a terminal reaches the agent
alone, and dies with its parent. Everything the operator prints goes to the agent's log.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from circinus import codec
from circinus.errors import CircinusError, InvalidInput
from circinus.operator import Context, Operator, Output, load_operator
from circinus_agent.runtime import wire

__all__ = ["Evaluation", "Worker", "evaluate", "main"]

PR_SET_PDEATHSIG = 1
MAX_CAUSE = 300
MEMORY_EVERY_S = 1.0
# No more buffers than this in one writev (IOV_MAX on Linux is 1,024).
MAX_BUFFERS = 1000


class Evaluation:
    """Outputs of a batch: for each request its encoded output or the error in its place."""

    __slots__ = ("items", "payloads")

    def __init__(self) -> None:
        self.items: list[wire.ItemDone] = []
        self.payloads: list[bytes] = []

    def add(self, value: Any, prices: Mapping[str, float]) -> None:
        """Take the next request's output."""
        usd = 0.0
        try:
            value, usd = _metered(value, prices)
            payload = codec.dumps(value)
        except Exception as error:  # noqa: BLE001 - the operator's, whatever it is
            self.items.append(wire.ItemDone(0, describe(error), usd))
            return
        self.items.append(wire.ItemDone(len(payload), None, usd))
        self.payloads.append(payload)


def _metered(value: Any, prices: Mapping[str, float]) -> tuple[Any, float]:
    """The bare value of an output and what its usage costs; an exception is raised."""
    if isinstance(value, Exception):
        raise value
    if isinstance(value, Output):
        usd = sum(prices.get(unit, 0.0) * amount for unit, amount in value.usage.items())
        return value.value, usd
    if isinstance(value, list) and any(isinstance(v, Output | Exception) for v in value):
        pairs = [_metered(v, prices) for v in value]
        return [v for v, _ in pairs], sum(usd for _, usd in pairs)
    return value, 0.0


def describe(error: BaseException) -> str:
    """The error in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, CircinusError):
        return text[:MAX_CAUSE]
    name = type(error).__name__
    return f"{name}: {text}"[:MAX_CAUSE] if text else name


def evaluate(operator: Operator, inputs: Sequence[Any]) -> Evaluation:
    """Run `operator` on decoded inputs; an exception among them fails that request alone."""
    good = [(i, v) for i, v in enumerate(inputs) if not isinstance(v, Exception)]
    outputs: list[Any] = list(inputs)
    if good:
        values = [v for _, v in good]
        try:
            results = _per_item(operator, values) if operator.per_item else _whole(operator, values)
        except Exception as error:  # noqa: BLE001 - the operator's, whatever it is
            traceback.print_exc()
            results = [error] * len(good)
        for (i, _), result in zip(good, results, strict=True):
            outputs[i] = result
    evaluation = Evaluation()
    for output in outputs:
        evaluation.add(output, operator.prices_usd)
    return evaluation


def _whole(operator: Operator, values: list[Any]) -> list[Any]:
    results = operator.process(values)
    if len(results) != len(values):
        raise ValueError(f"process gave {len(results)} outputs for {len(values)} inputs")
    return list(results)


def _per_item(operator: Operator, values: list[Any]) -> list[Any]:
    """Flatten the lists, process their items in one go, and gather the outputs again."""
    results: list[Any] = []
    for value in values:
        if not isinstance(value, list):
            kind = type(value).__name__
            results.append(TypeError(f"a per-item operator takes lists, not {kind}"))
        else:
            results.append(None)
    items = [item for v, r in zip(values, results, strict=True) if r is None for item in v]
    outputs = iter(_whole(operator, items) if items else [])
    for i, value in enumerate(values):
        if results[i] is None:
            gathered = [next(outputs) for _ in value]
            broken = next((o for o in gathered if isinstance(o, Exception)), None)
            results[i] = gathered if broken is None else broken
    return results


def _decoded(payload: memoryview | dict[str, memoryview]) -> Any:
    try:
        if isinstance(payload, dict):
            return {name: codec.loads(data) for name, data in payload.items()}
        return codec.loads(payload)
    except Exception as error:  # noqa: BLE001 - fails this request alone
        return error


class Worker:
    """One operator and its two pipes.

    Args:
        commands, results: File descriptors, blocking.
    """

    def __init__(self, commands: int, results: int) -> None:
        self._commands = commands
        self._results = results
        self._buffer = bytearray(1 << 16)
        self._memory_at = 0.0
        self._memory_mb = 0.0

    def run(self) -> int:
        """Serve until the agent closes the pipe; returns the exit code."""
        first = self._read()
        if first is None or not isinstance(first[0], wire.Init):
            return 0
        init = first[0]
        try:
            operator = set_up(init)
        except Exception as error:  # noqa: BLE001 - the operator's, whatever it is
            # An unknown reference or knob: its text says all there is to say.
            final = isinstance(error, InvalidInput)
            if not final:
                traceback.print_exc()
            failed = wire.StartFailed(cause=describe(error), final=final)
            self._write([wire.pack_header(failed)])
            return 1
        # What setup made stays for good: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        self._write([wire.pack_header(self._ready(operator))])
        while (message := self._read()) is not None:
            batch, body = message
            if isinstance(batch, wire.Batch):
                self._serve(operator, init, batch, body)
        operator.close()
        return 0

    def _ready(self, operator: Operator) -> wire.Ready:
        return wire.Ready(
            memory_mb=resident_mb(),
            version=operator.version,
            stateful=operator.stateful,
            fan_out=operator.fan_out,
            per_item=operator.per_item,
        )

    def _serve(
        self, operator: Operator, init: wire.Init, batch: wire.Batch, body: memoryview
    ) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        inputs = [_decoded(payload) for payload in wire.split_batch(batch.sizes, body)]
        evaluation = evaluate(operator, inputs)
        cpu_s = (time.process_time() - cpu) * init.slowdown
        unspent_s = 0.0
        if init.slowdown > 1:
            # CPU time, since other processes of this machine must not make a device slower
            # than it is said to be; of several threads each is slowed down.
            unspent_s = max(0.0, cpu_s / init.threads - (time.perf_counter() - wall))
            if init.realtime:
                time.sleep(unspent_s)
                unspent_s = 0.0
        done = wire.BatchDone(
            batch.number, evaluation.items, cpu_s, self._memory(), unspent_s * 1e3
        )
        self._write(wire.pack_done(done, evaluation.payloads))

    def _memory(self) -> float:
        now = time.monotonic()
        if now - self._memory_at >= MEMORY_EVERY_S:
            self._memory_at, self._memory_mb = now, resident_mb()
        return self._memory_mb

    def _read(self) -> tuple[wire.Init | wire.Batch, memoryview] | None:
        """The next message; None at the end."""
        prefix = self._exactly(wire.PREFIX.size)
        if prefix is None:
            return None
        header, body = wire.PREFIX.unpack(prefix)
        prefix.release()
        data = self._exactly(header + body)
        if data is None:
            return None
        return wire.to_child.decode(data[:header]), data[header:]

    def _exactly(self, count: int) -> memoryview | None:
        if count > len(self._buffer):
            self._buffer = bytearray(count)
        # Used again for each message: whatever is decoded from it is copied.
        view = memoryview(self._buffer)[:count]
        done = 0
        while done < count:
            got = os.readv(self._commands, [view[done:]])
            if not got:
                return None
            done += got
        return view

    def _write(self, buffers: list[bytes]) -> None:
        if len(buffers) > MAX_BUFFERS:
            buffers = [b"".join(buffers)]
        views = [memoryview(b) for b in buffers if b]
        while views:
            sent = os.writev(self._results, views)
            while views and sent >= len(views[0]):
                sent -= len(views[0])
                del views[0]
            if sent:
                views[0] = views[0][sent:]


def set_up(init: wire.Init) -> Operator:
    """The operator `init` names, ready to process."""
    sys.path[:0] = init.paths
    if init.nice:
        os.nice(init.nice)
    context = Context(
        threads=init.threads,
        providers=tuple(init.providers),
        cache_dir=init.cache_dir,
        device_class=init.device_class,
    )
    operator = load_operator(init.run)(init.config, context)
    operator.setup(operator.config)
    return operator


def resident_mb() -> float:
    """Resident memory of this process, MB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that happens."""
    with contextlib.suppress(OSError, AttributeError):  # not on this system: end of file will do
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def main(arguments: Sequence[str]) -> int:
    """The child's program."""
    commands, results, parent = (int(a) for a in arguments)
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Programs that an operator starts must not hold our pipes open.
    os.set_inheritable(commands, False)
    os.set_inheritable(results, False)
    with contextlib.suppress(BrokenPipeError):  # the agent is gone
        return Worker(commands, results).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
