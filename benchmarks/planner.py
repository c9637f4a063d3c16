"""All planners on the same generated scenarios, judged by evaluator and simulator.

Run: ``circinus bench planner [--quick] [--seeds K] [--queries N] [--out DIR] ...``, or
``circinus bench planner --scale`` for seconds and gaps of ours from 1,000 queries up (``--help``
for the rest). Prints goodput, cost on the same queries, planning time, and every target with what
was reached; writes tables, raw rows, plots and a manifest to a folder. See docs/benchmarks.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks._planner.compare import compare
from benchmarks._planner.options import parse
from benchmarks._planner.scale import scale

BRIEF = ("--quick",)
"""In a run of all benchmarks."""


def main(arguments: Sequence[str] = ()) -> int:
    """Run it; 1 where a claim of a planner turned out to be wrong, else 0."""
    options = parse(arguments)
    if options.scale:
        return scale(options.largest, options.first_seed)
    return compare(options, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
