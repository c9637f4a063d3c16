"""``circinus bench``: the benchmarks, where there is a checkout to take them from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from circinus.errors import InvalidInput

__all__ = ["bench"]

# The checkout comes before the folder the user stands in, where there may be other benchmarks;
# that folder stays the current one, so that `--out here` means here.
_START = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('benchmarks', run_name='__main__', alter_sys=True)"
)


# Whatever follows NAME is the benchmark's, `--help` too.
@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", required=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def bench(name: str | None, options: tuple[str, ...]) -> int:
    """Run the benchmark NAME with its OPTIONS, or all benchmarks, and print medians.

    `circinus bench NAME --help` says which options NAME takes.
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / "benchmarks" / "__main__.py").is_file():
        raise InvalidInput("there are no benchmarks here", remedy="run it in a checkout")
    arguments = [name] if name else []
    command = [sys.executable, "-c", _START, str(root), *arguments, *options]
    return subprocess.run(command, check=False).returncode
