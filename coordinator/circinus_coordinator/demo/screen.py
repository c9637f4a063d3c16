"""What the demo shows: bars and a live table on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from circinus_coordinator.demo.report import placements
from circinus_coordinator.demo.view import QueryTable, query_lines

__all__ = ["Screen"]

Row = Mapping[str, Any]

# Without a terminal: a line about probing, and a table, every so many seconds.
PROBING_EVERY_S = 5.0
SERVING_EVERY_S = 15.0
PROMISE_KEPT = 0.25  # promised p95 within this fraction of the measured one


class Screen:
    """Shows one demo, from start to end."""

    def __init__(self, console: Console | None = None) -> None:
        plain = not sys.stdout.isatty()
        self._console = console or Console(
            highlight=False, markup=False, width=200 if plain else None
        )
        self._live: Live | None = None
        self._progress: Progress | None = None
        self._last = float("-inf")

    def lines(self, lines: Sequence[str]) -> None:
        """Plain text."""
        for line in lines:
            self._print(line)

    def status(self, text: str) -> None:
        """One line about what happens now."""
        self._print(f"{text} ...")

    def probing(self, progress: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """How far profiling is."""
        done, total = progress["done"], progress["total"]
        running = [d["device"] for d in progress["devices"] if d["running"]]
        states = {row["state"] for row in rows}
        if total > done or not states & {"planning", "rolling-out", "serving"}:
            idle = (
                "leaving devices to what they serve"
                if "serving" in states
                else "waiting for devices"
            )
            doing = f"measuring on {', '.join(running)}" if running else idle
        else:
            doing = "planning and rolling out"
        if self._console.is_terminal:
            if self._progress is None:
                self._progress = Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeElapsedColumn(),
                    console=self._console,
                    transient=True,
                )
                self._progress.add_task(doing, total=total or None)
                self._progress.start()
            self._progress.update(
                self._progress.task_ids[0], description=doing, completed=done, total=total or None
            )
        elif self._due(PROBING_EVERY_S):
            self._print(f"{doing}: {done} of {total} measurements done")

    def first(self, seconds: float) -> None:
        """The first request was served."""
        self._stop_progress()
        self._print(f"first request served after {seconds:.1f} s")

    def probed(self, seconds: float, progress: Mapping[str, Any]) -> None:
        """Every query was decided on."""
        self._stop_progress()
        self._last = float("-inf")
        self._print(
            f"all queries decided on after {seconds:.1f} s, by {progress['done']} of "
            f"{progress['possible']} measurements: {progress['device_s']:.0f} device seconds"
        )

    def serving(self, rows: Sequence[Row], seconds: float, duration_s: float | None) -> None:
        """Where things stand."""
        of = f" of {duration_s:g} s" if duration_s is not None else " s, until Ctrl-C"
        title = f"serving for {seconds:.0f}{of}: promised → measured"
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(QueryTable(rows, title), refresh=True)
        elif self._due(SERVING_EVERY_S):
            self._print(title)
            self.lines([f"  {line}" for line in query_lines(rows)])

    def summary(self, report: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """What came of it."""
        self.close()
        if self._console.is_terminal:
            self._console.print(QueryTable(rows, "result: promised → measured", whole=True))
        else:
            self._print("result")
            self.lines([f"  {line}" for line in query_lines(rows)])
        self.lines(_verdict(report, rows))

    def close(self) -> None:
        """Give the terminal back."""
        self._stop_progress()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _stop_progress(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _due(self, seconds: float) -> bool:
        now = time.monotonic()
        if now - self._last < seconds:
            return False
        self._last = now
        return True

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=not self._console.is_terminal)
        self._console.file.flush()


def _verdict(report: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    admitted = [q for q in report["queries"] if q["admitted"]]
    first = (
        f"{len(admitted)} of {len(report['queries'])} queries admitted, on "
        f"{len(placements(rows))} distinct placements; "
        f"goodput {report['goodput_rps']:.2f} requests/s over {report['seconds']:.0f} s"
    )
    lines = [first]
    if report["slo_attainment"] is not None:
        lines.append(f"{report['slo_attainment']:.1%} of their requests met all their objectives")
    pairs = [
        (q["promised"]["latency_ms"], q["measured"]["latency_ms"])
        for q in admitted
        if q["promised"] and q["measured"] and q["measured"]["latency_ms"]
    ]
    if pairs:
        kept = sum(abs(promised - met) <= PROMISE_KEPT * met for promised, met in pairs)
        lines.append(
            f"promised p95 within {PROMISE_KEPT:.0%} of measured for {kept} of {len(pairs)} queries"
        )
    for query in report["queries"]:
        if query["share"] < 0.9995 and query["reason"]:
            extent = f"{query['share']:.0%} admitted" if query["admitted"] else "not admitted"
            hint = f"; {query['relaxation']}" if query["relaxation"] else ""
            lines.append(f"{query['id']} {extent}: {query['reason']}{hint}")
    return lines
