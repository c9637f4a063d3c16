"""A coordinator, a camera and a box as processes; the camera can be slowed down while it serves."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circinus.errors import CircinusError
from circinus.scenario import decode_submission, encode_submission
from circinus_coordinator.api.client import Client
from circinus_coordinator.demo.processes import Children, free_ports

__all__ = ["Timeline", "drill"]

OPERATORS = Path(__file__).parent / "operators"
RATE_RPS = 8.0
MS = 40
FLEET = """\
circinus: 1
tiers: [device, edge]
device_classes:
  camera: {cores: 2, memory_mb: 2048, price_usd_hour: 0.01}
  box: {cores: 2, memory_mb: 4096, price_usd_hour: 0.10}
links: [{between: [device, edge], rtt_ms: 1, bandwidth_mbps: 1000}]
"""
SETTINGS = """\
settle_s = 0.3
[profiling]
max_parallel = 1
"""
SUBMISSION = f"""\
circinus: 1
pipelines:
  look: {{operators: {{work: {{run: "drift_operators:Work"}}}}, input_bytes: 10}}
queries:
  - {{id: look, pipeline: look, source: cam-1, rate_rps: {RATE_RPS:g}, slo: {{latency_ms: 110}},
     input: {{kind: folder, path: inputs}}}}
"""
_WAIT_S = 120.0
_POLL_S = 0.1
_WINDOW_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Seconds after the camera slowed down; None where it did not happen."""

    noticed_s: float
    planned_s: float
    rolled_out_s: float
    back_s: float
    measured_s: float

    def rows(self) -> list[tuple[str, float]]:
        """For people."""
        return [
            ("noticed", self.noticed_s),
            ("planned anew", self.planned_s),
            ("the box serves", self.rolled_out_s),
            (f"95 % of {_WINDOW_S:g} s' requests in time again", self.back_s),
            ("the camera measured anew", self.measured_s),
        ]


class _Fleet:
    def __init__(self, folder: Path, children: Children) -> None:
        self._folder, self._children = folder, children
        self._pace = folder / "pace"
        self.pace(1.0)
        (folder / "fleet.yaml").write_text(FLEET)
        (folder / "coordinator.toml").write_text(SETTINGS)
        (folder / "inputs").mkdir()
        (folder / "inputs" / "one.txt").write_text("one")
        self._api, self._broker, *self._planes = free_ports(4)
        self.client = Client(f"127.0.0.1:{self._api}", timeout_s=5.0)
        self.events: list[tuple[float, dict[str, Any]]] = []

    def pace(self, times: float) -> None:
        """From now on each request takes the camera so many times as long."""
        part = self._pace.with_suffix(".new")
        part.write_text(str(times))
        part.rename(self._pace)

    def start(self) -> None:
        python = sys.executable
        self._children.start(
            "coordinator",
            [
                *(python, "-m", "circinus_coordinator.cli", "coordinator"),
                *("--fleet", str(self._folder / "fleet.yaml")),
                *("--config", str(self._folder / "coordinator.toml")),
                *("--data", str(self._folder / "store"), "--api", f"127.0.0.1:{self._api}"),
                *("--broker", "auto", "--broker-port", str(self._broker)),
            ],
        )
        self.until(lambda: self.client.get("/healthz"), "the coordinator's API")
        for (device, kind, tier), plane in zip(
            (("cam-1", "camera", "device"), ("box-1", "box", "edge")), self._planes, strict=True
        ):
            self._children.start(
                device,
                [
                    *(python, "-m", "circinus_agent", "--device", device, "--class", kind),
                    *("--tier", tier, "--broker", f"127.0.0.1:{self._broker}"),
                    *("--listen", f"127.0.0.1:{plane}", "--endpoint", "auto"),
                    *("--state", str(self._folder / device), "--path", str(OPERATORS)),
                ],
                environment={"DRIFT_PACE": str(self._pace), "DRIFT_MS": str(MS)}
                if device == "cam-1"
                else {"DRIFT_MS": str(MS)},
            )
        threading.Thread(target=self._listen, name="events", daemon=True).start()
        text = SUBMISSION.replace("path: inputs", f"path: {self._folder / 'inputs'}")
        self.client.post("/v1/queries", encode_submission(decode_submission(text.encode())))

    def _listen(self) -> None:
        with contextlib.suppress(CircinusError):  # it ends with the coordinator
            for event in self.client.events():
                self.events.append((time.monotonic(), event))

    def until(self, condition: Callable[[], Any], what: str) -> float:
        """When it became true."""
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            self._children.check()
            with contextlib.suppress(CircinusError, KeyError, ValueError):
                if condition():
                    return time.monotonic()
            time.sleep(_POLL_S)
        raise RuntimeError(f"not within {_WAIT_S:g} s: {what}")

    def happened(self, kind: str, text: str, after: float) -> float:
        """When the first such event after a moment came in."""
        found: list[float] = []

        def there() -> bool:
            found[:] = [
                at
                for at, event in self.events
                if at > after and event["kind"] == kind and text in event["text"]
            ]
            return bool(found)

        self.until(there, f"{kind}: {text}")
        return found[0]

    def serves_on(self, device: str) -> bool:
        (row,) = self.client.get("/v1/plans")["plans"]
        return bool(
            row["phase"] == "serving" and row["assignment"]["plan"]["work"]["device"] == device
        )

    def good(self) -> bool:
        row = self.client.get(f"/v1/queries/look?window_s={_WINDOW_S:g}")
        measured = row["measured"] or {}
        enough = measured.get("finished", 0) >= RATE_RPS * _WINDOW_S / 2
        return bool(enough and measured["attainment"] >= 0.95)

    def measured_alone(self) -> bool:
        rows = self.client.get("/v1/scenario")["profiles"]
        return any(
            row["device_class"] == "camera@cam-1"
            and row.get("provenance", "measured") == "measured"
            for row in rows
        )


def drill(folder: Path) -> Timeline:
    """Slow the camera down three times, and wait for everything that follows."""
    children = Children(folder / "logs")
    fleet = _Fleet(folder, children)
    try:
        fleet.start()
        fleet.until(lambda: fleet.serves_on("cam-1"), "the camera serving")
        fleet.until(fleet.good, "requests in time")
        fleet.pace(3.0)
        slowed = time.monotonic()
        noticed = fleet.happened("drift", "times slower", slowed)
        planned = fleet.happened("decision", "admitted", noticed)
        moved = fleet.until(lambda: fleet.serves_on("box-1"), "the box serving")
        back = fleet.until(fleet.good, "requests in time again")
        alone = fleet.until(fleet.measured_alone, "the camera measured anew")
        return Timeline(
            noticed_s=noticed - slowed,
            planned_s=planned - slowed,
            rolled_out_s=moved - slowed,
            back_s=back - slowed,
            measured_s=alone - slowed,
        )
    finally:
        children.stop()
