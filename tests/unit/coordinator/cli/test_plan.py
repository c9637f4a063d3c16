"""`circinus plan`: its streams, its files and its exit codes."""

from pathlib import Path

import pytest

from circinus.decision import decode_decision
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


def scenario(folder: Path, limit: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(SCENARIO.replace("LIMIT", limit))
    return path


def test_the_decision_goes_to_standard_output_and_the_summary_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", str(scenario(tmp_path, "100"))]) == 0
    captured = capsys.readouterr()
    decision = decode_decision(captured.out.encode())
    assert [a.query for a in decision.assignments] == ["q"]
    assert "1 of 1 queries admitted; goodput 2 requests/s, no plan gives more" in captured.err


def test_queries_served_in_part_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scenario(tmp_path, "100")
    path.write_text(path.read_text().replace("rate_rps: 2", "rate_rps: 2000"))
    assert run(["plan", str(path)]) == 0
    assert "1 of 1 queries admitted, 1 of them in part; goodput" in capsys.readouterr().err


def test_json_may_be_asked_for_though_it_is_always_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", str(scenario(tmp_path, "100")), "--json"]) == 0
    assert decode_decision(capsys.readouterr().out.encode()).assignments


def test_with_out_the_decision_goes_to_the_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "d.json"
    assert run(["plan", str(scenario(tmp_path, "100")), "--out", str(out)]) == 0
    assert decode_decision(out.read_bytes()).goodput_rps == 2.0
    assert capsys.readouterr().out == ""


def test_nothing_admitted_is_no_result_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", str(scenario(tmp_path, "10"))]) == 1
    captured = capsys.readouterr()
    assert decode_decision(captured.out.encode()).rejected[0].binding == "latency"
    assert "q:" in captured.err


def test_no_queries_are_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("circinus: 1\n")
    assert run(["plan", str(path)]) == 0


def test_the_same_seed_gives_the_same_decision(tmp_path: Path) -> None:
    outs = [tmp_path / "1.json", tmp_path / "2.json"]
    for out in outs:
        run(["plan", str(scenario(tmp_path, "100")), "--seed", "5", "--out", str(out)])
    first, second = (decode_decision(out.read_bytes()) for out in outs)
    assert first.assignments == second.assignments


@pytest.mark.parametrize(
    "flags", [["--planner", "best"], ["--time-limit", "0"], ["--previous", "/none"]]
)
def test_bad_options_are_bad_input(tmp_path: Path, flags: list[str]) -> None:
    assert run(["plan", str(scenario(tmp_path, "100")), *flags]) == 2
