"""Bad input: exit code 2, one clear line, nothing started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from fleet import FLEET, SUBMISSION, Fleet

CYCLE = SUBMISSION.replace(
    'shout: {run: "e2e_operators:Shout"', ('shout: {needs: [count], run: "e2e_operators:Shout"')
)
TWICE = SUBMISSION.replace("{id: fragile, pipeline", "{id: steady, pipeline")
BAD_SUBMISSIONS = {
    "cycle": (CYCLE, "cycle"),
    "unknown operator": (SUBMISSION.replace("needs: [shout]", "needs: [shot]"), "'shot'"),
    "unknown tier": (SUBMISSION.replace("tiers: [edge]", "tiers: [fog]"), "'fog'"),
    "no knob values": (SUBMISSION.replace("times: [2, 1]", "times: []"), "knobs.times"),
    "unknown pipeline": (SUBMISSION.replace("pipeline: fragile", "pipeline: frail"), "'frail'"),
    "negative rate": (SUBMISSION.replace("rate_rps: 10", "rate_rps: -1"), "rate_rps"),
    "absent rate": (SUBMISSION.replace("rate_rps: 10, ", ""), "rate_rps"),
    "negative latency": (SUBMISSION.replace("latency_ms: 2000", "latency_ms: -5"), "latency_ms"),
    "duplicate id": (TWICE, "comes twice"),
    "wrong version": (SUBMISSION.replace("circinus: 1", "circinus: 7"), "version 7"),
    "unknown key": (SUBMISSION.replace("rate_rps: 10", "rate_rsp: 10"), "did you mean 'rate_rps'"),
    "missing folder": (SUBMISSION.replace("dataset: words", "dataset: wrds"), "wrds"),
    "not text": (b"\xff\xfe\x00\x01", "UTF-8"),
    "not yaml": ("circinus: [", "not valid YAML"),
    "bomb": (
        "x: &a ["
        + "y, " * 9
        + "y]\n"
        + "".join(
            f"x{i}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(9)
        ),
        "anchors",
    ),
}
BAD_FLEETS = {
    "unknown tier": (FLEET.replace("between: [device, edge]", "between: [device, fog]"), "'fog'"),
    "negative price": (FLEET.replace("price_usd_hour: 0.01", "price_usd_hour: -1"), "price"),
    "absent cores": (FLEET.replace("cores: 2, memory_mb: 2048", "memory_mb: 2048"), "cores"),
}
BAD_FLAGS = {
    "address": (["--api", "somewhere"], "--api"),
    "outside address": (["--api", "0.0.0.0:0"], "loopback"),
    "broker": (["--broker", "rabbit"], "--broker"),
    "config": (["--config", "/nonexistent.toml"], "/nonexistent.toml"),
}


def one_line(done: subprocess.CompletedProcess[str], words: str) -> None:
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert words in done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A coordinator without agents."""
    fleet = Fleet(tmp_path_factory.mktemp("alone"), "embedded")
    try:
        fleet.start_coordinator()
        yield fleet
    finally:
        fleet.stop()


@pytest.mark.parametrize("name", list(BAD_SUBMISSIONS))
def test_a_bad_submission_changes_nothing(alone: Fleet, name: str) -> None:
    text, words = BAD_SUBMISSIONS[name]
    file = alone.folder / "bad.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    one_line(alone.cli("submit", str(file)), words)
    assert alone.client.get("/v1/queries")["queries"] == []


@pytest.mark.parametrize("name", list(BAD_FLEETS))
def test_a_bad_fleet_file_starts_nothing(make_fleet: Callable[[str], Fleet], name: str) -> None:
    text, words = BAD_FLEETS[name]
    fleet = make_fleet("embedded")
    (fleet.folder / "fleet.yaml").write_text(text)
    done = subprocess.run(
        fleet.coordinator_command(), capture_output=True, text=True, timeout=30, check=False
    )
    one_line(done, words)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", fleet.broker_port))  # nobody listens there


@pytest.mark.parametrize("name", list(BAD_FLAGS))
def test_a_bad_flag_starts_nothing(make_fleet: Callable[[str], Fleet], name: str) -> None:
    flags, words = BAD_FLAGS[name]
    fleet = make_fleet("embedded")
    done = subprocess.run(
        [*fleet.coordinator_command(), *flags],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    one_line(done, words)
    assert not (fleet.folder / "store").exists()


def test_a_taken_api_port_is_named_with_its_flag_and_starts_nothing(
    make_fleet: Callable[[str], Fleet],
) -> None:
    fleet = make_fleet("embedded")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", fleet.api_port))
        taken.listen()
        done = subprocess.run(
            fleet.coordinator_command(), capture_output=True, text=True, timeout=30, check=False
        )
    one_line(done, str(fleet.api_port))
    assert "--api" in done.stderr
    assert not (fleet.folder / "store").exists()


def test_a_taken_broker_port_is_named(make_fleet: Callable[[str], Fleet]) -> None:
    fleet = make_fleet("embedded")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", fleet.broker_port))
        taken.listen()
        done = subprocess.run(
            fleet.coordinator_command(), capture_output=True, text=True, timeout=30, check=False
        )
    one_line(done, str(fleet.broker_port))


def test_an_agents_taken_port_is_named_with_its_flag(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "circinus_agent", "--device", "d", "--class", "c"]
        command += ["--tier", "device", "--state", str(tmp_path), "--listen", f"127.0.0.1:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tier", "device", "--class", "c"], "device"),
        (["--device", "a/b", "--tier", "device", "--class", "c"], "a/b"),
        (["--device", "a", "--tier", "device", "--class", "c", "--slowdown", "0.5"], "slowdown"),
        (["--device", "a", "--tier", "device", "--class", "c", "--link", "b=1"], "--link"),
    ],
    ids=["absent device", "bad name", "speed-up", "bad link"],
)
def test_bad_settings_of_an_agent(tmp_path: Path, flags: list[str], words: str) -> None:
    command = [sys.executable, "-m", "circinus_coordinator.cli", "agent"]
    done = subprocess.run(
        [*command, "--state", str(tmp_path / "s"), *flags],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    one_line(done, words)
    assert not (tmp_path / "s").exists()


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(2 << 30)  # sparse: takes no room
    process = subprocess.Popen(
        [sys.executable, "-m", "circinus_coordinator.cli", "plan", str(huge)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(timeout=30)
    one_line(subprocess.CompletedProcess([], process.returncode, out, err), "too many")


def test_sigterm_ends_a_coordinator_and_leaves_no_process(
    make_fleet: Callable[[str], Fleet], broker: str
) -> None:
    fleet = make_fleet(broker)
    fleet.start_coordinator()
    process = fleet.running["coordinator"].process
    descendants = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(15) == 0, fleet.log("coordinator")
    _, alive = psutil.wait_procs(descendants, timeout=5)
    assert not alive
