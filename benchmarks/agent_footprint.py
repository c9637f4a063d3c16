"""What an agent without ML extras costs: disk, memory, CPU when idle, and time to ``--help``."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psutil

SETTLE_S = 4.0
WATCH_S = 20.0
HELP_RUNS = 9
TARGETS = {"installed MB": 20.0, "idle RSS MB": 48.0, "idle CPU %": 1.0, "--help s": 0.4}


def main() -> None:
    """Measure and print."""
    figures = {"installed MB": installed_mb()}
    with broker() as port:
        figures["idle RSS MB"], figures["idle CPU %"] = idle(port)
    figures["--help s"] = help_seconds()
    for name, value in figures.items():
        target = TARGETS[name]
        verdict = "ok" if value <= target else "ABOVE TARGET"
        print(f"{name:<14} {value:8.2f}   target <= {target:<5g} {verdict}")


def installed_mb() -> float:
    """Files of every distribution the base dependencies pull in, and of the agent itself."""
    found: set[str] = set()
    waiting = _requirements("circinus")
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting |= _requirements(name)
    size = sum(_distribution_bytes(name) for name in found)
    root = Path(__file__).resolve().parents[1]
    for folder in (root / "shared/circinus", root / "edge_agent/circinus_agent"):
        size += sum(f.stat().st_size for f in folder.rglob("*.py"))
    return size / 1e6


def _requirements(name: str) -> set[str]:
    """Names of what a distribution needs here without any extra."""
    needed = set()
    for text in metadata.requires(name) or ():
        requirement, _, marker = text.partition(";")
        # Old versions of Python and other systems than this one.
        if "extra" in marker or ("python_version" in marker and _for_older(marker)):
            continue
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert match is not None
        with contextlib.suppress(metadata.PackageNotFoundError):
            needed.add(str(metadata.distribution(match[0]).metadata["Name"]))
    return needed


def _for_older(marker: str) -> bool:
    limit = re.search(r"python_version\s*<\s*['\"](\d+)\.(\d+)", marker)
    return limit is not None and sys.version_info >= (int(limit[1]), int(limit[2]))


def _distribution_bytes(name: str) -> int:
    sizes = 0
    for file in metadata.files(name) or ():
        with contextlib.suppress(OSError):
            sizes += Path(str(file.locate())).stat().st_size
    return sizes


@contextlib.contextmanager
def broker() -> Iterator[int]:
    """A Mosquitto if there is one; else a port nobody listens on, which the agent retries."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        print("(no Mosquitto here: measured without a broker)")
        yield port
        return
    process = subprocess.Popen(
        [program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


def idle(port: int) -> tuple[float, float]:
    """Median resident memory and mean CPU of an agent that has nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        agent = subprocess.Popen(
            [
                *(sys.executable, "-m", "circinus_agent", "--device", "idle", "--class", "any"),
                *("--tier", "device", "--broker", f"127.0.0.1:{port}"),
                *("--listen", "127.0.0.1:0", "--state", folder, "--log-level", "warning"),
            ]
        )
        try:
            process = psutil.Process(agent.pid)
            _wait_for_inventory(Path(folder), agent)
            time.sleep(SETTLE_S)
            before, started, memory = process.cpu_times(), time.monotonic(), []
            while time.monotonic() - started < WATCH_S:
                memory.append(process.memory_info().rss / 1e6)
                time.sleep(1.0)
            after, elapsed = process.cpu_times(), time.monotonic() - started
        finally:
            agent.terminate()
            agent.wait(15)
    busy = after.user + after.system - before.user - before.system
    return statistics.median(memory), 100 * busy / elapsed


def _wait_for_inventory(folder: Path, agent: subprocess.Popen[bytes]) -> None:
    """The child that lists installed software has ended."""
    deadline = time.monotonic() + 60
    while not (folder / "inventory.json").exists() and time.monotonic() < deadline:
        if agent.poll() is not None:
            raise SystemExit("the agent did not start")
        time.sleep(0.1)


def help_seconds() -> float:
    """Median time of ``circinus-agent --help``."""
    seconds = []
    for _ in range(HELP_RUNS):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "circinus_agent", "--help"],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
