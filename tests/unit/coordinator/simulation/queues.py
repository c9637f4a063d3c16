"""Queues by hand: one or several stations behind one another, on one device."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from circinus.decision import Assignment, Decision, Estimate, Step
from circinus.scenario import Scenario, decode_scenario


def exponential(mean_ms: float) -> dict[str, float]:
    return {
        "mean": mean_ms,
        "p50": mean_ms * math.log(2),
        "p95": mean_ms * math.log(20),
        "p99": mean_ms * math.log(100),
    }


def scenario_of(document: dict[str, Any]) -> Scenario:
    return decode_scenario(json.dumps({"circinus": 1, **document}).encode(), name="s.json")


def decide(
    *plans: dict[str, Step | str], query: str = "q", shares: Sequence[float] = ()
) -> Decision:
    """A decision: each plan as a mapping of operator to Step, or to its device."""
    each = shares or [1 / len(plans) for _ in plans]
    return Decision(
        planner="hand",
        assignments=tuple(
            Assignment(
                query=query,
                share=share,
                plan={n: s if isinstance(s, Step) else Step(device=s) for n, s in p.items()},
                estimate=Estimate(latency_ms=1.0, accuracy=None, cost_usd_per_1000=0.0),
            )
            for p, share in zip(plans, each, strict=True)
        ),
    )


def queue(
    rate_rps: float, *latency_ms: Any, servers: int = 1, cores: float = 64
) -> tuple[Scenario, Decision]:
    """Stations in a row on one device; Poisson arrivals."""
    names = [f"s{i}" for i in range(len(latency_ms))]
    operators = {n: ({"needs": [names[i - 1]]} if i else {}) for i, n in enumerate(names)}
    scenario = scenario_of(
        {
            "device_classes": {"c": {"cores": cores, "memory_mb": 1}},
            "devices": [{"id": "d", "class": "c", "tier": "device"}],
            "pipelines": {"p": {"operators": operators, "input_bytes": 1}},
            "profiles": [
                {
                    "operator": n,
                    "device_class": "c",
                    "latency_ms": ms,
                    "compute_s": {"cores": (ms["mean"] if isinstance(ms, dict) else ms) / 1e3},
                }
                for n, ms in zip(names, latency_ms, strict=True)
            ],
            "queries": [{"id": "q", "pipeline": "p", "source": "d", "rate_rps": rate_rps}],
        }
    )
    return scenario, decide({n: Step(device="d", replicas=servers) for n in names})


def beside(
    plain_rps: float, busy_rps: float, *, part: float, replicas: int = 1
) -> tuple[Scenario, Decision]:
    """One core and one accelerator: query `q` wants only the core, `g` only a part of the other.

    Both take 10 ms, exponential, and come as Poisson streams.
    """

    def row(operator: str, **held: float) -> dict[str, Any]:
        return {
            "operator": operator,
            "device_class": "c",
            "latency_ms": exponential(10.0),
            "compute_s": {name: units / 100 for name, units in held.items()},
        }

    def query(name: str, pipeline: str, rate_rps: float) -> dict[str, Any]:
        return {"id": name, "pipeline": pipeline, "source": "d", "rate_rps": rate_rps}

    scenario = scenario_of(
        {
            "device_classes": {"c": {"cores": 1, "memory_mb": 1, "accelerators": {"gpu": 1}}},
            "devices": [{"id": "d", "class": "c", "tier": "device"}],
            "pipelines": {
                name: {"operators": {op: {}}, "input_bytes": 1}
                for name, op in (("plain", "count"), ("neural", "see"))
            },
            "profiles": [row("count", cores=1), row("see", gpu=part)],
            "queries": [query("q", "plain", plain_rps), query("g", "neural", busy_rps)],
        }
    )
    count = decide({"count": Step(device="d")})
    see = decide({"see": Step(device="d", replicas=replicas)}, query="g")
    return scenario, replace(count, assignments=count.assignments + see.assignments)
