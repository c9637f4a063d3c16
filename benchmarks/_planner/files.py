"""What is written to the folder: raw rows, and a manifest from which the run can be repeated."""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._planner.cases import Case
from benchmarks._planner.figures import Pair
from benchmarks._planner.options import Options
from benchmarks._planner.running import Result
from benchmarks._planner.tables import order_of, shares_classes
from circinus import __version__

__all__ = ["manifest", "write_manifest", "write_pairs", "write_rows"]

_LIBRARIES = ("highspy", "matplotlib", "msgspec", "numpy", "scikit-learn", "scipy")


def write_rows(path: Path, results: Sequence[Result]) -> None:
    """One row per planner and scenario."""
    _write_csv(path, [_row(result) for result in results])


def write_pairs(path: Path, found: Sequence[Pair]) -> None:
    """One row per scenario and other planner."""
    rows = []
    for pair in found:
        row = {f.name: getattr(pair, f.name) for f in dataclasses.fields(pair) if f.name != "case"}
        rows.append({**_where(pair.case), **row})
    _write_csv(path, rows)


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def _where(case: Case) -> dict[str, Any]:
    return {
        "series": case.series.value,
        "queries": case.queries,
        "devices": case.arguments["devices"],
        "contention": case.contention,
        "seed": case.seed,
    }


def _row(result: Result) -> dict[str, Any]:
    row: dict[str, Any] = {
        **_where(result.case),
        "planner": result.planner,
        "order": order_of(result.planner),
        "shares_classes": shares_classes(result.planner),
        "status": result.status,
        "demand_rps": result.demand_rps,
    }
    evaluated = None if result.worth is None else result.worth.evaluated
    simulated = None if result.worth is None else result.worth.simulated
    decision = result.decision
    row["goodput"] = None if evaluated is None else result.goodput
    row["simulated"] = simulated.goodput if simulated else None
    row["attainment"] = simulated.attainment if simulated else None
    row["simulated_requests"] = simulated.requests if simulated else None
    row["simulated_s"] = simulated.seconds if simulated else None
    for name in ("goodput_rps", "good_rps", "usd_hour", "broken", "overloaded", "overserved"):
        row[name] = getattr(evaluated, name) if evaluated else None
    row["whole_queries"] = len(evaluated.whole) if evaluated else None
    row["claimed_rps"] = decision.goodput_rps if decision else None
    row["bound_rps"] = decision.bound_rps if decision else None
    row["certified"] = decision.certified if decision else None
    row["gap"] = decision.gap if decision else None
    row["cold_wall_s"] = result.cold.wall_s if result.cold else None
    row["cold_cpu_s"] = result.cold.cpu_s if result.cold else None
    row["classes_s"] = result.catalogue_s
    row["warm_wall_s"] = result.again.wall_s if result.again else None
    row["warm_cpu_s"] = result.again.cpu_s if result.again else None
    row["evaluations"] = decision.evaluations if decision else None
    row["phases_s"] = json.dumps(dict(decision.seconds)) if decision else None
    return row


def manifest(
    options: Options,
    arguments: Sequence[str],
    cases: Sequence[Case],
    digests: Mapping[int, str],
    **more: Any,
) -> dict[str, Any]:
    """Everything that has to be the same, or known to differ, when the run is repeated."""
    settings = {k: v for k, v in dataclasses.asdict(options).items() if k != "out"}
    return {
        "benchmark": "planner",
        "circinus": __version__,
        "command": ["circinus", "bench", "planner", *arguments],
        "git": _git(),
        **more,
        "machine": _machine(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "options": settings,
        "seeds": "planner and simulator get the scenario's",
        "scenarios": [
            {
                "series": case.series.value,
                "generator": dict(case.arguments),
                "sha256": digests.get(number),
            }
            for number, case in enumerate(cases)
        ],
    }


def write_manifest(path: Path, document: Mapping[str, Any]) -> None:
    """As JSON."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _machine() -> dict[str, Any]:
    memory = math.nan
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    return {
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mb": None if math.isnan(memory) else round(memory),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    if known.is_file():
        for line in known.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """Commit, and whether files differ from it; None without git or a repository."""
    root = Path(__file__).resolve().parents[2]

    def ask(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {
            "commit": ask("rev-parse", "HEAD"),
            "changed": bool(ask("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.CalledProcessError):
        return None
