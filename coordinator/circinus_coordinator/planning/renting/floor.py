"""What nobody can go below: a bound on cost over all plans, with machines rented whole.

For every unit of demand, the (cost, loads, traffic) of whatever mixture of plans it gets lies
above each hyperplane that exact pricing has proved: at prices y of loads and m of links, no plan
is cheaper than V, so that

    cost + y . loads + m . links >= V * traffic.

These are all that is known here of plans (an outer description; Kelley, "The cutting-plane method
for solving convex programs", 1960), together with what any plan must take of a machine it runs
on. The cheapest whole machines under which they can be kept are no dearer than any decision's.
Waiting, memory, whole queries and the walls between machines that nothing tells apart are left
out, which only makes it cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from circinus_coordinator.planning.renting.choice import PENALTY
from circinus_coordinator.planning.renting.demand import Demand
from circinus_coordinator.planning.renting.mip import Model
from circinus_coordinator.planning.renting.oracle import Cut

__all__ = ["Floor", "floor"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# What HiGHS takes for satisfied or whole (1e-6 and 1e-7), and a margin, of what counts as 1.
_TOLERANCE = 3e-6
# Up to this many units are described one by one, more of them together.
_FEW = 64
# Cuts that say nothing new of a unit, relative.
_SAME = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A bound and the machines it would rent.

    Attributes:
        usd_hour: No decision of this goodput costs less.
        opened: `(groups,)` whole numbers.
    """

    usd_hour: float
    opened: FloatArray


def floor(
    demand: Demand, cuts: Sequence[Cut], goodput_rps: float, scale: float, *, gap: float
) -> Floor | None:
    """The bound by what `cuts` prove; None where the solver fails.

    Args:
        demand: Whose.
        cuts: Of exact pricing, at whatever prices.
        goodput_rps: Weighted requests per second that a decision must reach, above 0.
        scale: US dollars per hour that count as 1.
        gap: Relative gap to stop at.
    """
    if not cuts:
        return None
    outer = _Outer(demand, goodput_rps, scale)
    for cut in cuts:
        outer.keep(cut)
    answer = outer.model.solve(gap=gap)
    if answer is None:
        return None
    usd_hour = (answer.bound - _TOLERANCE) * scale
    return Floor(usd_hour=max(0.0, usd_hour), opened=np.round(answer.x[outer.opened]))


