"""What outlives a restart: the documents in force, and the lock on the state folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import msgspec

from circinus.errors import CircinusError, InvalidInput
from circinus_agent.reconciler.events import Stored

__all__ = ["LockTaken", "StateFolder", "write_atomically"]

_STATE = "desired.json"
# Larger than two of the largest messages can only be damage.
MAX_STATE_BYTES = 40 << 20


class LockTaken(CircinusError):
    """Another agent uses the folder."""

    def __init__(self, folder: Path, pid: str) -> None:
        self.folder = folder
        self.pid = pid
        holder = f" (process {pid})" if pid else ""
        super().__init__(
            f"{folder} is in use by another agent{holder}; give this one another --state"
        )


class StateFolder:
    """The agent's folder; made if it is not there.

    Raises:
        InvalidInput: If it can be neither made nor written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise InvalidInput(
                f"{folder}: {error.strerror}",
                key="state_dir",
                remedy="name a folder this user may write, with --state",
            ) from None

    def lock(self) -> None:
        """Claim the folder until this process ends; the kernel frees it even after SIGKILL.

        Raises:
            LockTaken: If another process holds it.
        """
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise LockTaken(self.folder, holder) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._lock = descriptor

    def unlock(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self) -> tuple[Stored, str | None]:
        """What was stored, and what was wrong with it.

        A damaged file is moved aside, so that it can be looked at and does not come back.
        """
        file = self.folder / _STATE
        try:
            if file.stat().st_size > MAX_STATE_BYTES:
                raise msgspec.DecodeError("too large")
            stored = msgspec.json.decode(file.read_bytes(), type=Stored)
        except FileNotFoundError:
            return Stored(), None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            aside = self._aside(file)
            return Stored(), f"{file} is damaged ({error}); moved to {aside.name}, starting empty"
        return stored, None

    def save(self, stored: Stored) -> None:
        """Store; when this returns it survives a power cut.

        Raises:
            OSError: If it cannot be written; what was stored before is still there.
        """
        write_atomically(self.folder / _STATE, msgspec.json.encode(stored))

    def _aside(self, file: Path) -> Path:
        for number in range(1, 100):
            aside = file.with_name(f"desired.damaged-{number}.json")
            if not aside.exists():
                break
        with contextlib.suppress(OSError):
            file.replace(aside)
        return aside


def write_atomically(file: Path, content: bytes) -> None:
    """Replace `file` so that a reader, and a power cut, see the old or the new content."""
    temporary = file.with_name(f".{file.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    # The rename itself is durable only once the directory is.
    directory = os.open(file.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
