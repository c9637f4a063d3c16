"""Probes with real operators in real processes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from circinus import codec
from circinus.messages import (
    AccuracyTarget,
    CommandResult,
    OperatorTarget,
    ProbeAccuracy,
    ProbeOperators,
    ProbeSamples,
    ProbeStep,
)
from circinus_agent.probes import ProbeEnvironment, ProbeManager
from circinus_agent.runtime import Instance, RuntimeSettings

HERE = str(Path(__file__).parent)
STEPS = [
    ProbeStep(name="shout", run="agent_operators:Shout"),
    ProbeStep(name="count", run="agent_operators:Count", needs=["shout"]),
]


class Bench:
    def __init__(self, folder: Path, slowdown: float = 1.0) -> None:
        self.samples: list[ProbeSamples] = []
        self.results: list[CommandResult] = []
        settings = RuntimeSettings(
            device="d", paths=(HERE,), cache_dir=str(folder), slowdown=slowdown
        )

        def worker(spec: Any, limit_s: float) -> Instance:
            return Instance(
                spec, dataclasses.replace(settings, realtime=False, start_timeout_s=limit_s)
            )

        async def nothing(*arguments: Any) -> Any:
            raise AssertionError

        self.environment = ProbeEnvironment(
            device="d",
            worker=worker,
            background=worker,
            encode_input=codec.dumps,
            resolve=Path,
            fetch=nothing,
            publish=self.samples.append,
            echo=nothing,
            scratch=folder,
            path=(HERE,),
        )

    def run(self, command: Any) -> CommandResult:
        async def go() -> None:
            done = asyncio.Event()

            def answer(result: CommandResult) -> None:
                self.results.append(result)
                done.set()

            manager = ProbeManager(self.environment, answer)
            running = asyncio.create_task(manager.run())
            manager.submit(command)
            await asyncio.wait_for(done.wait(), 50)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        before = set(psutil.Process().children(recursive=True))
        asyncio.run(go())
        assert set(psutil.Process().children(recursive=True)) <= before, "an orphan is left"
        return self.results[-1]

    def causes(self) -> list[str | None]:
        return [s.cause for s in sorted(self.samples, key=lambda s: s.target) if s.done]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    folder = tmp_path / "words"
    folder.mkdir()
    for word in ("a", "bb", "ccc"):
        (folder / word).write_text(word)
    return folder


def operators(words: Path, *targets: OperatorTarget, steps: Any = None) -> ProbeOperators:
    return ProbeOperators(
        request_id="r",
        boot_id="b",
        session=1,
        steps=steps or STEPS,
        targets=list(targets),
        dataset=str(words),
        max_samples=8,
        budget_s=30.0,
    )


def test_an_operator_is_measured_in_a_process_of_its_own(tmp_path: Path, words: Path) -> None:
    bench = Bench(tmp_path)
    targets = [OperatorTarget(operator="count", config={"loops": n}) for n in (100_000, 1000)]
    assert bench.run(operators(words, *targets)).ok
    slow, fast = (
        [ms for s in bench.samples if s.target == t for ms in s.latency_ms] for t in (0, 1)
    )
    assert len(slow) == len(fast) == 8
    assert min(slow) > max(0.0, min(fast))
    assert all(s.memory_mb and s.memory_mb > 1 for s in bench.samples if s.latency_ms)


def test_an_emulated_slowdown_is_reported_but_not_waited_for(tmp_path: Path, words: Path) -> None:
    target = OperatorTarget(operator="count", config={"loops": 100_000})
    real, slowed = Bench(tmp_path), Bench(tmp_path, slowdown=50.0)
    real.run(operators(words, target))
    slowed.run(operators(words, target))
    means = [sum(x for s in bench.samples for x in s.compute_s) / 8 for bench in (real, slowed)]
    assert means[1] > 10 * means[0]


def test_an_operator_without_setup_is_named_and_the_others_measured(
    tmp_path: Path, words: Path
) -> None:
    steps = [*STEPS, ProbeStep(name="broken", run="agent_operators:Broken", needs=["shout"])]
    bench = Bench(tmp_path)
    targets = [OperatorTarget(operator="broken"), OperatorTarget(operator="count")]
    bench.run(operators(words, *targets, steps=steps))
    broken, count = bench.causes()
    assert "no model here" in str(broken)
    assert count is None


def test_an_operator_that_kills_its_process_ends_with_a_cause(tmp_path: Path, words: Path) -> None:
    steps = [ProbeStep(name="deadly", run="agent_operators:Deadly")]
    bench = Bench(tmp_path)
    bench.run(operators(words, OperatorTarget(operator="deadly"), steps=steps))
    (cause,) = bench.causes()
    assert "SIGKILL" in str(cause)


def test_accuracy_is_measured_against_labels(tmp_path: Path, words: Path) -> None:
    (words / "labels.json").write_text(json.dumps({"a": 1, "bb": 2, "ccc": 7}))
    bench = Bench(tmp_path)
    command = ProbeAccuracy(
        request_id="r",
        boot_id="b",
        session=1,
        steps=STEPS,
        targets=[AccuracyTarget(config={"shout": {"times": n}}) for n in (1, 2)],
        dataset=str(words),
        metric="agent_operators:exact",
    )
    result = bench.run(command)
    assert result.ok
    assert result.data["reference"] == "labels"
    scores = [[x for s in bench.samples if s.target == t for x in s.scores] for t in (0, 1)]
    assert [sorted(found) for found in scores] == [[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
