"""How long it takes to simulate a million requests, and how far from theory the answer is.

Run: ``python -m benchmarks.simulator``. Some hundreds of queries on pipelines of 3 to 5 operators
over devices, edges and clouds, seeded; 70 to 80 % of the busiest resources in use. *crowded* offers
half as much again as fits, so that queues are long and requests are shed. On a machine with other
work, the seconds of CPU say what it would take alone.
"""

from __future__ import annotations

import json
import math
import os
import random
import resource
import time
from typing import Any

from circinus.decision import Assignment, Decision, Estimate, Step
from circinus.pipeline import Config
from circinus.scenario import Scenario, decode_scenario
from circinus_coordinator.simulation import simulate

REQUESTS = 1_000_000
TARGET_S = 30.0
QUERIES, EDGES, CLOUDS = 400, 40, 8
SHAPES: dict[str, dict[str, list[str]]] = {
    "three": {"a": [], "b": ["a"], "c": ["b"]},
    "four": {"a": [], "b": ["a"], "c": ["b"], "d": ["c"]},
    "five": {"a": [], "b": ["a"], "c": ["b"], "d": ["c"], "e": ["d"]},
    "diamond": {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]},
}
SERVICE_MS = {"a": 4.0, "b": 12.0, "c": 20.0, "d": 8.0, "e": 5.0}
SPEED = {"camera": 0.5, "edge": 1.0, "cloud": 3.0}


def _latency(mean: float) -> dict[str, float]:
    return {"mean": mean, "p50": 0.93 * mean, "p95": 1.6 * mean, "p99": 2.2 * mean}


def fleet(seed: int, load: float, batch: int = 1) -> tuple[Scenario, Decision]:
    """Cameras with a query each; the first step there, the next at an edge, the rest in a cloud."""
    rng = random.Random(seed)
    devices = [{"id": f"cam-{i}", "class": "camera", "tier": "device"} for i in range(QUERIES)]
    devices += [{"id": f"edge-{i}", "class": "edge", "tier": "edge"} for i in range(EDGES)]
    devices += [{"id": f"cloud-{i}", "class": "cloud", "tier": "cloud"} for i in range(CLOUDS)]
    rate = 16.0 * load  # an edge serves ten queries: 1.92 cores of 2 at load 1
    shapes = [rng.choice(list(SHAPES)) for _ in range(QUERIES)]
    profiles: list[dict[str, Any]] = []
    for kind, speed in SPEED.items():
        for name, ms in SERVICE_MS.items():
            size = batch if kind == "cloud" else 1
            mean = ms / speed * size**0.7
            profiles.append(
                {
                    "operator": name,
                    "device_class": kind,
                    "batch": size,
                    "latency_ms": _latency(mean),
                    "compute_s": {"cores": mean / size / 1e3},
                    "output_bytes": 20_000,
                }
            )
    document = {
        "circinus": 1,
        "device_classes": {
            "camera": {"cores": 2, "memory_mb": 1},
            "edge": {"cores": 2, "memory_mb": 1},
            "cloud": {"cores": 16, "memory_mb": 1},
        },
        "devices": devices,
        "links": [
            {"between": ["device", "edge"], "rtt_ms": 4, "bandwidth_mbps": 50},
            {"between": ["edge", "cloud"], "rtt_ms": 20, "bandwidth_mbps": 200},
            {"between": ["device", "cloud"], "rtt_ms": 24, "bandwidth_mbps": 50},
        ],
        "pipelines": {
            name: {
                "operators": {op: {"needs": needs} for op, needs in shape.items()},
                "input_bytes": 60_000,
            }
            for name, shape in SHAPES.items()
        },
        "profiles": profiles,
        "queries": [
            {
                "id": f"q{i}",
                "pipeline": shape,
                "source": f"cam-{i}",
                "rate_rps": rate,
                "slo": {"latency_ms": 150},
            }
            for i, shape in enumerate(shapes)
        ],
    }
    scenario = decode_scenario(json.dumps(document).encode(), name="bench.json")
    return scenario, _decision(shapes, load, batch)


