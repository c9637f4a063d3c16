"""Probes with workers of paper: what is run, what is sent, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from circinus import codec
from circinus.errors import InvalidInput, Transient
from circinus.messages import (
    AccuracyTarget,
    Artifact,
    CancelProbe,
    CommandResult,
    InstanceSpec,
    OperatorTarget,
    Peer,
    ProbeAccuracy,
    ProbeLink,
    ProbeOperators,
    ProbeSamples,
    ProbeStep,
)
from circinus_agent.capabilities.hardware import Health
from circinus_agent.probes import Conditions, ProbeEnvironment, ProbeManager
from circinus_agent.probes.outputs import shuffled
from circinus_agent.runtime.outcome import Failure, WorkerFailed
from circinus_agent.runtime.results import BatchResult, ItemResult

STEPS = [
    ProbeStep(name="decode", run="m:Decode", config={"scale": 1.0}),
    ProbeStep(name="detect", run="m:Detect", needs=["decode"], config={"side": 640}),
    ProbeStep(name="read", run="m:Read", needs=["detect"]),
]


class World:
    """Everything a probe touches, on paper; time passes only in workers."""

    def __init__(self, scratch: Path) -> None:
        self.now = 0.0
        self.samples: list[ProbeSamples] = []
        self.results: list[CommandResult] = []
        self.started: list[str] = []
        self.running: list[FakeWorker] = []
        self.calls: Counter[str] = Counter()
        self.inputs: list[Any] = []
        self.service_s = 0.01
        self.broken: dict[str, str] = {}
        self.failing: dict[str, str] = {}
        self.on_call: Callable[[FakeWorker], None] = lambda worker: None
        self.block: asyncio.Event | None = None
        self.links: list[tuple[float, float] | Exception] = []
        self.environment = ProbeEnvironment(
            device="pi-1",
            worker=lambda spec, limit_s: FakeWorker(self, spec),
            background=lambda spec, limit_s: FakeWorker(self, spec, background=True),
            encode_input=codec.dumps,
            resolve=Path,
            fetch=self.fetch,
            publish=self.samples.append,
            echo=self.echo,
            scratch=scratch,
            clock=lambda: self.now,
            pause=self.pause,
            path=(str(scratch),),
        )
        self.fetched: list[Any] = []
        self.pauses: list[float] = []

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def fetch(self, artifact: Any) -> None:
        self.fetched.append(artifact)

    async def echo(self, peer: Peer, size: int, limit_s: float) -> tuple[float, float]:
        answer = self.links.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def of(self, target: int) -> list[ProbeSamples]:
        return [s for s in self.samples if s.target == target]

    def last(self, target: int) -> ProbeSamples:
        closing = [s for s in self.of(target) if s.done]
        assert len(closing) == 1, "each target is closed exactly once"
        return closing[0]

    def latencies(self, target: int) -> list[float]:
        return [ms for s in self.of(target) for ms in s.latency_ms]

    def scores(self, target: int) -> list[float]:
        return [score for s in self.of(target) for score in s.scores]


class FakeWorker:
    def __init__(self, world: World, spec: InstanceSpec, *, background: bool = False) -> None:
        self.world = world
        self.background = background
        self.spec = spec
        self.memory_mb = 77.0

    async def start(self) -> None:
        self.world.started.append(self.spec.run)
        if self.spec.run in self.world.broken:
            raise WorkerFailed(self.spec.key, self.world.broken[self.spec.run])
        self.world.running.append(self)
        self.world.now += 0.1

    async def stop(self) -> None:
        if self in self.world.running:
            self.world.running.remove(self)

    async def call(self, batch: Sequence[Any]) -> BatchResult:
        world = self.world
        world.calls[self.spec.run] += 1
        world.inputs.append(batch)
        world.on_call(self)
        if world.block is not None:
            await world.block.wait()
        await asyncio.sleep(0)
        world.now += world.service_s
        if self.spec.run in world.failing:
            failure = Failure(*world.failing[self.spec.run].split(": ", 1))
            return BatchResult([ItemResult(None, failure)] * len(batch), 1.0, 0.1)
        items = [
            ItemResult(codec.dumps([self.spec.run, dict(self.spec.config)]), None, 0.5)
            for _ in batch
        ]
        return BatchResult(items, world.service_s * 1e3, 0.008)


@pytest.fixture
def world(tmp_path: Path):  # type: ignore[no-untyped-def]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    made = World(scratch)
    yield made
    assert made.running == [], "a probe left a worker behind"
    assert list(scratch.glob("tmp*")) == []


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / name).write_bytes(name.encode())
    (folder / ".hidden").touch()
    return folder


def run(
    world: World,
    *commands: Any,
    during: Callable[[ProbeManager], Coroutine[Any, Any, Any]] | None = None,
) -> None:
    """Submit probes and wait until all are answered."""

    async def go() -> None:
        manager = ProbeManager(world.environment, world.results.append)
        running = asyncio.create_task(manager.run())
        for command in commands:
            manager.submit(command)
        if during is not None:
            await during(manager)
        while manager.busy:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(go(), 20))


def operators(dataset: Path, *targets: OperatorTarget, **more: Any) -> ProbeOperators:
    known = {"min_samples": 5, "max_samples": 10, "budget_s": 1000.0, "request_id": "r"}
    return ProbeOperators(
        boot_id="b", session=1, steps=STEPS, targets=list(targets), dataset=str(dataset),
        **{**known, **more},
    )  # fmt: skip


@pytest.mark.parametrize(("service_s", "pauses"), [(0.001, 11), (0.01, 0)])
def test_a_quick_operator_is_measured_as_requests_find_it_at_rest(
    world: World, dataset: Path, service_s: float, pauses: int
) -> None:
    world.service_s = service_s
    run(world, operators(dataset, OperatorTarget(operator="decode")))
    assert len(world.pauses) == pauses
    assert world.calls["m:Decode"] == 12


def test_an_operator_target_gets_its_samples_without_the_warm_up(
    world: World, dataset: Path
) -> None:
    run(world, operators(dataset, OperatorTarget(operator="decode")))
    assert world.latencies(0) == [10.0] * 10
    assert world.calls["m:Decode"] == 12
    assert world.results[0].ok


def test_samples_are_per_request_and_latency_per_batch(world: World, dataset: Path) -> None:
    run(world, operators(dataset, OperatorTarget(operator="decode", batch=4)))
    (first, *_) = world.of(0)
    assert first.latency_ms[0] == 10.0
    assert first.compute_s[0] == pytest.approx(0.002)
    assert first.price_usd[0] == 0.5
    assert first.output_bytes[0] == len(codec.dumps(["m:Decode", {}]))
    assert first.memory_mb == 77.0


def test_a_source_gets_the_files_bytes_in_turn(world: World, dataset: Path) -> None:
    run(world, operators(dataset, OperatorTarget(operator="decode", batch=2), max_samples=2))
    values = [[codec.loads(p) for p in batch] for batch in world.inputs]
    assert values == [[b"a", b"b"], [b"c", b"a"], [b"b", b"c"], [b"a", b"b"]]


def test_the_chain_before_a_target_runs_once_at_its_reference(world: World, dataset: Path) -> None:
    targets = [OperatorTarget(operator="read", config={"n": n}) for n in (1, 2)]
    run(world, operators(dataset, *targets))
    assert world.started == ["m:Decode", "m:Detect", "m:Read", "m:Read"]
    assert world.calls["m:Decode"] == world.calls["m:Detect"] == 3
    read_inputs = world.inputs[6:]
    assert codec.loads(read_inputs[0][0]) == ["m:Detect", {"side": 640}]


def test_operators_nobody_needs_are_not_run(world: World, dataset: Path) -> None:
    run(world, operators(dataset, OperatorTarget(operator="decode")))
    assert set(world.calls) == {"m:Decode"}


def test_a_join_gets_a_map_of_its_inputs(world: World, dataset: Path) -> None:
    steps = [
        ProbeStep(name="x", run="m:X"),
        ProbeStep(name="y", run="m:Y"),
        ProbeStep(name="j", run="m:J", needs=["x", "y"]),
    ]
    command = ProbeOperators(
        request_id="r", boot_id="b", session=1, steps=steps,
        targets=[OperatorTarget(operator="j")], dataset=str(dataset), max_samples=1,
    )  # fmt: skip
    run(world, command)
    assert set(world.inputs[-1][0]) == {"x", "y"}


def test_samples_are_sent_in_groups_of_ten(world: World, dataset: Path) -> None:
    world.service_s = 0.001
    run(world, operators(dataset, OperatorTarget(operator="decode"), max_samples=25))
    assert [len(s.latency_ms) for s in world.of(0)] == [10, 10, 5]


def test_slow_samples_are_sent_as_they_come(world: World, dataset: Path) -> None:
    world.service_s = 0.5
    run(world, operators(dataset, OperatorTarget(operator="decode"), max_samples=3))
    assert [len(s.latency_ms) for s in world.of(0)] == [1, 1, 1, 0]


def test_message_numbers_grow_over_the_whole_probe(world: World, dataset: Path) -> None:
    run(world, operators(dataset, *[OperatorTarget(operator="decode")] * 3))
    numbers = [s.seq for s in world.samples]
    assert numbers == sorted(set(numbers))


def test_a_target_that_cannot_start_says_why_and_the_others_go_on(
    world: World, dataset: Path
) -> None:
    world.broken["m:Read"] = "no module m"
    run(
        world,
        operators(dataset, OperatorTarget(operator="read"), OperatorTarget(operator="detect")),
    )
    assert world.last(0).cause == "no module m"
    assert len(world.latencies(1)) == 10


def test_targets_behind_a_broken_operator_say_so(world: World, dataset: Path) -> None:
    world.broken["m:Decode"] = "no module m"
    run(world, operators(dataset, OperatorTarget(operator="read")))
    assert "no module m" in str(world.last(0).cause)
    assert "m:Read" not in world.started


def test_an_operator_that_fails_on_every_input_is_given_up(world: World, dataset: Path) -> None:
    world.failing["m:Decode"] = "raised: ValueError: no image"
    run(world, operators(dataset, OperatorTarget(operator="decode")))
    assert world.last(0).cause == "raised: ValueError: no image"
    assert world.calls["m:Decode"] == 3


def test_an_unknown_operator_is_named(world: World, dataset: Path) -> None:
    run(world, operators(dataset, OperatorTarget(operator="nobody")))
    assert "nobody" in str(world.last(0).cause)


def test_the_budget_ends_a_target_that_has_enough_samples(world: World, dataset: Path) -> None:
    world.service_s = 1.0
    run(
        world,
        operators(
            dataset, *[OperatorTarget(operator="decode")] * 2, budget_s=20.0, max_samples=1000
        ),
    )
    assert world.last(0).cause == "budget used up"
    assert 5 <= len(world.latencies(0)) <= 10
    assert len(world.latencies(1)) >= 5


def test_a_dataset_without_files_fails_the_probe(world: World, tmp_path: Path) -> None:
    run(world, operators(tmp_path / "nothing", OperatorTarget(operator="decode")))
    assert not world.results[0].ok
    assert world.last(0).cause == "stopped"


def test_a_dataset_that_cannot_be_resolved_fails_the_probe(world: World, dataset: Path) -> None:
    import dataclasses

    def resolve(reference: str) -> Path:
        raise InvalidInput("artifact is not on this device")

    world.environment = dataclasses.replace(world.environment, resolve=resolve)
    run(world, operators(dataset, OperatorTarget(operator="decode")))
    assert "not on this device" in str(world.results[0].error)


# ---- cancelling ---------------------------------------------------------------------------


def cancel(targets: list[int] | None = None) -> CancelProbe:
    return CancelProbe(request_id="c", boot_id="b", session=1, probe="r", targets=targets)


def test_one_target_is_cancelled_and_the_others_go_on(world: World, dataset: Path) -> None:
    async def during(manager: ProbeManager) -> None:
        def on_call(worker: FakeWorker) -> None:
            if world.calls["m:Decode"] == 5:
                manager.cancel(cancel([0]))

        world.on_call = on_call

    run(world, operators(dataset, *[OperatorTarget(operator="decode")] * 2), during=during)
    assert world.last(0).cause == "cancelled"
    assert len(world.latencies(0)) < 10
    assert len(world.latencies(1)) == 10


def test_cancelling_ends_a_batch_that_takes_for_ever(world: World, dataset: Path) -> None:
    async def during(manager: ProbeManager) -> None:
        while not world.calls:
            await asyncio.sleep(0)
        manager.cancel(cancel())

    world.block = None

    def block(worker: FakeWorker) -> None:
        world.block = asyncio.Event()

    world.on_call = block
    run(world, operators(dataset, OperatorTarget(operator="decode")), during=during)
    assert world.last(0).cause == "cancelled"


def test_upstream_is_not_run_for_cancelled_targets(world: World, dataset: Path) -> None:
    async def during(manager: ProbeManager) -> None:
        manager.cancel(cancel())

    run(world, operators(dataset, OperatorTarget(operator="read")), during=during)
    assert world.started == []
    assert world.last(0).cause == "cancelled"


def test_cancelling_what_is_over_is_answered(world: World) -> None:
    async def during(manager: ProbeManager) -> None:
        manager.cancel(cancel())

    run(world, during=during)
    assert world.results[0].ok


def test_probes_run_one_after_the_other(world: World, dataset: Path) -> None:
    most = 0

    def on_call(worker: FakeWorker) -> None:
        nonlocal most
        most = max(most, len(world.running))

    world.on_call = on_call
    run(
        world,
        operators(dataset, OperatorTarget(operator="decode")),
        operators(dataset, OperatorTarget(operator="decode"), request_id="s"),
    )
    assert most == 1
    assert [r.request_id for r in world.results] == ["r", "s"]


def test_the_same_command_again_is_not_a_second_probe(world: World, dataset: Path) -> None:
    command = operators(dataset, OperatorTarget(operator="decode"))
    run(world, command, command)
    assert len(world.results) == 1


def test_ending_the_agent_stops_the_worker_and_says_so(world: World, dataset: Path) -> None:
    async def go() -> None:
        manager = ProbeManager(world.environment, world.results.append)
        running = asyncio.create_task(manager.run())
        world.block = asyncio.Event()
        manager.submit(operators(dataset, OperatorTarget(operator="decode")))
        while not world.calls:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(go())
    assert world.last(0).cause == "stopped"
    assert world.results[0].error == "the agent stops"


class OldTimeout(Exception):
    """As asyncio's was before Python 3.11: neither an OSError nor the built-in one."""


