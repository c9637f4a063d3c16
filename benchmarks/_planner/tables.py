"""The tables that are printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from benchmarks._planner.cases import Series, middle
from benchmarks._planner.figures import (
    Pair,
    bounds,
    gaps,
    own_usd,
    pairs,
    problems,
    spread,
)
from benchmarks._planner.options import BAND, OURS, Options
from benchmarks._planner.running import Result
from benchmarks._planner.targets import TARGETS, Target, in_band
from benchmarks._planner.text import grid, number, part, parts, seconds, times

__all__ = ["order_of", "report", "shares_classes"]


def order_of(planner: str) -> str:
    """In which order it admits: ``first`` come first, ``best``, or ``all`` together."""
    if planner in (OURS, "exact"):
        return "all"
    return "best" if planner.endswith("@best") else "first"


def shares_classes(planner: str) -> bool:
    """Whether queries of one class are planned once."""
    return not planner.startswith("bayesian") or "-shared" in planner


def report(options: Options, results: Sequence[Result]) -> list[str]:
    """All tables, line by line."""
    compared = [r for r in results if r.case.series is Series.COMPARE]
    found = [p for p in pairs(results) if p.case.series is Series.COMPARE]
    lines = [
        *_conditions(options, compared),
        *_section("Goodput, part of the demand", _goodput(options, compared, found)),
        *_section("Cost, US dollars per 1,000 good requests", _cost(options, compared, found)),
        *_section("Planning, seconds", _time(options, compared, found)),
    ]
    if any(r.case.series is Series.SIZE for r in results):
        lines += _section(
            f"Cold planning against size, seconds on the clock, {middle(options):.0%} to fit",
            _sizes(options, results),
        )
    lines += _section(
        f"Targets, where {BAND[0]:.0%} to {BAND[1]:.0%} were asked to fit", _targets(results, found)
    )
    lines += _section("Not run", _not_run(options, results))
    wrong = problems(results)
    return lines + (_section("WRONG CLAIMS", wrong) if wrong else [])


def _section(title: str, body: Sequence[str]) -> list[str]:
    return ["", title, *body] if body else []


def _conditions(options: Options, results: Sequence[Result]) -> list[str]:
    queueing = "on" if options.queueing else "off"
    seeds = ", ".join(str(options.first_seed + k) for k in range(options.seeds))
    lines = [
        (
            f"{options.queries} queries on {results[0].case.arguments['devices']} machines, "
            f"seeds {seeds}, tightness {options.tightness:g}, "
            f"{options.splittable:.0%} splittable, queueing {queueing}"
        ),
        (
            "medians over scenarios [lowest, highest]; ratios are within a scenario; "
            f"time limit {options.time_limit_s:g} s of CPU"
        ),
    ]
    rows = []
    for contention in sorted({r.case.contention for r in results}):
        here = [r for r in results if r.case.contention == contention]
        best = [
            max((r.goodput for r in here if r.case.seed == seed and r.ran), default=math.nan)
            for seed in sorted({r.case.seed for r in here})
        ]
        rows.append([f"{contention:.0%}", parts(best), parts(bounds(here).values())])
    return [*lines, *grid(["asked to fit", "best found", "certified bound"], rows)]


def _rows(
    options: Options,
    results: Sequence[Result],
    found: Sequence[Pair],
    cells: Callable[[str, list[Result], list[Pair]], list[str]],
) -> list[list[str]]:
    """One per planner, begun with name, order and class sharing."""
    rows = []
    for name in options.planners:
        ran = [r for r in results if r.planner == name and r.ran]
        mine = [p for p in found if p.planner == name]
        begin = [name, order_of(name), "yes" if shares_classes(name) else "no"]
        rows.append([*begin, *(cells(name, ran, mine) if ran else ["not run"])])
    return rows


def _goodput(options: Options, results: Sequence[Result], found: Sequence[Pair]) -> list[str]:
    def cells(name: str, ran: list[Result], mine: list[Pair]) -> list[str]:
        return [
            part(r.goodput for r in ran),
            times(spread(p.goodput for p in mine)),
            part(r.simulated for r in ran),
            times(spread(p.simulated for p in mine)),
            times(spread(p.most for p in mine)),
            part(r.worth.simulated.attainment for r in ran if r.worth is not None),
            part(gaps(results, name)),
            _evaluations(ran),
            _rehearsed(ran),
            str(len(ran)),
        ]

    headers = ["planner", "order", "shared", "planned", "ours/theirs", "simulated", "ours/theirs"]
    headers += ["any/theirs", "kept", "gap", "plans", "rehearsed", "scenarios"]
    return [
        *grid(headers, _rows(options, results, found, cells)),
        "shared: one plan search per class of queries; planned: by the evaluator; any/theirs: the",
        "certified bound over their simulated goodput, which no planner could exceed; kept: of the",
        "requests admitted, those good in the simulator; gap: of planned to that bound; plans:",
        "evaluated; rehearsed: of the latencies promised, those seen in a rehearsal; the others",
        "are modelled",
    ]


def _rehearsed(results: Iterable[Result]) -> str:
    promises = [a.estimate for r in results if r.decision for a in r.decision.assignments]
    seen = sum(promise.rehearsed is not None for promise in promises)
    return f"{seen / len(promises):.0%}" if promises else "-"


def _evaluations(results: Iterable[Result]) -> str:
    known = [r.decision.evaluations for r in results if r.decision is not None]
    found = spread(float(count) for count in known if count is not None)
    return "-" if found is None else f"{found.median:.0f}"


def _cost(options: Options, results: Sequence[Result], found: Sequence[Pair]) -> list[str]:
    def cells(_: str, ran: list[Result], mine: list[Pair]) -> list[str]:
        both = [p for p in mine if p.common]
        return [
            number(own_usd(r) for r in ran),
            f"{sum(p.common for p in both)} in {len(both)}",
            number(p.usd_ours for p in both),
            number(p.usd_theirs for p in both),
            number(p.usd_least for p in both),
            times(spread(p.usd for p in both)),
            times(spread(p.usd_simulated for p in both)),
            f"{sum(p.served for p in mine)} of {sum(p.asked for p in mine)}",
            times(spread(p.asked_usd for p in mine)),
        ]

    headers = ["planner", "order", "shared", "own", "same queries", "ours", "theirs", "least"]
    headers += ["theirs/ours", "simulated", "asked", "theirs/ours"]
    return [
        *grid(headers, _rows(options, results, found, cells)),
        "own: all that it serves, other queries for each planner; same queries: those both serve",
        "whole, in so many scenarios; least: if each of these took the cheapest plan that it has",
        "alone on the empty fleet; simulated: per request that was good in the simulator; asked:",
        "of just the queries that the other serves whole, those that ours serves where nobody asks",
        "for more, and the costs of these",
    ]


def _time(options: Options, results: Sequence[Result], found: Sequence[Pair]) -> list[str]:
    def cells(_: str, ran: list[Result], mine: list[Pair]) -> list[str]:
        equal = [p for p in mine if p.no_worse]
        return [
            seconds(r.cold.wall_s if r.cold else None for r in ran),
            seconds(r.cold.cpu_s if r.cold else None for r in ran),
            seconds(r.catalogue_s for r in ran),
            seconds(r.again.wall_s if r.again else None for r in ran),
            seconds(r.again.cpu_s if r.again else None for r in ran),
            times(spread(p.wall for p in equal)),
            times(spread(p.cpu for p in equal)),
            f"{len(equal)} of {len(mine)}" if mine else "-",
        ]

    headers = ["planner", "order", "shared", "cold", "CPU", "classes", "warm", "CPU"]
    headers += ["theirs/ours", "CPU", "at"]
    return [
        *grid(headers, _rows(options, results, found, cells)),
        "cold: from nothing, on the clock and of CPU; classes: CPU of it for what depends on query",
        "classes only; warm: once more, the decision known (baselines keep nothing); to explain",
        "refusals, which no baseline does, counts on the clock only;",
        "theirs/ours: cold, over the scenarios (at) in which ours has no less simulated goodput",
    ]


def _sizes(options: Options, results: Sequence[Result]) -> list[str]:
    here = [r for r in results if r.case.contention == middle(options)]
    sizes = sorted({r.case.queries for r in here})

    def cell(name: str, size: int) -> str:
        mine = [r for r in here if r.planner == name and r.case.queries == size]
        if any(r.ran for r in mine):
            return seconds(r.cold.wall_s if r.cold else None for r in mine)
        return "too long" if any(r.too_long for r in mine) else "not run"

    rows = [[name, order_of(name), *(cell(name, s) for s in sizes)] for name in options.planners]
    return grid(["planner", "order", *(f"{s} queries" for s in sizes)], rows)


def _targets(results: Sequence[Result], found: Sequence[Pair]) -> list[str]:
    rows = [_target(target, results, found) for target in TARGETS]
    headers = [
        "against",
        "order",
        "shared",
        "figure",
        "target",
        "reached",
        "any planner",
        "",
        "scenarios",
    ]
    notes = dict.fromkeys(f"{t.what}: {t.note}" for t in TARGETS if t.note)
    found_in = [r for r in results if in_band(r.case)]
    best = [
        max((r.goodput for r in found_in if r.case == case and r.ran), default=0.0)
        for case in {id(r.case): r.case for r in found_in}.values()
    ]
    inside = sum(BAND[0] <= value <= BAND[1] for value in best)
    return [
        *grid(headers, rows),
        *notes,
        "any planner: goodput by the certified bound, cost by each query's cheapest plan alone",
        f"of {len(best)} such scenarios, {inside} are within by the best plan found, too",
    ]


def _target(target: Target, results: Sequence[Result], found: Sequence[Pair]) -> list[str]:
    name, reached = target.planner, target.reached(found)
    shared = "yes" if shares_classes(name) else "no"
    sign = "<=" if target.at_most else ">="
    begin = [name.removesuffix("@best"), order_of(name), shared, target.what]
    begin.append(f"{sign} {target.limit:g}")
    mine = [r for r in results if r.planner == name and in_band(r.case)]
    if reached is None:
        return [*begin, "-", "-", _missing(mine, [r for r in results if r.planner == OURS])]
    most = target.reachable(found)
    verdict = "hit" if target.hit(reached) else "MISSED"
    if most is not None and not target.hit(most):
        verdict = "MISSED, beyond any planner"
    return [*begin, times(reached), times(most), verdict, f"{reached.count} of {len(mine)}"]


def _missing(theirs: Sequence[Result], ours: Sequence[Result]) -> str:
    """Why there is no figure to compare."""
    if not any(r.ran for r in theirs):
        return _why(theirs)
    if not any(r.ran for r in ours):
        return f"{OURS} {_why(ours)}"
    return "no scenario to compare in"


def _why(results: Sequence[Result]) -> str:
    return next((r.status for r in results if not r.ran), "not run: not asked for")


def _not_run(options: Options, results: Sequence[Result]) -> list[str]:
    lines = []
    for name in options.planners:
        every = [r for r in results if r.planner == name]
        missing = [r for r in every if not r.ran]
        if missing:
            lines.append(f"{name}: {len(missing)} of {len(every)} scenarios {_why(missing)}")
    return lines
