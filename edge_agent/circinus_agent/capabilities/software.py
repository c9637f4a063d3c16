"""What is installed: onnxruntime's providers and the operators, asked of a short-lived child.

Importing onnxruntime takes tens of megabytes that the agent would keep for good, and an
operator's module may do anything; so a child imports them, prints what it found and ends. The
child keeps its findings in a file and imports nothing while the installed versions are the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from circinus.messages import OperatorInfo

__all__ = ["Software", "read_software"]

# A Raspberry Pi imports onnxruntime and opencv from an SD card in about ten seconds.
INVENTORY_TIMEOUT_S = 90.0


class _Found(msgspec.Struct, kw_only=True, frozen=True):
    providers: list[str] = []
    operators: list[OperatorInfo] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """Installed software; `problem` says why it is not known, where it is not."""

    providers: tuple[str, ...] = ()
    operators: tuple[OperatorInfo, ...] = ()
    problem: str | None = None


def read_software(path: Sequence[str] = (), cache_dir: Path | None = None) -> Software:
    """Ask a child; blocks for the child's run.

    Args:
        path: Folders with operators.
        cache_dir: Where the child keeps its findings; None to look anew.
    """
    command = [sys.executable, "-m", "circinus_agent.capabilities.inventory"]
    if cache_dir is not None:
        command.append(str(cache_dir / "inventory.json"))
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=INVENTORY_TIMEOUT_S,
            check=False,
            env=_environment(path),
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            return Software(problem=lines[-1] if lines else f"exit code {done.returncode}")
        # Operators may print while they are imported; the findings are the last line.
        found = msgspec.json.decode(done.stdout.strip().rpartition(b"\n")[2], type=_Found)
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
        return Software(problem=str(error))
    return Software(providers=tuple(found.providers), operators=tuple(found.operators))


def _environment(path: Sequence[str]) -> dict[str, str]:
    inherited = os.environ.get("PYTHONPATH", "")
    folders = [*path, *([inherited] if inherited else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
