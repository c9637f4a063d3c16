"""From a pushed plan to the first served request, on the demo's fleet with warm profiles.

Run: ``python -m benchmarks.start_serving [DATA]``. It starts the demo (in a temporary folder,
where it has to measure its profiles first, or in DATA, where an earlier run may have left them),
then again and again withdraws all queries, waits until no operator runs any more, and submits
them anew. The clock runs from the decision's entry in the event log, which is made right before
the documents are pushed, to the first result at a listener of the agents: every operator's
process starts and loads its model in between.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from circinus.errors import CircinusError
from circinus.scenario import encode_submission
from circinus_coordinator.api.client import Client
from circinus_coordinator.api.packing import with_artifacts
from circinus_coordinator.demo import inputs

REPETITIONS = 7
TARGET_S = 2.0
# Of the first start, which measures everything.
WARM_UP_S = 900.0
STEP_S = 60.0
POLL_S = 0.05


def main(data: Path | None = None) -> float:
    """Measure and print; returns the median in seconds."""
    with contextlib.ExitStack() as stack:
        folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        print("starting the demo; without profiles it measures for some minutes ...", flush=True)
        client, planes = stack.enter_context(demo(folder))
        queries, document = submission(client, folder)
        starts = [start(client, planes, queries, document) for _ in range(REPETITIONS)]
    print(f"{'seconds, median (worst)':52}{'':>16}{'target':>10}")
    for name, target in (
        ("submitted -> plan pushed", None),
        ("plan pushed -> operators ready", None),
        ("operators ready -> first request served", None),
        ("plan pushed -> first request served", TARGET_S),
    ):
        line(name, [begun.spans()[name] for begun in starts], target)
    return statistics.median(s.spans()["plan pushed -> first request served"] for s in starts)


def line(name: str, seconds: list[float], target: float | None) -> None:
    """One row of the table."""
    middle = statistics.median(seconds)
    verdict = ""
    if target is not None:
        verdict = f"{f'<= {target:g}':>10} {'ok' if middle <= target else 'ABOVE TARGET'}"
    print(f"{name:52}{f'{middle:.2f} ({max(seconds):.2f})':>16}{verdict}")


@dataclass
class Start:
    """When what happened, by the wall clock: the log's entries carry no other."""

    submitted: float
    seen: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str, at: float) -> None:
        """The first time counts."""
        with self.lock:
            if at >= self.submitted:
                self.seen.setdefault(what, at)

    def spans(self) -> dict[str, float]:
        """Seconds between the steps."""
        pushed, ready, served = (self.seen[name] for name in ("pushed", "ready", "served"))
        return {
            "submitted -> plan pushed": pushed - self.submitted,
            "plan pushed -> operators ready": ready - pushed,
            "operators ready -> first request served": served - ready,
            "plan pushed -> first request served": served - pushed,
        }


def start(
    client: Client, planes: dict[str, int], queries: dict[str, str], document: bytes
) -> Start:
    """Withdraw everything, wait for quiet, submit, and wait for the first result."""
    for query in client.get("/v1/queries")["queries"]:
        client.delete(f"/v1/queries/{query['id']}")
    wait(lambda: quiet(client), STEP_S, "the operators did not end")
    begun = Start(submitted=time.time())
    listeners = [Log(client, begun)]
    listeners += [Results(planes[lead], query, begun) for query, lead in queries.items()]
    for listener in listeners:
        listener.start()
    for listener in listeners:
        if not listener.ready.wait(STEP_S):
            raise SystemExit("nobody answers who should tell of results")
    begun.submitted = time.time()
    client.post("/v1/queries", document)
    wait(lambda: {"pushed", "ready", "served"} <= set(begun.seen), STEP_S, "nothing was served")
    for listener in listeners:
        listener.close()
    return begun


def quiet(client: Client) -> bool:
    """Nothing is served and no operator runs."""
    devices = client.get("/v1/devices")["devices"]
    return not client.get("/v1/plans")["plans"] and all(
        d["rollout"] == "converged"
        and d["reported"]["version"] == d["desired_version"]
        and not d["reported"].get("instances")
        for d in devices
    )


class Listener(threading.Thread):
    """Reads server-sent events until it is closed."""

    def __init__(self, url: str, begun: Start) -> None:
        super().__init__(daemon=True)
        self.ready = threading.Event()
        self._url, self._begun = url, begun
        self._closed = False

    def run(self) -> None:
        with (
            contextlib.suppress(OSError, ValueError),
            urllib.request.urlopen(self._url, timeout=STEP_S) as stream,
        ):
            self.ready.set()
            for row in stream:
                if self._closed:
                    return
                if row.startswith(b"data:"):
                    self.take(json.loads(row[5:]))

    def take(self, event: dict[str, Any]) -> None:
        """An event came."""
        raise NotImplementedError

    def close(self) -> None:
        """The next event is the last."""
        self._closed = True


class Log(Listener):
    """The coordinator's event log."""

    def __init__(self, client: Client, begun: Start) -> None:
        super().__init__(f"{client.base}/v1/events", begun)

    def take(self, event: dict[str, Any]) -> None:
        if event["kind"] == "decision":
            self._begun.note("pushed", event["time_s"])
        if event["kind"] == "rollout" and event["text"] == "switch":
            self._begun.note("ready", event["time_s"])


class Results(Listener):
    """What an agent serves."""

    def __init__(self, port: int, query: str, begun: Start) -> None:
        super().__init__(f"http://127.0.0.1:{port}/v1/queries/{query}/events", begun)

    def take(self, event: dict[str, Any]) -> None:  # noqa: ARG002 - any result will do
        self._begun.note("served", time.time())


@contextlib.contextmanager
def demo(folder: Path) -> Iterator[tuple[Client, dict[str, int]]]:
    """A demo that has served its first request: its API, and its agents' ports."""
    program = [sys.executable, "-m", "circinus_coordinator.cli", "demo", "--duration", "0"]
    with (folder / "benchmark.log").open("wb") as log:
        process = subprocess.Popen(
            [*program, "--data", str(folder)], stdout=subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        timer = threading.Timer(WARM_UP_S, process.kill)
        timer.start()
        served = any(b"first request served" in row for row in process.stdout)
        timer.cancel()
        if not served:
            raise SystemExit(f"the demo did not serve:\n{(folder / 'benchmark.log').read_text()}")
        # Or it would stop when the pipe is full.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        api, _, *planes = json.loads((folder / "ports.json").read_text())
        client = Client(f"127.0.0.1:{api}")
        devices = sorted(d["id"] for d in client.get("/v1/devices")["devices"])
        ids = {"cam-1": planes[0], "edge-1": planes[1], "cloud-1": planes[2]}
        assert sorted(ids) == devices
        yield client, ids
    finally:
        process.terminate()
        process.wait(60)


def submission(client: Client, folder: Path) -> tuple[dict[str, str], bytes]:
    """The device that leads each of the demo's queries, and the document with all of them."""
    asked = with_artifacts(inputs.submission(folder / "images"), folder, client.put_artifact)
    leads = {query.id: next(iter(query.source.values())) for query in asked.queries}
    return leads, encode_submission(asked)


def wait(condition: Callable[[], bool], timeout_s: float, complaint: str) -> None:
    """Until it holds."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(CircinusError):
            if condition():
                return
        time.sleep(POLL_S)
    raise SystemExit(complaint)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None)
