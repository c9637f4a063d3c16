"""What profiling costs until every query has a plan to be promised, and how good the plans are.

Run: ``circinus bench profiler`` (``--help`` for its options). Each seed is a world of which
everything is known, and queries whose floors and limits are drawn. *Generated*: a pipeline of one
of the generator's families on a Raspberry Pi, an edge box and a cloud machine, with 3 or 4 configs
per operator; gamma service times, a score for each of 500 labelled inputs. *Measured*: all config
vectors of examples/read-signs or find-documents as they were measured (benchmarks/data), on
machines that take the measured milliseconds times a factor. Every scheme draws samples and pays for
them in seconds of a device. The others are told the true costs of all plans and begin with the
cheapest; ours is not.
Intervals: bootstrap over seeds.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks._arguments import at_least, file_to_write, several
from benchmarks._profiler.trial import OURS, SCHEMES, WORLDS, Row, trial

BRIEF = ["--seeds", "8", "--large-seeds", "0"]
_RESAMPLED = 2000
# (scheme, each of its queries alone or with shared samples, queries, at most so much of it)
TARGETS = (
    ("sequential", False, 6, 1 / 4),
    ("sequential", True, 6, 1 / 4),
    ("sequential", False, 60, 1 / 10),
    ("sequential", True, 60, 1 / 10),
    ("full plans, 1000 runs", True, 6, 1 / 10),
)


def main(arguments: Sequence[str] = ()) -> int:
    """Print the tables."""
    given = _parse(arguments)
    rows: list[Row] = []
    try:
        for worlds in given.worlds:
            for seeds, queries, others in (
                (given.seeds, given.queries, tuple(SCHEMES)),
                (given.large_seeds, given.large_queries, ("sequential",)),
            ):
                if seeds > 0:
                    chosen = range(given.first_seed, given.first_seed + seeds)
                    schemes = () if given.ours else others
                    found = _run(worlds, chosen, queries, schemes, given.workers)
                    _print(found, queries, seeds)
                    sys.stdout.flush()  # a long run is read while it goes on
                    rows += found
                    if given.json:
                        written = [dataclasses.asdict(row) for row in rows]
                        given.json.write_text(json.dumps(written, indent=1))
    except KeyboardInterrupt:
        return 130  # as a shell says it
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="circinus bench profiler")
    add = parser.add_argument
    few, some = at_least(0), at_least(1)
    add("--worlds", type=several(_worlds), default=tuple(WORLDS), metavar="NAME,...",
        help=f"of: {', '.join(WORLDS)} [all]")  # fmt: skip
    add("--ours", action="store_true", help="run our scheme only, the others not")
    add("--seeds", type=few, default=200, metavar="N", help="worlds with few queries [200]")
    add("--queries", type=some, default=6, metavar="N", help="queries of each pipeline there [6]")
    add("--large-seeds", type=few, default=8, metavar="N", help="worlds with many [8]")
    add("--large-queries", type=some, default=60, metavar="N", help="queries there [60]")
    add("--first-seed", type=few, default=0, metavar="S", help="the first world [0]")
    add("--workers", type=some, default=os.cpu_count(), metavar="N", help="processes [all cores]")
    add("--json", type=file_to_write, metavar="FILE", help="write a row per world and scheme there")
    return parser.parse_args(arguments)


def _worlds(text: str) -> str:
    if text not in WORLDS:
        raise argparse.ArgumentTypeError(f"no worlds {text!r}; there are: {', '.join(WORLDS)}")
    return text


def _run(
    worlds: str, seeds: Sequence[int], queries: int, schemes: Sequence[str], workers: int
) -> list[Row]:
    # Ctrl-C reaches every process of the terminal; workers leave it to this one.
    with concurrent.futures.ProcessPoolExecutor(
        workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    ) as pool:
        waiting = [pool.submit(trial, worlds, seed, queries, schemes) for seed in seeds]
        rows = []
        try:
            for done, future in enumerate(waiting, 1):
                rows += future.result()
                if sys.stderr.isatty():
                    print(f"\r{done} of {len(waiting)} worlds", end="", file=sys.stderr)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    return rows


def _print(rows: Sequence[Row], queries: int, seeds: int) -> None:
    print(
        f"\n{seeds} {rows[0].worlds} worlds, {queries} queries of one pipeline in each; "
        "delta 0.05, zone 1 point"
    )
    print(
        f"{'':24}{'wrong promise %':>20}{'> 5 % dearer %':>20}{'no plan %':>10}"
        f"{'device s, median':>18}{'theirs / ours':>24}{'(not shared)':>24}{'CPU s':>8}"
    )
    ours = [row for row in rows if row.scheme == OURS]
    for scheme in dict.fromkeys(row.scheme for row in rows):
        mine = [row for row in rows if row.scheme == scheme]
        ratio = [r.device_s / o.device_s for r, o in zip(mine, ours, strict=True)]
        alone = [r.alone_s / o.device_s for r, o in zip(mine, ours, strict=True)]
        none = 100 * sum(r.none for r in mine) / sum(r.queries for r in mine)
        print(
            f"{scheme:24}{_part(mine, lambda r: r.wrong):>20}{_part(mine, lambda r: r.dearer):>20}"
            f"{none:>10.1f}{np.median([r.device_s for r in mine]):>18.0f}"
            f"{_median(ratio):>24}{_median(alone):>24}{np.median([r.cpu_s for r in mine]):>8.2f}"
        )
    _targets(rows, ours, queries)


def _targets(rows: Sequence[Row], ours: Sequence[Row], queries: int) -> None:
    asked = sum(r.queries for r in ours)
    for what, count, most in (
        ("wrong promises", sum(r.wrong for r in ours), 5.0),
        ("more than 5 % dearer", sum(r.dearer for r in ours), 10.0),
    ):
        part = 100 * count / asked
        print(f"target: {what} <= {most:g} %: {part:.1f} {'hit' if part <= most else 'MISSED'}")
    for scheme, alone, of, most in TARGETS:
        theirs = [row for row in rows if row.scheme == scheme]
        if of != queries or not theirs:
            continue
        parts = [
            o.device_s / (r.alone_s if alone else r.device_s)
            for r, o in zip(theirs, ours, strict=True)
        ]
        found = float(np.median(parts))
        print(
            f"target: device seconds <= {most:g} of {scheme!r}, samples "
            f"{'not shared' if alone else 'shared'}: {found:.3f} "
            f"{'hit' if found <= most else 'MISSED'}"
        )


def _part(rows: Sequence[Row], count: Callable[[Row], int]) -> str:
    hits = np.array([count(row) for row in rows], dtype=np.float64)
    asked = np.array([row.queries for row in rows], dtype=np.float64)
    pick = np.random.default_rng(0).integers(len(rows), size=(_RESAMPLED, len(rows)))
    low, high = np.quantile(100 * hits[pick].sum(axis=1) / asked[pick].sum(axis=1), [0.025, 0.975])
    return f"{100 * hits.sum() / asked.sum():.1f} [{low:.1f}, {high:.1f}]"


def _median(values: Sequence[float]) -> str:
    x = np.array(values)
    pick = np.random.default_rng(0).integers(len(x), size=(_RESAMPLED, len(x)))
    low, high = np.quantile(np.median(x[pick], axis=1), [0.025, 0.975])
    return f"{np.median(x):.3g} [{low:.3g}, {high:.3g}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
