"""The runtime with real child processes on one device."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

from circinus import codec
from circinus.histogram import Histogram
from circinus.messages import SinkSpec, SourceSpec
from circinus_agent.runtime import Instance, Outcome, ResultEvent, WorkerFailed

sys.path.insert(0, str(Path(__file__).parent))

from runtime_fleet import Device, device, route, settings, spec, until

pytestmark = pytest.mark.asyncio

ONE = {"s": ("a", "pass", ())}


async def serve(a: Device, *specs: tuple[str, dict[str, object]]) -> None:
    for run, more in specs:
        await a.runtime.start_instance(spec(run, **more))


async def test_a_chain_hands_outputs_on() -> None:
    async with device() as a:
        await serve(a, ("Pass", {}), ("Pid", {}))
        a.runtime.set_routes([route({"s": ("a", "pass", ()), "t": ("a", "pid", ("s",))})])
        outcome = await a.runtime.submit("q", b"x")
        assert outcome.ok
        assert codec.loads(outcome.payload or b"") > 0
        assert [s.step for s in outcome.trace.spans] == ["s", "t"]


async def test_fork_and_join_within_a_device() -> None:
    steps = {
        "s": ("a", "pass", ()),
        "l": ("a", "pass", ("s",)),
        "r": ("a", "pass", ("s",)),
        "j": ("a", "concat", ("l", "r")),
    }
    async with device() as a:
        await serve(a, ("Pass", {}), ("Concat", {}))
        a.runtime.set_routes([route(steps)])
        outcome = await a.runtime.submit("q", b"x")
        assert codec.loads(outcome.payload or b"") == {"l": "x", "r": "x"}


async def test_requests_that_wait_together_share_a_batch() -> None:
    async with device() as a:
        await serve(a, ("Size", {"batch": 4}))
        a.runtime.set_routes([route({"s": ("a", "size", ())})])
        ends = await asyncio.gather(*(a.runtime.submit("q", b"") for _ in range(9)))
        sizes = Counter(codec.loads(e.payload or b"") for e in ends)
        assert sizes[4] == 8


async def test_replicas_are_processes_that_share_the_load() -> None:
    async with device() as a:
        await serve(a, ("Pid", {"replicas": 2}))
        a.runtime.set_routes([route({"s": ("a", "pid", ())})])
        ends = await asyncio.gather(*(a.runtime.submit("q", b"") for _ in range(8)))
        assert len({codec.loads(e.payload or b"") for e in ends}) == 2


async def test_requests_that_cannot_make_their_deadline_are_shed() -> None:
    async with device() as a:
        await serve(a, ("Size", {}))
        a.runtime.set_routes([route({"s": ("a", "size", ())}, deadline_ms=60.0)])
        await a.runtime.submit("q", b"")
        ends = await asyncio.gather(*(a.runtime.submit("q", b"") for _ in range(20)))
        shed = [e for e in ends if not e.ok]
        assert len(shed) > 10
        assert {(e.cause or "").partition(":")[0] for e in shed} == {"shed"}
        assert a.runtime.route_telemetry()[0].shed == len(shed)


async def test_metered_usage_is_counted_in_dollars() -> None:
    async with device() as a:
        await serve(a, ("Obedient", {}))
        a.runtime.set_routes([route({"s": ("a", "obedient", ())})])
        await a.runtime.submit("q", b"pay")
        assert a.runtime.route_telemetry()[0].price_usd == 0.5


async def test_shares_below_one_refuse_the_rest() -> None:
    async with device() as a:
        await serve(a, ("Pass", {}))
        a.runtime.set_routes([route(ONE, share=0.75)])
        ends = [await a.runtime.submit("q", b"") for _ in range(20)]
        assert sum(e.ok for e in ends) == 15
        causes = {(e.cause or "").partition(":")[0] for e in ends if not e.ok}
        assert causes == {"not admitted"}


async def test_an_unknown_query_says_where_it_starts() -> None:
    async with device() as a:
        a.runtime.set_routes([route({"s": ("a", "pass", ())}, lead="b", sources={"s": "b"})])
        elsewhere = await a.runtime.submit("q", b"")
        assert elsewhere.cause == "unknown query: 'q' starts at device b: post it there"
        unknown = await a.runtime.submit("zz", b"")
        text = "'zz' was not admitted or never submitted; `circinus explain zz` says why"
        assert unknown.cause == f"unknown query: {text}"


async def test_a_batch_takes_from_handing_it_over_until_its_results_are_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process sees less: a promise must hold what a request waits for."""
    readings = iter((10.0, 10.5))
    instance = Instance(spec("Pass"), settings("a"))
    await instance.start()
    try:
        monkeypatch.setattr("circinus_agent.runtime.replica.perf_counter", lambda: next(readings))
        assert (await instance.call([codec.dumps(b"")])).service_ms == 500.0
    finally:
        await instance.stop()


