"""What the desired documents say of a decision."""

import json
from typing import Any

from circinus.decision import Assignment, Decision, Estimate, Step
from circinus.messages import InstanceSpec
from circinus.scenario import Scenario, decode_scenario
from circinus_coordinator.fleet import compile_routes, compose


def scenario_of(*rows: dict[str, Any]) -> Scenario:
    document = {
        "circinus": 1,
        "device_classes": {"c": {"cores": 4, "memory_mb": 1, "accelerators": {"gpu": 1}}},
        "devices": [{"id": "d", "class": "c", "tier": "device"}],
        "pipelines": {
            name: {"operators": {"see": {"run": "x:See"}}, "input_bytes": 1} for name in ("p", "q")
        },
        "profiles": [{"operator": "see", "device_class": "c", **row} for row in rows],
        "queries": [
            {"id": name, "pipeline": name, "source": "d", "rate_rps": 1} for name in ("p", "q")
        ],
    }
    return decode_scenario(json.dumps(document).encode(), name="s.json")


def instances(scenario: Scenario) -> list[InstanceSpec]:
    """What the device runs where both queries are served there."""
    decision = Decision(
        planner="hand",
        assignments=tuple(
            Assignment(
                query=name,
                share=1.0,
                plan={"see": Step(device="d", replicas=replicas)},
                estimate=Estimate(latency_ms=1.0, accuracy=None, cost_usd_per_1000=0.0),
            )
            for name, replicas in (("p", 1), ("q", 3))
        ),
    )
    routes = compile_routes(decision, scenario, lambda _: None)
    wanted = [(planned, True) for each in routes.values() for planned in each]
    return compose(wanted, lambda a, b: None)["d"].instances


def test_a_document_says_what_batches_keep_from_others() -> None:
    (spec,) = instances(
        scenario_of({"latency_ms": 10, "compute_s": {"cores": 0.025, "gpu": 0.004}})
    )
    assert (spec.replicas, spec.cores, spec.accelerators) == (3, 3, {"gpu": 0.4})


def test_routes_that_share_an_instance_get_what_either_needs() -> None:
    (spec,) = instances(
        scenario_of(
            {"operator": "p/see", "latency_ms": 10, "compute_s": {"cores": 0.02}},
            {"operator": "q/see", "latency_ms": 10, "compute_s": {"gpu": 0.005}},
        )
    )
    assert (spec.cores, spec.accelerators) == (2, {"gpu": 0.5})
