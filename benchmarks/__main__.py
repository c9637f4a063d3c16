"""Run all benchmarks, or those named: ``python -m benchmarks [NAME ...]``.

Each module here with a ``main()`` is a benchmark; it prints its own table of medians with the
target beside each figure. One named alone may take options: ``python -m benchmarks NAME --help``.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import pkgutil
import platform
import sys
from collections.abc import Sequence
from pathlib import Path


def names() -> list[str]:
    """Names of the benchmarks in this folder."""
    here = str(Path(__file__).parent)
    return sorted(m.name for m in pkgutil.iter_modules([here]) if not m.name.startswith("_"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for, one after another, since they would disturb each other.

    Returns:
        The highest exit code of a benchmark that returns one.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line does
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        usage="%(prog)s [-h] [NAME ... | NAME OPTION ...]",
        description=__doc__,
    )
    parser.add_argument("name", nargs="*", help=f"one or more of: {', '.join(names())}")
    named = list(itertools.takewhile(lambda word: not word.startswith("-"), given))
    options = given[len(named) :]
    chosen = named or parser.parse_args(given).name or names()
    unknown = [name for name in chosen if name not in names()]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(names())}")
    if options and len(chosen) > 1:
        parser.error("options go to one benchmark: name just that")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    worst = 0
    for name in chosen:
        print(f"\n== {name} ==", flush=True)
        module = importlib.import_module(f"benchmarks.{name}")
        takes = hasattr(module, "BRIEF")
        if options and not takes:
            parser.error(f"the benchmark {name!r} takes no options")
        brief = module.BRIEF if takes and len(chosen) > 1 else options
        code = module.main(brief) if takes else module.main()
        worst = max(worst, code) if isinstance(code, int) else worst
    return worst


if __name__ == "__main__":
    sys.exit(main())