async def test_what_an_instance_knows_of_its_operator() -> None:
    instance = Instance(spec("Pass"), settings("a"))
    await instance.start()
    try:
        assert instance.version == "7"
        assert instance.memory_mb > 5
    finally:
        await instance.stop()


async def test_emulated_slowdown_multiplies_cpu_time() -> None:
    async with device(slowdown=3.0) as a:
        await serve(a, ("Burn", {}))
        a.runtime.set_routes([route({"s": ("a", "burn", ())})])
        outcome = await a.runtime.submit("q", b"")
        assert 60 <= outcome.trace.spans[0].service_ms < 200
        assert outcome.latency_ms >= 60


async def test_a_probe_reports_the_emulated_time_without_waiting() -> None:
    instance = Instance(spec("Burn"), settings("a", slowdown=50.0, realtime=False))
    await instance.start()
    try:
        loop = asyncio.get_running_loop()
        started = loop.time()
        result = await instance.call([codec.dumps(b"")])
        assert result.service_ms >= 1000
        assert result.compute_s >= 1.0
        assert loop.time() - started < result.service_ms / 1e3
    finally:
        await instance.stop()


async def test_an_instance_is_replaced_without_a_gap() -> None:
    async with device() as a:
        await serve(a, ("Pid", {}))
        a.runtime.set_routes([route({"s": ("a", "pid", ())})])
        ends: list[Outcome] = []
        stop = asyncio.Event()

        async def ask() -> None:
            while not stop.is_set():
                ends.append(await a.runtime.submit("q", b""))

        asking = asyncio.create_task(ask())
        await a.runtime.start_instance(spec("Pid", replicas=2))
        await until(lambda: len({e.payload for e in ends}) == 3)
        stop.set()
        await asking
        assert all(e.ok for e in ends)
        (counted,) = a.runtime.instance_telemetry()
        assert counted.requests == len(ends)


async def test_a_folder_is_replayed_at_the_admitted_rate_and_scored(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).write_text(name)
    (tmp_path / "labels.json").write_text(json.dumps({"x": "x", "y": "z"}))
    source = SourceSpec(
        kind="folder",
        path="sha256:abc",
        arrivals="uniform",
        metric="runtime_operators:equal",
    )
    async with device(resolve=lambda reference: tmp_path) as a:
        await serve(a, ("Pass", {}))
        a.runtime.set_routes([route(ONE, share=0.5, rate_rps=100.0, input=source)])
        await until(a.runtime.route_telemetry)
        loop = asyncio.get_running_loop()
        first, started = a.runtime.route_telemetry()[0].submitted, loop.time()
        await until(lambda: a.runtime.route_telemetry()[0].scored >= 40)
        counted = a.runtime.route_telemetry()[0]
        rate = (counted.submitted - first) / (loop.time() - started)
        assert 35 < rate < 65
        assert counted.score_sum / counted.scored == pytest.approx(0.5, abs=0.05)
        assert Histogram(counted.latency).total == counted.completed


