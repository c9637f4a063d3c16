"""Documents that contradict the classes of their operators."""

from __future__ import annotations

from pathlib import Path

import pytest

from circinus.declared import check_declared
from circinus.errors import InvalidInput
from circinus.pipeline import OperatorSpec, Pipeline

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


@pytest.mark.parametrize("run", ["nowhere.operators:Track", "tracking.operators:None", "unknown"])
def test_operators_that_are_not_at_hand_are_not_checked(folder: Path, run: str) -> None:
    check_declared(pipelines(stateful=False, tiers=None, run=run), [folder])
