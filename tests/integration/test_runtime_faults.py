"""Operators that raise, hang, die, grow: their requests fail with a cause, others do not."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from circinus import codec
from circinus.messages import InstanceSpec
from circinus_agent.runtime import WorkerFailed

sys.path.insert(0, str(Path(__file__).parent))

from runtime_fleet import HERE, Device, device, route, spec, until

pytestmark = pytest.mark.asyncio

BAD = {"s": ("a", "obedient", ())}
GOOD = {"s": ("a", "pass", ())}


async def both(a: Device) -> None:
    """An instance that obeys for query `bad`, one that works for query `good`."""
    await asyncio.gather(
        a.runtime.start_instance(spec("Obedient")), a.runtime.start_instance(spec("Pass"))
    )
    a.runtime.set_routes([route(BAD, query="bad"), route(GOOD, query="good")])


@pytest.mark.parametrize(
    ("order", "cause"),
    [
        (b"raise", "raised: s: ValueError: told to"),
        (b"hang", "hung: s: no answer within 0.5 s"),
        (b"kill", "killed: s: its process died of SIGKILL"),
        (b"exit", "killed: s: its process ended with exit code 3"),
    ],
)
async def test_a_bad_request_fails_with_its_cause_and_others_are_served(
    order: bytes, cause: str
) -> None:
    async with device(hang_timeout_s=0.5) as a:
        await both(a)
        bad = asyncio.create_task(a.runtime.submit("bad", order))
        goods = [await a.runtime.submit("good", b"x") for _ in range(50)]
        assert all(g.ok for g in goods)
        assert (await asyncio.wait_for(bad, 10.0)).cause == cause
        assert a.runtime.instance_reports()["pass"].restarts == 0


@pytest.mark.parametrize("order", [b"hang", b"kill"])
async def test_a_dead_replica_comes_back_and_serves(order: bytes) -> None:
    async with device(hang_timeout_s=0.5) as a:
        await both(a)
        await a.runtime.submit("bad", order)
        down = await a.runtime.submit("bad", b"x")
        assert (down.cause or "").startswith("down: s: ")
        await a.state("obedient", "ready")
        again = await a.runtime.submit("bad", b"x")
        assert again.payload == codec.dumps(b"x")
        assert a.runtime.instance_reports()["obedient"].restarts == 1
        telemetry = {t.key: t for t in a.runtime.instance_telemetry()}
        assert (telemetry["obedient"].failed, telemetry["obedient"].restarts) == (2, 1)


async def test_one_of_two_replicas_keeps_serving() -> None:
    async with device() as a:
        await a.runtime.start_instance(spec("Obedient", replicas=2))
        a.runtime.set_routes([route(BAD, query="bad")])
        assert not (await a.runtime.submit("bad", b"kill")).ok
        assert (await a.runtime.submit("bad", b"x")).ok
        assert a.runtime.instance_reports()["obedient"].state == "ready"


async def test_a_process_above_its_memory_limit_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("circinus_agent.runtime.instance.MEMORY_POLL_S", 0.05)
    async with device() as a:
        await a.runtime.start_instance(spec("Obedient", memory_mb=150.0))
        a.runtime.set_routes([route(BAD, query="bad")])
        await a.runtime.submit("bad", b"grow")
        await a.state("obedient", "failed")
        cause = a.runtime.instance_reports()["obedient"].cause or ""
        assert cause.startswith("memory: ")
        assert cause.endswith("the limit is 150 MB")


@pytest.mark.parametrize(
    ("run", "config", "cause"),
    [
        ("Nowhere", {}, "module 'runtime_operators' has no 'Nowhere'"),
        ("Pass", {"side": 3}, "operator Pass has no knob 'side'"),
        ("Unready", {"how": "raise"}, "RuntimeError: the model is broken"),
        ("Unready", {"how": "exit"}, r"ended with exit code 9 \(goodbye\)"),
        ("Unready", {"how": "hang"}, "not ready after 0.5 s"),
    ],
)
async def test_an_instance_that_cannot_start_says_why(
    run: str, config: dict[str, str | int], cause: str
) -> None:
    async with device(start_timeout_s=0.5 if config.get("how") == "hang" else 20.0) as a:
        with pytest.raises(WorkerFailed, match=cause):
            await a.runtime.start_instance(spec(run, config=config))
        assert a.runtime.instance_reports() == {}


@pytest.mark.parametrize(
    ("run", "final", "traceback"),
    [
        ("nowhere:Operator", True, False),
        ("runtime_operators:Nowhere", True, False),
        ("runtime_operators:Unready", False, True),
    ],
)
async def test_only_what_the_operator_raised_leaves_a_traceback(
    run: str, final: bool, traceback: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "circinus_agent.runtime")
    async with device() as a:
        how: dict[str, str | int] = {"how": "raise"} if traceback else {}
        with pytest.raises(WorkerFailed) as raised:
            await a.runtime.start_instance(InstanceSpec(key="o", run=run, config=how))
    assert raised.value.final is final
    assert not raised.value.cause.startswith("InvalidInput")
    assert ("Traceback" in caplog.text) is traceback


async def test_what_an_operator_prints_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "circinus_agent.runtime")
    async with device() as a:
        await both(a)
        await a.runtime.submit("bad", b"print")
        await until(lambda: "obedient: a line" in caplog.messages)


async def test_stopping_does_not_wait_for_a_hanging_operator() -> None:
    async with device(stop_grace_s=0.2) as a:
        await both(a)
        hanging = asyncio.create_task(a.runtime.submit("bad", b"hang"))
        await until(a.runtime.route_telemetry)
        await asyncio.wait_for(a.runtime.stop_instance("obedient"), 3.0)
        assert (await hanging).cause == "stopped: s"


_AGENT = """
import asyncio, sys
sys.path.insert(0, {here!r})
from runtime_fleet import device, spec
async def main():
    async with device() as a:
        await a.runtime.start_instance(spec("Notes", config={{"file": {file!r}}}))
        print("ready", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_children_die_with_a_killed_agent(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    program = _AGENT.format(here=HERE, file=str(file))
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=subprocess.PIPE
    )
    assert agent.stdout is not None
    assert await asyncio.wait_for(agent.stdout.readline(), 20.0) == b"ready\n"
    child = int(file.read_text())
    agent.send_signal(signal.SIGKILL)
    await agent.wait()
    await until(lambda: not is_running(child))


async def test_ctrl_c_in_a_terminal_does_not_reach_the_children() -> None:
    async with device() as a:
        await a.runtime.start_instance(spec("Pid"))
        a.runtime.set_routes([route({"s": ("a", "pid", ())})])
        pid = codec.loads((await a.runtime.submit("q", b"")).payload or b"")
        assert os.getpgid(pid) == pid != os.getpgid(0)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
