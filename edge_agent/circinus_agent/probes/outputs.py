"""Data sets and the outputs steps made of them, kept in memory or, when large, on disk."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from circinus_agent.probes.environment import Payload, ProbeFailed

__all__ = ["Outputs", "dataset_files", "read_labels", "shuffled", "step_input"]

LABELS = "labels.json"
# Decoded pictures of a hundred inputs are some hundred MB; most other outputs are a few KB.
MEMORY_BYTES = 32 << 20
# A source's payload; larger files are no requests.
MAX_INPUT_BYTES = 64 << 20


def dataset_files(folder: Path, only: Mapping[str, Any] | None = None) -> list[Path]:
    """The input files of a data set, by name.

    Args:
        only: Take only files that are keys of this (labelled ones).

    Raises:
        ProbeFailed: If there is none.
    """
    if not folder.is_dir():
        raise ProbeFailed(f"data set {folder.name} is no folder")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.name != LABELS
    )
    if only is not None:
        files = [path for path in files if path.relative_to(folder).as_posix() in only]
    if not files:
        which = "labelled input" if only is not None else "input"
        raise ProbeFailed(f"data set {folder.name} has no {which}")
    return files


def shuffled(files: Sequence[Path], folder: Path) -> list[Path]:
    """In an order that has nothing to do with what they hold, and is the same on every device.

    Names often tell the kind of an input, so that the first by name are no sample of all.
    """

    def rank(path: Path) -> bytes:
        return hashlib.sha256(path.relative_to(folder).as_posix().encode()).digest()

    return sorted(files, key=rank)


def read_labels(folder: Path) -> dict[str, Any] | None:
    """Labels by file name; None where the data set has none.

    Raises:
        ProbeFailed: If the file is damaged.
    """
    file = folder / LABELS
    try:
        labels = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ProbeFailed(f"{LABELS} of the data set is damaged: {error}") from None
    if not isinstance(labels, dict):
        raise ProbeFailed(f"{LABELS} of the data set is no map from file to label")
    return labels


def read_input(file: Path) -> bytes:
    """The file's bytes.

    Raises:
        ProbeFailed: If it cannot be read or is too large.
    """
    try:
        if file.stat().st_size > MAX_INPUT_BYTES:
            raise ProbeFailed(f"input {file.name} is larger than {MAX_INPUT_BYTES} bytes")
        return file.read_bytes()
    except OSError as error:
        raise ProbeFailed(f"input {file.name}: {error.strerror}") from None


class Outputs:
    """One step's outputs by position in the data set; None where the step failed.

    Spills into an unnamed file, which the system removes with the process whatever happens.

    Attributes:
        failures: Why the step failed, by position.
    """

    def __init__(self, scratch: Path) -> None:
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - lives as long as this
            max_size=MEMORY_BYTES, dir=str(scratch)
        )
        self._places: dict[int, tuple[int, int] | None] = {}
        self.size_bytes = 0
        self.failures: dict[int, str] = {}

    def put(self, position: int, payload: bytes | None, failure: str | None = None) -> None:
        """Keep the output for an input."""
        if failure is not None:
            self.failures[position] = failure
        if payload is None:
            self._places[position] = None
            return
        self._file.seek(self.size_bytes)
        self._file.write(payload)
        self._places[position] = (self.size_bytes, len(payload))
        self.size_bytes += len(payload)

    def __contains__(self, position: int) -> bool:
        return position in self._places

    def __getitem__(self, position: int) -> bytes | None:
        place = self._places[position]
        if place is None:
            return None
        self._file.seek(place[0])
        payload: bytes = self._file.read(place[1])
        return payload

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[bytes | None]:
        return (self[position] for position in sorted(self._places))

    def close(self) -> None:
        """Free memory and disk."""
        self._file.close()


def step_input(needs: Sequence[Outputs], names: Sequence[str], position: int) -> Payload | None:
    """What a step receives for one input; None where an upstream step failed on it."""
    payloads = [outputs[position] for outputs in needs]
    if len(payloads) == 1:
        return payloads[0]
    joined = {name: p for name, p in zip(names, payloads, strict=True) if p is not None}
    return joined if len(joined) == len(names) else None
