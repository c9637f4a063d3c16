"""Documents that contradict the classes of their operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from circinus.declared import check_declared
from circinus.errors import InvalidInput
from circinus.pipeline import AccuracyTask, OperatorSpec, Pipeline

SOURCE = """
from circinus import Operator
raise SystemExit("checking a document must not run this")

class Track(Operator):
    stateful = True
    tiers = ("device", "edge")
"""


def pipelines(*, stateful: bool, tiers: tuple[str, ...] | None, run: str) -> dict[str, Pipeline]:
    spec = OperatorSpec(name="t", run=run, stateful=stateful, tiers=tiers)
    return {"p": Pipeline(name="p", operators={"t": spec}, input_bytes={"t": 1})}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "tracking"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('nor this')")
    (package / "operators.py").write_text(SOURCE)
    return tmp_path


@pytest.mark.parametrize(
    ("stateful", "tiers", "key", "remedy"),
    [
        (False, ("device",), "stateful", "write stateful: true"),
        (True, None, "tiers", "write tiers: [device, edge]"),
        (True, ("edge", "cloud"), "tiers", "write tiers: [device, edge]"),
    ],
)
def test_a_document_that_contradicts_the_class_is_refused(
    folder: Path, stateful: bool, tiers: tuple[str, ...] | None, key: str, remedy: str
) -> None:
    found = pipelines(stateful=stateful, tiers=tiers, run="tracking.operators:Track")
    with pytest.raises(InvalidInput) as caught:
        check_declared(found, [folder])
    assert caught.value.key == f"pipelines.p.operators.t.{key}"
    assert remedy in str(caught.value)


def test_a_document_may_narrow_what_the_class_declares(folder: Path) -> None:
    run = "tracking.operators:Track"
    check_declared(pipelines(stateful=True, tiers=("device",), run=run), [folder])


@pytest.mark.parametrize("run", ["nowhere.operators:Track", "unknown"])
def test_operators_that_are_not_at_hand_are_not_checked(folder: Path, run: str) -> None:
    check_declared(pipelines(stateful=False, tiers=None, run=run), [folder])


KNOBS = """
from circinus import Knob, Operator
from elsewhere import Other
import circinus.operator as sdk

class Blur(Operator):
    radius = Knob(1.0, 2.0)
    mode: str = Knob("fast", "good")
    free = Knob("")
    made = knob_from_elsewhere()

class Wide(Blur):
    width = sdk.Knob(1, 4, affects_accuracy=False)

class Foreign(Other):
    pass

if True:
    def score(output, label):
        return 1.0
"""


def with_knobs(
    folder: Path, run: str, metric: str = "knobs:score", **knobs: tuple[Any, ...]
) -> None:
    (folder / "knobs.py").write_text(KNOBS)
    spec = OperatorSpec(name="t", run=run, knobs=knobs)
    task = AccuracyTask(dataset="d", metric=metric)
    made = Pipeline(name="p", operators={"t": spec}, input_bytes={"t": 1}, accuracy=task)
    check_declared({"p": made}, [folder])


@pytest.mark.parametrize(
    ("run", "knobs", "key", "words"),
    [
        ("knobs:Blurr", {}, "operators.t.run", "no class 'Blurr' (did you mean 'Blur'?)"),
        ("knobs:Blur", {"radios": (1.0,)}, "operators.t.knobs.radios", "did you mean 'radius'?"),
        ("knobs:Blur", {"width": (1,)}, "operators.t.knobs.width", "its knobs: radius, mode, free"),
        ("knobs:Blur", {"radius": (1.0, 3.0)}, "operators.t.knobs.radius", "one of: 1.0, 2.0"),
        ("knobs:Wide", {"mode": ("slow",)}, "operators.t.knobs.mode", "one of: fast, good"),
        ("knobs:Wide", {"width": (4.0,)}, "operators.t.knobs.width", "one of: 1, 4"),
        ("knobs:Wide", {"width": (True,)}, "operators.t.knobs.width", "one of: 1, 4"),
    ],
)
def test_what_a_class_does_not_have_is_refused(
    tmp_path: Path, run: str, knobs: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        with_knobs(tmp_path, run, **knobs)
    assert caught.value.key == f"pipelines.p.{key}"
    assert words in str(caught.value)


def test_a_metric_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no function 'scor'") as caught:
        with_knobs(tmp_path, "knobs:Blur", "knobs:scor")
    assert caught.value.key == "pipelines.p.accuracy.metric"


@pytest.mark.parametrize(
    ("run", "knobs"),
    [
        ("knobs:Wide", {"radius": (1,), "width": (4,), "free": ("x",), "made": (9,)}),
        ("knobs:Foreign", {"anything": (1,)}),
        ("knobs:Other", {"anything": (1,)}),
    ],
)
def test_what_a_class_may_well_have_passes(tmp_path: Path, run: str, knobs: dict[str, Any]) -> None:
    with_knobs(tmp_path, run, **knobs)
