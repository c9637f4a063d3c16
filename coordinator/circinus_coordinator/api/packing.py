"""Folders as artifacts: the same folder always packs into the same bytes."""

from __future__ import annotations

import dataclasses
import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePath

from circinus.errors import InvalidInput
from circinus.scenario import Submission

__all__ = ["ARTIFACT", "pack", "with_artifacts"]

ARTIFACT = "sha256:"
# Packed in memory, and an agent has to hold it on a device with little room.
MAX_FOLDER_BYTES = 256 << 20


def pack(folder: Path) -> bytes:
    """All regular files below `folder` as ``.tar.gz``, without owners and times.

    Raises:
        InvalidInput: If it is no folder, empty or too large.
    """
    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {folder}", remedy="paths are relative to the file")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise InvalidInput(f"folder {folder} is empty", remedy="put input files into it")
    size = sum(path.stat().st_size for path in files)
    if size > MAX_FOLDER_BYTES:
        raise InvalidInput(
            f"folder {folder} holds {size} bytes",
            remedy=f"at most {MAX_FOLDER_BYTES}; or put it on the device, with an absolute path",
        )
    buffer = io.BytesIO()
    # Level 1: images do not get smaller, and labels are small anyway.
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=1) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in files:
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            entry.mode = 0o644
            with path.open("rb") as content:
                archive.addfile(entry, content)
    return buffer.getvalue()


def with_artifacts(
    submission: Submission, base: Path, put: Callable[[bytes], str], *, name: str = "submission"
) -> Submission:
    """`submission` with its relative folders packed and replaced by references.

    An absolute path means a folder on the device and stays.

    Args:
        base: What relative paths are relative to.
        put: Stores an artifact and returns its sha256 in hex.
        name: The file, for errors.

    Raises:
        InvalidInput: Naming file and key of a folder that cannot be packed.
    """
    packed: dict[Path, str] = {}

    def reference(path: str, key: str) -> str:
        if path.startswith(ARTIFACT) or PurePath(path).is_absolute():
            return path
        folder = (base / path).resolve()
        if folder not in packed:
            try:
                packed[folder] = ARTIFACT + put(pack(folder))
            except InvalidInput as error:
                raise error.within(file=name, key=key) from None
        return packed[folder]

    pipelines = dict(submission.pipelines)
    for id_, pipeline in pipelines.items():
        if pipeline.accuracy:
            dataset = reference(pipeline.accuracy.dataset, f"pipelines.{id_}.accuracy.dataset")
            task = dataclasses.replace(pipeline.accuracy, dataset=dataset)
            pipelines[id_] = dataclasses.replace(pipeline, accuracy=task)
    queries = []
    for i, query in enumerate(submission.queries):
        if query.input.kind == "folder" and query.input.path:
            path = reference(query.input.path, f"queries[{i}].input.path")
            query = dataclasses.replace(query, input=dataclasses.replace(query.input, path=path))
        queries.append(query)
    return Submission(pipelines=pipelines, queries=tuple(queries))
