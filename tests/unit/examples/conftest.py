"""Puts the examples on the import path, as an agent's ``--path`` does."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
NEEDED = ("cv2", "numpy", "onnx", "onnxruntime", "PIL", "rapidocr_onnxruntime")

sys.path[:0] = [str(EXAMPLES / name) for name in ("hello", "read-signs", "find-documents")]


@pytest.fixture(scope="session")
def examples() -> Path:
    return EXAMPLES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        skip = pytest.mark.skip(reason=f"not installed (make venv): {', '.join(missing)}")
        for item in items:
            if "read_signs" in item.path.name:
                item.add_marker(skip)
