"""An agent as a real process behind a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from agent_bench import DEVICE, AgentProcess, Bench, Mosquitto, Started, bench, desired

from circinus.messages import (
    OperatorTarget,
    Peer,
    ProbeLink,
    ProbeOperators,
    ProbeStep,
    SinkSpec,
    body_hash,
    encode,
)
from circinus_coordinator.broker import BrokerKind

pytestmark = pytest.mark.needs_mosquitto

Script = Callable[[Bench], Awaitable[None]]
Play = Callable[[Script], None]


def player(folder: Path, broker: Any) -> Play:
    """Runs a script with an agent that is up."""

    def run(script: Script) -> None:
        async def go() -> None:
            async with bench(folder, broker) as made:
                await script(made)

        asyncio.run(asyncio.wait_for(go(), 60))

    return run


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """With a Mosquitto of the user's own."""
    return player(tmp_path, Mosquitto(tmp_path))


@pytest.fixture(params=["mosquitto", "embedded"])
def play_each(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """With each broker a coordinator starts."""
    return player(tmp_path, Started(tmp_path, BrokerKind(request.param)))


async def served(made: Bench, want: str, timeout_s: float = 15.0) -> None:
    """Wait until a request is answered with `want`."""
    answer: Any = None
    end = asyncio.get_running_loop().time() + timeout_s
    while asyncio.get_running_loop().time() < end:
        with contextlib.suppress(OSError, ValueError):
            answer = await made.agent.post("q", b"hi")
            if answer[0] == 200 and want in str(answer[1]):
                return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not served: {answer}\n{made.agent.log}")


def test_a_new_agent_announces_itself_and_what_it_has(play_each: Play) -> None:
    async def script(made: Bench) -> None:
        found = await made.coordinator.until("capabilities")
        assert (found.device, found.device_class, found.tier) == (DEVICE, "small", "device")
        assert found.endpoint == f"ws://127.0.0.1:{made.agent.port}"
        assert (await made.coordinator.until("reported")).phase == "idle"

    play_each(script)


def test_a_desired_document_is_served(play_each: Play) -> None:
    async def script(made: Bench) -> None:
        await made.coordinator.converge(desired(1))
        await served(made, "HI")
        telemetry = await made.coordinator.until(
            "telemetry", lambda t: any(r.completed for r in t.routes)
        )
        assert telemetry.routes[0].query == "q"

    play_each(script)


def test_results_go_below_the_state_folder(play: Play) -> None:
    async def script(made: Bench) -> None:
        document = desired(1)
        (route,) = document.body.routes
        sink = SinkSpec(kind="file", path="out.jsonl")
        routed = msgspec.structs.replace(route, output=sink)
        body = msgspec.structs.replace(document.body, routes=[routed])
        document = msgspec.structs.replace(document, body=body, hash=body_hash(body))
        await made.coordinator.converge(document)
        await served(made, "HI")
        await made.agent.end(signal.SIGTERM)
        assert "HI" in (made.agent.state / "results" / "out.jsonl").read_text()

    play(script)


def test_a_change_of_plan_is_served_without_a_failed_request(play: Play) -> None:
    async def script(made: Bench) -> None:
        await made.coordinator.converge(desired(1))
        await served(made, "HI")
        statuses: list[int] = []
        stop = asyncio.Event()

        async def ask() -> None:
            while not stop.is_set():
                statuses.append((await made.agent.post("q", b"hi"))[0])

        asking = asyncio.create_task(ask())
        await made.coordinator.converge(desired(2, times=2))
        await served(made, "HIHI")
        stop.set()
        await asking
        assert set(statuses) == {200}

    play(script)


def test_a_tampered_document_is_refused_and_serving_goes_on(play: Play) -> None:
    async def script(made: Bench) -> None:
        await made.coordinator.converge(desired(1))
        await made.coordinator.push(msgspec.structs.replace(desired(2, times=2), hash="0" * 64))
        reported = await made.coordinator.until("reported", lambda r: r.refused is not None)
        assert "hash" in reported.refused
        assert (reported.version, reported.phase) == (1, "converged")
        await served(made, "HI")

    play(script)


def test_an_operator_that_cannot_start_is_reported_and_the_old_plan_serves(play: Play) -> None:
    async def script(made: Bench) -> None:
        await made.coordinator.converge(desired(1))
        await made.coordinator.push(desired(2, run="Broken"))
        reported = await made.coordinator.until("reported", lambda r: r.phase == "failed")
        assert "no model here" in reported.error
        await served(made, "HI")

    play(script)


def test_a_killed_agent_serves_again_without_coordinator_and_broker(play: Play) -> None:
    async def script(made: Bench) -> None:
        await made.coordinator.converge(desired(1))
        await made.broker.kill()
        await made.agent.end(signal.SIGKILL)
        made.agent.start()
        await served(made, "HI")

    play(script)


def test_a_broker_that_dies_and_comes_back_finds_everything_as_it_was(play_each: Play) -> None:
    async def script(made: Bench) -> None:
        await made.coordinator.converge(desired(1))
        await made.broker.kill()
        await served(made, "HI")
        made.coordinator.forget()
        await made.broker.start()
        reported = await made.coordinator.until("reported", timeout_s=15)
        assert (reported.version, reported.phase) == (1, "converged")
        await made.coordinator.until("capabilities")
        assert (await made.coordinator.until("status", lambda s: s.online)).session > 1

    play_each(script)


def test_sigterm_ends_in_order(play_each: Play) -> None:
    async def script(made: Bench) -> None:
        await made.coordinator.converge(desired(1))
        assert made.agent.children()
        assert await made.agent.end(signal.SIGTERM) == 0
        assert (await made.coordinator.until("status", lambda s: not s.online)).clean
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", made.agent.port)) != 0

    play_each(script)


def test_a_killed_agent_is_announced_by_its_will(play_each: Play) -> None:
    async def script(made: Bench) -> None:
        await made.agent.end(signal.SIGKILL)
        assert not (await made.coordinator.until("status", lambda s: not s.online)).clean

    play_each(script)


def probe(made: Bench, session: int, boot_id: str, **more: Any) -> ProbeOperators:
    folder = made.agent.state.parent / "words"
    folder.mkdir(exist_ok=True)
    (folder / "a").write_text("a")
    known: dict[str, Any] = {"max_samples": 5, "budget_s": 20.0, **more}
    return ProbeOperators(
        request_id=f"r-{session}",
        boot_id=boot_id,
        session=session,
        steps=[ProbeStep(name="shout", run="agent_operators:Shout")],
        targets=[OperatorTarget(operator="shout")],
        dataset=str(folder),
        **known,
    )


def test_a_probe_of_this_session_is_carried_out_and_of_another_ignored(play_each: Play) -> None:
    async def script(made: Bench) -> None:
        status = await made.coordinator.until("status", lambda s: s.online)
        for session in (status.session + 1, status.session):
            command = probe(made, session, status.boot_id)
            await made.coordinator.link.publish(made.coordinator.topics.command, encode(command))
        result = await made.coordinator.until("result")
        assert (result.request_id, result.ok) == (f"r-{status.session}", True)
        samples = [ms for s in made.coordinator.heard["probe"] for ms in s.latency_ms]
        assert len(samples) == 5
        assert "stale command" in made.agent.log

    play_each(script)


def test_sigterm_amid_a_probe_leaves_no_process(play: Play) -> None:
    async def script(made: Bench) -> None:
        status = await made.coordinator.until("status", lambda s: s.online)
        command = probe(made, status.session, status.boot_id, max_samples=10**9, min_samples=10**9)
        await made.coordinator.link.publish(made.coordinator.topics.command, encode(command))
        await made.coordinator.until("probe")
        assert await made.agent.end(signal.SIGTERM) == 0
        assert (await made.coordinator.until("result")).error == "the agent stops"

    play(script)


def test_a_link_is_measured_to_a_peer_and_flagged_where_emulated(tmp_path: Path) -> None:
    async def go() -> None:
        peer = AgentProcess(tmp_path, 1, "edge-1", flags=["--link", f"{DEVICE}=30,50"])
        flags = ["--link", "edge-1=30,50"]
        async with bench(tmp_path, Mosquitto(tmp_path), flags) as made:
            peer.start()
            try:
                status = await made.coordinator.until("status", lambda s: s.online)
                await reachable(peer.port)
                command = ProbeLink(
                    request_id="l",
                    boot_id=status.boot_id,
                    session=status.session,
                    peer=Peer(device="edge-1", url=f"ws://127.0.0.1:{peer.port}"),
                    samples=3,
                    payload_bytes=62_500,
                )
                topic = made.coordinator.topics.command
                await made.coordinator.link.publish(topic, encode(command))
                result = await made.coordinator.until("result")
            finally:
                await peer.end(signal.SIGTERM)
            assert result.ok, result.error
            heard = [s for s in made.coordinator.heard["probe"] if s.rtt_ms]
            assert all(s.emulated for s in heard)
            assert 30 <= min(x for s in heard for x in s.rtt_ms) < 60
            assert 25 < max(x for s in heard for x in s.bandwidth_mbps) < 75

    asyncio.run(asyncio.wait_for(go(), 60))


async def reachable(port: int) -> None:
    """Wait until something listens on `port`."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)


def test_nonsense_is_counted_and_serving_goes_on(play: Play) -> None:
    async def script(made: Bench) -> None:
        await made.coordinator.converge(desired(1))
        link, topics = made.coordinator.link, made.coordinator.topics
        for payload in (b"{", b"\xff\xfe", b'{"type":"desired"}'):
            await link.publish(topics.desired, payload)
            await link.publish(topics.command, payload)
        telemetry = await made.coordinator.until(
            "telemetry", lambda t: sum(t.dropped.values()) >= 6
        )
        assert telemetry.dropped["malformed desired"] == 3
        await served(made, "HI")
        assert made.agent.log.count("malformed desired") == 1

    play(script)


def test_a_second_agent_on_the_same_state_is_refused(play: Play) -> None:
    async def script(made: Bench) -> None:
        second = await asyncio.to_thread(
            subprocess.run, made.agent.command, capture_output=True, text=True, timeout=20
        )
        assert second.returncode == 1
        assert "in use by another agent" in second.stderr

    play(script)


def test_a_taken_port_is_named_with_its_remedy(play: Play) -> None:
    async def script(made: Bench) -> None:
        command = [*made.agent.command, "--state", str(made.agent.state.parent / "other")]
        second = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=20
        )
        assert second.returncode == 2
        assert str(made.agent.port) in second.stderr

    play(script)


def test_a_damaged_state_file_is_said_and_the_agent_starts_empty(tmp_path: Path) -> None:
    async def go() -> None:
        (tmp_path / "state").mkdir()
        (tmp_path / "state/desired.json").write_text("{")
        async with bench(tmp_path, Mosquitto(tmp_path)) as made:
            assert (await made.coordinator.until("reported")).phase == "idle"
            assert "is damaged" in made.agent.log

    asyncio.run(asyncio.wait_for(go(), 60))
