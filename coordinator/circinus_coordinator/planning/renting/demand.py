"""Demand as renting sees it: what plans cost without the machines, and where they run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from circinus.fleet import SECONDS_PER_HOUR, Billing
from circinus_coordinator.planning.decomposition.classes import Market, QueryClass, unpriced
from circinus_coordinator.planning.decomposition.pool import Units
from circinus_coordinator.planning.renting.bill import Bill
from circinus_coordinator.planning.transitions import transitions

__all__ = ["Demand", "Ways"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# Beyond this many (unit, operator, group) triples they are left out: the bound stays valid.
_MOST_LINKS = 4_000


class Ways:
    """The known plans of a class, as they grow.

    Attributes:
        machine: For each step `(options,)` US dollars of a request that the rent covers.
        tables: What may follow what in the programme, at whatever prices and with rent or without.
    """

    def __init__(self, market: Market, kind: QueryClass) -> None:
        scenario, programme = market.catalogue.scenario, kind.programme
        classes = [scenario.class_of(device) for device in programme.devices]
        self.kind = kind
        self.machine = [
            np.array(
                [
                    classes[slot].usage_cost_usd(row.compute_s)
                    if classes[slot].billing is Billing.MACHINE
                    else 0.0
                    for slot, row in zip(step.slot, step.rows, strict=True)
                ],
                dtype=np.float64,
            )
            for step in programme.steps
        ]
        self.tables = [
            transitions(programme, unpriced(step), k, further=[step.usd - self.machine[k]])
            for k, step in enumerate(programme.steps)
        ]
        self._usd: FloatArray = np.zeros(0)
        self._slots: IntArray = np.zeros((0, len(programme.steps)), dtype=np.int64)

    @property
    def usd(self) -> FloatArray:
        """`(plans,)` US dollars of a request besides the rent."""
        self._catch_up()
        return self._usd

    @property
    def slots(self) -> IntArray:
        """`(plans, steps)` position of the layout each step runs at."""
        self._catch_up()
        return self._slots

    def _catch_up(self) -> None:
        templates, known = self.kind.templates, len(self._usd)
        new = templates.found[known:]
        if not new:
            return
        options = np.array([plan.options for plan in new], dtype=np.int64)
        rent = np.sum([m[options[:, k]] for k, m in enumerate(self.machine)], axis=0)
        usd = np.maximum(templates.usd[known:] - rent, 0.0)
        steps = self.kind.programme.steps
        slots = np.stack([s.slot[options[:, k]] for k, s in enumerate(steps)], axis=1)
        self._usd = np.concatenate([self._usd, usd])
        self._slots = np.concatenate([self._slots, slots])


class Demand:
    """Units of demand with what renting has to know of them.

    A *link* is a (unit, operator, group): the part of the unit's traffic whose operator runs on
    the group's machines. It is nothing where none is rented.

    Attributes:
        hourly: `(units,)` US dollars per hour of a plan of one dollar a request.
        blocks: Number of links of each unit is operators x groups, from `first` on.
    """

    def __init__(self, market: Market, units: Units, bill: Bill) -> None:
        self.market, self.units, self.bill = market, units, bill
        self.ways = [Ways(market, kind) for kind in market.classes]
        self.hourly = units.rate * SECONDS_PER_HOUR
        groups = len(bill.members)
        sizes = np.array([len(market.classes[k].programme.steps) * groups for k in units.kind])
        self.linked = 0 < int(sizes.sum()) <= _MOST_LINKS
        if not self.linked:
            sizes = np.zeros(len(units), dtype=np.int64)
        self.first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.link_unit = np.repeat(np.arange(len(units), dtype=np.int64), sizes)
        self.link_group = (
            np.arange(self.links, dtype=np.int64) - self.first[self.link_unit]
        ) % max(groups, 1)

    @property
    def links(self) -> int:
        """How many."""
        return int(self.first[-1])

    def groups(self, unit: int) -> IntArray:
        """`(slots,)` rented group of each position of the unit's site, -1 for none."""
        kind = self.market.classes[int(self.units.kind[unit])]
        nodes = np.array(kind.sites[int(self.units.site[unit])].nodes, dtype=np.int64)
        return self.bill.of_node[nodes]

    def meeting(self, unit: int) -> npt.NDArray[np.bool_]:
        """`(plans,)` known plans that keep the unit's SLOs."""
        kind = self.market.classes[int(self.units.kind[unit])]
        found = kind.templates.meeting([kind.asks[int(self.units.ask[unit])]])
        return np.asarray(found[0], dtype=np.bool_)

    def links_of(self, unit: int, plans: IntArray) -> IntArray:
        """`(plans, steps)` link of each step, -1 where it runs on nothing rented."""
        way = self.ways[int(self.units.kind[unit])]
        group = self.groups(unit)[way.slots[plans]]
        step = np.arange(group.shape[1], dtype=np.int64)
        number = self.first[unit] + step * len(self.bill.members) + group
        return np.where(group >= 0, number, -1)

    def values(self, unit: int, prices: FloatArray, links: FloatArray) -> FloatArray:
        """`(plans,)` price in US dollars per hour of one request per second, SLOs disregarded.

        Args:
            unit: Whose.
            prices: `(rows,)` per core-second or megabit per second, rent included.
            links: `(links,)` per request per second.
        """
        number = int(self.units.kind[unit])
        kind, way = self.market.classes[number], self.ways[number]
        value = kind.templates.use @ prices[kind.rows[self.units.site[unit]]]
        value += SECONDS_PER_HOUR * way.usd
        if self.linked:
            padded = np.append(links, 0.0)
            value += padded[self.links_of(unit, np.arange(len(way.usd)))].sum(axis=1)
        return np.asarray(value)

    def prices(self, fixed: FloatArray, rent: FloatArray) -> FloatArray:
        """`(rows,)` what a row costs: its own price and that of the rented row it loads."""
        return np.asarray(fixed + np.append(rent, 0.0)[self.bill.row_of])
