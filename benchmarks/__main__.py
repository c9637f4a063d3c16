"""Run all benchmarks, or those named: ``python -m benchmarks [NAME ...]``.

Each module here with a ``main()`` is a benchmark; it prints its own table of medians with the
target beside each figure.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import sys
from pathlib import Path


def names() -> list[str]:
    """Names of the benchmarks in this folder."""
    here = str(Path(__file__).parent)
    return sorted(m.name for m in pkgutil.iter_modules([here]) if not m.name.startswith("_"))


def main() -> int:
    """Run what was asked for, one after another, since they would disturb each other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"one or more of: {', '.join(names())}")
    chosen = parser.parse_args().name or names()
    unknown = [name for name in chosen if name not in names()]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(names())}")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for name in chosen:
        print(f"\n== {name} ==", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
