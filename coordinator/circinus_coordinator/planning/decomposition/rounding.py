"""From a mixture of plans per unit of demand to plans for each query, on real machines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from circinus_coordinator.planning.decomposition.agreement import Agreement
from circinus_coordinator.planning.decomposition.choices import Choices
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.placement import Placed
from circinus_coordinator.planning.decomposition.placing import Placing
from circinus_coordinator.planning.decomposition.solve import Solution, without
from circinus_coordinator.planning.decomposition.sources import Sources
from circinus_coordinator.planning.decomposition.staying import Start
from circinus_coordinator.planning.stop import Stop

__all__ = ["round_off"]

# Mixtures to make at most until memory holds what they ask for.
_MIXTURES = 3
# Beyond this many units one has to do: each takes the master programme's time.
_LARGE = 20_000
# Orders of whole queries tried: several where they are quick.
_ATTEMPTS, _QUERIES_TIMES_ATTEMPTS = 4, 4_000
_STRIDE = 1_000_003
# Part of what was agreed on that will do.
_NEARLY_ALL = 0.995
# Plans worse than the best one by this part of a request's worth are still looked at where memory
# is short.
_THRIFTY = 0.2


def round_off(
    market: Market,
    solution: Solution,
    *,
    seed: int,
    attempts: int | None = None,
    effort: Stop | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    kept: Sequence[Placed] = (),
    agreed: Agreement | None = None,
) -> list[Placed]:
    """Place the mixture, then whatever else there is room for.

    The relaxation knows nothing of memory. Where a source's memory cannot hold what the mixture
    asks for, it is decided what it holds, and the mixture is made again without the rest.

    Args:
        market: Classes.
        solution: Of the relaxation; its pool and mixture are replaced where plans are refused.
        seed: Of the order in which equals are placed.
        attempts: Orders to try where queries stay whole, the best one counts; None for as many as
            suit the size.
        effort: When to try no more of them; at least one is.
        clock: Seconds, for `effort`.
        kept: Parts of the decision in force, which stay where they are as long as that costs
            little (`staying.MIGRATION`).
        agreed: What sources would do with their whole queries (`sharpening`), for the first
            attempt, which is the last one where machines hold nearly all of it.
    """
    began = clock()
    # Where sources decide on everybody nothing of the mixture is used.
    mixed = agreed is None or not bool(agreed.decided.all())
    if mixed:
        _hold(market, solution)
    whole = int((~market.splittable[solution.units.query]).sum())
    if attempts is None:
        most = _QUERIES_TIMES_ATTEMPTS // max(1, whole)
        attempts = max(1, min(_ATTEMPTS, most))
        attempts += agreed is not None
    best: list[Placed] = []
    reached = -1.0
    for attempt in range(attempts if whole else 1):
        if attempt and effort is not None and effort(attempt, clock() - began):
            break
        if attempt == 1 and not mixed:
            _hold(market, solution)
        start, left, rest = Start(market), market, solution
        if kept:
            left, rest = start.keep(market, solution, kept)
        wishes = agreed if attempt == 0 else None
        placed = Placing(left, rest, seed + attempt * _STRIDE, start, wishes).placed
        goodput = math.fsum(p.rate * float(market.weight[p.query]) for p in placed)
        if goodput > reached:
            best, reached = placed, goodput
        if wishes is not None and _granted(market, solution, placed, wishes):
            break
    return best


def _hold(market: Market, solution: Solution) -> None:
    """Make the mixture again without plans that sources' memory cannot hold beside others."""
    for _ in range(1 if len(solution.units) > _LARGE else _MIXTURES):
        sources = Sources(market, solution, Filling(market))
        refused = sources.crowded_out(Choices(market, solution, within=_THRIFTY))
        if not refused:
            break
        without(market, solution, refused)


def _granted(
    market: Market, solution: Solution, placed: Sequence[Placed], agreed: Agreement
) -> bool:
    """Whether machines hold nearly all that was agreed on, and nobody was left out."""
    units = solution.units
    of = np.repeat(np.arange(len(units)), np.diff(units.start))
    if not agreed.decided[of[~market.splittable[units.query]]].all():
        return False
    worth = math.fsum(rate * float(market.weight[query]) for query, _, _, rate in agreed.pieces)
    whole = [p for p in placed if not market.splittable[p.query]]
    return math.fsum(p.rate * float(market.weight[p.query]) for p in whole) >= worth * _NEARLY_ALL
