"""How the relaxation and its certificate grow with the scenario.

Nothing waits in these scenarios (``queueing: false``): only there the planner answers for
thousands of queries by the relaxation alone. *cold* is what a planner does that has never seen
the scenario's classes: compile them and find first plans. *solve* is what it does with the plans
known: prices, then the mixture of plans; *certify* prices every query exactly once at the
mixture's prices. *place* puts the mixture on real machines. Gaps are against that bound; where
queries stay whole, against the sharper one that knows it.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass

from circinus_coordinator.generation import generate
from circinus_coordinator.planning.catalogue import Catalogue
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


@dataclass(frozen=True, slots=True)
class _Row:
    size: int
    cold_s: float
    solve_s: float
    certify_s: float
    place_s: float
    mixture_gap: float
    split_gap: float
    whole_gap: float
    peak_mb: float


def scale(largest: int, seed: int) -> int:
    """Print the table for all sizes up to `largest` queries."""
    print(f"one scenario each, seed {seed}, contention 0.5, queueing off; seconds of CPU")
    print(
        f"{'queries/devices':>18} {'cold':>8} {'solve':>16} {'certify':>16} {'place':>8} "
        f"{'mixture gap':>12} {'split gap':>18} {'whole gap':>18} {'peak MB':>8}"
    )
    for row in _rows(largest, seed):
        queries, devices = SIZES[row.size]
        print(
            f"{f'{queries}/{devices}':>18} {row.cold_s:8.1f} "
            f"{_cell(row.solve_s, _SOLVE_S[row.size], '.2f')} "
            f"{_cell(row.certify_s, _CERTIFY_S[row.size], '.2f')} {row.place_s:8.1f} "
            f"{row.mixture_gap:12.3%} {_cell(row.split_gap, _SPLIT[row.size], '.3%', 18)} "
            f"{_cell(row.whole_gap, _WHOLE[row.size], '.3%', 18)} {row.peak_mb:8.0f}",
            flush=True,
        )
    return 0


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
        first = relax(found, clock=time.process_time)
        cold = time.process_time() - began
        solution = relax(found, prices=first.prices, clock=time.process_time)
        solve_s = solution.seconds["dual"] + solution.seconds["master"]
        bound, certify_s = _certified(found, solution)
        began = time.process_time()
        split = _goodput(found, solution, seed)
        place_s = time.process_time() - began
        found.splittable[:] = False
        mixed = relax(found, prices=solution.prices)
        sharpen(found, mixed)
        whole = _goodput(found, mixed, seed)
        yield _Row(
            size=size,
            cold_s=cold,
            solve_s=solve_s,
            certify_s=certify_s,
            place_s=place_s,
            mixture_gap=1 - solution.goodput_rps / bound,
            split_gap=1 - split / bound,
            whole_gap=1 - whole / min(bound, mixed.bound_rps),
            peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )


def _certified(found: Market, solution: Solution) -> tuple[float, float]:
    """The bound at the solution's prices, and the seconds it takes."""
    began = time.process_time()
    priced = price_all(found, solution.units, solution.prices, 0.0)
    bound = lagrangian(solution.units, solution.prices, found.capacity, priced.value)
    return bound, time.process_time() - began


def _goodput(found: Market, solution: Solution, seed: int) -> float:
    placed = round_off(found, solution, seed=seed)
    return float(sum(p.rate * found.weight[p.query] for p in placed))
