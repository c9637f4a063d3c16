"""One mixture put on machines: whole queries, then streams, then whatever there is room for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.agreement import Agreement
from circinus_coordinator.planning.decomposition.choices import Choices
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.leftovers import second_choices
from circinus_coordinator.planning.decomposition.neighbourhoods import Neighbourhoods, Way
from circinus_coordinator.planning.decomposition.pieces import pieces
from circinus_coordinator.planning.decomposition.placement import Placed
from circinus_coordinator.planning.decomposition.pool import Units
from circinus_coordinator.planning.decomposition.solve import Solution
from circinus_coordinator.planning.decomposition.sources import Sources
from circinus_coordinator.planning.decomposition.staying import Start
from circinus_coordinator.planning.decomposition.streams import Stream, streams

__all__ = ["Placing"]

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
_LEAST_SHARE = 1e-9
# Whole queries up to which each source places its own anew at the end.
_FEW = 20_000
# Beyond this many whole queries the mixture is rounded instead of asking each source.
_MANY = 200_000
# Plans worse than the best one by this part of a request's worth: left out where all is chosen at
# once, still looked at where memory is short.
_NEAR, _THRIFTY = 0.1, 0.2
# What whole queries leave unused of the machines of a group, about.
_MARGIN = 0.05


class Placing:
    """One mixture put on machines.

    Attributes:
        placed: What is placed.
    """

    def __init__(
        self,
        market: Market,
        solution: Solution,
        seed: int,
        start: Start,
        agreed: Agreement | None,
    ) -> None:
        """Place it.

        Args:
            market: What is left of capacity.
            solution: Of the relaxation, for what is left.
            seed: Of the order in which equals are placed.
            start: Machines, and what is on them already.
            agreed: What sources want for their whole queries.
        """
        self._agreed = agreed
        self._wanted: set[int] = set()
        self._market, self._solution = market, solution
        self._random = np.random.default_rng(seed)
        self._filling, self._left, self.placed = start.filling, start.left, start.placed
        self._stay = {p.query for p in start.placed}
        units = solution.units
        one = ~market.splittable[units.query]
        whole = np.zeros(len(units), dtype=np.bool_)
        whole[np.repeat(np.arange(len(units)), np.diff(units.start))[one]] = True
        # What may not be split goes first: what is left then suits the others.
        if one.any():
            self._place_whole(whole)
        self._place_streams(~whole)
        second_choices(market, solution, self._filling, self._left, self._put)
        if 0 < one.sum() <= _FEW:
            self._improve(whole)

    def _place_whole(self, units: BoolArray) -> None:
        market, solution = self._market, self._solution
        if np.diff(solution.units.start)[units].sum() > _MANY:
            wanted = [piece for piece in pieces(market, solution) if units[piece[1]]]
        else:
            choices = Choices(market, solution, within=_NEAR, least=-_NEAR / 2)
            sources = Sources(market, solution, self._filling)
            order = self._random.permutation(np.array(list(sources.units))).tolist()
            asking = units if self._agreed is None else units & ~self._agreed.decided
            wanted = sources.whole(choices, asking, order, margin=_MARGIN) if asking.any() else []
            wanted += [] if self._agreed is None else self._agreed.pieces
            self._wanted = {query for query, *_ in wanted}
        # What is worth most comes first: the last ones may find too little left in one place.
        wanted.sort(key=lambda piece: -piece[3] * float(market.weight[piece[0]]))
        for query, unit, template, rate in wanted:
            if self._left[query] >= rate * (1.0 - _LEAST_SHARE):
                self._put(query, unit, template, rate)

    def _improve(self, units: BoolArray) -> None:
        """Let each source place its whole queries anew.

        Of those that had agreed only sources that did not get what they wanted: no other finds
        anything better.
        """
        market, members = self._market, self._solution.units
        choices = Choices(market, self._solution, within=_NEAR, least=-_THRIFTY)
        ways: dict[int, list[Way]] = {}
        others: list[Placed] = []
        mine = set(_queries(members, np.flatnonzero(units))) - self._stay
        for p in self.placed:
            if p.query in mine:
                parts = p.rate / float(market.rate[p.query]) * _count(market, p.query)
                ways.setdefault(p.query, []).append(Way(p.template, p.devices, parts))
            else:
                others.append(p)
        search = Neighbourhoods(market, self._solution, self._filling, choices, ways)
        sources = Sources(market, self._solution, self._filling)
        for node in self._random.permutation(np.array(list(sources.units))).tolist():
            some = sources.units[node]
            worth = choices.gain[some] > -_THRIFTY * members.weight[some]
            queries = _queries(members, some[units[some] & worth])
            queries = [q for q in queries if q not in self._stay]
            content = self._agreed is not None and self._agreed.decided[some].all()
            if not content or any(q in self._wanted and q not in search.ways for q in queries):
                search.improve(queries)
        self.placed = others + [
            Placed(
                q,
                int(members.kind[search.unit(q)]),
                w.template,
                w.devices,
                w.parts * search.part(q),
            )
            for q, found in search.ways.items()
            for w in found
        ]

    def _put(self, query: int, unit: int, template: int, rate: float) -> None:
        """Place a piece as far as there is room."""
        number = int(self._solution.units.kind[unit])
        kind = self._market.classes[number]
        nodes = kind.sites[int(self._solution.units.site[unit])].nodes
        steps = self._filling.recipe(number, kind.templates.found[template].options)
        whole = not bool(self._market.splittable[query])
        for part in _parts(self._market, query, rate):
            ways, rest = self._filling.place(steps, nodes, part, whole=whole)
            self.placed += [Placed(query, number, template, devices, r) for devices, r in ways]
            self._left[query] -= part - rest
            if rest > 0:
                break

    def _place_streams(self, units: BoolArray) -> None:
        solution = self._solution
        pool, rate = solution.pool, solution.mixture.rate
        used = np.flatnonzero(
            (rate > solution.units.rate[pool.unit] * _LEAST_SHARE) & units[pool.unit]
        )
        used = self._random.permutation(used)
        columns = list(
            zip(
                pool.unit[used].tolist(),
                pool.template[used].tolist(),
                rate[used].tolist(),
                strict=True,
            )
        )
        found = streams(self._market, solution, self._filling, columns)
        found.sort(key=lambda stream: stream.unit)
        for unit, mine in itertools.groupby(found, key=lambda stream: stream.unit):
            self._share_out(unit, list(mine))

    def _share_out(self, unit: int, ways: list[Stream]) -> None:
        """Pour the streams of a unit into one of its queries after another."""
        units, number = self._solution.units, int(self._solution.units.kind[unit])
        at, rest = 0, ways[0].rate
        for query in units.query[units.start[unit] : units.start[unit + 1]].tolist():
            room = float(self._left[query])
            least = room * _LEAST_SHARE
            while at < len(ways) and room > least:
                way = ways[at]
                part = min(room, rest)
                if part > least:
                    self.placed.append(Placed(query, number, way.template, way.devices, part))
                room -= part
                rest -= part
                if rest <= 0:
                    at += 1
                    rest = ways[at].rate if at < len(ways) else 0.0
            self._left[query] = room


def _queries(units: Units, index: IntArray) -> list[int]:
    """Queries of some units."""
    start = units.start
    return [q for u in index.tolist() for q in units.query[start[u] : start[u + 1]].tolist()]


def _count(market: Market, query: int) -> int:
    return 1 if market.splittable[query] else market.catalogue.scenario.queries[query].count


def _parts(market: Market, query: int, rate: float) -> Iterator[float]:
    """A rate in the parts that have to stay together."""
    if market.splittable[query]:
        yield rate
        return
    count = market.catalogue.scenario.queries[query].count
    unit = float(market.rate[query]) / count
    for _ in range(round(rate / unit)):
        yield unit
