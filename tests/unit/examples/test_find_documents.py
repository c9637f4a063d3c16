"""The operators of find-documents do what their knobs say, and the submission names them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from circinus import codec
from circinus.operator import Context, Operator, Output, knobs_of, load_object, load_operator
from circinus.scenario import load_scenario, load_submission

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
corpus = pytest.importorskip("find_documents.corpus")
operators = pytest.importorskip("find_documents.operators")
train = pytest.importorskip("find_documents.train")
reciprocal_rank = pytest.importorskip("find_documents.metric").reciprocal_rank

COUNT = 60


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(cache_dir=str(tmp_path_factory.mktemp("find-documents")))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators.Judge, "WAIT_S", 0.0)


def made(cls: type[Operator], context: Context, **config: Any) -> Operator:
    operator = cls(config, context)
    operator.setup(operator.config)
    return operator


@pytest.fixture(scope="session")
def search(cache: Context) -> Operator:
    return made(operators.Search, cache)


@pytest.fixture(scope="session")
def questions() -> list[tuple[str, int]]:
    return [corpus.question(5, k) for k in range(COUNT)]


def found(
    cache: Context, search: Operator, questions: list[tuple[str, int]], dimension: int = 256
) -> list[Any]:
    embed = made(operators.Embed, cache, dimension=dimension)
    return list(search.process(embed.process([text.encode() for text, _ in questions])))


def recall(results: list[Any], questions: list[tuple[str, int]], first: int) -> float:
    hits = [
        wanted in [note["id"] for note in r["found"][:first]]
        for r, (_, wanted) in zip(results, questions, strict=True)
    ]
    return sum(hits) / len(hits)


def score(outputs: list[Output], questions: list[tuple[str, int]]) -> float:
    pairs = zip(outputs, questions, strict=True)
    return sum(reciprocal_rank(o.value, wanted) for o, (_, wanted) in pairs) / len(questions)


def test_longer_vectors_and_deeper_searches_find_more(
    cache: Context, search: Operator, questions: list[tuple[str, int]]
) -> None:
    long, short = (found(cache, search, questions, d) for d in (256, 16))
    assert recall(long, questions, 50) >= 0.9
    assert recall(long, questions, 50) > recall(long, questions, 5) + 0.05
    assert recall(long, questions, 20) > recall(short, questions, 20) + 0.2


def test_the_larger_reranker_puts_the_right_note_higher_and_each_call_of_the_judge_costs(
    cache: Context, search: Operator, questions: list[tuple[str, int]]
) -> None:
    results = found(cache, search, questions)
    scores: dict[tuple[str, int], float] = {}
    for model in ("large", "off"):
        ranked = made(operators.Rerank, cache, model=model).process(results)
        for ask in (5, 0):
            outputs = list(made(operators.Judge, cache, ask=ask).process(ranked))
            assert all(output.usage == {"calls": ask} for output in outputs)
            scores[model, ask] = score(outputs, questions)
    assert scores["large", 5] > scores["large", 0] + 0.05 > scores["off", 0] + 0.1
    assert scores["off", 5] > scores["off", 0] + 0.05
    assert scores["large", 5] >= 0.75


def test_what_the_reranker_learned_is_what_the_script_learns(cache: Context) -> None:
    shipped = json.loads(Path(train.__file__).with_name("weights.json").read_text())
    assert train.learn("small", cache) == pytest.approx(shipped["small"], abs=2e-3)


def test_a_question_of_unknown_words_has_some_answer(cache: Context, search: Operator) -> None:
    (result,) = found(cache, search, [("xyzzy", 0)])
    (ranked,) = made(operators.Rerank, cache).process([result])
    (output,) = made(operators.Judge, cache).process([ranked])
    assert len(output.value) == operators.SHOWN


def test_outputs_of_every_step_can_travel(cache: Context) -> None:
    value: Any = b"the printer in the lobby flickers"
    for cls in (operators.Embed, operators.Search, operators.Rerank, operators.Judge):
        (value,) = made(cls, cache).process([codec.loads(codec.dumps(value))])
    assert codec.loads(codec.dumps(value.value)) == value.value


def test_questions_are_the_same_for_a_seed_and_come_with_their_labels(
    tmp_path: Path, examples: Path
) -> None:
    command = [sys.executable, "-m", "find_documents.generate", str(tmp_path), "--count", "2"]
    folder = examples / "find-documents"
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    labels = json.loads((tmp_path / "labels.json").read_text())
    written = [((tmp_path / name).read_text().strip(), label) for name, label in labels.items()]
    assert written == [corpus.question(0, 0), corpus.question(0, 1)]


def test_the_submission_names_operators_and_knobs_that_exist(examples: Path) -> None:
    folder = examples / "find-documents"
    submission = load_submission(folder / "find-documents.yaml")
    (pipeline,) = submission.pipelines.values()
    for spec in pipeline.operators.values():
        declared = knobs_of(load_operator(spec.implementation))
        assert {name: knob.values for name, knob in declared.items()} == dict(spec.knobs)
    assert pipeline.accuracy is not None
    assert load_object(pipeline.accuracy.metric) is reciprocal_rank
    assert load_scenario(folder / "fleet.yaml").device_classes


def test_the_metric_takes_an_id_or_the_best_configs_answer() -> None:
    assert reciprocal_rank([7, 3, 9], 3) == 0.5
    assert reciprocal_rank([7, 3, 9], [7, 1]) == 1.0
    assert reciprocal_rank([7, 3, 9], 4) == 0.0
