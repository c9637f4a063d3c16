"""The smallest pipeline does what its guide says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circinus.operator import load_object, load_operator
from circinus.scenario import load_scenario, load_submission


@pytest.fixture
def folder(examples: Path) -> Path:
    return examples / "hello"


def run(text: bytes, part: float) -> int:
    split, count = load_operator("hello_operators:Split"), load_operator("hello_operators:Count")
    count_words: int = count({"part": part}).process(split().process([text]))[0]
    return count_words


def test_all_of_a_text_gives_its_label_and_half_of_it_less(folder: Path) -> None:
    closeness = load_object("hello_operators:closeness")
    labels = json.loads((folder / "texts" / "labels.json").read_text())
    assert len(labels) == len(list((folder / "texts").glob("*.txt")))
    for name, label in labels.items():
        text = (folder / "texts" / name).read_bytes()
        assert closeness(run(text, 1.0), label) == 1.0
        assert 0 < closeness(run(text, 0.5), label) < 0.9


def test_the_submission_names_what_exists(folder: Path) -> None:
    submission = load_submission(folder / "hello.yaml")
    assert load_scenario(folder / "fleet.yaml").device_classes
    for pipeline in submission.pipelines.values():
        for spec in pipeline.operators.values():
            load_operator(spec.implementation)
        assert pipeline.accuracy is not None
        assert (folder / pipeline.accuracy.dataset).is_dir()
        assert callable(load_object(pipeline.accuracy.metric))
