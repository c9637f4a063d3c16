"""Files under their sha256."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from pathlib import Path
from types import TracebackType

from circinus.errors import InvalidInput

__all__ = ["ArtifactFolder", "ArtifactWriter"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ArtifactFolder:
    """Content-addressed files: ``ab/abcdef...``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        for scratch in folder.glob(".*.part"):  # of a process that was killed while writing
            scratch.unlink(missing_ok=True)

    def path(self, sha256: str) -> Path | None:
        """Where the file stands; None if there is none, or `sha256` is no sha256."""
        if not _SHA256.fullmatch(sha256):
            return None
        path = self._folder / sha256[:2] / sha256
        return path if path.is_file() else None

    def writer(self, *, max_bytes: int) -> ArtifactWriter:
        """Takes in a new file."""
        return ArtifactWriter(self._folder, max_bytes)


class ArtifactWriter:
    """Writes one file beside its place and moves it there when it is whole."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._scratch = folder / f".{uuid.uuid4().hex}.part"
        self._file = self._scratch.open("wb")
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def __enter__(self) -> ArtifactWriter:  # noqa: PYI034 - Self is 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        self._scratch.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Append.

        Raises:
            InvalidInput: If the file becomes larger than allowed.
        """
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_bytes:
            raise InvalidInput(
                "the file is too large", remedy=f"at most {self._max_bytes} bytes are taken"
            )
        self._hash.update(chunk)
        self._file.write(chunk)

    def commit(self) -> str:
        """Put the file in its place; its sha256."""
        self._file.flush()
        os.fsync(self._file.fileno())
        sha256 = self._hash.hexdigest()
        place = self._folder / sha256[:2] / sha256
        place.parent.mkdir(exist_ok=True)
        self._scratch.replace(place)
        for folder in (place.parent, self._folder):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        return sha256
