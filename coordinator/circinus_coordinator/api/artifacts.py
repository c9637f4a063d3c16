"""Artifacts: files known by their sha256, kept in one folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import AsyncIterable
from pathlib import Path

from circinus.errors import InvalidInput

__all__ = ["MAX_ARTIFACT_BYTES", "ArtifactFolder", "TooLarge"]

# A packed data set of some thousand pictures; models come with their operators.
MAX_ARTIFACT_BYTES = 512 << 20
_HEX = re.compile(r"[0-9a-f]{64}")


class TooLarge(InvalidInput):
    """More bytes than an artifact may have."""


class ArtifactFolder:
    """Files by hash. A file is there whole or not at all.

    Args:
        folder: Where they are kept; made if it is not there.
        max_bytes: The largest one accepted.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_ARTIFACT_BYTES) -> None:
        self._folder = folder
        self.max_bytes = max_bytes
        folder.mkdir(parents=True, exist_ok=True)
        for scratch in folder.glob(".*.tmp"):  # of a process that was killed
            scratch.unlink(missing_ok=True)
        self._uploads = 0

    def path(self, sha256: str) -> Path | None:
        """The file of a hash; None where there is none.

        Raises:
            InvalidInput: If it is no hash.
        """
        path = self._folder / _checked(sha256)
        return path if path.is_file() else None

    async def store(self, chunks: AsyncIterable[bytes], *, expected: str | None = None) -> str:
        """Take in a file, as it comes.

        Args:
            chunks: Its bytes.
            expected: The sha256 (hex) it must have.

        Returns:
            Its sha256 in hex.

        Raises:
            TooLarge: If it has more bytes than allowed.
            InvalidInput: If its hash is not the expected one.
        """
        if expected is not None:
            _checked(expected)
        self._uploads += 1
        scratch = self._folder / f".{os.getpid()}.{self._uploads}.tmp"
        digest, size = hashlib.sha256(), 0
        try:
            with scratch.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self.max_bytes:
                        raise TooLarge(
                            "the artifact is too large", remedy=f"at most {self.max_bytes} bytes"
                        )
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            found = digest.hexdigest()
            if expected is not None and found != expected:
                raise InvalidInput(
                    f"the content has sha256 {found}, not {expected}", remedy="send it again"
                )
            scratch.replace(self._folder / found)
        finally:
            scratch.unlink(missing_ok=True)
        return found


def _checked(sha256: str) -> str:
    if not _HEX.fullmatch(sha256):
        raise InvalidInput(f"{sha256[:80]!r} is no sha256", remedy="64 hexadecimal digits")
    return sha256
