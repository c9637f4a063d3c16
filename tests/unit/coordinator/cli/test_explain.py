"""`circinus explain` on files: what it names, written into the scenario, admits the query."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from circinus.decision import Decision, load_decision
from circinus_coordinator.cli.app import run

ROW = {"operator": "a", "memory_mb": 100, "samples": 9}
SCENARIO: dict[str, Any] = {
    "circinus": 1,
    "device_classes": {
        "pi": {"cores": 4, "memory_mb": 1000, "price_usd_hour": 0.1},
        "box": {"cores": 4, "memory_mb": 4000, "price_usd_hour": 0.5},
    },
    "devices": [
        {"id": "pi-1", "class": "pi", "tier": "device"},
        {"id": "edge-1", "class": "box", "tier": "edge"},
    ],
    "links": [{"between": ["device", "edge"], "rtt_ms": 10, "bandwidth_mbps": 50}],
    "pipelines": {"p": {"operators": {"a": {}}, "input_bytes": 100_000}},
    "profiles": [
        {**ROW, "device_class": "pi", "latency_ms": 400, "compute_s": {"cores": 0.4}},
        {**ROW, "device_class": "box", "latency_ms": 100, "compute_s": {"cores": 0.1}},
    ],
    "queries": [
        {"id": "gate", "rate_rps": 20, "weight": 3, "slo": {"latency_ms": 1000}},
        {"id": "yard", "rate_rps": 20, "slo": {"latency_ms": 1000}},
        {"id": "fast", "rate_rps": 1, "slo": {"latency_ms": 90}},
        {"id": "cheap", "rate_rps": 1, "slo": {"cost_usd_per_1000": 0.001}},
    ],
}
for _query in SCENARIO["queries"]:
    _query.update(pipeline="p", source="pi-1", splittable=False)
SLOS = {"latency": "latency_ms", "cost": "cost_usd_per_1000"}


def planned(folder: Path, document: dict[str, Any], *, previous: str | None = None) -> Decision:
    """Writes the scenario, plans it, and leaves the decision beside it."""
    (folder / "s.yaml").write_text(yaml.safe_dump(document))
    out = folder / "d.json"
    more = ["--previous", previous] if previous else []
    # What would help is said by the model, so it is the model that has to admit the query.
    run(["plan", str(folder / "s.yaml"), "--no-rehearse", "--out", str(out), *more])
    return load_decision(out)


def files(folder: Path) -> list[str]:
    return ["--scenario", str(folder / "s.yaml"), "--decision", str(folder / "d.json")]


def written(document: dict[str, Any], query: str, changes: list[dict[str, Any]]) -> dict[str, Any]:
    """The document with the changes; each machine here has a class of its own."""
    found: dict[str, Any] = json.loads(json.dumps(document))
    kinds = {device["id"]: device["class"] for device in found["devices"]}
    for change in changes:
        if change["what"] in SLOS:
            asked = next(q for q in found["queries"] if q["id"] == query)
            asked["slo"][SLOS[change["what"]]] = change["to"]
        else:
            kind = kinds[change["devices"][0]]
            found["device_classes"][kind][change["what"]] = change["to"]
    return found


def test_each_refusal_s_relaxation_admits_its_query(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = planned(tmp_path, SCENARIO)
    assert {r.query for r in first.rejected} == {"yard", "fast", "cheap"}
    for rejection in first.rejected:
        capsys.readouterr()
        assert run(["explain", rejection.query, *files(tmp_path), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["share"] < 1
        folder = tmp_path / rejection.query
        folder.mkdir()
        larger = written(SCENARIO, rejection.query, told["relaxations"])
        again = planned(folder, larger, previous=str(tmp_path / "d.json"))
        served = {a.query for a in again.assignments if a.share > 1 - 1e-6}
        assert {"gate", rejection.query} <= served


def test_people_read_what_binds_what_it_costs_and_what_would_help(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(tmp_path, SCENARIO)
    assert "edge-1 cores: worth" in capsys.readouterr().err
    assert run(["explain", "yard", *files(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for words in (
        "yard: 0% of its requests are served",
        "in the way: cores of edge-1",
        "price: a request of it is worth 1, what it would take is worth 1",
        "1 for 0.1 core-seconds; edge-1 cores: worth 8 weighted req/s per core",
        "what would help: needs 1 more core on edge-1",
    ):
        assert words in printed
    run(["explain", "fast", *files(tmp_path)])
    assert "alone it takes 121 ms, 90 ms are allowed" in capsys.readouterr().out


def test_a_scenario_without_its_decision_is_bad_input(tmp_path: Path) -> None:
    planned(tmp_path, SCENARIO)
    assert run(["explain", "yard", *files(tmp_path)[:2]]) == 2
