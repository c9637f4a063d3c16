"""The figures as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from benchmarks._planner.cases import Series
from benchmarks._planner.figures import (
    TARGETS,
    Pair,
    Spread,
    bounds,
    gaps,
    in_band,
    pairs,
    problems,
    spread,
)
from benchmarks._planner.options import BAND, OURS, Options
from benchmarks._planner.running import Result

__all__ = ["order_of", "own_usd", "report", "shares_classes"]

_BEST = "@best"


def order_of(planner: str) -> str:
    """In which order it admits."""
    if planner in (OURS, "exact"):
        return "together"
    return "best" if planner.endswith(_BEST) else "first come"


def shares_classes(planner: str) -> bool:
    """Whether queries of one class are planned once."""
    return not planner.startswith("bayesian") or "-shared" in planner


def report(options: Options, results: Sequence[Result]) -> list[str]:
    """All tables, line by line."""
    found = pairs(results)
    compared = [r for r in results if r.case.series is Series.COMPARE]
    sized = [r for r in results if r.case.series is Series.SIZE]
    lines = [
        *_conditions(options, compared),
        *_section("Goodput, part of the demand", _goodput(options, compared, found)),
        *_section(
            "Cost: US dollars per 1,000 good requests, on the queries both serve whole",
            _cost(options, compared, found),
        ),
        *_section("Planning", _time(options, compared, found)),
    ]
    if sized:
        lines += _section("Seconds from nothing (wall) against size", _sizes(options, results))
    lines += _section(
        f"Targets, where {BAND[0]:.0%} to {BAND[1]:.0%} of the demand fits", _targets(results)
    )
    wrong = problems(results)
    if wrong:
        lines += _section("WRONG CLAIMS", wrong)
    return lines


def _section(title: str, body: Iterable[str]) -> list[str]:
    return ["", title, *body]


def _conditions(options: Options, results: Sequence[Result]) -> list[str]:
    seeds = f"{options.first_seed} to {options.first_seed + options.seeds - 1}"
    lines = [
        f"{options.queries} queries, seeds {seeds}, tightness {options.tightness:g}, "
        f"{options.splittable:.0%} splittable, queueing {'on' if options.queueing else 'off'}; "
        "medians over scenarios [lowest, highest]",
        "ratios are ours / theirs within a scenario; "
        f"at most {options.time_limit_s:g} s per planner and scenario",
    ]
    least = bounds(results)
    rows = []
    for contention in sorted({r.case.contention for r in results}):
        here = [r for r in results if r.case.contention == contention]
        seeds_here = sorted({r.case.seed for r in here})
        best = [
            max((r.goodput for r in here if r.case.seed == seed and r.ran), default=math.nan)
            for seed in seeds_here
        ]
        bound = [
            value
            for key, value in least.items()
            if key[0] is Series.COMPARE and key[2] == contention
        ]
        rows.append([f"{contention:.0%}", _range(spread(best)), _range(spread(bound))])
    return [*lines, *_grid(["asked to fit", "best found", "certified bound"], rows)]


def _range(value: Spread | None) -> str:
    if value is None:
        return "-"
    return f"{value.median:.1%} [{value.low:.1%}, {value.high:.1%}]"


def _times(value: Spread | None) -> str:
    return "-" if value is None else f"{_x(value.median)} [{_x(value.low)}, {_x(value.high)}]"


def _x(value: float) -> str:
    if math.isinf(value):
        return "inf"
    return f"{value:.2f}" if value < 99.95 else f"{value:.0f}"


def _of(results: Sequence[Result], planner: str) -> list[Result]:
    return [r for r in results if r.planner == planner and r.ran]


def _per_planner(
    options: Options,
    results: Sequence[Result],
    headers: Sequence[str],
    cells: Callable[[str, list[Result]], list[str]],
) -> list[str]:
    """A row per planner; where it was not run, why, and where it was not always run, that too."""
    rows, notes = [], []
    for name in options.planners:
        every = [r for r in results if r.planner == name]
        ran = _of(results, name)
        if not ran:
            notes.append(f"{name}: {_why(every)}")
            rows.append([name, order_of(name), "not run"])
            continue
        if len(ran) < len(every):
            notes.append(f"{name}: {len(every) - len(ran)} of {len(every)} {_why(every)}")
        rows.append([name, order_of(name), *cells(name, ran)])
    return [*_grid(["planner", "order", *headers], rows), *notes]


def _why(results: Sequence[Result]) -> str:
    return next((r.status for r in results if not r.ran), "not run")


def _goodput(options: Options, results: Sequence[Result], found: Sequence[Pair]) -> list[str]:
    def cells(name: str, ran: list[Result]) -> list[str]:
        mine = [p for p in found if p.planner == name and p.case.series is Series.COMPARE]
        simulated = spread(r.simulated for r in ran)
        evaluated = spread(r.goodput for r in ran)
        kept = spread(r.worth.simulated.attainment for r in ran if r.worth is not None)
        gap = spread(gaps(results, name))
        return [
            f"{evaluated.median:.1%}" if evaluated else "-",
            _times(spread(p.goodput for p in mine)),
            f"{simulated.median:.1%}" if simulated else "-",
            _times(spread(p.simulated for p in mine)),
            f"{kept.median:.0%}" if kept else "-",
            f"{gap.median:.1%}" if gap else "-",
            str(len(ran)),
        ]

    headers = ["planned", "ours/theirs", "simulated", "ours/theirs", "kept", "gap", "scenarios"]
    return [
        *_per_planner(options, results, headers, cells),
        "planned: by the evaluator; kept: of the requests admitted, those good in the simulator;",
        "gap: to the least certified bound of any planner"
        + ("" if bounds(results) else " (there was none)"),
    ]


def _cost(options: Options, results: Sequence[Result], found: Sequence[Pair]) -> list[str]:
    def cells(name: str, ran: list[Result]) -> list[str]:
        own = spread(own_usd(r) for r in ran)
        mine = [p for p in found if p.planner == name and p.case.series is Series.COMPARE]
        both = [p for p in mine if p.queries]
        ours, theirs = spread(p.usd_ours for p in both), spread(p.usd_theirs for p in both)
        return [
            f"{own.median:.4g}" if own else "-",
            f"{sum(p.queries for p in both)} in {len(both)}",
            f"{ours.median:.4g}" if ours else "-",
            f"{theirs.median:.4g}" if theirs else "-",
            _times(spread(p.usd for p in both)),
            _times(spread(p.usd_simulated for p in both)),
        ]

    headers = ["all it serves", "same queries", "ours", "theirs", "theirs/ours", "simulated"]
    return [
        *_per_planner(options, results, headers, cells),
        "all it serves: each planner's own queries, so not comparable; simulated: of the requests",
        "good in the simulator",
    ]


def own_usd(result: Result) -> float:
    """US dollars per 1,000 good requests of all that the planner serves."""
    assert result.worth is not None
    judged = result.worth.evaluated
    per_hour = judged.good_rps * 3600
    return 1000 * judged.usd_hour / per_hour if per_hour > 0 else math.nan


def _time(options: Options, results: Sequence[Result], found: Sequence[Pair]) -> list[str]:
    def cells(name: str, ran: list[Result]) -> list[str]:
        mine = [p for p in found if p.planner == name and p.case.series is Series.COMPARE]
        equal = [p for p in mine if p.no_worse]
        evaluations = spread(
            float(r.decision.evaluations)
            for r in ran
            if r.decision is not None and r.decision.evaluations is not None
        )
        return [
            "yes" if shares_classes(name) else "no",
            _seconds(r.cold.wall_s for r in ran if r.cold is not None),
            _seconds(r.cold.cpu_s for r in ran if r.cold is not None),
            _seconds(r.catalogue_s for r in ran if r.catalogue_s is not None),
            _seconds(r.again.wall_s for r in ran if r.again is not None),
            _seconds(r.again.cpu_s for r in ran if r.again is not None),
            f"{evaluations.median:.0f}" if evaluations else "-",
            _times(spread(p.wall for p in equal)),
            _times(spread(p.cpu for p in equal)),
            f"{len(equal)}/{len(mine)}" if mine else "-",
        ]

    headers = ["shared", "cold s", "CPU", "classes", "warm s", "CPU", "plans", "wall", "CPU", "at"]
    return [
        *_per_planner(options, results, headers, cells),
        "shared: a class of queries is planned once; cold: from nothing, of it `classes` for what",
        "depends on query classes only; warm: once more, with the decision known (baselines keep",
        "nothing); plans: evaluated; wall, CPU: theirs / ours cold, in the scenarios (at) where",
        "ours has no less simulated goodput",
    ]


def _seconds(values: Iterable[float]) -> str:
    found = spread(values)
    return "-" if found is None else f"{found.median:.3g}"


def _sizes(options: Options, results: Sequence[Result]) -> list[str]:
    middle = next(r.case.contention for r in results if r.case.series is Series.SIZE)
    here = [r for r in results if r.case.contention == middle]
    sizes = sorted({r.case.queries for r in here})

    def cell(name: str, size: int) -> str:
        mine = [r for r in here if r.planner == name and r.case.queries == size]
        ran = [r.cold.wall_s for r in mine if r.cold is not None]
        if ran:
            return _seconds(ran)
        return "not run" if any("took over" not in r.status for r in mine) else "too long"

    rows = [[name, order_of(name), *(cell(name, s) for s in sizes)] for name in options.planners]
    return _grid(["planner", "order", *(f"{s} queries" for s in sizes)], rows)


def _targets(results: Sequence[Result]) -> list[str]:
    found = pairs(results)
    rows = []
    for target in TARGETS:
        reached = target.reached(found)
        mine = [r for r in results if r.planner == target.planner and in_band(r.case)]
        if reached is None:
            why = next((r.status for r in mine if not r.ran), "no scenario for it")
            rows.append([target.planner, target.what, f">= {target.limit:.3g}", "-", f"- {why}"])
            continue
        verdict = "hit" if target.hit(reached) else "MISSED"
        verdict += f", {reached.count} of {len(mine)} scenarios"
        verdict += f"; {target.note}" if target.note else ""
        rows.append(
            [
                target.planner,
                target.what,
                f">= {target.limit:.3g}",
                _times(reached),
                verdict,
            ]
        )
    return _grid(["against", "figure", "target", "reached", ""], rows)


def _grid(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they need; the last one is not padded."""
    full = [headers, *rows]
    widths = [
        max(len(row[k]) for row in full if k < len(row) - (len(row) < len(headers)) or len(row) > k)
        for k in range(len(headers))
    ]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in full
    ]
