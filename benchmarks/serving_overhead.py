"""What serving adds to calling the same operators in one Python loop.

Each figure is the median over pairs: one request through the runtime, then one through the
loop, so that a busy machine troubles both alike. The second agent is a process of its own.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from circinus import codec
from circinus.messages import InstanceSpec, Peer, Route, RouteStep
from circinus.operator import Context, Operator
from circinus_agent.dataplane import DataPlane
from circinus_agent.runtime import Instance, Runtime, RuntimeSettings

ROOT = str(Path(__file__).resolve().parent.parent)
PAYLOAD = 150_000
PAIRS = 1000
WARM_UP = 100
ROUNDS = 9
RUNS_PER_ROUND = 40


class Pass(Operator):
    """Hands its input on: all that is measured is the way there."""

    def process(self, batch: Sequence[Any]) -> Sequence[Any]:
        return list(batch)


def main() -> None:
    """Measure and print."""
    asyncio.run(_main())


async def _main() -> None:
    payload = os.urandom(PAYLOAD)
    print(f"{'':52}{'p50':>9}{'target':>10}")
    _line("bare pipe to a child and back, 150 KB", _bare_pipe(payload))
    _line("bare WebSocket echo over loopback, 150 KB", await _bare_websocket(payload))
    _line("one batch to an operator's process, 150 KB", await _instance(payload))
    small = await _same_device(b"x" * 100)
    _line("overhead per hop, same device, 100 B", small, 0.3)
    _line("overhead per hop, same device, 150 KB", await _same_device(payload), 0.3)
    there, back = await _two_agents(payload)
    _line("overhead per hop, two agents, 150 KB", there, 1.0)
    _line("  the same with the 150 KB result sent back", back)
    bare, served, share = await _throughput()
    print(f"{'ONNX stage, bare onnxruntime, 1 thread':52}{bare:7.1f}/s")
    print(f"{'ONNX stage, served, 1 thread':52}{served:7.1f}/s")
    print(f"{'  share of bare':52}{share:8.1%}{'>= 90 %':>11}  {_verdict(share >= 0.9)}")


def _line(name: str, value_ms: float, target_ms: float | None = None) -> None:
    target = "" if target_ms is None else f"{f'<= {target_ms} ms':>11}"
    verdict = "" if target_ms is None else f"  {_verdict(value_ms <= target_ms)}"
    print(f"{name:52}{value_ms:6.3f} ms{target}{verdict}", flush=True)


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


# ---- bare transports ---------------------------------------------------------------------------

_ECHO = """
import os, sys
n = int(sys.argv[1])
while True:
    data = bytearray()
    while len(data) < n:
        part = os.read(0, n - len(data))
        if not part: sys.exit()
        data += part
    view = memoryview(data)
    while view: view = view[os.write(1, view):]
