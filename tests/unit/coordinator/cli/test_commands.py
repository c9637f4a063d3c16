"""Commands against a stand-in for the HTTP client: what they ask for and what they print."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from circinus.errors import InvalidInput, NoData
from circinus_coordinator.api import client as client_module
from circinus_coordinator.cli.app import run

PLAN = {
    "decode": {"device": "cam-1", "config": {"scale": 0.5}, "batch": 1, "replicas": 1},
    "detect": {"device": "cloud-1", "config": {"side": 320}, "batch": 1, "replicas": 1},
    "match": {"device": "cloud-1", "config": {}, "batch": 1, "replicas": 1},
}
PROMISED = {"latency_ms": 123.0, "accuracy": 0.8, "cost_usd_per_1000": 0.01}
QUERY = {
    "id": "gate",
    "state": "serving",
    "query": {"id": "gate", "slo": {"latency_ms": 200, "accuracy": 0.7}},
    "share": 1.0,
    "assignments": [{"plan_id": "x", "share": 1.0, "plan": PLAN, "promised": PROMISED}],
    "reason": None,
    "promised": PROMISED,
    "measured": {"latency_ms": 110.0, "goodput_rps": 1.5, "attainment": 0.99, "finished": 100},
}
DEVICE = {
    "id": "cam-1",
    "device_class": "pi",
    "tier": "device",
    "online": True,
    "plannable": None,
    "emulated": True,
    "rollout": "converged",
    "capabilities": {"cores": 4, "memory_mb": 4096},
}
ANSWERS: dict[str, Any] = {
    "/v1/devices": {"devices": [DEVICE]},
    "/v1/queries": {"queries": [QUERY]},
    "/v1/queries/gate": QUERY,
    "/v1/plans": {
        "plans": [{"query": "gate", "phase": "serving", "assignment": QUERY["assignments"][0]}]
    },
    "/v1/profiles": {"operators": [], "accuracy": [], "links": []},
    "/v1/explain/gate": {
        "query": "gate",
        "share": 0.4,
        "binding": "latency",
        "reason": "full",
        "relaxation": "1 more core",
    },
}


PIPELINES = b'{"circinus": 1, "pipelines": {"there": {"operators": {"a": {}}, "input_bytes": 1}}}'


class Stub:
    sent: list[tuple[str, Any]] = []  # noqa: RUF012 - emptied by the fixture
    refusal: Exception | None = None

    def __init__(self, address: str, *, timeout_s: float = 1.0) -> None:
        self.base = address

    def get(self, path: str) -> Any:
        path = path.partition("?")[0]
        if path not in ANSWERS:
            raise NoData(path)
        return ANSWERS[path]

    def get_bytes(self, path: str) -> bytes:
        return PIPELINES if path == "/v1/pipelines" else b'{"circinus": 1}\n'

    def post(self, path: str, body: bytes) -> Any:
        Stub.sent.append((path, json.loads(body)))
        if Stub.refusal:
            raise Stub.refusal
        return {"queries": ["gate"], "pipelines": ["p"]}

    def delete(self, path: str) -> Any:
        Stub.sent.append((path, None))
        return {"withdrawn": "gate"}

    def put_artifact(self, data: bytes) -> str:
        return "ab" * 32

    def events(self) -> Iterator[dict[str, Any]]:
        yield {"kind": "query", "subject": "gate", "text": "submitted"}


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch) -> type[Stub]:
    Stub.sent, Stub.refusal = [], None
    monkeypatch.setattr(client_module, "Client", Stub)
    return Stub


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["devices", "ls"], ["cam-1", "online", "emulated"]),
        (["queries", "ls"], ["gate", "p95 <= 200 ms", "123", "110", "99.0%"]),
        (
            ["plans", "ls"],
            ["cam-1 decode > cloud-1 detect..match", "decode scale=0.5, detect side=320"],
        ),
        (["watch", "--once"], ["gate", "123 → 110", "1.50 good/s"]),
        (
            ["explain", "gate"],
            ["gate: 40% of", "in the way: latency", "why: full", "help: 1 more core"],
        ),
        (["devices", "show", "cam-1"], ["device_class: pi"]),
        (["queries", "show", "gate"], ["state: serving"]),
    ],
)
def test_people_read_tables(
    command: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == 0
    printed = capsys.readouterr().out
    for word in words:
        assert word in printed


def test_people_are_shown_no_ids_of_programs_and_no_sixteen_digits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capabilities = {"boot_id": "b00t", "cores": 4.0, "speed": 0.12345678, "price": 1.5e-7}
    known = {**DEVICE, "capabilities": capabilities, "links": []}
    monkeypatch.setitem(ANSWERS, "/v1/devices", {"devices": [known]})
    assert run(["devices", "show", "cam-1"]) == 0
    printed = capsys.readouterr().out
    assert "b00t" not in printed
    assert "plannable" not in printed
    assert "links" not in printed
    assert "speed: 0.1235" in printed
    assert "cores: 4\n" in printed
    assert "1.5e-07" in printed


@pytest.mark.parametrize("name", ["devices", "queries", "plans", "profiles"])
def test_a_list_fits_a_terminal_of_80_columns_with_words_whole(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "ls"]) == 0
    words = set(capsys.readouterr().out.split())
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run([name, "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert {word for line in lines for word in line.split()} <= words | {lines[1]}


@pytest.mark.parametrize(
    "command",
    [
        ["devices", "ls"],
        ["devices", "show", "cam-1"],
        ["queries", "ls"],
        ["queries", "show", "gate"],
        ["plans", "ls"],
        ["plans", "show", "gate"],
        ["profiles", "ls"],
        ["explain", "gate"],
        ["watch", "--once"],
        ["withdraw", "gate"],
    ],
)
def test_programs_read_json(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--json"]) == 0
    captured = capsys.readouterr()
    json.loads(captured.out)
    assert captured.err == ""


@pytest.mark.parametrize(
    "command",
    [
        ["devices", "show", "no"],
        ["plans", "show", "no"],
        ["profiles", "show", "no"],
        ["explain", "no"],
        ["queries", "show", "no"],
    ],
)
def test_what_is_not_there_is_no_result(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == 1
    assert "no" in capsys.readouterr().err


def test_a_watch_that_loses_its_coordinator_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "query gate: submitted\n"
    assert "went away" in captured.err


def test_submit_sends_folders_as_artifacts(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "a.txt").write_text("a")
    file = tmp_path / "s.yaml"
    file.write_text(
        "circinus: 1\n"
        "pipelines: {p: {operators: {a: {}}, input_bytes: 1}}\n"
        "queries: [{id: gate, pipeline: p, source: d, rate_rps: 1, "
        "input: {kind: folder, path: inputs}}]\n"
    )
    assert run(["submit", str(file)]) == 0
    path, document = Stub.sent[0]
    assert path == "/v1/queries"
    assert document["queries"][0]["input"]["path"] == "sha256:" + "ab" * 32


def test_a_query_on_a_pipeline_that_is_there_is_sent_alone(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "circinus: 1\nqueries: [{id: gate, pipeline: there, source: pi-1, rate_rps: 1}]\n"
    )
    assert run(["submit", str(file)]) == 0
    _, document = Stub.sent[0]
    assert not document.get("pipelines")
    assert document["queries"][0]["source"] == {"a": "pi-1"}


def test_what_the_coordinator_refuses_is_named_with_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("circinus: 1\npipelines: {p: {operators: {a: {}}, input_bytes: 1}}\n")
    Stub.refusal = InvalidInput("unknown device", file="submission", key="queries[0].source")
    assert run(["submit", str(file)]) == 2
    assert capsys.readouterr().err == f"circinus: {file}: queries[0].source: unknown device\n"


@pytest.mark.parametrize("command", [["submit"], ["scenario", "validate"]])
def test_a_document_that_contradicts_its_operators_is_bad_input(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("class Track:\n    stateful = True\n")
    file = tmp_path / "s.yaml"
    file.write_text(
        "circinus: 1\npipelines: {p: {operators: {a: {run: 'mine:Track'}}, input_bytes: 1}}\n"
    )
    assert run([*command, str(file)]) == 2
    assert "s.yaml: pipelines.p.operators.a.stateful" in capsys.readouterr().err


def test_a_dry_run_finds_what_the_operators_do_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("class Split:\n    pass\n")
    file = tmp_path / "s.yaml"
    file.write_text(
        "circinus: 1\npipelines: {p: {operators: {a: {run: 'mine:Splt'}}, input_bytes: 1}}\n"
    )
    assert run(["submit", "--dry-run", str(file)]) == 2
    assert "no class 'Splt' (did you mean 'Split'?)" in capsys.readouterr().err


def test_an_exported_scenario_is_written_as_it_was_sent(tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    assert run(["scenario", "export", "--out", str(out)]) == 0
    assert out.read_bytes() == b'{"circinus": 1}\n'


def test_an_export_may_be_asked_for_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenario", "export", "--json"]) == 0
    assert capsys.readouterr().out == '{"circinus": 1}\n'
