"""``circinus bench``: the benchmarks, where there is a checkout to take them from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from circinus.errors import InvalidInput

__all__ = ["bench"]


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("name", required=False)
@click.pass_context
def bench(context: click.Context, name: str | None) -> int:
    """Run the benchmark NAME, or all of them, and print medians."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "benchmarks" / "__main__.py").is_file():
        raise InvalidInput("there are no benchmarks here", remedy="run it in a checkout")
    arguments = [name] if name else []
    command = [sys.executable, "-m", "benchmarks", *arguments, *context.args]
    return subprocess.run(command, cwd=root, check=False).returncode
