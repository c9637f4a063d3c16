"""What the demo works on: its folder, its pictures, and what it submits."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from circinus.errors import InvalidInput, Transient
from circinus.scenario import Submission, load_submission
from circinus_coordinator.demo.resources import resource

__all__ = [
    "check_extras",
    "check_pictures",
    "data_folder",
    "locked",
    "pictures",
    "read_signs",
    "submission",
]

PICTURES = 40  # the mean of so many scores in [0, 1] is known to about +-0.05
SEED = 11
GENERATE_TIMEOUT_S = 120.0
# What a start makes, and --fresh removes; nothing else in the folder is touched.
OWN = ("store", "agents", "logs", "images", "fleet.yaml", "coordinator.toml", "ports.json")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SUBMISSION = Path(__file__).with_name("submission.yaml")


def data_folder(chosen: Path | None) -> Path:
    """The folder that outlives the demo: `chosen`, or one in the user's state folder (XDG)."""
    if chosen is None:
        state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        chosen = Path(state).expanduser() / "circinus" / "demo"
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"cannot make the folder {chosen}: {error.strerror}", key="--data"
        ) from None
    return chosen.resolve()


@contextlib.contextmanager
def locked(folder: Path, *, fresh: bool) -> Iterator[None]:
    """Hold the folder for this process; with `fresh`, empty it of what earlier starts made."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidInput(
                f"another demo is running with the folder {folder}",
                remedy="stop it, or take another folder: --data DIR",
            ) from None
        if fresh:
            for name in OWN:
                path = folder / name
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        yield


def check_extras() -> None:
    """Raise unless the models and what runs them are installed."""
    missing = [
        name
        for name in ("cv2", "numpy", "onnxruntime", "rapidocr_onnxruntime")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise InvalidInput(
            f"the demo's pipeline needs {', '.join(missing)}",
            remedy="run 'make demo' in a checkout, or there: pip install '.[ocr]'; "
            "pip install --no-deps rapidocr-onnxruntime",
        )


def read_signs() -> Path:
    """The folder with the operators of the pipeline."""
    return resource("examples") / "read-signs"


def pictures(data: Path, chosen: Path | None) -> tuple[Path, bool]:
    """The folder of pictures, and whether it has labels; rendered once where none was chosen."""
    if chosen is not None:
        folder = chosen.resolve()
        check_pictures(folder)
        return folder, (folder / "labels.json").is_file()
    folder = data / "images"
    if not (folder / "labels.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        scratch = folder.with_name("images.part")
        shutil.rmtree(scratch, ignore_errors=True)
        command = [sys.executable, "-m", "read_signs.generate", str(scratch)]
        command += ["--count", str(PICTURES), "--seed", str(SEED)]
        try:
            subprocess.run(
                command,
                cwd=read_signs(),
                check=True,
                capture_output=True,
                text=True,
                timeout=GENERATE_TIMEOUT_S,
            )
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
            raise Transient(f"pictures could not be rendered: {lines[-1]}") from None
        except subprocess.TimeoutExpired:
            raise Transient("pictures could not be rendered in time") from None
        scratch.rename(folder)
    return folder, True


def check_pictures(folder: Path | None) -> None:
    """Raise unless the user's own pictures, if any, are there.

    Raises:
        InvalidInput: If there is no such folder, or no picture in it.
    """
    if folder is None:
        return
    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {folder}", key="--images")
    if not any(path.suffix.lower() in PICTURE_SUFFIXES for path in folder.iterdir()):
        raise InvalidInput(
            f"there are no pictures in {folder}",
            key="--images",
            remedy=f"put some in: {', '.join(PICTURE_SUFFIXES)}",
        )


def submission(folder: Path) -> Submission:
    """The demo's pipeline and queries on the pictures in `folder`, relative to its parent."""
    sizes = [p.stat().st_size for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES]
    asked = load_submission(SUBMISSION)
    pipelines = {}
    for name, pipeline in asked.pipelines.items():
        task = pipeline.accuracy
        pipelines[name] = dataclasses.replace(
            pipeline,
            input_bytes={source: sum(sizes) / len(sizes) for source in pipeline.sources},
            accuracy=dataclasses.replace(task, dataset=folder.name) if task else None,
        )
    queries = tuple(
        dataclasses.replace(query, input=dataclasses.replace(query.input, path=folder.name))
        for query in asked.queries
    )
    return Submission(pipelines=pipelines, queries=queries)
