"""Each operator's contract on generated pictures, and the pipeline's accuracy as a whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circinus import codec
from circinus.operator import Context, Operator, knobs_of, load_object, load_operator
from circinus.scenario import load_submission

operators = pytest.importorskip("read_signs.operators")
generate = pytest.importorskip("read_signs.generate")
images = pytest.importorskip("read_signs.images")
sign_score = pytest.importorskip("read_signs.metric").sign_score

Make = Callable[..., Operator]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Operators by class and config, each set up once; quantised models are shared."""
    context = Context(cache_dir=str(tmp_path_factory.mktemp("models")))
    made: dict[Any, Operator] = {}

    def get(cls: type[Operator], **config: Any) -> Operator:
        key = (cls, *sorted(config.items()))
        if key not in made:
            made[key] = cls(config, context)
            made[key].setup(made[key].config)
        return made[key]

    return get


@pytest.fixture(scope="session")
def pages() -> list[Any]:
    return list(generate.pages(20, 5))


@pytest.fixture(scope="session")
def pictures(pages: list[Any]) -> list[bytes]:
    return [images.encode(page.image, generate.JPEG_QUALITY) for page in pages]


def crops(make: Make, pictures: list[bytes], **config: Any) -> list[Any]:
    outputs = make(operators.Detect, **config).process(make(operators.Decode).process(pictures))
    return list(outputs)


def oriented(make: Make, found: list[Any], **config: Any) -> list[Any]:
    return [list(make(operators.Orient, **config).process(items)) for items in found]


def test_decode_shrinks_picture_and_bytes_with_its_scale(make: Make, pictures: list[bytes]) -> None:
    sizes = []
    for scale, shape in ((1.0, (480, 640)), (0.66, (317, 422)), (0.33, (158, 211))):
        (output,) = make(operators.Decode, scale=scale).process(pictures[:1])
        assert images.open_image(output).shape[:2] == shape
        sizes.append(len(output))
    assert len(pictures[0]) > sizes[0] > 2 * sizes[1] > 4 * sizes[2]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
def test_decode_takes_other_formats(make: Make, pages: list[Any], suffix: str) -> None:
    cv2 = pytest.importorskip("cv2")
    data = cv2.imencode(suffix, pages[0].image)[1].tobytes()
    (output,) = make(operators.Decode).process([data])
    assert images.open_image(output).shape == (480, 640, 3)


@pytest.mark.parametrize("broken", [b"", b"no picture"])
def test_a_broken_picture_fails_its_own_request_only(
    make: Make, pictures: list[bytes], broken: bytes
) -> None:
    outputs = make(operators.Decode).process([pictures[0], broken, pictures[1]])
    assert isinstance(outputs[1], ValueError)
    assert [type(o) for o in (outputs[0], outputs[2])] == [bytes, bytes]
    found = make(operators.Detect).process([broken, outputs[0]])
    assert isinstance(found[0], ValueError)
    assert isinstance(found[1], list)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_detect_finds_most_signs_where_they_are(
    make: Make, pages: list[Any], pictures: list[bytes], precision: str
) -> None:
    found = crops(make, pictures, precision=precision)
    hit = wanted = 0
    for page, items in zip(pages, found, strict=True):
        centres = [(640 * sum(i["box"][0::2]) / 4, 480 * sum(i["box"][1::2]) / 4) for i in items]
        for quad in page.quads:
            x, y = quad.mean(axis=0)
            wanted += 1
            hit += any(abs(x - a) < 15 and abs(y - b) < 15 for a, b in centres)
    assert hit >= 0.85 * wanted
    assert all(0 <= n <= 1 for items in found for i in items for n in i["box"])
    assert all(images.open_image(i["jpeg"]).shape[0] <= 48 for items in found for i in items)


def test_a_page_without_text_passes_through_all_of_it(make: Make) -> None:
    import numpy as np

    blank = images.encode(np.full((480, 640, 3), 128, np.uint8), 90)
    found = crops(make, [blank])
    assert found == [[]]
    lines = make(operators.Recognise).process(oriented(make, found))
    assert make(operators.Match).process(lines) == [[]]


