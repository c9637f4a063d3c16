"""What is to be measured for the submitted queries."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from circinus.pipeline import OperatorSpec, Pipeline
from circinus_coordinator.profiling import (
    AccuracyKey,
    LinkKey,
    OperatorKey,
    config_vectors,
    operator_signature,
)

sys.path.insert(0, str(Path(__file__).parent))
from probing import PIPELINE, capabilities, query, wanted


def operators(found: object) -> list[OperatorKey]:
    return [key for key in found.keys if isinstance(key, OperatorKey)]  # type: ignore[attr-defined]


def test_every_config_is_measured_once_per_device_class() -> None:
    found = operators(wanted(devices="pi1 pi2 dc"))
    assert len(found) == (1 + 4) * 2
    assert {key.device_class for key in found} == {"pi", "dc"}


def test_queries_of_one_pipeline_share_everything() -> None:
    one, two = wanted(queries=[query()]), wanted(queries=[query("q"), query("r")])
    assert one.keys == two.keys
    assert two.by_query["q"] == two.by_query["r"]


def test_classes_where_an_operator_may_not_run_are_left_out() -> None:
    found = operators(wanted(placements={"q": [("a", "pi1"), ("b", "dc")]}))
    assert {(key.operator, key.device_class) for key in found} == {("a", "pi"), ("b", "dc")}


def test_a_device_that_lacks_the_operator_is_left_out() -> None:
    pipeline = Pipeline(
        name="p", operators={"a": OperatorSpec(name="a", run="sharpen")}, input_bytes={"a": 1},
        accuracy=PIPELINE.accuracy,
    )  # fmt: skip
    known = {"pi1": capabilities("pi1", ("blur",)), "dc": capabilities("dc", ("sharpen",))}
    found = operators(wanted(pipeline=pipeline, known=known))
    assert {key.device_class for key in found} == {"dc"}


def test_a_new_version_of_an_operator_is_measured_anew() -> None:
    pipeline = Pipeline(
        name="p", operators={"a": OperatorSpec(name="a", run="blur")}, input_bytes={"a": 1},
        accuracy=PIPELINE.accuracy,
    )  # fmt: skip
    old, new = (
        wanted(pipeline=pipeline, devices="pi1", known={"pi1": capabilities("pi1", ("blur",), v)})
        for v in "12"
    )
    assert set(old.keys).isdisjoint(new.keys)


def test_every_batch_size_is_measured() -> None:
    assert {key.batch for key in operators(wanted(batches=(1, 4)))} == {1, 4}


def test_accuracy_is_measured_only_if_a_query_asks_for_some() -> None:
    assert not [key for key in wanted().keys if isinstance(key, AccuracyKey)]


def test_accuracy_is_measured_once_for_all_values_of_a_neutral_knob() -> None:
    found = wanted(queries=[query(accuracy=0.5)])
    scored = [key for key in found.keys if isinstance(key, AccuracyKey)]
    assert [dict(dict(key.config)["b"]) for key in scored] == [
        {"chunk": 8, "side": 2},
        {"chunk": 8, "side": 1},
    ]


def test_all_queries_of_a_pipeline_wait_for_its_accuracy() -> None:
    found = wanted(queries=[query("q", accuracy=0.5), query("r")])
    assert any(isinstance(key, AccuracyKey) for key in found.by_query["r"])


def test_links_between_devices_that_may_be_used_are_measured() -> None:
    assert LinkKey(a="dc", b="pi1") in wanted(links=True).keys


def test_links_to_devices_that_cannot_be_used_are_not() -> None:
    found = wanted(links=True, placements={"q": [("a", "pi1"), ("b", "pi1")]})
    assert not [key for key in found.keys if isinstance(key, LinkKey)]


def test_a_replayed_folder_serves_where_there_is_no_accuracy_data_set() -> None:
    bare = replace(PIPELINE, accuracy=None)
    found = wanted(pipeline=bare, queries=[query(path="/folder")])
    assert found.work["p"].dataset == "/folder"


def test_a_query_without_any_inputs_is_blocked_and_told_why() -> None:
    found = wanted(pipeline=replace(PIPELINE, accuracy=None))
    assert "no inputs" in found.blocked["q"]
    assert found.keys == ()


def test_another_upstream_operator_asks_for_new_measurements() -> None:
    changed = replace(
        PIPELINE,
        operators={**PIPELINE.operators, "a": OperatorSpec(name="a", run="m:Other")},
    )
    assert operator_signature(PIPELINE, "b", "d") != operator_signature(changed, "b", "d")


def test_samples_of_another_meaning_ask_for_new_measurements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = operator_signature(PIPELINE, "b", "d")
    monkeypatch.setattr("circinus_coordinator.profiling.keys._METHOD", 1)
    assert operator_signature(PIPELINE, "b", "d") != before


def test_another_downstream_operator_does_not() -> None:
    changed = replace(
        PIPELINE,
        operators={
            **PIPELINE.operators,
            "b": OperatorSpec(name="b", run="m:Other", needs=("a",)),
        },
    )
    assert operator_signature(PIPELINE, "a", "d") == operator_signature(changed, "a", "d")


def test_vectors_that_share_upstream_configs_are_neighbours() -> None:
    chain = Pipeline(
        name="p",
        operators={
            "a": OperatorSpec(name="a", knobs={"x": (1, 2)}),
            "b": OperatorSpec(name="b", needs=("a",), knobs={"y": (1, 2, 3)}),
        },
        input_bytes={"a": 1},
    )
    assert [dict(vector)["a"]["x"] for vector in config_vectors(chain)] == [1, 1, 1, 2, 2, 2]
