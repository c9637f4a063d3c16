"""`circinus scenario generate`."""

import json
from pathlib import Path

import pytest

from circinus.scenario import load_scenario
from circinus_coordinator.cli.app import run
from circinus_coordinator.generation import generate

ARGUMENTS = ["scenario", "generate", "--queries", "5", "--devices", "6", "--seed", "2"]


def test_what_is_generated_is_valid_and_what_the_function_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s.json"
    assert run([*ARGUMENTS, "--out", str(out)]) == 0
    assert run(["scenario", "validate", str(out)]) == 0
    assert "5 queries" in capsys.readouterr().out
    assert load_scenario(out) == generate(queries=5, devices=6, seed=2)


def test_every_option_reaches_the_generator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = tmp_path / "b.json"
    series.write_text('{"bandwidth_limits": [{"time": 0, "mbps": 9}]}')
    counts = tmp_path / "a.json"
    counts.write_text('{"a": {"car": [1]}}')
    out = tmp_path / "s.yaml"
    options = (
        "--families fusion,vision --contention 0.4 --tightness 0.2 --tiers 2 --billing machine "
        "--splittable 0 --no-queueing --json"
    )
    files = ["--arrivals", str(counts), "--bandwidth", str(series), "--out", str(out)]
    assert run([*ARGUMENTS, *options.split(), *files]) == 0
    assert json.loads(capsys.readouterr().out)["tiers"] == 2
    found = load_scenario(out)
    assert not found.queueing
    assert not any(q.splittable for q in found.queries)


def test_bad_arguments_exit_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.json"
    assert run([*ARGUMENTS, "--families", "magic", "--out", str(out)]) == 2
    assert "unknown family 'magic'" in capsys.readouterr().err
    assert not out.exists()
