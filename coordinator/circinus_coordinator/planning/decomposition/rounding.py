"""From a mixture of plans per unit of demand to plans for each query, on real machines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.choices import Choices
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.neighbourhoods import Neighbourhoods, Way
from circinus_coordinator.planning.decomposition.pieces import pieces
from circinus_coordinator.planning.decomposition.placement import Placed
from circinus_coordinator.planning.decomposition.pool import Units
from circinus_coordinator.planning.decomposition.solve import Solution, without
from circinus_coordinator.planning.decomposition.sources import Piece, Sources
from circinus_coordinator.planning.decomposition.staying import Start
from circinus_coordinator.planning.decomposition.streams import Stream, streams
from circinus_coordinator.planning.stop import Stop

__all__ = ["pieces", "round_off"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_LEAST_SHARE = 1e-9
# Mixtures to make at most until memory holds what they ask for.
_MIXTURES = 3
# Beyond this many units one has to do: each takes the master programme's time.
_LARGE = 20_000
# Orders of whole queries tried: several where they are quick.
_ATTEMPTS, _QUERIES_TIMES_ATTEMPTS = 4, 4_000
_STRIDE = 1_000_003
# Whole queries up to which each source places its own anew at the end.
_FEW = 20_000
# Beyond this many whole queries the mixture is rounded instead of asking each source.
_MANY = 200_000
# Plans worse than the best one by this part of a request's worth: left out where all is chosen at
# once, still looked at where memory is short or something is left.
_NEAR, _THRIFTY, _NEARLY = 0.1, 0.2, 0.3
# What whole queries leave unused of the machines of a group, about.
_MARGIN = 0.05


def round_off(
    market: Market,
    solution: Solution,
    *,
    seed: int,
    attempts: int | None = None,
    effort: Stop | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    kept: Sequence[Placed] = (),
    agreed: Sequence[Piece] = (),
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
            attempt.
    """
    began = clock()
    for _ in range(1 if len(solution.units) > _LARGE else _MIXTURES):
        sources = Sources(market, solution, Filling(market))
        refused = sources.crowded_out(Choices(market, solution, within=_THRIFTY))
        if not refused:
            break
        without(market, solution, refused)
    whole = int((~market.splittable[solution.units.query]).sum())
    if attempts is None:
        most = _QUERIES_TIMES_ATTEMPTS // max(1, whole)
        attempts = max(1, min(_ATTEMPTS, most)) + bool(agreed)
    best: list[Placed] = []
    reached = -1.0
    for attempt in range(attempts if whole else 1):
        if attempt and effort is not None and effort(attempt, clock() - began):
            break
        start, left, rest = Start(market), market, solution
        if kept:
            left, rest = start.keep(market, solution, kept)
        wishes = agreed if attempt == 0 else ()
        placed = _Placing(left, rest, seed + attempt * _STRIDE, start, wishes).placed
        goodput = math.fsum(p.rate * float(market.weight[p.query]) for p in placed)
        if goodput > reached:
            best, reached = placed, goodput
    return best


class _Placing:
    """One mixture put on machines."""

    def __init__(
        self,
        market: Market,
        solution: Solution,
        seed: int,
        start: Start,
        agreed: Sequence[Piece],
    ) -> None:
        self._agreed = agreed
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
        self._second_choices()
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
            asking = units & self._several() if self._agreed else units
            wanted = sources.whole(choices, asking, order, margin=_MARGIN) if asking.any() else []
            wanted += self._agreed
        wanted.sort(key=lambda piece: -piece[3])
        for query, unit, template, rate in wanted:
            if self._left[query] >= rate * (1.0 - _LEAST_SHARE):
                self._put(query, unit, template, rate)

    def _several(self) -> BoolArray:
        """Units with a query that stands for several: sources do not agree on these."""
        units, queries = self._solution.units, self._market.catalogue.scenario.queries
        count = np.array([queries[q].count for q in units.query.tolist()], dtype=np.int64)
        return np.asarray(np.maximum.reduceat(count, units.start[:-1]) > 1)

    def _improve(self, units: BoolArray) -> None:
        """Let each source place its whole queries anew."""
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
            search.improve([q for q in queries if q not in self._stay])
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
