"""What the sources of a market may choose for their whole queries, as arrays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.solve import Solution
from circinus_coordinator.planning.decomposition.sources import Sources
from circinus_coordinator.planning.decomposition.tree import Grove

__all__ = ["Groves"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
# Queries of a grove that are decided one by one; it is some 20 for each source in generated
# scenarios.
_MANY = 200
# What fits but for rounding fits.
_FITS = 1e-9


@dataclass(frozen=True, slots=True)
class _Part:
    """Options of one source: where they stand among all, and what they use of its own."""

    low: int
    high: int
    owner: IntArray
    use: FloatArray


class Groves:
    """All options of all sources.

    Attributes:
        nodes: Sources with whole queries of their own.
        loose: `(units,)` units that are not decided source by source.
        shared: `(rows,)` resources that somebody else than one source's whole queries may use.
        worth: `(options,)` of a query's requests.
        fits: `(options,)` which ask no more of a node than one machine of it has.
        use: `(options, rows)` of what is shared.
        query, unit, template: `(options,)` what they stand for.
    """

    def __init__(
        self, market: Market, solution: Solution, *, without: Collection[int] = ()
    ) -> None:
        """Sort units and resources.

        Args:
            market: Classes.
            solution: Units.
            without: Units that are to be loose in any case.
        """
        self._market, self._units = market, solution.units
        self._sources = Sources(market, solution, Filling(market))
        units = solution.units
        count = np.array([q.count for q in market.catalogue.scenario.queries], dtype=np.int64)
        apart = market.splittable | (count > 1)
        of = np.repeat(np.arange(len(units)), np.diff(units.start))
        self.loose: BoolArray = np.zeros(len(units), dtype=np.bool_)
        self.loose[of[apart[units.query]]] = True
        self.loose[list(without)] = True
        size = np.diff(units.start)
        for mine in self._sources.units.values():
            # So many queries fill a source well enough, and take long to choose for.
            if size[mine].sum() > _MANY:
                self.loose[mine] = True
        self._join(size)
        self.shared = self._shared()
        self.nodes = [n for n in self._units_of if not self.loose[self._units_of[n]].all()]
        self.fill()

    def own(self, node: int) -> Sequence[int]:
        """Rows of the machines of a grove's sources."""
        return [row for one in self._members[node] for row in self._sources.own(one)]

    def mine(self, node: int) -> IntArray:
        """Units that a grove decides on."""
        mine = self._units_of[node]
        return np.asarray(mine[~self.loose[mine]])

    def _join(self, size: IntArray) -> None:
        """Let sources that have queries in common choose together, as far as they stay few."""
        head = {node: node for node in self._sources.units}
        members = {node: [node] for node in head}
        queries = {
            node: int(size[mine[~self.loose[mine]]].sum())
            for node, mine in self._sources.units.items()
        }
        for unit in np.flatnonzero(~self.loose).tolist():
            one, *others = dict.fromkeys(self._sources.starts(unit))
            for other in others:
                a, b = head[one], head.setdefault(other, other)
                members.setdefault(b, [b])
                if a == b or queries[a] + queries.get(b, 0) > _MANY:
                    continue
                queries[a] += queries.pop(b, 0)
                members[a] += members.pop(b)
                head.update(dict.fromkeys(members[a], a))
        self._members = {a: nodes for a, nodes in members.items() if a in queries}
        none = np.zeros(0, dtype=np.int64)
        self._units_of = {
            a: np.sort(np.concatenate([self._sources.units.get(n, none) for n in nodes]))
            for a, nodes in self._members.items()
        }

    def _shared(self) -> BoolArray:
        units = self._units
        home = np.full(len(self._market.capacity), -1, dtype=np.int64)
        chooser = np.full(len(units), -1, dtype=np.int64)
        for node, mine in self._units_of.items():
            home[list(self.own(node))] = node
            chooser[mine] = node
        shared = home < 0
        for number, kind in self._market.of_class():
            mine = np.flatnonzero(units.kind == number)
            if not len(mine):
                continue
            rows = kind.rows[units.site[mine]]
            foreign = (home[rows] != chooser[mine][:, None]) | self.loose[mine][:, None]
            shared[rows[foreign]] = True
        return np.asarray(shared)

    def _each(self) -> FloatArray:
        """`(rows,)` of one machine of each node, all alike; of links nothing is known."""
        sites = self._market.sites
        found = np.full(len(self._market.capacity), np.inf)
        for row, (_, one, two) in enumerate(sites.resources.keys):
            if one == two:
                found[row] = self._market.capacity[row] / len(sites.members[one]) * (1 + _FITS)
        return found

    def fill(self) -> None:
        """Take in all templates known by now."""
        market, units = self._market, self._units
        self._parts: dict[int, _Part] = {}
        columns: list[list[IntArray]] = [[], [], []]
        worth: list[FloatArray] = []
        fits: list[BoolArray] = []
        most = self._each()
        entries: list[tuple[IntArray, IntArray, FloatArray]] = []
        low = 0
        for node in self.nodes:
            own = np.array(self.own(node), dtype=np.int64)
            owner: list[IntArray] = []
            used: list[FloatArray] = []
            start = low
            for unit in self.mine(node).tolist():
                kind = market.classes[int(units.kind[unit])]
                rows = kind.rows[units.site[unit]]
                meets = kind.templates.meeting([kind.asks[int(units.ask[unit])]])[0]
                plans = np.flatnonzero(meets).astype(np.int64)
                each = kind.templates.use[plans]
                here = np.zeros((len(plans), len(own)))
                for f, row in enumerate(rows.tolist()):
                    here[:, own == row] = each[:, f : f + 1]
                there = self.shared[rows]
                plan, feature = np.nonzero(each[:, there])
                amount, at = each[:, there][plan, feature], rows[there][feature]
                for query in units.query[units.start[unit] : units.start[unit + 1]].tolist():
                    rate = float(market.rate[query])
                    for column, value in zip(columns, (query, unit, None), strict=True):
                        filled = plans if value is None else np.full_like(plans, value)
                        column.append(filled)
                    fits.append((each * rate <= most[rows]).all(axis=1))
                    worth.append(np.full(len(plans), rate * float(units.weight[unit])))
                    owner.append(np.full_like(plans, query))
                    used.append(here * rate)
                    entries.append((plan + low, at, amount * rate))
                    low += len(plans)
            room = np.maximum(market.capacity[own], 1e-12)
            none = np.zeros((0, len(own)))
            self._parts[node] = _Part(
                start, low, _joined(owner), np.concatenate([none, *used]) / room
            )
        self.query, self.unit, self.template = (_joined(column) for column in columns)
        self.worth: FloatArray = np.concatenate([np.zeros(0), *worth])
        self.fits: BoolArray = np.concatenate([np.zeros(0, dtype=np.bool_), *fits])
        row, at = _joined([entry[0] for entry in entries]), _joined([e[1] for e in entries])
        amount = np.concatenate([np.zeros(0), *(entry[2] for entry in entries)])
        size = (low, len(market.capacity))
        self.use = sparse.csr_matrix((amount, (row, at)), shape=size, dtype=np.float64)

    def part(self, node: int) -> slice:
        """Where a source's options stand."""
        return slice(self._parts[node].low, self._parts[node].high)

    def of(self, node: int, gain: FloatArray) -> Grove:
        """The options of a source, given what all options leave."""
        part = self._parts[node]
        return Grove(owner=part.owner, gain=gain[part.low : part.high], use=part.use)


def _joined(parts: Sequence[IntArray]) -> IntArray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])
