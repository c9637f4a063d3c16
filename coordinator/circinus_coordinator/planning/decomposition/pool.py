"""The columns in play: the plans each unit of demand may choose from, as one sparse matrix."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from circinus_coordinator.planning.decomposition.classes import Market

__all__ = ["Pool", "Units", "cheapest", "everything", "make_units"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
# Values compared in one go; more only takes memory.
_CELLS = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Demand of one class, site, ask and weight; arrays `(units,)`.

    Attributes:
        kind: Number of the class.
        site: Position in the class's sites.
        ask: Position in the class's asks.
        weight: Worth of a request.
        rate: Requests per second of all its queries.
        query: `(queries,)` positions in the scenario, unit by unit.
        start: `(units + 1,)` where each unit's queries begin.
    """

    kind: IntArray
    site: IntArray
    ask: IntArray
    weight: FloatArray
    rate: FloatArray
    query: IntArray
    start: IntArray

    def __len__(self) -> int:
        return len(self.kind)

    def of_query(self, queries: int) -> IntArray:
        """`(queries,)` the unit of each query of the scenario; -1 where it has none."""
        found = np.full(queries, -1, dtype=np.int64)
        found[self.query] = np.repeat(np.arange(len(self)), np.diff(self.start))
        return found

    def take(self, index: IntArray) -> Units:
        """Some of the units, for pricing: their queries are left out."""
        return Units(
            kind=self.kind[index],
            site=self.site[index],
            ask=self.ask[index],
            weight=self.weight[index],
            rate=self.rate[index],
            query=self.query[:0],
            start=np.zeros(len(index) + 1, dtype=np.int64),
        )


def make_units(market: Market, label: IntArray | None = None) -> Units:
    """Sum up the demand of queries that cannot be told apart, nor by a `(queries,)` label."""
    none: IntArray = np.zeros(0, dtype=np.int64)
    kind = np.concatenate(
        [none, *(np.full(len(c.query), k, dtype=np.int64) for k, c in market.of_class())]
    )
    query, site, ask = (
        np.concatenate([none, *(getattr(c, name) for c in market.classes)])
        for name in ("query", "site", "ask")
    )
    weight, rate = market.weight[query], market.rate[query]
    tag = np.zeros(len(query), dtype=np.int64) if label is None else label[query]
    order = np.lexsort((query, tag, weight, ask, site, kind))
    order = order[((weight > 0) & (rate > 0))[order]]
    kind, query, site, ask = kind[order], query[order], site[order], ask[order]
    weight, rate = weight[order], rate[order]
    new = np.ones(len(kind), dtype=np.bool_)
    new[1:] = (np.diff(kind) != 0) | (np.diff(site) != 0) | (np.diff(ask) != 0)
    new[1:] |= (np.diff(weight) != 0) | (np.diff(tag[order]) != 0)
    start = np.append(np.flatnonzero(new), len(kind)).astype(np.int64)
    first = start[:-1]
    return Units(
        kind=kind[first],
        site=site[first],
        ask=ask[first],
        weight=weight[first],
        rate=np.add.reduceat(rate, first) if len(first) else rate,
        query=query,
        start=start,
    )


