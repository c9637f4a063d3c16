"""Keeps a second coordinator off a store."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from circinus.errors import InvalidInput


class FolderLock:
    """An advisory lock on a folder; the kernel lets go of it when the process dies.

    Raises:
        InvalidInput: If another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "lock"
        try:
            self._file = path.open("a+")
        except OSError as error:
            raise InvalidInput(f"cannot be written: {error.strerror}", file=str(path)) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read(32).strip()
            self._file.close()
            raise InvalidInput(
                "another coordinator uses this store" + (f" (process {holder})" if holder else ""),
                file=str(folder),
                remedy="stop it, or name another folder",
            ) from None
        try:
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):  # it would write what is still in its buffer
                self._file.close()
            raise InvalidInput(f"cannot be written: {error.strerror}", file=str(path)) from error

    def release(self) -> None:
        """Let go; harmless if done twice."""
        self._file.close()
