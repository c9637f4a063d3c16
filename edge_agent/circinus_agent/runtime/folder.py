"""A folder of inputs, replayed over and over."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from circinus import codec
from circinus.errors import InvalidInput

__all__ = ["Arrivals", "Folder", "Input", "load_folder"]

logger = logging.getLogger(__name__)

LABELS = "labels.json"
# Inputs are held in memory, encoded; what does not fit is left out, and said so.
MAX_FOLDER_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Input:
    """One file: its content and its label, both encoded; no label where there is none."""

    name: str
    payload: bytes
    label: bytes | None


class Folder:
    """Inputs in the order of their names, over and over."""

    def __init__(self, inputs: list[Input]) -> None:
        self.inputs = inputs
        self._next = 0

    def take(self) -> Input:
        """The next one."""
        taken = self.inputs[self._next % len(self.inputs)]
        self._next += 1
        return taken


def load_folder(path: Path, source: str, *, max_bytes: int = MAX_FOLDER_BYTES) -> Folder:
    """Read the inputs of the source operator `source`: its own subfolder where there is one.

    Raises:
        InvalidInput: If there is no folder, no input in it, or its labels are malformed.
    """
    own = path / source
    folder = own if own.is_dir() else path
    try:
        return _load(folder, max_bytes)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        cause = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(f"cannot read the inputs: {cause}", file=str(folder)) from None


def _load(folder: Path, max_bytes: int) -> Folder:
    labels = _labels(folder / LABELS)
    inputs: list[Input] = []
    total = 0
    for file in _files(folder):
        size = file.stat().st_size
        if total + size > max_bytes and inputs:
            logger.warning("%s: only the first %d files are replayed", folder, len(inputs))
            break
        total += size
        label = codec.dumps(labels[file.name]) if file.name in labels else None
        inputs.append(Input(file.name, codec.dumps(file.read_bytes()), label))
    if not inputs:
        raise InvalidInput("no input in this folder", file=str(folder))
    return Folder(inputs)


def _files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != LABELS and not file.name.startswith("."):
            yield file


def _labels(file: Path) -> dict[str, object]:
    if not file.is_file():
        return {}
    labels = json.loads(file.read_bytes())
    if not isinstance(labels, dict):
        raise InvalidInput("must map file names to labels", file=str(file))
    return labels


class Arrivals:
    """Gaps between requests of an open loop, in seconds; the same for the same name.

    Args:
        kind: ``poisson`` (exponential gaps) or ``uniform`` (equal gaps).
    """

    def __init__(self, kind: str, name: str) -> None:
        self._random = random.Random(f"arrivals of {name}")
        self._uniform = kind == "uniform"

    def gap(self, rate_rps: float) -> float:
        """The next gap at this rate."""
        return 1.0 / rate_rps if self._uniform else self._random.expovariate(rate_rps)
