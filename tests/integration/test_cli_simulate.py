"""`circinus simulate`: a planned scenario played through, its table, its JSON, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circinus_coordinator.cli.app import run

SCENARIO = """
circinus: 1
device_classes: {pi: {cores: 4, memory_mb: 1000, price_usd_hour: 0.1}}
devices: [{id: pi-1, class: pi, tier: device}]
pipelines: {p: {operators: {a: {}}, input_bytes: 1}}
profiles:
  - {operator: a, device_class: pi, latency_ms: 50, compute_s: {cores: 0.05}, samples: 9}
queries:
  - {id: q, pipeline: p, source: pi-1, rate_rps: 2, slo: {latency_ms: LIMIT}}
"""


def planned(folder: Path, limit: int) -> list[str]:
    scenario, decision = folder / "s.yaml", folder / "d.json"
    scenario.write_text(SCENARIO.replace("LIMIT", str(limit)))
    run(["plan", str(scenario), "--out", str(decision)])
    return [str(scenario), str(decision)]


def test_the_table_shows_promised_beside_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = planned(tmp_path, 200)
    capsys.readouterr()
    assert run(["simulate", *files]) == 0
    captured = capsys.readouterr()
    header, row = captured.out.strip().splitlines()
    assert header.split()[:3] == ["query", "promised", "ms"]
    assert row.split()[0] == "q"
    assert "(p95)" in row
    assert "goodput" in captured.err


def test_json_has_every_figure_and_is_the_same_for_the_same_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = planned(tmp_path, 200)
    texts = []
    for seed in ("4", "4", "5"):
        capsys.readouterr()
        assert run(["simulate", *files, "--seconds", "500", "--seed", seed, "--json"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    found = json.loads(texts[0])
    query = found["queries"]["q"]
    assert query["arrivals"] == query["served"] + query["shed"]
    assert query["latency_ms"]["p50"] >= 50
    assert found["goodput_rps"] == pytest.approx(2, rel=0.15)
    assert found["devices"]["pi-1"]["cores"] == pytest.approx(0.025, rel=0.15)
    assert found["instances"][0]["operator"] == "a"


def test_nothing_served_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", *planned(tmp_path, 10)]) == 1
    assert "q" in capsys.readouterr().out


def test_a_decision_of_another_scenario_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario, decision = planned(tmp_path, 200)
    Path(scenario).write_text(SCENARIO.replace("LIMIT", "200").replace("{id: q,", "{id: other,"))
    assert run(["simulate", scenario, decision]) == 2
    assert "assignments[0].query: unknown query 'q'" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--seconds", "0"], ["--seconds", "nan"], ["--seed", "x"]])
def test_bad_options_are_bad_input(tmp_path: Path, flags: list[str]) -> None:
    assert run(["simulate", *planned(tmp_path, 200), *flags]) == 2


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    assert run(["simulate", str(tmp_path / "none.yaml"), str(tmp_path / "none.json")]) == 2