async def test_a_metric_has_no_process_once_no_query_needs_it(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    (tmp_path / "labels.json").write_text(json.dumps({"x": "x"}))
    source = SourceSpec(kind="folder", path=str(tmp_path), metric="runtime_operators:equal")

    def processes() -> set[int]:
        return {child.pid for child in psutil.Process().children()}

    async with device() as a:
        await serve(a, ("Pass", {}))
        before = processes()
        a.runtime.set_routes([route(ONE, rate_rps=200.0, input=source)])
        await until(lambda: scored(a) > 0)
        assert processes() > before
        a.runtime.set_routes([])
        await until(lambda: processes() <= before)


def scored(a: Device) -> int:
    return sum(counted.scored for counted in a.runtime.route_telemetry())


async def test_a_broken_metric_leaves_requests_unscored(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    (tmp_path / "labels.json").write_text(json.dumps({"x": "x"}))
    source = SourceSpec(kind="folder", path=str(tmp_path), metric="runtime_operators:broken")
    async with device() as a:
        await serve(a, ("Pass", {}))
        a.runtime.set_routes([route(ONE, rate_rps=200.0, input=source)])
        await until(lambda: completed(a) >= 50)
        assert a.runtime.route_telemetry()[0].scored == 0


def completed(a: Device) -> int:
    return sum(counted.completed for counted in a.runtime.route_telemetry())


async def test_results_go_to_file_subscribers_and_mqtt(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "results.jsonl"
    published: list[tuple[str, bytes]] = []
    async with device(publish=lambda query, event: not published.append((query, event))) as a:
        await serve(a, ("Pass", {}))
        heard: list[ResultEvent] = []
        a.runtime.subscribe("q", heard.append)
        to_file = route(ONE, output=SinkSpec(kind="file", path=str(file)))
        to_mqtt = route(ONE, query="m", output=SinkSpec(kind="mqtt"))
        a.runtime.set_routes([to_file, to_mqtt])
        await a.runtime.submit("q", b"1")
        await a.runtime.submit("q", b"2")
        await a.runtime.submit("m", b"3")
        assert [codec.loads(e.payload) for e in heard] == [b"1", b"2"]
        assert [(q, json.loads(e)["output"]) for q, e in published] == [("m", "Mw==")]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["output"] for line in lines] == ["MQ==", "Mg=="]
    assert lines[0]["query"] == "q"
    assert lines[0]["elapsed_ms"] > 0


async def test_a_relative_path_is_below_the_results_folder(tmp_path: Path) -> None:
    async with device(results=tmp_path) as a:
        await serve(a, ("Pass", {}))
        a.runtime.set_routes([route(ONE, output=SinkSpec(kind="file", path="deep/out.jsonl"))])
        await a.runtime.submit("q", b"1")
    assert len((tmp_path / "deep" / "out.jsonl").read_text().splitlines()) == 1


async def test_a_source_that_cannot_be_read_is_told_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circinus_agent.runtime.sources.RETRY_S", 0.02)
    folder = tmp_path / "in"
    source = SourceSpec(kind="folder", path=str(folder))
    async with device() as a:
        await serve(a, ("Pass", {}))
        a.runtime.set_routes([route(ONE, rate_rps=100.0, input=source)])
        await until(a.runtime.troubles)
        cause = f"{folder}: cannot read the inputs: No such file or directory"
        assert a.runtime.troubles() == {"q": f"no inputs for s: {cause}"}
        folder.mkdir()
        (folder / "x").write_text("x")
        await until(lambda: completed(a))
        assert a.runtime.troubles() == {}


async def test_results_that_cannot_be_written_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circinus_agent.runtime.sinks.TOLD_S", 0.0)
    (tmp_path / "taken").write_text("a file, no folder")
    file = tmp_path / "taken" / "out.jsonl"
    async with device() as a:
        await serve(a, ("Pass", {}))
        sink = SinkSpec(kind="file", path=str(file))
        a.runtime.set_routes([route(ONE, output=sink), route(ONE, query="other")])
        await a.runtime.submit("q", b"1")
        await a.runtime.submit("other", b"1")
        await until(a.runtime.troubles)
        (text,) = a.runtime.troubles().values()
        assert text.startswith(f"results are lost: {file.parent}: ")
        (tmp_path / "taken").unlink()
        await a.runtime.submit("q", b"2")
        await until(lambda: not a.runtime.troubles())


async def test_the_troubles_of_a_removed_query_are_forgotten(tmp_path: Path) -> None:
    source = SourceSpec(kind="folder", path=str(tmp_path / "nowhere"))
    sink = SinkSpec(kind="file", path="/proc/out.jsonl")
    async with device() as a:
        await serve(a, ("Pass", {}))
        a.runtime.set_routes([route(ONE, input=source, output=sink)])
        await a.runtime.submit("q", b"1")
        await until(lambda: "; results are lost" in a.runtime.troubles().get("q", ""))
        a.runtime.set_routes([])
        assert a.runtime.troubles() == {}


async def test_requests_of_a_removed_route_finish() -> None:
    async with device() as a:
        await serve(a, ("Size", {}))
        a.runtime.set_routes([route({"s": ("a", "size", ())})])
        request = asyncio.create_task(a.runtime.submit("q", b""))
        await until(a.runtime.route_telemetry)
        a.runtime.set_routes([])
        assert not a.runtime.drained(["p"])
        assert await a.runtime.wait_drained(["p"], 5.0)
        assert (await asyncio.wait_for(request, 1.0)).ok


async def test_starting_the_same_instance_twice_starts_one() -> None:
    async with device() as a:
        await asyncio.gather(*(a.runtime.start_instance(spec("Pid")) for _ in range(2)))
        assert a.runtime.instance_reports()["pid"].ready == 1


async def test_an_instance_can_be_stopped_while_it_starts() -> None:
    async with device() as a:
        unready = spec("Unready", config={"how": "hang"})
        starting = asyncio.create_task(a.runtime.start_instance(unready))
        await until(lambda: "unready" in a.runtime.instance_reports())
        await asyncio.wait_for(a.runtime.stop_instance("unready"), 5.0)
        with pytest.raises(WorkerFailed, match="stopped"):
            await starting
        assert a.runtime.instance_reports() == {}