def test_orient_marks_what_hangs_upside_down_and_off_looks_at_nothing(
    make: Make, pages: list[Any]
) -> None:
    right = total = 0
    for page in pages:
        for quad in page.quads:
            turned = bool(quad[0, 0] > quad[1, 0])
            line = images.crop(page.image, images.corners_of(quad))
            item = {"jpeg": images.encode(line, 92), "box": [0.0] * 8, "turned": False}
            (marked,) = make(operators.Orient).process([item])
            right += marked["turned"] == turned
            total += 1
            assert make(operators.Orient, enabled=False).process([item]) == [item]
    assert right >= 0.9 * total


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_line_reads_the_same_whatever_else_is_in_its_batch(
    make: Make, pictures: list[bytes], precision: str
) -> None:
    found = oriented(make, crops(make, pictures[:6]))
    one = make(operators.Recognise, precision=precision, batch=1)
    many = make(operators.Recognise, precision=precision, batch=4)
    alone = [one.process([items])[0] for items in found]
    together = many.process(found)
    assert [[i["text"] for i in r] for r in alone] == [[i["text"] for i in r] for r in together]


def test_match_keeps_unknown_text_only_if_it_was_read_with_certainty(make: Make) -> None:
    lines = [
        {"text": "PUSH", "score": 0.2, "box": []},
        {"text": "Hello", "score": 0.9, "box": []},
        {"text": "Hello", "score": 0.2, "box": []},
        {"text": "-", "score": 0.9, "box": []},
    ]
    (signs,) = make(operators.Match).process([lines])
    assert [(s["sign"], s["known"]) for s in signs] == [("PUSH", True), ("Hello", False)]


def test_outputs_of_every_step_can_travel(make: Make, pictures: list[bytes]) -> None:
    value: Any = make(operators.Decode).process(pictures[:1])[0]
    for cls in (operators.Detect, operators.Orient, operators.Recognise, operators.Match):
        value = codec.loads(codec.dumps(value))
        value = list(make(cls).process(value)) if cls.per_item else make(cls).process([value])[0]
    assert codec.loads(codec.dumps(value)) == value


def run_all(make: Make, pictures: list[bytes], configs: dict[str, dict[str, Any]]) -> list[Any]:
    decoded = make(operators.Decode, **configs.get("decode", {})).process(pictures)
    found = list(make(operators.Detect, **configs.get("detect", {})).process(decoded))
    lines = make(operators.Recognise, **configs.get("recognise", {})).process(
        oriented(make, found, **configs.get("orient", {}))
    )
    return list(make(operators.Match).process(lines))


def test_full_quality_reads_most_signs_and_the_cheapest_config_far_fewer(
    make: Make, pages: list[Any], pictures: list[bytes]
) -> None:
    def accuracy(configs: dict[str, dict[str, Any]]) -> float:
        outputs = run_all(make, pictures, configs)
        scores = [sign_score(o, page.signs) for o, page in zip(outputs, pages, strict=True)]
        return sum(scores) / len(scores)

    cheapest = {
        "decode": {"scale": 0.33},
        "detect": {"side": 224, "precision": "int8"},
        "orient": {"enabled": False},
        "recognise": {"precision": "int8"},
    }
    quantised = {"detect": {"precision": "int8"}, "recognise": {"precision": "int8"}}
    full = accuracy({})
    assert full >= 0.85
    assert accuracy(quantised) >= full - 0.12
    assert accuracy(cheapest) <= full - 0.25


def test_the_submission_names_operators_and_knobs_that_exist(examples: Path) -> None:
    (pipeline,) = load_submission(examples / "read-signs" / "read-signs.yaml").pipelines.values()
    for spec in pipeline.operators.values():
        declared = knobs_of(load_operator(spec.implementation))
        assert {name: knob.values for name, knob in declared.items()} == dict(spec.knobs)
        neutral = {name for name, knob in declared.items() if not knob.affects_accuracy}
        assert neutral == set(spec.neutral_knobs)
    assert pipeline.accuracy is not None
    assert load_object(pipeline.accuracy.metric) is sign_score


def test_only_int8_needs_the_quantiser(examples: Path) -> None:
    code = (
        "import sys, read_signs.operators as o\n"
        "d = o.Detect(); d.setup(d.config)\n"
        "print({'onnx', 'PIL', 'rapidocr_onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=examples / "read-signs",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"
