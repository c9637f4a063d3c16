"""Scenarios by hand: three devices, one per tier, round numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from circinus.scenario import Scenario, decode_scenario

BASE: dict[str, Any] = {
    "circinus": 1,
    "queueing": False,
    "device_classes": {
        "small": {"cores": 2, "memory_mb": 1000, "price_usd_hour": 0.36},
        "middle": {"cores": 4, "memory_mb": 4000, "price_usd_hour": 3.6},
        "large": {"cores": 10, "memory_mb": 10000, "price_usd_hour": 36},
    },
    "devices": [
        {"id": "pi", "class": "small", "tier": "device"},
        {"id": "box", "class": "middle", "tier": "edge"},
        {"id": "srv", "class": "large", "tier": "cloud"},
    ],
    "links": [
        {"between": ["device", "edge"], "rtt_ms": 10, "bandwidth_mbps": 80},
        {"between": ["edge", "cloud"], "rtt_ms": 20, "bandwidth_mbps": 40, "price_usd_gb": 1},
        {"between": ["device", "cloud"], "rtt_ms": 40, "bandwidth_mbps": 8, "price_usd_gb": 2},
    ],
    "pipelines": {"p": {"operators": {"a": {}}, "input_bytes": 100_000}},
    "profiles": [],
    "queries": [{"id": "q", "pipeline": "p", "source": "pi", "rate_rps": 1}],
}


def row(operator: str, kind: str, ms: Any, **more: Any) -> dict[str, Any]:
    mean = ms["mean"] if isinstance(ms, dict) else ms
    found = {
        "operator": operator,
        "device_class": kind,
        "latency_ms": ms,
        "compute_s": {"cores": mean / 1000},
        "output_bytes": 10_000,
        "memory_mb": 100,
    }
    return {**found, **more}


Build = Callable[..., Scenario]


@pytest.fixture
def build() -> Build:
    """The base scenario with keys replaced; `query` and `pipeline` replace parts of theirs."""

    def make(
        *, query: dict[str, Any] | None = None, pipeline: dict[str, Any] | None = None, **keys: Any
    ) -> Scenario:
        document = {**copy.deepcopy(BASE), **copy.deepcopy(keys)}
        if pipeline is not None:
            document["pipelines"]["p"].update(pipeline)
        if query is not None:
            document["queries"][0].update(query)
        return decode_scenario(_json(document), name="base.json")

    return make


def _json(document: dict[str, Any]) -> bytes:
    import json

    return json.dumps(document).encode()


@pytest.fixture
def profile() -> Callable[..., dict[str, Any]]:
    """A profile row; compute seconds equal the mean latency unless given."""
    return row
