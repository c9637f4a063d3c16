"""How the relaxation and its certificate grow with the scenario.

Nothing waits in these scenarios (``queueing: false``): only there the planner answers for
thousands of queries by the relaxation alone. *cold* is what a planner does that has never seen
the scenario's classes: compile them and find first plans. *solve* is what it does with the plans
known: prices, then the mixture of plans; *certify* prices every query exactly once at the
mixture's prices. *place* puts the mixture on real machines. Gaps are against that bound; where
queries stay whole, against the sharper one that knows it. *whole* is what that bound and placing
whole queries take, beyond their mixture.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks._planner.replan import replan
from circinus_coordinator.generation import generate
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposition.agreement import Agreement
from circinus_coordinator.planning.decomposition.bound import lagrangian, price_all
from circinus_coordinator.planning.decomposition.classes import Market, market
from circinus_coordinator.planning.decomposition.rounding import round_off
from circinus_coordinator.planning.decomposition.sharpening import sharpen
from circinus_coordinator.planning.decomposition.solve import Solution, relax

__all__ = ["SIZES", "scale"]

SIZES = ((1_000, 50), (10_000, 500), (100_000, 5_000), (1_000_000, 5_000))
_SOLVE_S = (0.3, 2.0, 20.0, 90.0)
_CERTIFY_S = (0.3, 2.0, 15.0, 120.0)
_SPLIT = (0.002, 0.002, 0.002, 0.005)
_WHOLE = (0.01, 0.015, 0.02, 0.02)
_WHOLE_S = (15.0, 30.0, 60.0, 60.0)
# Placing more takes longer than all the rest, and whole queries of more than so many still longer.
_PLACED, _PLACED_WHOLE = 100_000, 10_000
_PEAK_MB = 2048


@dataclass(frozen=True, slots=True)
class _Placed:
    place_s: float
    split_gap: float
    whole_gap: float | None
    whole_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Row:
    size: int
    classes: int
    cold_s: float
    settle_s: float
    solve_s: float
    certify_s: float
    mixture_gap: float
    placed: _Placed | None
    peak_mb: float


def scale(largest: int, seed: int) -> int:
    """Print the table for all sizes up to `largest` queries."""
    print(f"one scenario each, seed {seed}, contention 0.5, queueing off; seconds of CPU")
    print(
        f"{'queries/devices':>18} {'classes':>8} {'cold':>7} {'settle':>7} {'solve':>17} "
        f"{'certify':>17} {'mixture gap':>22} {'place':>7} {'split gap':>20} {'whole gap':>20} "
        f"{'whole':>17} "
        f"{'peak MB':>20}"
    )
    for row in _rows(largest, seed):
        queries, devices = SIZES[row.size]
        print(
            f"{f'{queries}/{devices}':>18} {row.classes:8d} {row.cold_s:7.1f} {row.settle_s:7.1f} "
            f"{_cell(row.solve_s, _SOLVE_S[row.size], '.2f', 17)} "
            f"{_cell(row.certify_s, _CERTIFY_S[row.size], '.2f', 17)} "
            f"{_cell(row.mixture_gap, _SPLIT[row.size], '.4%', 22)} {_placing(row)} "
            f"{_cell(row.peak_mb, _PEAK_MB, '.0f', 20)}",
            flush=True,
        )
    for queries, devices in SIZES:
        if queries <= min(largest, _PLACED):
            print(replan(queries, devices, seed), flush=True)
    return 0


def _placing(row: _Row) -> str:
    if row.placed is None:
        return f"{'-':>7} {'-':>20} {'-':>20} {'-':>17}"
    split, whole = row.placed.split_gap, row.placed.whole_gap
    split_shown = f"{row.placed.place_s:7.1f} {_cell(split, _SPLIT[row.size], '.3%', 20)}"
    if whole is None:
        return f"{split_shown} {'-':>20} {'-':>17}"
    return (
        f"{split_shown} {_cell(whole, _WHOLE[row.size], '.3%', 20)} "
        f"{_cell(row.placed.whole_s, _WHOLE_S[row.size], '.1f', 17)}"
    )


def _cell(value: float, target: float, style: str, width: int = 16) -> str:
    shown = "%" in style
    wanted = f"{target:.1%}" if shown else f"{target:g}"
    verdict = "met" if value <= target else "miss"
    return f"{f'{value:{style}} (<={wanted} {verdict})':>{width}}"


def _rows(largest: int, seed: int) -> Iterator[_Row]:
    for size, (queries, devices) in enumerate(SIZES):
        if queries > largest:
            return
        scenario = generate(
            queries=queries, devices=devices, seed=seed, contention=0.5, queueing=False
        )
        began = time.process_time()
        found = market(Catalogue(scenario))
        compiled = time.process_time() - began
        first = relax(found, clock=time.process_time)
        discovered, prices = first.seconds["discover"], first.prices
        settled = sum(first.seconds.values()) - discovered
        del first
        solution = relax(found, prices=prices, clock=time.process_time)
        bound, certify_s = _certified(found, solution)
        gap = 1 - solution.goodput_rps / bound
        placed = _place(found, solution, bound, seed) if queries <= _PLACED else None
        yield _Row(
            size=size,
            classes=len(found.classes),
            cold_s=compiled + discovered,
            settle_s=settled,
            solve_s=solution.seconds["dual"] + solution.seconds["master"],
            certify_s=certify_s,
            mixture_gap=gap,
            placed=placed,
            peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )


def _place(found: Market, solution: Solution, bound: float, seed: int) -> _Placed:
    """Put the mixture on machines; then again where nobody may be split, which `found` is told."""
    began = time.process_time()
    split = _goodput(found, solution, seed)
    place_s = time.process_time() - began
    if len(found.rate) > _PLACED_WHOLE:
        return _Placed(place_s, 1 - split / bound, None)
    found.splittable[:] = False
    mixed = relax(found, prices=solution.prices)
    began = time.process_time()
    whole = _goodput(found, mixed, seed, sharpen(found, mixed, seed=seed))
    whole_s = time.process_time() - began
    return _Placed(place_s, 1 - split / bound, 1 - whole / min(bound, mixed.bound_rps), whole_s)


def _certified(found: Market, solution: Solution) -> tuple[float, float]:
    """The bound at the solution's prices, and the seconds it takes."""
    began = time.process_time()
    priced = price_all(found, solution.units, solution.prices, 0.0)
    bound = lagrangian(solution.units, solution.prices, found.capacity, priced.value)
    return bound, time.process_time() - began


def _goodput(
    found: Market, solution: Solution, seed: int, agreed: Agreement | None = None
) -> float:
    placed = round_off(found, solution, seed=seed, agreed=agreed)
    return float(sum(p.rate * found.weight[p.query] for p in placed))
