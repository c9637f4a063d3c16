"""The guide shows the files as they are."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("name", ["hello_operators.py", "hello.yaml"])
def test_the_guide_shows_the_hello_pipeline_as_it_is(name: str) -> None:
    shown = (ROOT / "docs" / "guide.md").read_text()
    assert (ROOT / "examples" / "hello" / name).read_text() in shown
