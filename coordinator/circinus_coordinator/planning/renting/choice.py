"""The programme over known plans: which machines, and who goes which way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from circinus_coordinator.planning.decomposition.pool import Pool
from circinus_coordinator.planning.renting.demand import Demand
from circinus_coordinator.planning.renting.mip import Model
from circinus_coordinator.planning.renting.oracle import Prices

__all__ = ["PENALTY", "Chosen", "Columns", "choose"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# Missing a thousandth of the goodput costs as much as everything together.
PENALTY = 1e3
# A price that no plan pays, for what has no capacity; times the largest size it is still a number.
_FORBIDDEN = 1e12


class Columns:
    """Known plans in the choice, with their parts of every row."""

    def __init__(self, demand: Demand, unit: IntArray, template: IntArray) -> None:
        market, units = demand.market, demand.units
        pool = Pool.of(market, units, unit, template)
        gone = np.append(demand.bill.offered, 1.0)[demand.bill.row_of] <= 0
        gone |= demand.bill.fixed <= 0
        pool = pool.take(np.flatnonzero(np.asarray(pool.use @ gone.astype(float)) <= 0))
        self.demand, self.pool = demand, pool
        self.cost = np.zeros(len(pool))  # US dollars per hour of all the unit's traffic
        self.latency_ms = np.zeros(len(pool))
        row: list[IntArray] = [np.zeros(0, dtype=np.int64)]
        column: list[IntArray] = [np.zeros(0, dtype=np.int64)]
        for one in np.unique(pool.unit).tolist():
            mine = np.flatnonzero(pool.unit == one)
            plans, number = pool.template[mine], int(units.kind[one])
            self.cost[mine] = demand.ways[number].usd[plans] * demand.hourly[one]
            self.latency_ms[mine] = market.classes[number].templates.latency_ms[plans]
            if demand.linked:
                link = demand.links_of(one, plans)
                at, step = np.nonzero(link >= 0)
                row.append(link[at, step])
                column.append(mine[at])
        shape = (demand.links, len(pool))
        at_link = np.concatenate(row), np.concatenate(column)
        self.links = sparse.csr_matrix((np.ones(len(at_link[0])), at_link), shape=shape)
        rate = sparse.diags(units.rate[pool.unit])
        self.load = sparse.csr_matrix(sparse.csc_matrix(pool.use.T) @ rate)

    def __len__(self) -> int:
        return len(self.pool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A solution.

    Attributes:
        share: `(columns,)` of the unit's traffic.
        opened: `(groups,)` machines rented.
        usd_hour: Cost, nothing for missing goodput.
        missing: Part of the goodput wanted that is not reached.
        prices: Where nothing was integral.
    """

    share: FloatArray
    opened: FloatArray
    usd_hour: float
    missing: float
    prices: Prices | None


def choose(
    columns: Columns,
    goodput_rps: float,
    scale: float,
    *,
    least: FloatArray | None = None,
    most: FloatArray | None = None,
    whole: bool = False,
    fill: float = 1.0,
    allowed: npt.NDArray[np.bool_] | None = None,
    gap: float = 0.0,
) -> Chosen | None:
    """The cheapest way to a goodput; None where the solver fails.

    Args:
        columns: Known plans.
        goodput_rps: Weighted requests per second wanted, above 0.
        scale: US dollars per hour that count as 1.
        least: `(groups,)` machines rented at least.
        most: `(groups,)` at most.
        whole: Machines come whole.
        fill: The part of machines and links that may be used.
        allowed: `(columns,)` that may be chosen.
        gap: Relative gap to stop at.
    """
    programme = _Programme(columns, goodput_rps, scale, whole=whole)
    programme.restrict(least, most, allowed)
    programme.capacities(fill)
    answer = programme.model.solve(gap=gap, relaxed=not whole)
    if answer is None:
        return None
    x = np.clip(answer.x[programme.share], 0.0, 1.0)
    machines = answer.x[programme.opened]
    return Chosen(
        share=x,
        opened=machines,
        usd_hour=float(columns.cost @ x + columns.demand.bill.price @ machines),
        missing=float(answer.x[programme.short[0]]),
        prices=None if whole else programme.prices(answer.dual * scale),
    )


