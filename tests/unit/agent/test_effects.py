"""The shell around the reconciler, with a runtime of paper."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import pytest

from circinus.messages import (
    Artifact,
    Desired,
    DesiredBody,
    InstanceReport,
    InstanceSpec,
    Peer,
    Reported,
    Route,
    RouteStep,
    body_hash,
)
from circinus_agent.artifacts import ArtifactCache
from circinus_agent.daemon import effects as module
from circinus_agent.daemon.effects import Effects
from circinus_agent.daemon.tasks import Tasks
from circinus_agent.reconciler import events as e
from circinus_agent.runtime.outcome import WorkerFailed
from circinus_agent.state import StateFolder


class FakeRuntime:
    def __init__(self) -> None:
        self.running: dict[str, InstanceSpec] = {}
        self.routes: list[str] = []
        self.failures = 0
        self.final = False
        self.said: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def start_instance(self, spec: InstanceSpec) -> None:
        self.said.append(f"start {spec.key}")
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise WorkerFailed(spec.key, "no module", final=self.final)
        self.running[spec.key] = spec

    async def stop_instance(self, key: str) -> None:
        self.said.append(f"stop {key}")
        self.running.pop(key, None)

    def set_routes(self, routes: Sequence[Route]) -> None:
        self.said.append("routes")
        self.routes = [route.plan for route in routes]

    async def wait_drained(self, plans: Iterable[str], timeout_s: float) -> bool:
        self.said.append(f"drain {','.join(plans)}")
        return True

    def instance_reports(self) -> dict[str, InstanceReport]:
        return {key: InstanceReport(state="ready", ready=1, restarts=7) for key in self.running}


class FakePlane:
    def __init__(self) -> None:
        self.peers: list[str] = []

    def set_peers(self, peers: Sequence[Peer]) -> None:
        self.peers = [peer.device for peer in peers]


class Shell:
    def __init__(self, folder: Path) -> None:
        self.folder = StateFolder(folder)
        self.runtime = FakeRuntime()
        self.plane = FakePlane()
        self.tasks = Tasks()
        self.reports: list[Reported] = []
        self.news = asyncio.Event()
        self.effects = Effects(
            folder=self.folder,
            artifacts=ArtifactCache(folder / "artifacts", 1000),
            runtime=self.runtime,
            plane=self.plane,
            tasks=self.tasks,
            report=self.report,
        )
        self.tasks.spawn("reconcile", self.effects.run("pi-1", "boot"))

    def report(self, reported: Reported) -> None:
        self.reports.append(reported)
        self.news.set()

    def push(self, document: Desired) -> None:
        self.effects.tell(e.DesiredReceived(now=self.effects.clock(), desired=document))

    async def until(self, version: int, phase: str) -> Reported:
        while not self.reports or (self.reports[-1].version, self.reports[-1].phase) != (
            version,
            phase,
        ):
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 5)
        return self.reports[-1]


def shell(folder: Path, script: Callable[[Shell], Awaitable[None]]) -> None:
    async def go() -> None:
        made = Shell(folder)
        try:
            await script(made)
            assert not made.tasks._failure.done(), "a task raised"
        finally:
            await made.tasks.close()
            await made.effects.close()

    asyncio.run(asyncio.wait_for(go(), 20))


def document(version: int, *keys: str, replicas: int = 1, **more: object) -> Desired:
    body = DesiredBody(
        instances=[InstanceSpec(key=k, run=f"m:{k}", replicas=replicas) for k in keys],
        routes=[
            Route(
                query="q",
                plan=f"plan-{k}",
                share=1.0,
                active=True,
                lead="pi-1",
                sources={"s": "pi-1"},
                steps=[RouteStep(name="s", device="pi-1", instance=k)],
                rate_rps=1.0,
            )
            for k in keys
        ],
        **more,  # type: ignore[arg-type]
    )
    return Desired(device="pi-1", store="s", version=version, hash=body_hash(body), body=body)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_RETRY_S", 0.0)


def test_a_document_is_carried_out_and_reported(tmp_path: Path) -> None:
    async def script(shell: Shell) -> None:
        shell.push(document(1, "a", peers=[Peer(device="edge-1")]))
        await shell.until(1, "converged")
        assert set(shell.runtime.running) == {"a"}
        assert shell.runtime.routes == ["plan-a"]
        assert shell.plane.peers == ["edge-1"]

    shell(tmp_path, script)


def test_a_restarted_agent_serves_what_it_served(tmp_path: Path) -> None:
    async def first(shell: Shell) -> None:
        shell.push(document(3, "a"))
        await shell.until(3, "converged")

    async def second(shell: Shell) -> None:
        await shell.until(3, "converged")
        assert shell.runtime.routes == ["plan-a"]

    shell(tmp_path, first)
    shell(tmp_path, second)


def test_old_instances_stop_after_their_routes_drained(tmp_path: Path) -> None:
    async def script(shell: Shell) -> None:
        shell.push(document(1, "a"))
        await shell.until(1, "converged")
        shell.push(document(2, "b"))
        while set((await shell.until(2, "converged")).instances) != {"b"}:
            shell.news.clear()
            await asyncio.wait_for(shell.news.wait(), 5)
        said = shell.runtime.said
        assert said.index("start b") < said.index("drain plan-a") < said.index("stop a")

    shell(tmp_path, script)


def test_a_start_is_tried_again(tmp_path: Path) -> None:
    async def script(shell: Shell) -> None:
        shell.runtime.failures = 2
        shell.push(document(1, "a"))
        await shell.until(1, "converged")

    shell(tmp_path, script)


def test_a_start_that_cannot_succeed_is_tried_once(tmp_path: Path) -> None:
    async def script(shell: Shell) -> None:
        shell.runtime.failures, shell.runtime.final = 99, True
        shell.push(document(1, "a"))
        await shell.until(1, "failed")
        assert shell.runtime.said.count("start a") == 1

    shell(tmp_path, script)


def test_a_start_that_keeps_failing_fails_the_document(tmp_path: Path) -> None:
    async def script(shell: Shell) -> None:
        shell.runtime.failures = 99
        shell.push(document(1, "a"))
        assert (await shell.until(1, "failed")).error == "a: no module"

    shell(tmp_path, script)


def test_a_start_under_way_is_given_up_for_a_stop(tmp_path: Path) -> None:
    async def script(shell: Shell) -> None:
        shell.runtime.gate.clear()
        shell.push(document(1, "a"))
        await shell.until(1, "applying")
        shell.push(document(2))
        while (await shell.until(2, "converged")).instances:
            shell.news.clear()
            await asyncio.wait_for(shell.news.wait(), 5)
        assert shell.runtime.running == {}

    shell(tmp_path, script)


def test_a_changed_number_of_replicas_reaches_the_runtime(tmp_path: Path) -> None:
    async def script(shell: Shell) -> None:
        shell.push(document(1, "a"))
        await shell.until(1, "converged")
        shell.push(document(2, "a", replicas=3))
        await shell.until(2, "converged")
        assert shell.runtime.running["a"].replicas == 3

    shell(tmp_path, script)


def test_an_artifact_that_cannot_be_had_fails_the_document(tmp_path: Path) -> None:
    async def script(shell: Shell) -> None:
        missing = Artifact(sha256="a" * 64, size_bytes=2000, url="http://127.0.0.1:1/")
        shell.push(document(1, "a", artifacts=[missing]))
        assert "quota" in str((await shell.until(1, "failed")).error)

    shell(tmp_path, script)


def test_a_full_disk_refuses_the_document_and_keeps_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(shell: Shell) -> None:
        shell.push(document(1, "a"))
        await shell.until(1, "converged")

        def full(stored: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(shell.folder, "save", full)
        shell.news.clear()
        shell.push(document(2, "b"))
        await asyncio.wait_for(shell.news.wait(), 5)
        assert "No space left" in str(shell.reports[-1].refused)
        assert shell.runtime.routes == ["plan-a"]

    shell(tmp_path, script)


def test_restarts_by_the_runtime_are_reported(tmp_path: Path) -> None:
    async def script(shell: Shell) -> None:
        shell.push(document(1, "a"))
        await shell.until(1, "converged")
        shell.news.clear()
        shell.effects.instance_changed("a")
        await asyncio.wait_for(shell.news.wait(), 5)
        assert shell.reports[-1].instances["a"].restarts == 7

    shell(tmp_path, script)


def test_a_bug_in_a_task_is_not_swallowed(tmp_path: Path) -> None:
    async def script() -> None:
        tasks = Tasks()

        async def bug() -> None:
            raise ZeroDivisionError

        tasks.spawn("bug", bug())
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(tasks.failed(), 5)
        await tasks.close()

    asyncio.run(script())
