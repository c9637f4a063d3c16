"""What can be chosen: sizes, contentions, planners, time."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._arguments import at_least, fraction, part, positive, several
from circinus_coordinator.planning import PLANNERS

__all__ = ["BAND", "OURS", "QUICK", "Options", "parse"]

OURS = "circinus"
BAND = (0.35, 0.6)
"""The contentions for which the targets are set: the part of the demand that fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One benchmark run; the same options make the same scenarios and decisions.

    Attributes:
        queries: Queries per scenario.
        devices: Machines per scenario; None for one per ten queries, at least eight.
        seeds: Scenarios per contention, from `first_seed` on.
        contentions: The parts of the demand that fit, by the generator's estimate.
        sizes: Further numbers of queries, for planning time against size.
        planners: Names, ours first.
        time_limit_s: Seconds of CPU for one planner on one scenario.
        requests: To simulate, about, over all queries of a scenario.
        rehearse: Whether all planners try their plans out in the simulator, see
            docs/percentiles.md.
        scale: Only show how our planner grows, up to `largest` queries.
    """

    queries: int = 60
    devices: int | None = None
    seeds: int = 3
    first_seed: int = 0
    contentions: tuple[float, ...] = (0.4, 0.55)
    sizes: tuple[int, ...] = (15, 30, 120)
    planners: tuple[str, ...] = tuple(PLANNERS)
    time_limit_s: float = 60.0
    requests: int = 20_000
    tightness: float = 0.5
    splittable: float = 1.0
    queueing: bool = True
    rehearse: bool = False
    out: Path = Path("build/bench-planner")
    quick: bool = False
    scale: bool = False
    largest: int = 10_000


QUICK = Options(
    queries=6,
    devices=6,
    seeds=1,
    contentions=(0.5,),
    sizes=(3,),
    time_limit_s=2.0,
    requests=4_000,
    quick=True,
)
"""Everything once, in less than a minute: says that it works, and little about who is better."""


def parse(arguments: Sequence[str]) -> Options:
    """The options of a command line; exits with 2 where they are wrong."""
    parser = _parser()
    given = {k: v for k, v in vars(parser.parse_args(arguments)).items() if v is not None}
    options = dataclasses.replace(QUICK if given.get("quick") else Options(), **given)
    if "sizes" not in given and not options.quick:
        sizes = tuple(options.queries * k // 4 for k in (1, 2, 8))
        options = dataclasses.replace(options, sizes=tuple(s for s in sizes if s > 0))
    # Everything is compared with ours.
    others = tuple(name for name in options.planners if name != OURS)
    return dataclasses.replace(options, planners=(OURS, *others))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="circinus bench planner",
        description="Compare all planners on the same generated scenarios.",
        argument_default=None,
    )
    add = parser.add_argument
    add("--queries", type=at_least(1), metavar="N", help="queries per scenario [60]")
    add("--devices", type=at_least(3), metavar="M", help="machines [one per ten queries, >= 8]")
    add("--seeds", type=at_least(1), metavar="K", help="scenarios per contention [3]")
    add("--first-seed", type=at_least(0), metavar="S", help="the first one's seed [0]")
    add(
        "--contentions",
        type=several(fraction),
        metavar="F,...",
        help="parts of the demand that fit [0.4,0.55]",
    )
    add(
        "--sizes",
        type=several(at_least(1), empty=True),
        metavar="N,...",
        help="numbers of queries for time against size, one seed each "
        "[1/4, 1/2 and 2 times --queries]; '' for none",
    )
    add(
        "--planners",
        type=several(_planner),
        metavar="NAME,...",
        help=f"of: {', '.join(PLANNERS)} [all]",
    )
    add(
        "--time-limit",
        dest="time_limit_s",
        type=positive,
        metavar="S",
        help="seconds of CPU for one planner on one scenario; beyond, it is not run again [60]",
    )
    add("--requests", type=at_least(1), metavar="N", help="to simulate per scenario [20000]")
    add("--tightness", type=part, metavar="F", help="of SLOs, see docs/generator.md [0.5]")
    add("--splittable", type=part, metavar="F", help="part of the queries that may be split [1]")
    add(
        "--queueing",
        action=argparse.BooleanOptionalAction,
        help="whether estimates count waiting [yes]",
    )
    add(
        "--rehearse",
        action=argparse.BooleanOptionalAction,
        help="whether every planner tries its plans out in the simulator and mends them [no]",
    )
    add("--out", type=Path, metavar="DIR", help="for tables, plots, manifest [build/bench-planner]")
    add(
        "--scale",
        action="store_const",
        const=True,
        help="instead: seconds and gaps of our planner from 1,000 queries up to --largest",
    )
    add("--largest", type=at_least(1), metavar="N", help="queries, for --scale [10000]")
    add("--quick", action="store_const", const=True, help="small, in less than a minute")
    return parser


def _planner(text: str) -> str:
    if text not in PLANNERS:
        raise argparse.ArgumentTypeError(
            f"unknown planner {text!r}; there are: {', '.join(PLANNERS)}"
        )
    return text