@dataclass(slots=True)
class Pool:
    """Columns of units, sorted by unit.

    Attributes:
        unit: `(columns,)` whose column.
        template: `(columns,)` which plan of its class.
        use: `(columns, rows)` sparse, per request.
        usd: `(columns,)` per request.
    """

    unit: IntArray
    template: IntArray
    use: sparse.csr_matrix
    usd: FloatArray

    @classmethod
    def of(cls, market: Market, units: Units, unit: IntArray, template: IntArray) -> Pool:
        """Columns for pairs of a unit and a plan of its class; repeated pairs count once."""
        key = unit * (int(template.max(initial=0)) + 1) + template
        _, first = np.unique(key, return_index=True)
        unit, template = unit[first], template[first]
        rows = len(market.capacity)
        parts: list[sparse.csr_matrix] = []
        usd = np.zeros(len(unit))
        kinds = units.kind[unit]
        edges = np.flatnonzero(np.diff(kinds, prepend=-1, append=-1))
        for a, b in itertools.pairwise(edges):
            known = market.classes[int(kinds[a])]
            of, plan = known.rows[units.site[unit[a:b]]], template[a:b]
            amount = known.templates.use[plan]
            usd[a:b] = known.templates.usd[plan]
            some = amount > 0
            count = np.concatenate([[0], np.cumsum(some.sum(axis=1))])
            parts.append(sparse.csr_matrix((amount[some], of[some], count), shape=(b - a, rows)))
        use = (
            sparse.vstack(parts, format="csr")
            if parts
            else sparse.csr_matrix((0, rows), dtype=float)
        )
        return cls(unit=unit, template=template, use=sparse.csr_matrix(use), usd=usd)

    def __len__(self) -> int:
        return len(self.unit)

    def starts(self) -> IntArray:
        """Where each unit's columns begin; every unit in the pool has at least one."""
        return np.flatnonzero(np.diff(self.unit, prepend=-1)).astype(np.int64)

    def take(self, keep: IntArray) -> Pool:
        """Some of the columns, in order."""
        return Pool(self.unit[keep], self.template[keep], self.used(keep), self.usd[keep])

    def used(self, columns: IntArray) -> sparse.csr_matrix:
        """`use` of some of the columns."""
        # The stubs do not know an index array of int64 for what it is.
        use: Any = self.use
        return sparse.csr_matrix(use[columns])


def everything(
    market: Market, units: Units, among: IntArray | None = None
) -> tuple[IntArray, IntArray]:
    """Every known plan that each unit may take, as (unit, template) pairs.

    Args:
        market: Classes.
        units: Demand.
        among: Sorted positions of the units meant; None for all.
    """
    if among is None:
        among = np.arange(len(units), dtype=np.int64)
    unit: list[IntArray] = [np.zeros(0, dtype=np.int64)]
    template: list[IntArray] = [np.zeros(0, dtype=np.int64)]
    edges = np.flatnonzero(np.diff(units.kind[among], prepend=-1, append=-1))
    for a, b in itertools.pairwise(edges):
        kind = market.classes[int(units.kind[among[a]])]
        rows, plans = np.nonzero(kind.templates.meeting(kind.asks)[units.ask[among[a:b]]])
        unit.append(among[a + rows])
        template.append(plans.astype(np.int64))
    return np.concatenate(unit), np.concatenate(template)


def cheapest(
    market: Market, units: Units, prices: FloatArray, usd: float, most: int
) -> tuple[IntArray, IntArray]:
    """Each unit's `most` known plans of least value, as (unit, template) pairs.

    Args:
        market: Classes.
        units: Demand.
        prices: `(rows,)`.
        usd: Value of a US dollar.
        most: Plans for each unit.
    """
    unit: list[IntArray] = [np.zeros(0, dtype=np.int64)]
    template: list[IntArray] = [np.zeros(0, dtype=np.int64)]
    edges = np.flatnonzero(np.diff(units.kind, prepend=-1, append=-1))
    for a, b in itertools.pairwise(edges):
        kind = market.classes[int(units.kind[a])]
        plans = len(kind.templates)
        meeting = kind.templates.meeting(kind.asks)
        for first in range(int(a), int(b), max(1, _CELLS // max(1, plans))):
            part = slice(first, min(int(b), first + max(1, _CELLS // max(1, plans))))
            value = prices[kind.rows[units.site[part]]] @ kind.templates.use.T
            value += usd * kind.templates.usd
            value[~meeting[units.ask[part]]] = np.inf
            if plans > most:
                plan = np.argpartition(value, most - 1, axis=1)[:, :most]
                plan.sort(axis=1)
                value = np.take_along_axis(value, plan, axis=1)
            else:
                plan = np.broadcast_to(np.arange(plans), value.shape)
            rows, at = np.nonzero(np.isfinite(value))
            unit.append(first + rows)
            template.append(plan[rows, at].astype(np.int64))
    return np.concatenate(unit), np.concatenate(template)
