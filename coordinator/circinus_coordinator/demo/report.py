"""What came of the queries, from the API's rows: for programs and for the summary."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "config_text",
    "goal_text",
    "path_text",
    "percentile_text",
    "placement_text",
    "placements",
    "report",
    "row_document",
]

Row = Mapping[str, Any]


def report(rows: Sequence[Row], seconds: float) -> dict[str, Any]:
    """The document of ``--json``.

    Args:
        rows: Queries as ``GET /v1/queries`` has them, measured over the whole run.
        seconds: How long requests were served.
    """
    queries = [row_document(row) for row in rows]
    served = [q for q in queries if q["admitted"] and q["slo_attainment"] is not None]
    finished = sum(q["measured"]["finished"] for q in served)
    met = sum(q["measured"]["finished"] * q["slo_attainment"] for q in served)
    return {
        "queries": queries,
        "goodput_rps": sum(q["goodput_rps"] for q in queries),
        "slo_attainment": met / finished if finished else None,
        "seconds": seconds,
    }


def row_document(row: Row) -> dict[str, Any]:
    """One query of the report."""
    measured = row.get("measured") or {}
    assignments = row.get("assignments") or []
    main = max(assignments, key=lambda a: a["share"], default=None)
    return {
        "id": row["id"],
        "admitted": bool(assignments) and row["share"] > 0,
        "share": row["share"],
        "plan": main["plan"] if main else None,
        "slo": row["query"].get("slo") or {},
        "promised": row.get("promised") or (main["promised"] if main else None),
        "measured": dict(measured) or None,
        "goodput_rps": measured.get("goodput_rps", 0.0),
        "slo_attainment": measured.get("attainment"),
        "reason": row.get("reason"),
        "state": row.get("state"),
        "binding": row.get("binding"),
        "relaxation": row.get("relaxation"),
        "plans": assignments,
    }


def placements(rows: Sequence[Row]) -> set[tuple[str, ...]]:
    """The distinct placements among all plans: the device of each operator, in order."""
    return {
        tuple(step["device"] for step in assignment["plan"].values())
        for row in rows
        for assignment in row.get("assignments") or []
    }


def placement_text(plan: Mapping[str, Mapping[str, Any]]) -> str:
    """``cam-1 decode > cloud-1 detect..match``: operators in order, grouped by device."""
    parts = []
    for device, group in itertools.groupby(plan.items(), key=lambda item: item[1]["device"]):
        names = [name for name, _ in group]
        span = names[0] if len(names) == 1 else f"{names[0]}..{names[-1]}"
        parts.append(f"{device} {span}")
    return parts[0].split()[0] if len(parts) == 1 else " > ".join(parts)


def path_text(plan: Mapping[str, Mapping[str, Any]]) -> str:
    """``cam-1 > cloud-1``: the devices a request passes."""
    return " > ".join(device for device, _ in itertools.groupby(s["device"] for s in plan.values()))


def config_text(plan: Mapping[str, Mapping[str, Any]], *, names: bool = True) -> str:
    """``decode scale=0.66, detect precision=int8 side=320``, in order of the operators.

    Args:
        plan: Steps by operator.
        names: Name the knobs; without, ``decode 0.66, detect int8 320``.
    """
    return ", ".join(
        " ".join([name, *(f"{knob}={_knob(v)}" if names else _knob(v) for knob, v in knobs)])
        for name, step in plan.items()
        if (knobs := sorted((step.get("config") or {}).items()))
    )


def _knob(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def percentile_text(slo: Mapping[str, Any]) -> str:
    """``p95``: the percentile latencies are meant at."""
    return f"p{slo.get('percentile', 95):g}"


def goal_text(slo: Mapping[str, Any]) -> str:
    """``p95 <= 400 ms, accuracy >= 0.8, <= 0.01 $/1000``."""
    goals = []
    if slo.get("latency_ms") is not None:
        goals.append(f"{percentile_text(slo)} <= {slo['latency_ms']:g} ms")
    if slo.get("accuracy") is not None:
        goals.append(f"accuracy >= {slo['accuracy']:g}")
    if slo.get("cost_usd_per_1000") is not None:
        goals.append(f"<= {slo['cost_usd_per_1000']:g} $/1000")
    return ", ".join(goals) or "none"
