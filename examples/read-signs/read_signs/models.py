"""The models of the pipeline, in the precision asked for, and sessions on them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from circinus.errors import InvalidInput
from circinus.onnx import find_model, open_session
from circinus.operator import Context

__all__ = ["MODELS", "load_model", "quantised"]

PACKAGE = "rapidocr_onnxruntime"
METHOD = "qdq7-1"  # in the name of cached files: change it with anything in `quantise`
MODELS = {
    "detect": "ch_PP-OCRv4_det_infer.onnx",
    "orient": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "recognise": "ch_PP-OCRv4_rec_infer.onnx",
}


def load_model(name: str, precision: str, context: Context) -> Any:
    """An onnxruntime session on the model of operator `name`.

    Args:
        name: A key of ``MODELS``.
        precision: ``fp32``, or ``int8``: quantised on first use into ``context.cache_dir``.
        context: The device's threads, providers and cache folder.
    """
    source = find_model(f"{PACKAGE}:models/{MODELS[name]}")
    if precision == "fp32":
        return open_session(source, context)
    if precision != "int8":
        raise InvalidInput(f"precision is fp32 or int8, not {precision!r}", key="precision")
    return open_session(quantised(name, source, Path(context.cache_dir)), context)


def quantised(
    name: str, source: Path, cache: Path, make: Callable[[str, Path, Path], None] | None = None
) -> Path:
    """The int8 version of `source`, made if `cache` does not hold it yet.

    The file appears under its name only when it is whole, so that a process killed half way
    leaves nothing that could be mistaken for a model. Of several processes that want the same
    model one makes it and the others wait.

    Args:
        name: A key of ``MODELS``.
        source: The fp32 model.
        cache: The folder that outlives the process.
        make: Writes the int8 version of (name, source) to a path; by default
            :mod:`read_signs.quantise`, in a process of its own.
    """
    import onnxruntime

    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    target = cache / f"{name}-{digest}-ort{onnxruntime.__version__}-{METHOD}.onnx"
    if target.exists():
        return target
    import tempfile  # only the first time: each process of the pipeline has to start fast

    cache.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel releases it even if this process is killed
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-") as scratch:
                made = Path(scratch) / "int8.onnx"
                (make or _quantise_in_child)(name, source, made)
                made.replace(target)
    return target


def _quantise_in_child(name: str, source: Path, target: Path) -> None:
    """Quantise where the 200 MB it takes for a moment do not stay with an operator for good."""
    import subprocess

    command = [sys.executable, "-m", "read_signs.quantise", name, str(source), str(target)]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        cause = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RuntimeError(f"the model of {name} could not be quantised: {cause}")