class _Outer:
    """The programme under construction. Blocks are units, or all of them together."""

    def __init__(self, demand: Demand, goodput_rps: float, scale: float) -> None:
        units, bill = demand.units, demand.bill
        self.demand, self.scale, self.model = demand, scale, Model()
        model, count = self.model, len(units)
        alone = count <= _FEW
        self.block = np.arange(count, dtype=np.int64) if alone else np.zeros(count, dtype=np.int64)
        blocks = count if alone else 1
        self.served = model.variables(np.zeros(count), 1.0)
        self.cost = model.variables(np.ones(blocks))
        self.opened = model.variables(bill.price / scale, bill.count.astype(float), integral=True)
        short = model.variables(np.array([PENALTY]), 1.0)
        value = units.weight * units.rate / goodput_rps
        wanted = [(sparse.csr_matrix(value), self.served), (sparse.csr_matrix([[1.0]]), short)]
        model.rows(wanted, 1.0, np.inf)
        self.reach = self._reach(blocks)
        self.loads = [model.variables(np.zeros(len(rows))) for rows in self.reach]
        # Loads are counted in parts of this.
        self.unit_of = np.where(np.isfinite(bill.fixed) & (bill.fixed > 0), bill.fixed, 1.0)
        offered = np.append(bill.offered, 1.0)[bill.row_of]
        self.unit_of = np.where(bill.row_of >= 0, np.maximum(offered, 1e-300), self.unit_of)
        self.links = model.variables(np.zeros(demand.links), 1.0)
        self._capacities()
        self._links()
        self._said: list[list[FloatArray]] = [[] for _ in range(blocks)]

    def _reach(self, blocks: int) -> list[IntArray]:
        """Rows that each block may load."""
        demand, found = self.demand, []
        gone = demand.bill.fixed <= 0
        gone |= np.append(demand.bill.offered, 1.0)[demand.bill.row_of] <= 0
        for block in range(blocks):
            rows: set[int] = set()
            for unit in np.flatnonzero(self.block == block).tolist():
                kind = demand.market.classes[int(demand.units.kind[unit])]
                rows.update(kind.rows[int(demand.units.site[unit])].tolist())
            found.append(np.array([r for r in sorted(rows) if not gone[r]], dtype=np.int64))
        return found

    def _capacities(self) -> None:
        bill, model = self.demand.bill, self.model
        held: dict[int, list[tuple[int, float]]] = {}
        rent: dict[int, list[tuple[int, float]]] = {}
        for rows, loads in zip(self.reach, self.loads, strict=True):
            for row, variable in zip(rows.tolist(), loads.tolist(), strict=True):
                if np.isfinite(bill.fixed[row]):
                    part = float(self.unit_of[row] / bill.fixed[row])
                    held.setdefault(row, []).append((variable, part))
                if bill.row_of[row] >= 0:
                    rent.setdefault(int(bill.row_of[row]), []).append((variable, 1.0))
        for terms in held.values():
            model.row(terms, -np.inf, 1.0)
        for row, terms in rent.items():
            machines = (int(self.opened[bill.group[row]]), -1.0)
            model.row([*terms, machines], -np.inf, 0.0)

    def _links(self) -> None:
        """Where an operator runs there is a machine, and its share of the machine's time."""
        demand, model = self.demand, self.model
        for link, variable in enumerate(self.links.tolist()):
            machines = int(self.opened[demand.link_group[link]])
            model.row([(variable, 1.0), (machines, -1.0)], -np.inf, 0.0)
        for unit in range(len(demand.units)) if demand.linked else ():
            self._linked(unit)

    def _linked(self, unit: int) -> None:
        demand, model = self.demand, self.model
        kind = demand.market.classes[int(demand.units.kind[unit])]
        groups, group_of = len(demand.bill.members), demand.groups(unit)
        rows_of = kind.sites[int(demand.units.site[unit])].rows
        variable = dict(
            zip(self.reach[self.block[unit]].tolist(), self.loads[self.block[unit]], strict=True)
        )
        least: dict[int, list[tuple[int, float]]] = {}
        for k, step in enumerate(kind.programme.steps):
            mine = [int(self.links[demand.first[unit] + k * groups + g]) for g in range(groups)]
            here = group_of[step.slot]
            all_rented = bool((here >= 0).all())
            terms = [(link, 1.0) for link in mine]
            model.row([*terms, (int(self.served[unit]), -1.0)], 0.0 if all_rented else -np.inf, 0.0)
            for g in range(groups):
                if not (here == g).any():
                    model.upper[mine[g]] = 0.0
                    continue
                for r in range(step.compute.shape[1]):
                    use = float(step.compute[here == g, r].min()) * demand.units.rate[unit]
                    row = demand.bill.row_of[
                        rows_of[kind.layout.compute[step.slot[here == g][0], r]]
                    ]
                    if use > 0 and row >= 0:
                        least.setdefault(int(row), []).append((mine[g], -use))
        for rented, terms in least.items():
            loads = [
                (int(v), float(self.unit_of[r]))
                for r, v in variable.items()
                if demand.bill.row_of[r] == rented
            ]
            scale = max(v for _, v in loads) if loads else 0.0
            if scale > 0:
                model.row([(i, v / scale) for i, v in [*loads, *terms]], 0.0, np.inf)

    def keep(self, cut: Cut) -> None:
        """Add what a pricing has proved."""
        units = self.demand.units
        per_link = cut.links * units.rate[self.demand.link_unit] / self.scale
        for block, rows in enumerate(self.reach):
            mine = np.flatnonzero(self.block == block)
            value = cut.least[mine] * units.rate[mine] / self.scale
            load = cut.rows[rows] * self.unit_of[rows] / self.scale
            links = np.flatnonzero(np.isin(self.demand.link_unit, mine) & (per_link > 0))
            said = np.concatenate([value, load, per_link[self.demand.link_unit == mine[0]]])
            top = max(1.0, float(np.abs(said).max(initial=0.0)))
            known = self._said[block]
            if any(float(np.abs(said - other).max()) <= _SAME * top for other in known):
                continue
            known.append(said)
            terms = [(int(self.cost[block]), 1.0)]
            terms += list(zip(self.loads[block].tolist(), load.tolist(), strict=True))
            terms += list(zip(self.links[links].tolist(), per_link[links].tolist(), strict=True))
            terms += list(zip(self.served[mine].tolist(), (-value).tolist(), strict=True))
            self.model.row([(i, v / top) for i, v in terms if v != 0], 0.0, np.inf)