def test_a_timeout_of_the_fetch_fails_the_probe_and_not_the_agent(
    world: World, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch(artifact: Artifact) -> None:
        raise OldTimeout

    monkeypatch.setattr(asyncio, "TimeoutError", OldTimeout)
    world.environment = dataclasses.replace(world.environment, fetch=fetch)
    artifact = Artifact(sha256="0" * 64, size_bytes=1, url="http://box/a")
    run(world, operators(dataset, OperatorTarget(operator="decode"), artifacts=[artifact]))
    assert world.results[0].error == "timeout"


# ---- accuracy -----------------------------------------------------------------------------

METRIC = """
def same(output, label):
    return 1.0 if output == label else 0.0

def side(output, label):
    return output[1].get("side", 0) / 640

def wrong(output, label):
    return 7

def bad(output, label):
    raise KeyError("sign")
"""


def accuracy(dataset: Path, world: World, metric: str, *vectors: Any, **more: Any) -> ProbeAccuracy:
    (world.environment.scratch / "metric_of_test.py").write_text(METRIC)
    return ProbeAccuracy(
        request_id="r", boot_id="b", session=1, steps=more.pop("steps", STEPS[:2]),
        targets=[AccuracyTarget(config=v) for v in vectors], dataset=str(dataset),
        metric=f"metric_of_test:{metric}", **{"budget_s": 1000.0, **more},
    )  # fmt: skip


def vector(scale: float, side: int) -> dict[str, Any]:
    return {"decode": {"scale": scale}, "detect": {"side": side}}


@pytest.fixture
def labelled(dataset: Path) -> Path:
    (dataset / "labels.json").write_text(json.dumps({"a": "x", "b": "y"}))
    return dataset


def test_each_vector_is_scored_on_the_labelled_files(world: World, labelled: Path) -> None:
    run(world, accuracy(labelled, world, "side", vector(1.0, 640), vector(1.0, 320)))
    assert world.scores(0) == [1.0, 1.0]
    assert world.scores(1) == [0.5, 0.5]
    assert world.results[0].data["reference"] == "labels"


def test_common_beginnings_run_once(world: World, labelled: Path) -> None:
    vectors = [vector(scale, side) for side in (640, 320) for scale in (1.0, 0.5)]
    run(world, accuracy(labelled, world, "side", *vectors))
    assert world.calls["m:Decode"] == 2 * 2
    assert world.calls["m:Detect"] == 4 * 2
    assert world.results[0].data["executed"] == 12


def test_without_labels_scores_are_agreement_with_the_reference(
    world: World, dataset: Path
) -> None:
    run(
        world,
        accuracy(dataset, world, "same", vector(1.0, 640), vector(1.0, 320), vector(0.5, 640)),
    )
    assert world.scores(0) == [1.0] * 3
    assert world.scores(1) == [0.0] * 3
    assert world.scores(2) == [1.0] * 3
    assert world.results[0].data["reference"] == "agreement"


def test_the_reference_is_the_steps_own_even_if_it_is_no_target(
    world: World, dataset: Path
) -> None:
    run(world, accuracy(dataset, world, "same", vector(1.0, 320), vector(0.5, 640)))
    assert world.scores(0) == [0.0] * 3
    assert world.scores(1) == [1.0] * 3
    assert world.results[0].data["executed"] == 3 * (2 + 3)


def test_operators_left_out_of_a_vector_run_at_their_reference(
    world: World, labelled: Path
) -> None:
    run(world, accuracy(labelled, world, "side", {"decode": {"scale": 0.5}}))
    assert world.scores(0) == [1.0, 1.0]


def test_accuracy_is_scored_in_the_background(world: World, labelled: Path) -> None:
    workers: list[FakeWorker] = []
    world.on_call = workers.append
    run(world, accuracy(labelled, world, "side", vector(1.0, 640)))
    assert workers
    assert all(worker.background for worker in workers)


def test_only_what_is_measured_runs_at_full_priority(world: World, dataset: Path) -> None:
    priorities: set[tuple[str, bool]] = set()
    world.on_call = lambda worker: priorities.add((worker.spec.run, worker.background))
    run(world, operators(dataset, OperatorTarget(operator="read")))
    assert priorities == {("m:Decode", True), ("m:Detect", True), ("m:Read", False)}


def test_an_operator_that_raises_on_an_input_scores_zero(world: World, labelled: Path) -> None:
    def on_call(worker: FakeWorker) -> None:
        world.failing.clear()
        if world.calls["m:Detect"] == 1:
            world.failing["m:Detect"] = "raised: ValueError"

    world.on_call = on_call
    run(world, accuracy(labelled, world, "side", vector(1.0, 640)))
    assert world.scores(0) == [0.0, 1.0]


def test_a_killed_operator_is_no_wrong_answer(world: World, labelled: Path) -> None:
    world.failing["m:Detect"] = "killed: SIGKILL"
    run(world, accuracy(labelled, world, "side", vector(1.0, 640)))
    assert world.scores(0) == []
    assert world.last(0).cause == "detect: killed: SIGKILL"


@pytest.mark.parametrize(
    ("metric", "cause"), [("wrong", "[0, 1]"), ("bad", "KeyError"), ("absent", "absent")]
)
def test_a_metric_that_does_not_work_is_named(
    world: World, labelled: Path, metric: str, cause: str
) -> None:
    run(world, accuracy(labelled, world, metric, vector(1.0, 640)))
    told = f"{world.last(0).cause} {world.results[0].error}"
    assert cause in told


def test_damaged_labels_fail_the_probe(world: World, dataset: Path) -> None:
    (dataset / "labels.json").write_text("{")
    run(world, accuracy(dataset, world, "same", vector(1.0, 640)))
    assert "labels.json" in str(world.results[0].error)


def test_a_cancelled_vector_is_not_run(world: World, labelled: Path) -> None:
    async def during(manager: ProbeManager) -> None:
        manager.cancel(cancel([1]))

    run(
        world,
        accuracy(labelled, world, "side", vector(1.0, 640), vector(1.0, 320)),
        during=during,
    )
    assert world.last(1).cause == "cancelled"
    assert world.calls["m:Detect"] == 2


def test_the_reference_is_run_even_if_nobody_wants_its_samples(world: World, dataset: Path) -> None:
    async def during(manager: ProbeManager) -> None:
        manager.cancel(cancel([0]))

    run(
        world,
        accuracy(dataset, world, "same", vector(1.0, 640), vector(0.5, 640)),
        during=during,
    )
    assert (world.scores(0), world.scores(1)) == ([], [1.0] * 3)


FOUR = (vector(1.0, 640), vector(1.0, 320), vector(0.5, 640), vector(0.5, 320))


@pytest.fixture
def ten(dataset: Path) -> Path:
    """Ten labelled inputs, of which four are expected to be read as the operator does."""
    expected = ["m:Detect", {"side": 640}]
    labels = {f"{i}": expected if i % 3 == 0 else "other" for i in range(10)}
    for name in labels:
        (dataset / name).write_bytes(name.encode())
    (dataset / "labels.json").write_text(json.dumps(labels))
    return dataset


def test_scoring_goes_on_after_the_inputs_that_have_a_score(world: World, ten: Path) -> None:
    run(world, accuracy(ten, world, "same", vector(1.0, 640)))
    whole = world.scores(0)
    assert sorted(whole) == [0.0] * 6 + [1.0] * 4
    for first, count in ((0, 3), (3, None)):
        world.samples.clear()
        world.calls.clear()
        target = AccuracyTarget(config=vector(1.0, 640), first=first, count=count)
        command = accuracy(ten, world, "same")
        run(world, msgspec.structs.replace(command, targets=[target]))
        assert world.scores(0) == whole[first:][:count]
        assert world.calls["m:Detect"] == len(world.scores(0))
        assert next(s.first for s in world.of(0) if s.scores) == first
        assert {s.population for s in world.of(0)} == {10}


def test_targets_that_begin_at_other_inputs_share_outputs(world: World, ten: Path) -> None:
    targets = [
        AccuracyTarget(config=config, first=first, count=2)
        for config, first in zip(FOUR[:2], (4, 6), strict=True)
    ]
    command = accuracy(ten, world, "side")
    run(world, msgspec.structs.replace(command, targets=targets))
    assert (world.scores(0), world.scores(1)) == ([1.0, 1.0], [0.5, 0.5])
    assert (world.calls["m:Decode"], world.calls["m:Detect"]) == (4, 4)


def test_agreement_goes_on_too(world: World, dataset: Path) -> None:
    target = AccuracyTarget(config=vector(0.5, 640), first=2)
    command = accuracy(dataset, world, "same")
    run(world, msgspec.structs.replace(command, targets=[target]))
    assert world.scores(0) == [1.0]
    assert world.calls["m:Detect"] == 2


def then(command: ProbeAccuracy, *targets: AccuracyTarget, of: str) -> ProbeAccuracy:
    return msgspec.structs.replace(command, request_id=of, targets=list(targets))


def test_the_next_probe_goes_on_with_what_the_last_one_left(world: World, ten: Path) -> None:
    command = accuracy(ten, world, "side")
    run(
        world,
        then(command, AccuracyTarget(config=vector(1.0, 640), count=4), of="first"),
        then(command, AccuracyTarget(config=vector(1.0, 320), count=6), of="second"),
        then(command, AccuracyTarget(config=vector(1.0, 640), first=4, count=6), of="third"),
    )
    assert [sum(len(s.scores) for s in world.samples if s.request_id == r.request_id)
            for r in world.results] == [4, 6, 6]  # fmt: skip
    # Ten inputs are decoded once, and detected once at 640 (10) and six of them at 320.
    assert (world.calls["m:Decode"], world.calls["m:Detect"]) == (10, 16)
    assert sorted(world.started) == ["m:Decode", "m:Detect", "m:Detect"]


def test_what_a_probe_left_goes_once_nobody_asks_for_more(world: World, ten: Path) -> None:
    pause = asyncio.Event()

    async def go() -> None:
        async def wait(seconds: float) -> None:
            world.pauses.append(seconds)
            await pause.wait()

        environment = dataclasses.replace(world.environment, pause=wait)
        manager = ProbeManager(environment, world.results.append)
        running = asyncio.create_task(manager.run())
        manager.submit(accuracy(ten, world, "side", vector(1.0, 640)))
        while not world.pauses:
            await asyncio.sleep(0)
        assert len(world.running) == 2
        pause.set()
        while world.running:
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(asyncio.wait_for(go(), 20))


def test_what_is_measured_has_no_other_processes_beside_it(world: World, ten: Path) -> None:
    beside: list[int] = []
    world.on_call = lambda worker: None if worker.background else beside.append(len(world.running))
    measured = operators(ten, OperatorTarget(operator="decode", config={}), request_id="o")
    run(world, accuracy(ten, world, "side", vector(1.0, 640)), measured)
    assert set(beside) == {1}


def test_outputs_of_other_inputs_are_not_taken_for_these(world: World, ten: Path) -> None:
    command = accuracy(ten, world, "side", vector(1.0, 640))

    async def edited(manager: ProbeManager) -> None:
        while not world.results:
            await asyncio.sleep(0)
        (ten / "3").write_bytes(b"another picture")
        manager.submit(msgspec.structs.replace(command, request_id="again"))

    run(world, command, during=edited)
    assert world.calls["m:Detect"] == 20


def test_an_operator_that_was_killed_is_started_anew(world: World, ten: Path) -> None:
    command = accuracy(ten, world, "side", vector(1.0, 640))
    world.failing["m:Detect"] = "killed: by signal 9"

    async def mended(manager: ProbeManager) -> None:
        while not world.results:
            await asyncio.sleep(0)
        world.failing.clear()
        manager.submit(msgspec.structs.replace(command, request_id="again"))

    run(world, command, during=mended)
    assert world.started.count("m:Detect") == 2
    assert sum(len(s.scores) for s in world.samples if s.request_id == "again") == 10


def test_a_target_whose_inputs_all_have_scores_is_done_at_once(world: World, ten: Path) -> None:
    target = AccuracyTarget(config=vector(1.0, 640), first=10)
    run(world, msgspec.structs.replace(accuracy(ten, world, "same"), targets=[target]))
    assert (world.last(0).cause, world.scores(0), world.started) == (None, [], [])


def test_inputs_are_scored_in_an_order_their_names_do_not_tell(dataset: Path) -> None:
    names = [f"cat-{i}" for i in range(20)] + [f"dog-{i}" for i in range(20)]
    order = [path.name for path in shuffled([dataset / name for name in names], dataset)]
    assert 5 <= sum(name.startswith("cat") for name in order[:20]) <= 15
    elsewhere = [dataset / "a" / name for name in reversed(names)]
    assert [path.name for path in shuffled(elsewhere, dataset / "a")] == order


# ---- conditions ---------------------------------------------------------------------------


def test_samples_tell_of_heat_and_of_what_else_the_machine_does(
    world: World, dataset: Path
) -> None:
    """A worker busy for a quarter of the time on one of two cores, another one all of it."""
    worker_s = 0.0

    def on_call(_: FakeWorker) -> None:
        nonlocal worker_s
        worker_s += 0.008

    world.on_call = on_call
    world.service_s = 0.032
    world.environment = dataclasses.replace(
        world.environment,
        slowdown=2.0,
        conditions=Conditions(
            read=lambda: Health(temperature_c=64.0, throttled=False),
            core_s=lambda: worker_s / 2 + world.now,
            cores=2.0,
        ),
    )

    async def during(_: ProbeManager) -> None:
        while world.environment.conditions.health.temperature_c is None:
            await asyncio.sleep(0)
        world.block.set()  # type: ignore[union-attr]

    world.block = asyncio.Event()
    target = OperatorTarget(operator="decode")
    run(world, operators(dataset, target, max_samples=20), during=during)
    full = [s for s in world.of(0) if s.background_percent is not None]
    assert full
    assert {(s.temperature_c, s.throttled) for s in full} == {(64.0, False)}
    assert {s.background_percent for s in full} == {50.0}


# ---- links --------------------------------------------------------------------------------


def link(**more: Any) -> ProbeLink:
    return ProbeLink(
        request_id="r", boot_id="b", session=1, peer=Peer(device="edge-1", url="ws://e"),
        **{"samples": 2, "payload_bytes": 125_000, **more},
    )  # fmt: skip


def test_a_link_probe_leaves_out_the_first_exchange(world: World) -> None:
    world.links = [(500.0, 5.0), (20.0, 0.12), (10.0, 0.11)]
    run(world, link())
    samples = world.of(0)
    assert [x for s in samples for x in s.rtt_ms] == [20.0, 10.0]
    assert [x for s in samples for x in s.bandwidth_mbps] == pytest.approx([10.0, 10.0])


def test_a_peer_that_cannot_be_reached_fails_the_probe(world: World) -> None:
    world.links = [Transient("edge-1 does not answer")]
    run(world, link())
    assert world.last(0).cause == "edge-1 does not answer"
    assert not world.results[0].ok


def test_a_link_lost_midway_keeps_what_was_measured(world: World) -> None:
    world.links = [(10.0, 0.1), (10.0, 0.1), Transient("gone")]
    run(world, link())
    assert world.last(0).cause == "gone"
    assert world.results[0].ok


def test_a_timeout_of_the_link_is_the_probes_cause(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio, "TimeoutError", OldTimeout)
    world.links = [OldTimeout()]
    run(world, link())
    assert world.last(0).cause == "timeout"
