"""Three plots: goodput against contention, time against size, cost against goodput."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks._planner.cases import Series, middle
from benchmarks._planner.figures import own_usd, pairs, ratio, spread
from benchmarks._planner.options import OURS, Options
from benchmarks._planner.running import Result
from benchmarks._planner.tables import order_of, shares_classes
from circinus.errors import InvalidInput

__all__ = ["draw"]

# Paul Tol's "muted" and black for ours: told apart by the colour-blind too.
_COLOURS = {
    OURS: "#000000",
    "exact": "#888888",
    "best-accuracy": "#CC6677",
    "cheapest-first": "#117733",
    "all-device": "#999933",
    "all-edge": "#DDCC77",
    "all-cloud": "#88CCEE",
    "bayesian-50": "#AA4499",
    "bayesian-200": "#332288",
}


def draw(options: Options, results: Sequence[Result]) -> list[str]:
    """Draw them into the folder; the files' names."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InvalidInput(
            "the plots need matplotlib", remedy="pip install 'circinus[bench]'"
        ) from None
    plots: dict[str, Callable[[Any, Options, Sequence[Result]], None]] = {
        "goodput.png": _goodput,
        "time.png": _time,
        "pareto.png": _pareto,
    }
    for name, plot in plots.items():
        figure = Figure(figsize=(12, 9 if plot is _goodput else 5.5), layout="constrained")
        plot(figure, options, results)
        figure.savefig(options.out / name, dpi=110)
    return list(plots)


def _base(planner: str) -> str:
    return planner.removesuffix("@best").removesuffix("-shared")


def _look(planner: str) -> dict[str, Any]:
    return {
        "color": _COLOURS.get(_base(planner), "#44AA99"),
        "linestyle": "-" if shares_classes(planner) else "--",
        "marker": "o" if shares_classes(planner) else "s",
        "linewidth": 2.5 if planner == OURS else 1.2,
        "markersize": 7 if planner == OURS else 5,
        "zorder": 5 if planner == OURS else 2,
        "label": planner.removesuffix("@best"),
    }


def _medians(
    results: Sequence[Result],
    planner: str,
    x: Callable[[Result], float],
    y: Callable[[Result], float | None],
) -> tuple[list[float], list[float]]:
    points: dict[float, list[float]] = {}
    for r in results:
        value = y(r) if r.planner == planner and r.ran else None
        if value is not None:
            points.setdefault(x(r), []).append(value)
    found = [(at, spread(values)) for at, values in sorted(points.items())]
    kept = [(at, s.median) for at, s in found if s is not None]
    return [at for at, _ in kept], [value for _, value in kept]


def _in_order(options: Options, order: str) -> list[str]:
    return [name for name in options.planners if order_of(name) in (order, "all")]


def _goodput(figure: Any, options: Options, results: Sequence[Result]) -> None:
    compared = [r for r in results if r.case.series is Series.COMPARE]
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    judges = (("simulator", lambda r: r.simulated), ("evaluator", lambda r: r.goodput))
    for row, (judge, value) in zip(axes, judges, strict=True):
        for axis, order in zip(row, ("first", "best"), strict=True):
            for name in _in_order(options, order):
                xs, ys = _medians(compared, name, lambda r: r.case.contention, value)
                if xs:
                    axis.plot(xs, ys, **_look(name))
            ends = [min(options.contentions), max(options.contentions)]
            axis.plot(ends, ends, ":", color="#BBBBBB", label="asked to fit", zorder=1)
            come = {"first": "first come, first served", "best": "in their best order"}[order]
            axis.set_title(f"by the {judge}; baselines {come}")
            axis.set_xticks(sorted(options.contentions))
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylim(bottom=0)  # for all, and last: it ends their scaling
    for axis in axes[1]:
        axis.set_xlabel("part of the demand that fits, asked of the generator")
    for axis in axes[:, 0]:
        axis.set_ylabel("goodput, part of the demand")
    _legend(figure, axes.flat)
    figure.suptitle(
        f"Goodput against contention: {options.queries} queries, medians of {options.seeds} seeds"
    )