class _Programme:
    """Variables: share of each plan, machines of each group, goodput that is missing."""

    def __init__(self, columns: Columns, goodput_rps: float, scale: float, *, whole: bool) -> None:
        demand, pool = columns.demand, columns.pool
        self.columns, self.demand, self.bill = columns, demand, demand.bill
        self.goodput_rps, self.model = goodput_rps, Model()
        model, units = self.model, demand.units
        self.share = model.variables(columns.cost / scale, 1.0)
        self.opened = model.variables(
            self.bill.price / scale, self.bill.count.astype(float), integral=whole
        )
        self.short = model.variables(np.array([PENALTY]), 1.0)
        value = units.weight[pool.unit] * units.rate[pool.unit] / goodput_rps
        wanted = [
            (sparse.csr_matrix(value), self.share),
            (sparse.csr_matrix(np.ones((1, 1))), self.short),
        ]
        model.rows(wanted, 1.0, np.inf)
        each = _sparse(np.ones(len(pool)), pool.unit, np.arange(len(pool)), len(units), len(pool))
        model.rows([(each, self.share)], -np.inf, 1.0)

    def restrict(
        self,
        least: FloatArray | None,
        most: FloatArray | None,
        allowed: npt.NDArray[np.bool_] | None,
    ) -> None:
        """Narrow the bounds of variables."""
        for bounds, values in ((self.model.lower, least), (self.model.upper, most)):
            for variable, value in zip(
                self.opened.tolist(), () if values is None else values, strict=values is not None
            ):
                bounds[variable] = float(value)
        for variable in () if allowed is None else self.share[~allowed].tolist():
            self.model.upper[variable] = 0.0

    def capacities(self, fill: float) -> None:
        """What machines, links and uplinks offer, and links of renting."""
        bill, demand, model, machines = self.bill, self.demand, self.model, len(self.opened)
        self.tight = np.flatnonzero(np.isfinite(bill.fixed) & (bill.fixed > 0)).astype(np.int64)
        load: Any = self.columns.load
        part = sparse.csr_matrix(sparse.diags(1.0 / bill.fixed[self.tight]) @ load[self.tight])
        self.at_fixed = model.rows([(part, self.share)], -np.inf, fill)
        rows = len(bill.offered)
        self.offered = np.maximum(bill.offered, 1e-300)
        inverse = sparse.diags(np.where(bill.offered > 0, 1.0 / self.offered, 0.0))
        part = sparse.csr_matrix(inverse @ _rented(self.columns))
        of = _sparse(np.full(rows, -fill), np.arange(rows), bill.group, rows, machines)
        self.at_rent = model.rows([(part, self.share), (of, self.opened)], -np.inf, 0.0)
        of = _sparse(
            -np.ones(demand.links),
            np.arange(demand.links),
            demand.link_group,
            demand.links,
            machines,
        )
        self.at_link = model.rows(
            [(self.columns.links, self.share), (of, self.opened)], -np.inf, 0.0
        )

    def prices(self, dual: FloatArray) -> Prices:
        """What the rows are worth, US dollars per hour."""
        bill, demand, dual = self.bill, self.demand, np.abs(dual)
        own = np.where(bill.fixed > 0, 0.0, _FORBIDDEN)
        own[self.tight] = (
            dual[self.at_fixed : self.at_fixed + len(self.tight)] / bill.fixed[self.tight]
        )
        rent = dual[self.at_rent : self.at_rent + len(bill.offered)] / self.offered
        rent = np.where(bill.offered > 0, rent, _FORBIDDEN)
        link = dual[self.at_link : self.at_link + demand.links]
        return Prices(
            rows=demand.prices(own, rent),
            links=link / demand.units.rate[demand.link_unit],
            goodput=float(dual[0]) / self.goodput_rps,
        )


def _rented(columns: Columns) -> sparse.csr_matrix:
    """`(rented rows, columns)` loads."""
    bill = columns.demand.bill
    at = np.flatnonzero(bill.row_of >= 0)
    to = _sparse(np.ones(len(at)), bill.row_of[at], at, len(bill.offered), len(bill.row_of))
    return sparse.csr_matrix(to @ columns.load)


def _sparse(
    value: FloatArray, row: IntArray, column: IntArray, rows: int, columns: int
) -> sparse.csr_matrix:
    return sparse.csr_matrix((value, (row, column)), shape=(rows, columns))
