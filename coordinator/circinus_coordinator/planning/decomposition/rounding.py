"""From a mixture of plans per unit of demand to plans for each query, on real machines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.choices import Choices
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.pieces import Placed
from circinus_coordinator.planning.decomposition.solve import Solution, without
from circinus_coordinator.planning.decomposition.sources import Sources
from circinus_coordinator.planning.decomposition.staying import Start, remaining
from circinus_coordinator.planning.decomposition.streams import Stream, streams

__all__ = ["pieces", "round_off"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_LEAST_SHARE = 1e-9
_ATTEMPTS = 3
# Plans worse than the best one by this part of a request's worth are second choices.
_NEARLY = 0.3


def round_off(
    market: Market,
    solution: Solution,
    *,
    seed: int,
    attempts: int = _ATTEMPTS,
    kept: Sequence[Placed] = (),
) -> list[Placed]:
    """Place the mixture, then whatever else there is room for.

    The relaxation knows nothing of memory. Where a source's memory cannot hold what the mixture
    asks for, it is decided what it holds, and the mixture is made again without the rest.

    Args:
        market: Classes.
        solution: Of the relaxation; its pool and mixture are replaced where plans are refused.
        seed: Of the order in which equals are placed.
        attempts: Mixtures to make at most.
        kept: Parts of the decision in force, which stay where they are as long as that costs
            little (`staying.MIGRATION`).
    """
    for _ in range(attempts):
        sources = Sources(market, solution, Filling(market))
        refused = sources.crowded_out(Choices(market, solution, within=_NEARLY))
        if not refused:
            break
        without(market, solution, refused)
    start = Start(market)
    if kept:
        start.keep(market, solution, kept)
        market, solution = remaining(market, solution, start)
    return _Placing(market, solution, seed, start).placed


class _Placing:
    """One mixture put on machines."""

    def __init__(self, market: Market, solution: Solution, seed: int, start: Start) -> None:
        self._market, self._solution = market, solution
        self._random = np.random.default_rng(seed)
        self._filling, self._left, self.placed = start.filling, start.left, start.placed
        units = solution.units
        whole = np.zeros(len(units), dtype=np.bool_)
        one = ~market.splittable[units.query]
        whole[np.repeat(np.arange(len(units)), np.diff(units.start))[one]] = True
        # What may not be split goes first: what is left then suits the others.
        self._place_whole(whole)
        self._place_streams(~whole)
        self._second_choices()

    def _place_whole(self, units: BoolArray) -> None:
        if not units.any():
            return
        market, solution = self._market, self._solution
        choices = Choices(market, solution, within=0.1, least=-0.05)
        wanted = Sources(market, solution, self._filling).whole(choices, units)
        self._random.shuffle(wanted)
        wanted.sort(key=lambda piece: -piece[3])
        for query, unit, template, rate in wanted:
            if self._left[query] >= rate * (1.0 - _LEAST_SHARE):
                self._put(query, unit, template, rate)

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

    def _second_choices(self) -> None:
        """Serve what is left with what is left, dearest requests first."""
        market, units = self._market, self._solution.units
        choices = Choices(market, self._solution, within=_NEARLY, least=-_NEARLY)
        unit_of = np.repeat(np.arange(len(units)), np.diff(units.start))
        lacking = self._left[units.query] > _LEAST_SHARE * market.rate[units.query]
        wanting = np.flatnonzero(lacking & np.isfinite(choices.gain[unit_of]))
        price = 1.0 - choices.gain[unit_of[wanting]] / units.weight[unit_of[wanting]]
        order = np.argsort(price, kind="stable")
        free = self._free()
        for unit, query in zip(
            unit_of[wanting[order]].tolist(), units.query[wanting[order]].tolist(), strict=True
        ):
            for template in self._fitting(unit, query, choices, free):
                rest = float(self._left[query])
                if rest <= _LEAST_SHARE * float(market.rate[query]):
                    break
                self._put(query, unit, template, rest)

    def _free(self) -> FloatArray:
        """`(rows,)` of all machines of a node together; links are not looked at."""
        market = self._market
        names = {name: k for k, name in enumerate(market.catalogue.resources)}
        free = np.full(len(market.capacity), np.inf)
        for row, (name, one, two) in enumerate(market.sites.resources.keys):
            if one == two and name in names:
                free[row] = sum(
                    self._filling.free(d)[names[name]] for d in market.sites.members[one]
                )
            elif one == two:
                free[row] = sum(self._filling.uplink(d) for d in market.sites.members[one])
        return free

    def _fitting(self, unit: int, query: int, choices: Choices, free: FloatArray) -> Iterator[int]:
        """Templates that there may be room for."""
        market, units = self._market, self._solution.units
        kind = market.classes[int(units.kind[unit])]
        templates = choices.of(unit)
        left = free[kind.rows[units.site[unit]]]
        rate = float(self._left[query])
        if not market.splittable[query]:
            part = float(market.rate[query]) / market.catalogue.scenario.queries[query].count
        else:
            part = 1e-3 * rate
        room = kind.templates.use[templates] * part <= left + 1e-12
        yield from templates[room.all(axis=1)].tolist()


def _parts(market: Market, query: int, rate: float) -> Iterator[float]:
    """A rate in the parts that have to stay together."""
    if market.splittable[query]:
        yield rate
        return
    count = market.catalogue.scenario.queries[query].count
    unit = float(market.rate[query]) / count
    for _ in range(round(rate / unit)):
        yield unit


def pieces(market: Market, solution: Solution) -> Iterator[tuple[int, int, int, float]]:
    """(query, unit, template, rate): the mixture shared out among the queries of each unit."""
    units, pool, rate = solution.units, solution.pool, solution.mixture.rate
    used = np.flatnonzero(rate > units.rate[pool.unit] * _LEAST_SHARE)
    edges = np.flatnonzero(np.diff(pool.unit[used], prepend=-1, append=-1))
    for a, b in itertools.pairwise(edges):
        columns = used[a:b]
        unit = int(pool.unit[columns[0]])
        queries = units.query[units.start[unit] : units.start[unit + 1]]
        if market.splittable[queries].all():
            yield from _poured(market, unit, queries, pool.template[columns], rate[columns])
        else:
            yield from _counted(market, unit, queries, pool.template[columns], rate[columns])


def _poured(
    market: Market, unit: int, queries: IntArray, templates: IntArray, rates: FloatArray
) -> Iterator[tuple[int, int, int, float]]:
    """One plan after another poured into one query after another."""
    column, rest = 0, float(rates[0])
    for query in queries:
        room = float(market.rate[query])
        while column < len(rates) and room > 0:
            part = min(room, rest)
            if part > _LEAST_SHARE * float(market.rate[query]):
                yield int(query), unit, int(templates[column]), part
            room -= part
            rest -= part
            if rest <= 0:
                column += 1
                rest = float(rates[column]) if column < len(rates) else 0.0


def _counted(
    market: Market, unit: int, queries: IntArray, templates: IntArray, rates: FloatArray
) -> Iterator[tuple[int, int, int, float]]:
    """Whole queries, each to the plan that lacks most of its rate."""
    lacking = rates.copy()
    for query in sorted(queries, key=lambda q: -market.rate[q]):
        scenario = market.catalogue.scenario
        count = 1 if market.splittable[query] else scenario.queries[query].count
        one = float(market.rate[query]) / count
        shares = np.zeros(len(rates))
        for _ in range(count):
            best = int(np.argmax(lacking))
            if lacking[best] < one * 0.5:
                break
            lacking[best] -= one
            shares[best] += one
        for k in np.flatnonzero(shares):
            yield int(query), unit, int(templates[k]), float(shares[k])