def _decision(shapes: list[str], load: float, batch: int) -> Decision:
    assignments = []
    for i, shape in enumerate(shapes):
        places = {"a": f"cam-{i}", "b": f"edge-{i % EDGES}"}
        plan = {
            name: Step(
                device=(device := places.get(name, f"cloud-{i % CLOUDS}")),
                config=Config(),
                batch=batch if device.startswith("cloud") else 1,
                replicas={"a": 1, "b": 2}.get(name, 8),
            )
            for name in SHAPES[shape]
        }
        promised = Estimate(latency_ms=100, accuracy=None, cost_usd_per_1000=0)
        assignments.append(Assignment(query=f"q{i}", share=1.0, plan=plan, estimate=promised))
    return Decision(planner=f"by hand, load {load}", assignments=tuple(assignments))


def _theory() -> float:
    """Largest relative error of the mean wait over M/M/1 at loads of 0.5 and 0.8, 1M requests."""
    worst = 0.0
    mean = 10.0
    quantiles = {f"p{p}": -mean * math.log(1 - p / 100) for p in (50, 95, 99)}
    for load in (0.5, 0.8):
        document = {
            "circinus": 1,
            "device_classes": {"c": {"cores": 1, "memory_mb": 1}},
            "devices": [{"id": "d", "class": "c", "tier": "device"}],
            "pipelines": {"p": {"operators": {"a": {}}, "input_bytes": 1}},
            "profiles": [
                {"operator": "a", "device_class": "c", "latency_ms": {"mean": mean, **quantiles}}
            ],
            "queries": [{"id": "q", "pipeline": "p", "source": "d", "rate_rps": 100 * load}],
        }
        scenario = decode_scenario(json.dumps(document).encode(), name="mm1.json")
        plan = {"a": Step(device="d", config=Config())}
        promised = Estimate(latency_ms=1, accuracy=None, cost_usd_per_1000=0)
        decision = Decision(
            planner="by hand",
            assignments=(Assignment(query="q", share=1, plan=plan, estimate=promised),),
        )
        report = simulate(scenario, decision, seconds=REQUESTS / load / 100, seed=1, shedding=False)
        expected = mean * load / (1 - load)
        worst = max(worst, abs(report.instances[0].mean_wait_ms / expected - 1))
    return worst


def main() -> dict[str, dict[str, float]]:
    """Measure, print and return every case."""
    results: dict[str, dict[str, float]] = {}
    print(f"{'simulating':34} requests  seconds  target   of CPU  us/step  good    shed   load avg")
    for name, load, batch in (
        ("planned load", 0.9, 1), ("planned load, batches of 4", 0.9, 4), ("crowded", 1.5, 1),
    ):  # fmt: skip
        scenario, decision = fleet(1, load, batch)
        total_rps = sum(q.rate_rps for q in scenario.queries)
        seconds = REQUESTS / total_rps
        busy = os.getloadavg()[0]
        started, cpu = time.perf_counter(), time.process_time()
        report = simulate(scenario, decision, seconds=seconds, seed=1)
        took, cpu = time.perf_counter() - started, time.process_time() - cpu
        steps = sum(i.requests for i in report.instances) / 0.9
        admitted = sum(q.admitted for q in report.queries.values())
        results[name] = {
            "seconds": took,
            "cpu_seconds": cpu,
            "requests": report.requests,
            "us_per_step": cpu / steps * 1e6,
            "good": report.slo_attainment,
            "shed": sum(q.shed for q in report.queries.values()) / admitted,
        }
        found = results[name]
        print(
            f"{name:34} {report.requests:8} {took:8.1f}  <={TARGET_S:4.0f} {cpu:8.1f} "
            f"{found['us_per_step']:8.2f}  {found['good']:5.1%}  {found['shed']:5.1%}   {busy:.1f}"
        )
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak_mb:.0f} MB")
    error = _theory()
    print(f"mean wait of M/M/1 at loads 0.5 and 0.8, furthest from theory: {error:.2%}  (<= 2 %)")
    results["theory"] = {"error": error, "peak_mb": peak_mb}
    return results


if __name__ == "__main__":
    main()
