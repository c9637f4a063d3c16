"""Measurements as they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circinus.scenario import Scenario, decode_scenario
from circinus_coordinator.daemon import ProfileFilter, ProfilesView
from circinus_coordinator.daemon.profiles import read_profiles
from circinus_coordinator.store import AccuracyRecord, LinkRecord, ProfileRecord, Record, Store

NOW = 1.7e9
DAY = 86400.0
QUIET = tuple(float(x) for x in np.random.default_rng(1).normal(40, 2, 60))


def profile(**changes: Any) -> ProfileRecord:
    values: dict[str, Any] = {
        "pipeline": "p", "operator": "o", "implementation": "m:C", "version": "1",
        "signature": "s", "config": {"side": 320}, "device_class": "pi5", "batch": 1,
        "latency_ms": QUIET, "compute_s": tuple(ms / 1e3 for ms in QUIET),
        "taken": ({"samples": 60, "time_s": NOW - DAY, "device": "pi-1"},),
    }  # fmt: skip
    return ProfileRecord(**{**values, **changes})


PLANNED = decode_scenario(
    b"""
circinus: 1
tiers: [device, cloud]
device_classes:
  pi5: {cores: 4, memory_mb: 8192, price_usd_hour: 0}
  pi5@pi-2: {cores: 4, memory_mb: 8192, price_usd_hour: 0}
devices:
  - {id: pi-1, class: pi5, tier: device}
  - {id: pi-2, class: pi5@pi-2, tier: device}
  - {id: dc, class: pi5, tier: cloud}
links:
  - {between: [device, cloud], rtt_ms: 30, bandwidth_mbps: 40}
  - {between: [pi-1, dc], rtt_ms: 11, bandwidth_mbps: 50}
pipelines:
  p:
    operators: {o: {run: "m:C", knobs: {side: [320]}}}
    input_bytes: 5
profiles:
  - {operator: p/o, config: {side: 320}, device_class: pi5, latency_ms: 40, compute_s: {cores: 1}}
  - {operator: p/o, config: {side: 320}, device_class: pi5@pi-2, latency_ms: 80,
     compute_s: {cores: 2}, provenance: interpolated, samples: 60}
queries: []
""",
    name="planned.yaml",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


def view(
    store: Store, *records: Record, planned: Scenario | None = None, now_s: float = NOW, **only: str
) -> ProfilesView:
    store.write(records)
    wanted = ProfileFilter(**only)
    return read_profiles(store, planned=planned, now_s=now_s, stale_after_s=7 * DAY, wanted=wanted)


def test_a_row_tells_how_sure_how_old_and_whence(store: Store) -> None:
    heat = {"temperature_c": 71.0, "throttled": True, "background_percent": 30.0}
    taken = (
        {"samples": 20, "time_s": NOW - DAY, "device": "pi-2", **heat},
        {"samples": 40, "time_s": NOW - 60, "device": "pi-1", "throttled": False},
    )
    (row,) = view(store, profile(taken=taken)).operators
    assert (row.provenance, row.samples, row.worth) == ("measured", 60, 60)
    assert (row.age_s, row.stale, row.devices) == (60.0, False, ["pi-1", "pi-2"])
    assert (row.temperature_c, row.throttled, row.background_percent) == (71.0, True, 30.0)
    assert set(row.intervals) == {"mean_ms", "p50_ms", "p95_ms", "p99_ms", "compute_s"}
    assert row.intervals["p50_ms"].low < 40 < (row.intervals["p50_ms"].high or 0)
    assert row.intervals["p95_ms"].high is None  # 60 samples cannot tell
    assert row.intervals["mean_ms"].asymptotic


def test_old_rows_are_stale_and_less_sure(store: Store) -> None:
    (young,) = view(store, profile()).operators
    (old,) = view(store, now_s=NOW + 27 * DAY).operators
    assert (young.stale, old.stale) == (False, True)
    assert old.intervals["mean_ms"].low < young.intervals["mean_ms"].low
    assert old.mean_ms == young.mean_ms


def test_accuracy_does_not_become_stale(store: Store) -> None:
    known = {"pipeline": "p", "signature": "s", "mean": 0.75, "samples": 4}
    scored = AccuracyRecord(
        config={"o": {"side": 320}}, scores=(1.0, 1.0, 0.0, 1.0), population=4,
        taken=({"samples": 4, "time_s": NOW - 300 * DAY},), **known,
    )  # fmt: skip
    meant = AccuracyRecord(config={"o": {"side": 640}}, **known)
    first, second = view(store, scored, meant).accuracy
    assert (first.stale, first.population) == (False, 4)
    assert (first.intervals["mean"].low, first.intervals["mean"].high) == (0.75, 0.75)
    # Of which only the mean was kept: as sure as four scores of unknown spread make it.
    assert second.intervals["mean"].low < 0.3
    assert second.age_s is None


def test_what_has_failed_tells_its_cause_and_claims_nothing(store: Store) -> None:
    (row,) = view(store, profile(latency_ms=(), compute_s=(), taken=(), cause="no m")).operators
    assert (row.cause, row.mean_ms, row.intervals, row.worth) == ("no m", None, {}, 0)


def test_a_sample_that_is_set_aside_is_told(store: Store) -> None:
    (row,) = view(store, profile(latency_ms=(*QUIET, 162_000.0))).operators
    assert row.set_aside_ms == 162_000.0
    assert row.mean_ms == pytest.approx(np.mean(QUIET))


def test_what_the_planner_goes_by_without_measurement_is_told_as_that(store: Store) -> None:
    link = LinkRecord(a="dc", b="pi-1", rtt_ms=11.0, bandwidth_mbps=50.0, samples=1,
                      rtts_ms=(11.0,), bandwidths_mbps=(50.0,))  # fmt: skip
    found = view(store, profile(), link, planned=PLANNED)
    made = [(row.device_class, row.provenance, row.mean_ms) for row in found.operators[1:]]
    assert made == [("pi5@pi-2", "interpolated", 80.0)]
    links = [(row.between, row.provenance) for row in found.links]
    assert links == [(("dc", "pi-1"), "measured"), (("device", "cloud"), "assumed")]


def test_a_link_of_tiers_is_not_told_once_all_its_devices_are_measured(store: Store) -> None:
    rows = [
        LinkRecord(a="dc", b=name, rtt_ms=1.0, bandwidth_mbps=1.0, samples=1, rtts_ms=(1.0,))
        for name in ("pi-1", "pi-2")
    ]
    assert [row.provenance for row in view(store, *rows, planned=PLANNED).links] == ["measured"] * 2


def test_rows_are_chosen_by_pipeline_operator_and_class(store: Store) -> None:
    rows = [
        profile(pipeline=pipeline, operator=operator, device_class=device_class)
        for pipeline in "pq"
        for operator in "ab"
        for device_class in ("x", "y")
    ]
    found = view(store, *rows, pipeline="p", operator="a", device_class="y").operators
    assert [(row.pipeline, row.operator, row.device_class) for row in found] == [("p", "a", "y")]
    assert len(view(store, pipeline="q").operators) == 4
