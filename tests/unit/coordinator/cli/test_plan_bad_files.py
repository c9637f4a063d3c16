"""`circinus plan` on files that say too little, or nonsense: one clear line, exit code 2."""

from pathlib import Path

import pytest

from circinus_coordinator.cli.app import run

GOOD = """
circinus: 1
device_classes: {pi: {cores: 4, memory_mb: 1000, price_usd_hour: 0.1}}
devices: [{id: pi-1, class: pi, tier: device}]
pipelines: {p: {operators: {a: {}}, input_bytes: 1}}
profiles:
  - {operator: a, device_class: pi, latency_ms: 50, compute_s: {cores: 0.05}, samples: 9}
queries:
  - {id: q, pipeline: p, source: pi-1, rate_rps: 2, weight: 1}
"""


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("latency_ms: 50", "latency_ms: .nan", "profiles[0].latency_ms"),
        ("latency_ms: 50", "latency_ms: .inf", "profiles[0].latency_ms"),
        ("cores: 0.05", "cores: .nan", "profiles[0].compute_s"),
        ("rate_rps: 2", "rate_rps: .nan", "queries[0].rate_rps"),
        ("weight: 1", "weight: .inf", "queries[0].weight"),
        ("price_usd_hour: 0.1", "price_usd_hour: -.inf", "device_classes.pi.price_usd_hour"),
        ("memory_mb: 1000", "memory_mb: .nan", "device_classes.pi.memory_mb"),
        ("cores: 4", "cores: -4", "device_classes.pi.cores"),
        ("source: pi-1", "source: pi-2", "queries[0].source"),
        ("operator: a", "operator: b", "profiles[0].operator"),
    ],
)
def test_a_number_that_is_none_is_named_with_file_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, key: str
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(GOOD.replace(old, new))
    assert run(["plan", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert str(path) in captured.err
    assert key in captured.err


@pytest.mark.parametrize(
    ("old", "new"),
    [("cores: 4", "cores: 0"), ("rate_rps: 2", "rate_rps: 0"), (GOOD[GOOD.index("queries") :], "")],
)
def test_what_cannot_be_served_is_decided_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(GOOD.replace(old, new))
    assert run(["plan", str(path)]) in (0, 1)
    assert '"certified": true' in capsys.readouterr().out
