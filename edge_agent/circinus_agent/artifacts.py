"""Files fetched by hash: data sets, models, operators' data. Cached, bounded, safely unpacked."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import IO, TYPE_CHECKING

from circinus.errors import CircinusError, InvalidInput
from circinus.messages import Artifact

if TYPE_CHECKING:
    import aiohttp

__all__ = ["ArtifactCache", "ArtifactError", "unpack"]

PREFIX = "sha256:"
_HEX = re.compile(r"[0-9a-f]{64}")
# No byte for this long: the other side is gone.
STALL_TIMEOUT_S = 30.0
# 1 GB over 4 Mbit/s takes half an hour; nothing may take longer.
FETCH_TIMEOUT_S = 3600.0
CHUNK_BYTES = 1 << 18
# An archive of a few MB can name millions of files, or unpack to terabytes.
MAX_MEMBERS = 100_000
MAX_UNPACK_RATIO = 200
MIN_UNPACK_BYTES = 256 << 20


class ArtifactError(CircinusError):
    """An artifact could not be had.

    Attributes:
        sha256: Which one.
        cause: Why, for a person.
        final: True where another try cannot help.
    """

    def __init__(self, sha256: str, cause: str, *, final: bool) -> None:
        self.sha256 = sha256
        self.cause = cause
        self.final = final
        super().__init__(f"artifact {sha256[:12]}: {cause}")


class ArtifactCache:
    """A folder with one sub-folder per artifact: ``data``, or ``tree`` where it was a tar.

    Args:
        folder: Where to keep them; made if it is not there.
        quota_bytes: Room for all of them. The least recently used go first; those in use stay.
    """

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        self._folder = folder
        self._quota = quota_bytes
        self._running: dict[str, asyncio.Lock] = {}
        self._pinned: frozenset[str] = frozenset()
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.part*"):
            _remove(leftover)

    def pin(self, hashes: Collection[str]) -> None:
        """These are in use and must not be evicted; replaces the former ones."""
        self._pinned = frozenset(hashes)

    def path(self, sha256: str) -> Path | None:
        """The cached folder (of a tar) or file; None where it is not here."""
        if not _HEX.fullmatch(sha256):
            return None
        entry = self._folder / sha256
        for name in ("tree", "data"):
            if (entry / name).exists():
                with contextlib.suppress(OSError):
                    os.utime(entry)  # what eviction goes by
                return entry / name
        return None

    def resolve(self, reference: str) -> Path:
        """The path behind a dataset reference: a path, or ``sha256:…`` of a fetched artifact.

        Raises:
            InvalidInput: If it is not there.
        """
        if reference.startswith(PREFIX):
            found = self.path(reference.removeprefix(PREFIX))
            if found is None:
                raise InvalidInput(f"artifact {reference} is not on this device")
            return found
        path = Path(reference).expanduser()
        if not path.exists():
            raise InvalidInput(
                f"{reference} is not on this device",
                remedy="copy it there, or submit the folder so that it is sent along",
            )
        return path

    async def fetch(self, artifact: Artifact, session: aiohttp.ClientSession) -> Path:
        """Have the artifact here; two callers share one download.

        Raises:
            ArtifactError: With its cause; nothing half-fetched is left.
        """
        sha256 = artifact.sha256
        if not _HEX.fullmatch(sha256):
            raise ArtifactError(sha256, "is no sha256 in lower-case hex", final=True)
        async with self._running.setdefault(sha256, asyncio.Lock()):
            found = self.path(sha256)
            if found is not None:
                return found
            part = self._folder / f".{sha256}.part"
            try:
                await asyncio.to_thread(self._make_room, artifact)
                await asyncio.wait_for(_download(artifact, part, session), FETCH_TIMEOUT_S)
                return await asyncio.to_thread(self._keep, artifact, part)
            except asyncio.TimeoutError:
                raise ArtifactError(sha256, f"{artifact.url}: timed out", final=False) from None
            except OSError as error:
                cause = error.strerror or str(error) or type(error).__name__
                raise ArtifactError(sha256, cause, final=False) from None
            finally:
                _remove(part)

    def _make_room(self, artifact: Artifact) -> None:
        if artifact.size_bytes > self._quota:
            raise ArtifactError(
                artifact.sha256,
                f"{artifact.size_bytes} bytes exceed the cache quota of {self._quota}",
                final=True,
            )
        self._evict(room=artifact.size_bytes)
        free = shutil.disk_usage(self._folder).free
        if free < artifact.size_bytes:
            raise ArtifactError(
                artifact.sha256,
                f"{artifact.size_bytes} bytes do not fit on a disk with {free} free",
                final=False,
            )

    def _evict(self, room: int, keep: str = "") -> None:
        """Remove what was used longest ago until `room` bytes fit into the quota."""
        entries = [e for e in self._folder.iterdir() if _HEX.fullmatch(e.name)]
        sizes = {entry: _size(entry) for entry in entries}
        total = sum(sizes.values())
        for entry in sorted(entries, key=lambda e: e.stat().st_mtime):
            if total + room <= self._quota:
                return
            if entry.name not in self._pinned and entry.name != keep:
                _remove(entry)
                total -= sizes[entry]

    def _keep(self, artifact: Artifact, part: Path) -> Path:
        """Unpack where it is a tar, and put in place in one step."""
        sha256 = artifact.sha256
        made = self._folder / f".{sha256}.part-entry"
        _remove(made)
        made.mkdir()
        try:
            if _is_tar(part):
                limit = max(MIN_UNPACK_BYTES, MAX_UNPACK_RATIO * artifact.size_bytes)
                try:
                    unpack(part, made / "tree", min(limit, self._quota))
                except InvalidInput as error:
                    raise ArtifactError(sha256, str(error), final=True) from None
            else:
                part.replace(made / "data")
            made.replace(self._folder / sha256)
        except BaseException:
            _remove(made)
            raise
        self._evict(room=0, keep=sha256)
        found = self.path(sha256)
        assert found is not None
        return found


async def _download(artifact: Artifact, part: Path, session: aiohttp.ClientSession) -> None:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=STALL_TIMEOUT_S)
    digest = hashlib.sha256()
    size = 0
    try:
        async with session.get(artifact.url, timeout=timeout) as response:
            if response.status != 200:
                # 404 may be a coordinator that is still starting; the reconciler bounds the tries.
                raise ArtifactError(
                    artifact.sha256, f"{artifact.url}: HTTP {response.status}", final=False
                )
            with part.open("wb") as stream:
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    size += len(chunk)
                    if size > artifact.size_bytes:
                        raise ArtifactError(
                            artifact.sha256,
                            f"{artifact.url}: longer than {artifact.size_bytes} bytes",
                            final=True,
                        )
                    digest.update(chunk)
                    await asyncio.to_thread(stream.write, chunk)
                stream.flush()
                await asyncio.to_thread(os.fsync, stream.fileno())
    except (aiohttp.ClientError, ValueError) as error:
        raise ArtifactError(artifact.sha256, f"{artifact.url}: {error}", final=False) from None
    if digest.hexdigest() != artifact.sha256:
        raise ArtifactError(
            artifact.sha256, f"{artifact.url}: the content has another hash", final=True
        )


def _is_tar(file: Path) -> bool:
    import tarfile

    return file.stat().st_size > 0 and tarfile.is_tarfile(file)


def unpack(archive: Path, folder: Path, max_bytes: int) -> None:
    """Unpack a tar into the new `folder`: plain files and folders inside it, nothing else.

    Raises:
        InvalidInput: If a member leaves the folder, is a link, a device or a pipe, or if there
            is too much of it.
    """
    import tarfile

    folder.mkdir()
    left = max_bytes
    try:
        with tarfile.open(archive, "r:*") as tar:
            for count, member in enumerate(tar, start=1):
                if count > MAX_MEMBERS:
                    raise InvalidInput(f"archive holds more than {MAX_MEMBERS} files")
                target = _inside(folder, member.name)
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                if not member.isreg():
                    raise InvalidInput(f"archive member {member.name!r} is no plain file")
                left -= member.size
                if left < 0:
                    raise InvalidInput(f"archive unpacks to more than {max_bytes} bytes")
                content = tar.extractfile(member)
                assert content is not None
                target.parent.mkdir(parents=True, exist_ok=True)
                _write(target, content)
    except (tarfile.TarError, EOFError, UnicodeError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"archive is damaged: {error}") from None


def _inside(folder: Path, name: str) -> Path:
    parts = Path(name).parts
    if not name or "\0" in name or Path(name).is_absolute() or ".." in parts:
        raise InvalidInput(f"archive member {name!r} lies outside the archive")
    return folder.joinpath(*parts)


def _write(target: Path, content: IO[bytes]) -> None:
    # No mode, owner or time is taken over. x: a name that comes twice is refused.
    try:
        with target.open("xb") as stream:
            shutil.copyfileobj(content, stream, CHUNK_BYTES)
    except FileExistsError:
        raise InvalidInput(f"archive member {target.name!r} comes twice") from None


def _size(entry: Path) -> int:
    total = 0
    for path, _, files in os.walk(entry):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(path, name)).st_size  # noqa: PTH116, PTH118 - fast
    return total


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
