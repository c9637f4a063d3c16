"""Starts the fleet, waits until it serves, follows it, and ends it again."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circinus import _documents as documents
from circinus.errors import CircinusError, Transient
from circinus_coordinator.api.client import Client
from circinus_coordinator.api.packing import with_artifacts
from circinus_coordinator.demo import inputs
from circinus_coordinator.demo.classes import load_classes
from circinus_coordinator.demo.fleet import MACHINES, agent_flags, emulation_lines, fleet_file
from circinus_coordinator.demo.processes import Children, free_ports
from circinus_coordinator.demo.report import report
from circinus_coordinator.demo.screen import Screen

__all__ = ["Options", "run_demo"]

START_TIMEOUT_S = 30.0
# Probing takes a minute or so; on a loaded machine several.
SERVE_TIMEOUT_S = 900.0
POLL_S = 0.5
_UNDECIDED = ("waiting", "profiling", "planning", "admitted", "rolling-out")
CALL_TIMEOUT_S = 10.0

# Three agents share this machine's cores: too many probes at once would measure one another.
# Two hardly do, as what is emulated goes by CPU time. Fewer samples than by default, because
# somebody is waiting.
PROFILING = """\
settle_s = 1.0

[profiling]
min_samples = 20
max_samples = 25
precision = 0.1
accuracy_samples = 40
max_parallel = 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for.

    Attributes:
        duration_s: Seconds of serving; None for until it is stopped.
        json: Where the report goes.
        images: The user's own pictures.
        data: Folder that outlives the demo.
        fresh: Forget what earlier starts measured.
        broker: auto, mosquitto or embedded.
    """

    duration_s: float | None = 60.0
    json: Path | None = None
    images: Path | None = None
    data: Path | None = None
    fresh: bool = False
    broker: str = "auto"


class _Stopped(Exception):
    """The user wants it to end."""


class _Stop:
    """Set by the first Ctrl-C or SIGTERM."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def asked(self) -> bool:
        return self._event.is_set()

    def set(self, *_: object) -> None:
        self._event.set()

    def pause(self, seconds: float) -> None:
        """Wait; raise `_Stopped` as soon as the demo is to end."""
        if self._event.wait(seconds):
            raise _Stopped

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, self.set)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_demo(options: Options) -> int:
    """Run the demo.

    Returns:
        Exit code: 0 where requests were served, 1 where nothing could be admitted.

    Raises:
        InvalidInput: If an option is wrong; nothing was started then.
        Transient: If a process ended by itself or nothing was served in time.
    """
    inputs.check_extras()
    catalogue = load_classes()
    inputs.check_pictures(options.images)
    data = inputs.data_folder(options.data)
    stop = _Stop()
    screen = Screen()
    with stop.on_signals(), inputs.locked(data, fresh=options.fresh):
        screen.lines(emulation_lines(catalogue))
        folder, labelled = inputs.pictures(data, options.images)
        if not labelled:
            screen.lines(["No labels.json: accuracy is agreement with the best config."])
        children = Children(data / "logs")
        try:
            client = _start(children, catalogue, data, options, stop, screen)
            _submit(client, folder)
            return _follow(client, children, options, stop, screen)
        except _Stopped:
            return 130
        finally:
            screen.close()
            children.stop()


# ---- starting -----------------------------------------------------------------------------