def _time(figure: Any, options: Options, results: Sequence[Result]) -> None:
    here = [r for r in results if r.case.contention == middle(options)]
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    values = (
        ("wall", lambda r: r.cold and r.cold.wall_s),
        ("CPU", lambda r: r.cold and r.cold.cpu_s),
    )
    for axis, (what, value) in zip(axes, values, strict=True):
        for name in _in_order(options, "first"):
            xs, ys = _medians(here, name, lambda r: float(r.case.queries), value)
            if xs:
                axis.plot(xs, ys, **_look(name))
            if what == "CPU":
                _too_long(axis, options, here, name)
        axis.set_xscale("log")
        axis.set_yscale("log")
        sizes = sorted({r.case.queries for r in here})
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        axis.set_title(f"seconds of {what} time")
        axis.set_xlabel("queries")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("planning from nothing, s")
    _legend(figure, axes)
    figure.suptitle(
        "Planning time against size, baselines first come "
        f"(x: given up after {options.time_limit_s:g} s of CPU)"
    )


def _too_long(axis: Any, options: Options, results: Sequence[Result], name: str) -> None:
    sizes = [r.case.queries for r in results if r.planner == name and r.too_long]
    if not sizes:
        return
    drawn = any(r.planner == name and r.ran for r in results)
    look = {**_look(name), "linestyle": "none", "marker": "x", "markersize": 9}
    # Without a line of its own, the cross has to say whose it is.
    look["label"] = None if drawn else f"{name} (too long)"
    axis.plot([min(sizes)], [options.time_limit_s], **look)


def _pareto(figure: Any, options: Options, results: Sequence[Result]) -> None:
    compared = [r for r in results if r.case.series is Series.COMPARE]
    left, right = figure.subplots(1, 2)
    points = []
    for name in options.planners:
        ran = [r for r in compared if r.planner == name and r.ran]
        usd, good = spread(own_usd(r) for r in ran), spread(r.simulated for r in ran)
        if usd is not None and good is not None:
            points.append((usd.median, good.median))
            _point(left, name, usd.median, good.median)
    front = _front(points)
    left.step([x for x, _ in front], [y for _, y in front], where="post", color="#BBBBBB", zorder=1)
    left.set_title("all that each serves (its own queries)")
    left.set_xlabel("US dollars per 1,000 good requests")
    left.set_ylabel("simulated goodput, part of the demand")
    found = [p for p in pairs(results) if p.case.series is Series.COMPARE]
    for name in options.planners:
        mine = [p for p in found if p.planner == name]
        usd, good = spread(p.usd for p in mine), spread(p.simulated for p in mine)
        if usd is not None and good is not None and math.isfinite(usd.median):
            _point(right, name, usd.median, ratio(1, good.median))
    _point(right, OURS, 1.0, 1.0)
    right.axhline(1, color="#BBBBBB", zorder=1)
    right.axvline(1, color="#BBBBBB", zorder=1)
    right.set_title("against ours, cost on the queries both serve whole")
    right.set_xlabel("cost, theirs / ours")
    right.set_ylabel("simulated goodput, theirs / ours")
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        _plain(axis)
    _legend(figure, (left, right))
    figure.suptitle("Cost and goodput (circles and squares: first come; triangles: best order)")


def _plain(axis: Any) -> None:
    """Numbers and not powers of ten; between them, too, where the range is short."""
    from matplotlib.ticker import LogLocator

    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")


def _point(axis: Any, name: str, x: float, y: float) -> None:
    look = {**_look(name), "linestyle": "none"}
    if name.endswith("@best"):
        look["marker"] = "^" if shares_classes(name) else "v"
    if name == OURS:
        look.update(marker="*", markersize=14)
    axis.plot([x], [y], **{**look, "label": name})


def _front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no other one beats in both, cheapest first."""
    front: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def _legend(figure: Any, axes: Iterable[Any]) -> None:
    """One for all panels."""
    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(entries.values(), entries.keys(), loc="outside right upper", fontsize=8)
