"""The cheapest whole machines for a goodput, as if nothing waited.

Columns approach it from above, cuts from below, until the two meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.pool import everything
from circinus_coordinator.planning.decomposition.solve import Solution
from circinus_coordinator.planning.renting.bill import bill
from circinus_coordinator.planning.renting.choice import Chosen, Columns, choose
from circinus_coordinator.planning.renting.demand import Demand
from circinus_coordinator.planning.renting.floor import floor
from circinus_coordinator.planning.renting.oracle import Cut, ask

__all__ = ["Rental", "machines", "solve"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# Rounds of pricing at one set of machines, and sets of machines looked at.
_PRICINGS, _SETS = 12, 24
# Known plans beyond this many are not all taken into the choice from the start.
_MOST_COLUMNS = 4_000
# A closed machine is priced as if this part of it were there: of its many prices, a sensible one.
_AJAR = 1e-4
# A share of goodput that may be missing by rounding.
_MISSING = 1e-7
# Beyond this many units, prices are asked for so many times, and for no set of machines.
_MANY, _FEW_PRICINGS = 200, 3
# Groups that are asked to give a machine up.
_CLOSINGS = 12


@dataclass(slots=True)
class Rental:
    """What is known of renting; grows while it is solved.

    Attributes:
        demand: Whose.
        columns: Known plans in the choice.
        goodput_rps: Weighted requests per second that are to be served.
        scale: US dollars per hour that count as 1.
        bound_usd_hour: No decision of that goodput costs less.
        best: The cheapest whole machines found, were all their plans to fit; None if none was.
        cuts: What is proved of all plans.
    """

    demand: Demand
    columns: Columns
    goodput_rps: float
    scale: float
    bound_usd_hour: float = 0.0
    best: Chosen | None = None
    cuts: list[Cut] = field(default_factory=list)

    def priced(self, least: FloatArray | None, most: FloatArray | None) -> Chosen | None:
        """The cheapest mixture over all plans with so many machines, to be had in parts."""
        chosen = None
        for _ in range(_PRICINGS if len(self.demand.units) <= _MANY else _FEW_PRICINGS):
            chosen = choose(self.columns, self.goodput_rps, self.scale, least=least, most=most)
            if chosen is None or chosen.prices is None:
                return chosen
            cut, unit, template, new = ask(self.demand, chosen.prices)
            self.cuts.append(cut)
            before = len(self.columns)
            self._widen(unit, template)
            if len(self.columns) == before and not new:
                break
        return chosen

    def bound(self, gap: float) -> FloatArray | None:
        """Raise the bound by what is proved; the machines it would rent."""
        found = floor(self.demand, self.cuts, self.goodput_rps, self.scale, gap=gap)
        if found is None:
            return None
        self.bound_usd_hour = max(self.bound_usd_hour, found.usd_hour)
        return found.opened

    def bound_at(self, goodput_rps: float, gap: float) -> float:
        """The bound for another goodput, by what is proved already."""
        if goodput_rps <= 0:
            return 0.0
        found = floor(self.demand, self.cuts, goodput_rps, self.scale, gap=gap)
        return 0.0 if found is None else found.usd_hour

    def _widen(self, unit: IntArray, template: IntArray) -> None:
        pool = self.columns.pool
        self.columns = Columns(
            self.demand,
            np.concatenate([pool.unit, unit]),
            np.concatenate([pool.template, template]),
        )

    def try_machines(self, opened: FloatArray) -> Chosen | None:
        """The cheapest mixture with just these machines; remembered where it is the best."""
        count = self.demand.bill.count.astype(float)
        self.priced(opened, np.minimum(np.maximum(opened, _AJAR), count))
        chosen = choose(self.columns, self.goodput_rps, self.scale, least=opened, most=opened)
        if chosen is None or chosen.missing > _MISSING:
            return None
        if self.best is None or chosen.usd_hour < self.best.usd_hour:
            self.best = chosen
        return chosen


def solve(
    market: Market, solution: Solution, goodput_rps: float, usd_hour: float, *, enough: float
) -> Rental:
    """Find machines and a bound.

    Args:
        market: Classes; plans found join their templates.
        solution: Of the relaxation; its columns are the first.
        goodput_rps: Weighted requests per second that are to be served, above 0.
        usd_hour: Cost of a decision that does.
        enough: Relative gap that is left alone.
    """
    units = solution.units
    demand = Demand(market, units, bill(market))
    unit, template = everything(market, units)
    if len(unit) > _MOST_COLUMNS:
        unit, template = solution.pool.unit, solution.pool.template
    scale = max(usd_hour, 1e-12)
    rental = Rental(demand, Columns(demand, unit, template), goodput_rps, scale)
    rental.priced(None, None)
    seen: set[tuple[int, ...]] = set()
    for _ in range(_SETS if len(units) <= _MANY else 0):
        chosen = machines(rental, goodput_rps, 1.0, gap=enough / 4)
        tried = _new(seen, None if chosen is None else np.round(chosen.opened))
        if tried is not None:
            rental.try_machines(tried)
        tried = _new(seen, rental.bound(enough / 4))
        if _met(rental, enough):
            break
        if tried is None:
            break
        rental.try_machines(tried)
    if rental.best is not None:  # so that the solver's tolerances are parts of the least cost
        rental.scale = max(rental.best.usd_hour, scale * 1e-6)
    rental.bound(enough / 4)
    return rental


def machines(
    rental: Rental,
    goodput_rps: float,
    fill: float,
    *,
    gap: float = 2e-3,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> Chosen | None:
    """Whole machines for a goodput, over known plans: exactly where units are few.

    Where they are many the mixture's machines are rounded up; then groups give one up in turn,
    those first whose rounding costs most, and get it back where it is missed.
    """
    columns, scale = rental.columns, rental.scale
    if len(rental.demand.units) <= _MANY:
        return choose(columns, goodput_rps, scale, whole=True, fill=fill, gap=gap, allowed=allowed)
    parts = choose(columns, goodput_rps, scale, fill=fill, allowed=allowed)
    if parts is None:
        return None
    opened = np.ceil(parts.opened - 1e-6)
    best = choose(
        columns, goodput_rps, scale, least=opened, most=opened, fill=fill, allowed=allowed
    )
    waste = (opened - parts.opened) * rental.demand.bill.price
    for group in np.argsort(-waste)[:_CLOSINGS].tolist():
        if best is None or opened[group] <= 0:
            continue
        fewer = opened.copy()
        fewer[group] -= 1
        found = choose(
            columns, goodput_rps, scale, least=fewer, most=fewer, fill=fill, allowed=allowed
        )
        served = found is not None and found.missing <= best.missing + _MISSING
        if served and found is not None and found.usd_hour < best.usd_hour:
            best, opened = found, fewer
    return best


def _new(seen: set[tuple[int, ...]], opened: FloatArray | None) -> FloatArray | None:
    """`opened` where it was not tried before."""
    if opened is None or tuple(opened.astype(int).tolist()) in seen:
        return None
    seen.add(tuple(opened.astype(int).tolist()))
    return opened


def _met(rental: Rental, enough: float) -> bool:
    best = math.inf if rental.best is None else rental.best.usd_hour
    return rental.bound_usd_hour >= best * (1 - enough)
