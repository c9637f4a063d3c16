"""The whole comparison: run, tell, write down."""

from __future__ import annotations

import datetime as dt
import os
import sys
import time
from collections.abc import Sequence

from benchmarks._planner.cases import cases
from benchmarks._planner.figures import pairs, problems
from benchmarks._planner.files import manifest, write_manifest, write_pairs, write_rows
from benchmarks._planner.options import Options
from benchmarks._planner.plots import draw
from benchmarks._planner.running import Bench, Result
from benchmarks._planner.tables import report

__all__ = ["compare"]


def compare(options: Options, arguments: Sequence[str]) -> int:
    """Run all planners on all cases; 1 where a claim turned out to be wrong, else 0."""
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"--out: {error.strerror}: {options.out}", file=sys.stderr)
        return 2
    began, load = time.perf_counter(), os.getloadavg()[0]
    started = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
    todo = cases(options)
    bench = Bench(options, _progress)
    bench.warm_up()
    results: list[Result] = []
    for result in bench.run(todo):
        results.append(result)
        if result.planner == options.planners[-1]:
            # After every case, so that an interrupted run leaves what it has.
            write_rows(options.out / "rows.csv", results)
    _progress("")
    lines = report(options, results)
    print("\n".join(lines))
    write_pairs(options.out / "pairs.csv", pairs(results))
    (options.out / "report.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    plots = draw(options, results)
    files = sorted(["rows.csv", "pairs.csv", "report.txt", *plots])
    document = manifest(
        options,
        arguments,
        todo,
        bench.digests,
        started=started,
        seconds=round(time.perf_counter() - began, 1),
        load_average={"before": load, "after": os.getloadavg()[0]},
        files=files,
    )
    write_manifest(options.out / "manifest.json", document)
    print(f"\nload average {load:.1f}; written to {options.out}: manifest.json, ", end="")
    print(", ".join(files))
    return 1 if problems(results) else 0


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
