"""A coordinator and agents as processes of their own, and what tests ask of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from circinus.errors import CircinusError
from circinus_coordinator.api.client import Client
from circinus_coordinator.demo.processes import Child, Children, free_ports

OPERATORS = Path(__file__).parent / "operators"
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

FLEET = """\
circinus: 1
tiers: [device, edge, cloud]
device_classes:
  small: {cores: 2, memory_mb: 2048, price_usd_hour: 0.01}
  large: {cores: 2, memory_mb: 4096, price_usd_hour: 0.10}
links:
  - {between: [device, edge], rtt_ms: 1, bandwidth_mbps: 1000}
  - {between: [edge, cloud], rtt_ms: 1, bandwidth_mbps: 1000}
  - {between: [device, cloud], rtt_ms: 1, bandwidth_mbps: 1000}
"""

SETTINGS = """\
settle_s = 0.3
debounce_s = 0.1
drain_s = 0.2
grace_s = 30.0

[profiling]
min_samples = 5
max_samples = 8
accuracy_samples = 4
max_parallel = 1
"""

SUBMISSION = """\
circinus: 1
pipelines:
  steady:
    operators:
      shout: {run: "e2e_operators:Shout", knobs: {times: [2, 1]}, tiers: [device]}
      count: {run: "e2e_operators:Count", needs: [shout], tiers: [edge]}
    input_bytes: 10
    accuracy: {dataset: words, metric: "e2e_operators:exact"}
  fragile:
    operators:
      fragile: {run: "e2e_operators:Fragile", tiers: [device]}
    input_bytes: 10
    accuracy: {dataset: words, metric: "e2e_operators:exact"}
queries:
  - {id: steady, pipeline: steady, source: cam-1, rate_rps: 10, slo: {latency_ms: 2000},
     input: {kind: folder, path: words}}
  - {id: fragile, pipeline: fragile, source: cam-1, rate_rps: 5, slo: {latency_ms: 30000}}
