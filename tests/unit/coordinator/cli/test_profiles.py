"""``circinus profiles show``: what people and programs get to see."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from circinus.profile import Provenance
from circinus_coordinator.api import client as client_module
from circinus_coordinator.cli.app import run
from circinus_coordinator.daemon import (
    AccuracyRow,
    IntervalView,
    LinkRow,
    OperatorRow,
    ProfilesView,
)

SIDE = OperatorRow(
    pipeline="signs", operator="detect", implementation="m:C", version="1",
    config={"side": 640}, device_class="pi5", batch=1, samples=60, worth=31, mean_ms=41.25,
    p50_ms=41.0, p95_ms=52.5, p99_ms=60.0, compute_s=0.0401, memory_mb=120.0,
    output_bytes=900.0, price_usd_per_call=0.0, age_s=3 * 3600.0, devices=["pi-1", "pi-2"],
    intervals={
        "mean_ms": IntervalView(low=38.9, high=44.1, asymptotic=True),
        "p95_ms": IntervalView(low=49.0, high=None),
    },
)  # fmt: skip
FAILED = dataclasses.replace(
    SIDE, config={"side": 320}, samples=0, worth=0, mean_ms=None, p95_ms=None, intervals={},
    cause="no module m", age_s=None, devices=[],
)  # fmt: skip
STALE = dataclasses.replace(
    SIDE, config={"side": 160}, stale=True, age_s=9 * 86400.0, throttled=True,
    set_aside_ms=162_000.0, background_percent=80.0,
)  # fmt: skip
MADE = dataclasses.replace(
    SIDE, device_class="pi5@pi-2", provenance=Provenance.INTERPOLATED, intervals={}, age_s=None
)
SCORE = AccuracyRow(
    pipeline="signs", config={"detect": {"side": 640}}, mean=0.91, samples=40, population=100,
    intervals={"mean": IntervalView(low=0.82, high=0.96)}, age_s=12.0, done=False, worth=40,
)  # fmt: skip
LINK = LinkRow(
    between=("device", "cloud"), rtt_ms=30.0, bandwidth_mbps=40.0, samples=0,
    provenance=Provenance.ASSUMED,
)  # fmt: skip
VIEW = ProfilesView(operators=[SIDE, FAILED, STALE, MADE], accuracy=[SCORE], links=[LINK])


class Stub:
    asked: list[dict[str, list[str]]] = []  # noqa: RUF012 - emptied by the fixture
    view = VIEW

    def __init__(self, address: str) -> None:
        pass

    def get(self, path: str) -> Any:
        Stub.asked.append(parse_qs(urlsplit(path).query))
        return msgspec.to_builtins(Stub.view)


@pytest.fixture(autouse=True)
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    Stub.asked, Stub.view = [], VIEW
    monkeypatch.setattr(client_module, "Client", Stub)


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert run(["profiles", "show", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_row_shows_value_interval_samples_provenance_age_and_device(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = next(line for line in lines(capsys, "signs") if "side=640" in line)
    for word in ("41.2", "~38.9-44.1", "52.5", "≥ 49", "60 (31)", "measured", "3 h", "pi-1 pi-2"):
        assert word in row


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("side=320", ["failed", "no module m"]),
        ("side=160", ["measured, stale", "9 d", "one sample of 162000 ms is set aside",
                      "throttled", "others used 80 %"]),
        ("pi5@pi-2", ["interpolated"]),
        ("detect side=640 ", ["0.82-0.96", "40 of 100", "unfinished", "12 s"]),
        ("device - cloud", ["assumed", "30"]),
    ],
)  # fmt: skip
def test_what_is_the_matter_with_a_row_is_told(
    config: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(line for line in lines(capsys, "signs") if config in line)
    assert [word for word in words if word not in row] == []


def test_headings_count_the_rows_by_kind(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys)
    assert found[0] == "operators: 4 (2 measured, 1 interpolated, 1 stale, 1 failed)"


def test_rows_are_chosen_by_the_coordinator_and_by_how_they_came_about(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = lines(capsys, "signs", "--device-class", "pi5", "--how", "stale", "--how", "failed")
    assert Stub.asked == [{"pipeline": ["signs"], "device_class": ["pi5"]}]
    assert found[0] == "operators: 2 (1 measured, 1 stale, 1 failed)"
    assert not any("inputs" in line or "RTT" in line for line in found)


def test_a_table_of_500_rows_fits_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [dataclasses.replace(SIDE, config={"side": i}) for i in range(500)]
    Stub.view = ProfilesView(operators=rows, accuracy=[], links=[])
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    found = lines(capsys, "signs")
    assert max(map(len, found)) <= 80
    assert sum("measured" in line and "≥ 49" in line for line in found) == 500


def test_programs_get_what_the_coordinator_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profiles", "show", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == json.loads(msgspec.json.encode(VIEW))
    assert captured.err == ""


def test_a_pipeline_nobody_measured_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    Stub.view = ProfilesView(operators=[], accuracy=[], links=[LINK])
    assert run(["profiles", "show", "no"]) == 1
    assert "nothing was measured of 'no'" in capsys.readouterr().err