"""


def _bare_pipe(payload: bytes) -> float:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", _ECHO, str(len(payload))], stdin=pipe, stdout=pipe, bufsize=0
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        source, sink = child.stdout.fileno(), child.stdin.fileno()

        def there_and_back() -> None:
            view = memoryview(payload)
            while view:
                view = view[os.write(sink, view) :]
            left = len(payload)
            while left:
                left -= len(os.read(source, left))

        times = [_timed(there_and_back) for _ in range(PAIRS + WARM_UP)]
        child.stdin.close()
    return statistics.median(times[WARM_UP:])


async def _bare_websocket(payload: bytes) -> float:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    app = web.Application()
    app.add_routes([web.get("/", echo)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"ws://127.0.0.1:{runner.addresses[0][1]}/"
    times = []
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=0) as socket:
        for _ in range(PAIRS + WARM_UP):
            started = time.perf_counter()
            await socket.send_bytes(payload)
            await socket.receive()
            times.append((time.perf_counter() - started) * 1e3)
    await runner.cleanup()
    return statistics.median(times[WARM_UP:])


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


# ---- the runtime -------------------------------------------------------------------------------


def _settings(device: str) -> RuntimeSettings:
    return RuntimeSettings(device=device, cores=2, paths=(ROOT,))


def _spec(key: str) -> InstanceSpec:
    return InstanceSpec(key=key, run="benchmarks.serving_overhead:Pass")


@asynccontextmanager
async def _agent(device: str, port: int = 0) -> AsyncIterator[tuple[Runtime, DataPlane]]:
    plane = DataPlane(device, host="127.0.0.1", port=port)
    runtime = Runtime(_settings(device), transport=plane)
    plane.attach(runtime)
    await plane.start()
    try:
        yield runtime, plane
    finally:
        await runtime.close()
        await plane.close()


def _route(devices: Sequence[str]) -> Route:
    """A chain with one step for each of `devices`, led by `a`."""
    steps = [
        RouteStep(
            name=f"s{i}", device=device, instance=f"pass-{i}", needs=[f"s{i - 1}"] if i else []
        )
        for i, device in enumerate(devices)
    ]
    return Route(
        query="bench",
        plan="+".join(devices),
        share=1.0,
        active=True,
        lead="a",
        sources={"s0": "a"},
        steps=steps,
        rate_rps=1.0,
    )


async def _instance(payload: bytes) -> float:
    instance = Instance(_spec("pass"), _settings("a"))
    await instance.start()
    encoded = codec.dumps(payload)
    times = []
    for _ in range(PAIRS + WARM_UP):
        started = time.perf_counter()
        await instance.call([encoded])
        times.append((time.perf_counter() - started) * 1e3)
    await instance.stop()
    return statistics.median(times[WARM_UP:])


async def _same_device(payload: bytes, steps: int = 3) -> float:
    async with _agent("a") as (runtime, _):
        for i in range(steps):
            await runtime.start_instance(_spec(f"pass-{i}"))
        runtime.set_routes([_route(["a"] * steps)])
        overheads, _ = await _pairs(runtime, payload, steps)
    return overheads / steps


async def _two_agents(payload: bytes) -> tuple[float, float]:
    """Overhead of one step on another agent: until it is done there, and with the result back."""
    program = [sys.executable, "-m", "benchmarks.serving_overhead", "--agent"]
    other = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE)  # noqa: ASYNC220
    assert other.stdout is not None
    assert other.stdin is not None
    try:
        line = await asyncio.to_thread(other.stdout.readline)
        async with _agent("a") as (runtime, plane):
            plane.set_peers([Peer(device="b", url=f"ws://127.0.0.1:{int(line)}")])
            runtime.set_routes([_route(["b"])])
            while plane.rtt_ms("b") is None:  # noqa: ASYNC110 - a few milliseconds
                await asyncio.sleep(0.01)
            return await _pairs(runtime, payload, 1)
    finally:
        other.stdin.close()
        other.wait(10)


async def _other_agent() -> None:
    async with _agent("b") as (runtime, plane):
        await runtime.start_instance(_spec("pass-0"))
        runtime.set_routes([_route(["b"])])
        print(plane.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _pairs(runtime: Runtime, payload: bytes, steps: int) -> tuple[float, float]:
    """Medians of what serving takes more than the loop: to delivery, and to the answer in hand."""
    operators = [Pass() for _ in range(steps)]

    def loop() -> None:
        value: Any = payload
        for operator in operators:
            value = operator.process([value])[0]

    delivered, answered = [], []
    for _ in range(PAIRS + WARM_UP):
        started = time.perf_counter()
        outcome = await runtime.submit("bench", payload)
        total_ms = (time.perf_counter() - started) * 1e3
        assert outcome.ok, outcome
        loop_ms = _timed(loop)
        delivered.append(outcome.latency_ms - loop_ms)
        answered.append(total_ms - loop_ms)
    return statistics.median(delivered[WARM_UP:]), statistics.median(answered[WARM_UP:])


# ---- throughput --------------------------------------------------------------------------------


def _model(folder: str) -> str:
    """A small convolutional network of about ten milliseconds."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(1)
    nodes, weights = [], []
    channels = [3, 32, 64, 64]
    for i in range(3):
        shape = (channels[i + 1], channels[i], 3, 3)
        kernel = random.normal(0, 0.05, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{i}"))
        step = helper.make_node(
            "Conv", [f"x{i}", f"w{i}"], [f"c{i}"], strides=[2 if i == 0 else 1] * 2, pads=[1] * 4
        )
        nodes += [step, helper.make_node("Relu", [f"c{i}"], [f"x{i + 1}"])]
    nodes.append(helper.make_node("GlobalAveragePool", ["x3"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["n", 3, 160, 160])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64, 1, 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = f"{folder}/bench.onnx"
    onnx.save(model, path)
    return path


async def _throughput() -> tuple[float, float, float]:
    """Runs per second, bare and served, and their ratio: medians over alternating rounds."""
    import numpy as np

    from circinus.onnx import open_session

    with tempfile.TemporaryDirectory() as folder:
        path = _model(folder)
        picture = np.random.default_rng(2).normal(size=(3, 160, 160)).astype(np.float32)
        session = open_session(Path(path), Context(), threads=1)
        spec = InstanceSpec(
            key="onnx", run="circinus.onnx:OnnxOperator", config={"model": path}, batch=1
        )
        instance = Instance(spec, _settings("a"))
        await instance.start()
        encoded = codec.dumps(picture)

        def bare() -> float:
            started = time.perf_counter()
            for _ in range(RUNS_PER_ROUND):
                session.run(None, {"x0": picture[None]})
            return RUNS_PER_ROUND / (time.perf_counter() - started)

        async def served() -> float:
            started = time.perf_counter()
            for result in await asyncio.gather(
                *(instance.call([encoded]) for _ in range(RUNS_PER_ROUND))
            ):
                assert result.items[0].failure is None, result
            return RUNS_PER_ROUND / (time.perf_counter() - started)

        bare()
        await served()
        pairs = [(bare(), await served()) for _ in range(ROUNDS)]
        await instance.stop()
    return (
        statistics.median(b for b, _ in pairs),
        statistics.median(s for _, s in pairs),
        statistics.median(s / b for b, s in pairs),
    )


if __name__ == "__main__":
    if "--agent" in sys.argv:
        asyncio.run(_other_agent())
    else:
        main()