"""

# An operator of these tests answers within milliseconds, also on a busy machine.
HANG_TIMEOUT_S = 3


@dataclass(frozen=True)
class Machine:
    id: str
    device_class: str
    tier: str


CAM = Machine("cam-1", "small", "device")
BOX = Machine("box-1", "large", "edge")


def eventually(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """What `condition` returns, once it is true; errors of a service that is away do not count."""
    deadline = time.monotonic() + timeout_s
    last: Exception | None = None
    while time.monotonic() < deadline:
        try:
            found = condition()
            if found:
                return found
        except (CircinusError, OSError, KeyError, IndexError) as error:
            last = error
        threading.Event().wait(0.05)
    raise AssertionError(f"not within {timeout_s:g} s: {what} ({last})")


class Fleet:
    """Everything is below `folder`; `stop` leaves no process behind.

    Args:
        broker: ``mosquitto`` or ``embedded``: started by the coordinator; ``external``: a
            Mosquitto of the test's own.
    """

    def __init__(self, folder: Path, broker: str, machines: Sequence[Machine] = (CAM, BOX)) -> None:
        self.folder, self.broker, self.machines = folder, broker, machines
        self.environment: dict[str, Mapping[str, str]] = {}
        """Of agents, by device."""
        self.children = Children(folder / "logs")
        self.api_port, self.broker_port, *planes = free_ports(2 + len(machines))
        self.planes = dict(zip((m.id for m in machines), planes, strict=True))
        self.client = Client(f"127.0.0.1:{self.api_port}", timeout_s=5.0)
        self.running: dict[str, Child] = {}
        (folder / "fleet.yaml").write_text(FLEET)
        (folder / "coordinator.toml").write_text(SETTINGS)
        (folder / "words").mkdir()
        for word in ("one", "three"):
            (folder / "words" / f"{word}.txt").write_text(word)
        labels = {"one.txt": 6, "three.txt": 10}
        (folder / "words" / "labels.json").write_text(json.dumps(labels))
        (folder / "submission.yaml").write_text(SUBMISSION)

    # ---- processes --------------------------------------------------------------------------

    def start(self) -> None:
        if self.broker == "external":
            self.start_broker()
        self.start_coordinator()
        for machine in self.machines:
            self.start_agent(machine)

        def online() -> bool:
            there = self.client.get("/v1/devices")["devices"]
            return sum(row["online"] and not row["plannable"] for row in there) == len(
                self.machines
            )

        # What is submitted before has no machine to run on, and is rejected until there is one.
        eventually(online, 60, "all devices online")

    def start_broker(self) -> None:
        program = shutil.which("mosquitto", path=SEARCH_PATH)
        assert program
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        )
        self.folder.chmod(0o755)
        self.running["broker"] = self.children.start("broker", [program, "-c", str(config)])

    def coordinator_command(self) -> list[str]:
        broker = ["--broker", self.broker, "--broker-port", str(self.broker_port)]
        if self.broker == "external":
            broker = ["--broker", f"mqtt://127.0.0.1:{self.broker_port}"]
        return [
            *(sys.executable, "-m", "circinus_coordinator.cli", "coordinator"),
            *("--fleet", str(self.folder / "fleet.yaml"), "--data", str(self.folder / "store")),
            *("--api", f"127.0.0.1:{self.api_port}", *broker),
            *("--config", str(self.folder / "coordinator.toml")),
        ]

    def start_coordinator(self) -> None:
        child = self.children.start("coordinator", self.coordinator_command())
        self.running["coordinator"] = child

        def up() -> bool:
            assert child.process.poll() is None, child.tail()
            return bool(self.client.get("/healthz"))

        eventually(up, 20, "the coordinator's API")

    def start_agent(self, machine: Machine) -> None:
        command = [sys.executable, "-m", "circinus_agent", "--device", machine.id]
        command += ["--class", machine.device_class, "--tier", machine.tier]
        command += ["--broker", f"127.0.0.1:{self.broker_port}", "--path", str(OPERATORS)]
        command += ["--listen", f"127.0.0.1:{self.planes[machine.id]}", "--endpoint", "auto"]
        command += ["--state", str(self.folder / machine.id)]
        command += ["--hang-timeout", str(HANG_TIMEOUT_S)]
        environment = self.environment.get(machine.id)
        self.running[machine.id] = self.children.start(machine.id, command, environment=environment)

    def broker_process(self) -> psutil.Process | None:
        """The Mosquitto that the coordinator runs as its child; None while there is none."""
        coordinator = psutil.Process(self.running["coordinator"].process.pid)
        for child in coordinator.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if child.name() == "mosquitto" and child.status() != psutil.STATUS_ZOMBIE:
                    return child
        return None

    def kill(self, name: str) -> None:
        """SIGKILL to one process, and only to it."""
        process = self.running[name].process
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def stop(self) -> None:
        self.children.stop()

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text(errors="replace")

    # ---- what they say ----------------------------------------------------------------------

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "circinus_coordinator.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "CIRCINUS_API": f"127.0.0.1:{self.api_port}"},
            check=False,
        )

    def submit(self) -> None:
        done = self.cli("submit", str(self.folder / "submission.yaml"))
        assert done.returncode == 0, done.stderr

    def query(self, id_: str, window_s: float = 5.0) -> dict[str, Any]:
        row: dict[str, Any] = self.client.get(f"/v1/queries/{id_}?window_s={window_s:g}")
        return row

    def wait_serving(self, timeout_s: float = 60.0) -> None:
        """Every query is rolled out."""

        def serving() -> bool:
            for child in self.running.values():
                assert child.process.poll() is None, child.tail()
            rows = self.client.get("/v1/queries")["queries"]
            failed = [(r["id"], r["reason"]) for r in rows if r["state"] in ("failed", "rejected")]
            assert not failed, failed
            return bool(rows) and all(row["state"] == "serving" for row in rows)

        eventually(serving, timeout_s, "all queries serving")

    def post(
        self, query: str, payload: bytes, *, timeout_s: float = 15.0, deadline_ms: int = 10_000
    ) -> tuple[int, Any]:
        """Status and JSON of a request to the camera's agent."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.planes['cam-1']}/v1/queries/{query}",
            data=payload,
            headers={"X-Circinus-Deadline-Ms": str(deadline_ms)},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def finished(self, query: str) -> int:
        """Requests of a query that ended so far, by the coordinator's count."""
        measured = self.query(query, window_s=600)["measured"] or {}
        return int(measured.get("finished", 0))

    def metric(self, name: str, **labels: str) -> float:
        """A figure of the coordinator's metrics page; 0 where the page does not have it."""
        page = self.client.get_bytes("/metrics").decode()
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return 0.0

    def agreed(self, since: float) -> bool:
        """Whether each device was heard of after `since` (monotonic) and has what it should."""
        passed = time.monotonic() - since
        devices = self.client.get("/v1/devices")["devices"]
        return all(
            device["online"]
            and device["silent_s"] is not None
            and device["silent_s"] < passed
            and device["rollout"] == "converged"
            and device["reported"]["version"] == device["desired_version"]
            for device in devices
        )

    def workers(self, device: str) -> list[psutil.Process]:
        """Descendants of an agent."""
        return psutil.Process(self.running[device].process.pid).children(recursive=True)