def _start(
    children: Children,
    catalogue: Any,
    data: Path,
    options: Options,
    stop: _Stop,
    screen: Screen,
) -> Client:
    """Coordinator and agents, each a process; returns once the API answers."""
    documents.write(data / "fleet.yaml", fleet_file(catalogue))
    documents.write(data / "coordinator.toml", PROFILING.encode())
    api, broker, *planes = _ports(data, 2 + len(MACHINES))
    python = sys.executable
    children.start(
        "coordinator",
        [
            *(python, "-m", "circinus_coordinator.cli", "coordinator"),
            *("--fleet", str(data / "fleet.yaml"), "--data", str(data / "store")),
            *("--config", str(data / "coordinator.toml"), "--api", f"127.0.0.1:{api}"),
            *("--broker", options.broker, "--broker-port", str(broker)),
        ],
    )
    for machine, port in zip(MACHINES, planes, strict=True):
        children.start(
            machine.id,
            [
                *(python, "-m", "circinus_agent", *agent_flags(machine, catalogue)),
                *("--broker", f"127.0.0.1:{broker}", "--listen", f"127.0.0.1:{port}"),
                *("--endpoint", "auto", "--state", str(data / "agents" / machine.id)),
                *("--path", str(inputs.read_signs())),
            ],
        )
    client = Client(f"127.0.0.1:{api}", timeout_s=CALL_TIMEOUT_S)
    screen.status(f"starting a coordinator and {len(MACHINES)} agents (API {client.base})")

    def up() -> bool:
        try:
            client.get("/healthz")
        except Transient:
            return False
        return True

    def joined() -> bool:
        return len(client.get("/v1/devices")["devices"]) == len(MACHINES)

    _wait(up, children, stop, START_TIMEOUT_S, "the coordinator did not start in time", 0.05)
    _wait(joined, children, stop, START_TIMEOUT_S, "the agents did not join in time", 0.05)
    return client


def _ports(data: Path, count: int) -> list[int]:
    """Free ports, those of the last start where possible: agents may resume by themselves."""
    file = data / "ports.json"
    try:
        before = [int(port) for port in json.loads(file.read_text())]
    except (OSError, ValueError, TypeError):
        before = []
    ports = free_ports(count, before[:count])
    documents.write(file, json.dumps(ports).encode())
    return ports


def _submit(client: Client, folder: Path) -> None:
    from circinus.scenario import encode_submission

    asked = inputs.submission(folder)
    packed = with_artifacts(asked, folder.parent, client.put_artifact)
    client.post("/v1/queries", encode_submission(packed))


def _wait(
    condition: Callable[[], bool],
    children: Children,
    stop: _Stop,
    timeout_s: float,
    complaint: str,
    pause_s: float = POLL_S,
) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        children.check()
        if time.monotonic() > deadline:
            raise Transient(complaint)
        stop.pause(pause_s)


# ---- following ----------------------------------------------------------------------------


def _follow(
    client: Client, children: Children, options: Options, stop: _Stop, screen: Screen
) -> int:
    started = time.monotonic()
    rows: list[dict[str, Any]] = []

    served: list[float] = []
    progress: dict[str, Any] = {}

    def settled() -> bool:
        """True once nobody waits for a plan any more."""
        rows[:] = client.get("/v1/queries")["queries"]
        progress.update(client.get("/v1/progress"))
        screen.probing(progress, rows)
        if not served and any((row["measured"] or {}).get("completed") for row in rows):
            served.append(time.monotonic() - started)
            screen.first(served[0])
        refused = all(row["state"] in ("rejected", "failed") for row in rows)
        waiting = any(row["state"] in _UNDECIDED for row in rows)
        return bool(rows) and not waiting and bool(served or refused)

    _wait(settled, children, stop, SERVE_TIMEOUT_S, "no request was served in time")
    screen.probed(time.monotonic() - started, progress)
    if not any(row["assignments"] for row in rows):
        screen.summary(report(rows, 0.0), rows)
        _write(options.json, report(rows, 0.0))
        return 1
    began = time.monotonic()
    with contextlib.suppress(_Stopped):
        while options.duration_s is None or time.monotonic() - began < options.duration_s:
            children.check()
            rows = _rows(client, began, rows)
            screen.serving(rows, time.monotonic() - began, options.duration_s)
            stop.pause(POLL_S * 2)
    seconds = time.monotonic() - began
    rows = _rows(client, began, rows)
    found = report(rows, seconds)
    screen.summary(found, rows)
    _write(options.json, found)
    return 0


def _rows(client: Client, began: float, before: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The queries, measured since the first request was served."""
    window = max(1.0, time.monotonic() - began)
    try:
        rows: list[dict[str, Any]] = client.get(f"/v1/queries?window_s={window:.1f}")["queries"]
    except CircinusError:
        return list(before)  # a busy moment; a coordinator that died is seen by `check`
    return rows


def _write(file: Path | None, found: dict[str, Any]) -> None:
    if file is not None:
        documents.write(file, json.dumps(found, indent=1).encode() + b"\n")
