"""The certificate: what no assignment can exceed, whatever plans there are.

For any prices y >= 0 of the pooled resources b, weighted goodput is at most

    y . b + sum over units of rate * max(0, weight - least value of a plan at y)

(Lagrangian relaxation; Geoffrion, "Lagrangean relaxation for integer programming", 1974). The
least value is taken over *all* plans by the exact programme, pruned by what is known already;
the least over generated columns alone would prove nothing. Waiting, memory and whole queries are
left out, which only lets more through. Sums are rounded outwards.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.classes import Market, QueryClass
from circinus_coordinator.planning.decomposition.pool import Units
from circinus_coordinator.planning.decomposition.pricing import cheapest_known, exact, learn
from circinus_coordinator.planning.labels import Found

__all__ = ["Priced", "lagrangian", "price_all"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# Relative error of a least value: it is a sum of some dozens of products.
_ROUNDING = 1e-12
# Plans better by less are as good: a bound and a plan's value, summed in another order, are equal.
_ALIKE = 1e-10
# Sites priced in one go; more only takes memory.
_AT_ONCE = 256
# And no more than fit this many prices of links.
_CELLS = 1_000_000


class Priced:
    """The least values of all units at some prices.

    Attributes:
        value: `(units,)` never above the true least value.
        improved: Number of plans found that were not known.
        pairs: (unit, template) arrays of the plans found.
    """

    def __init__(self, units: int) -> None:
        self.value: FloatArray = np.full(units, np.inf)
        self.improved = 0
        self._unit: list[IntArray] = []
        self._template: list[IntArray] = []

    def add(self, unit: IntArray, template: IntArray) -> None:
        """Remember columns."""
        self._unit.append(unit)
        self._template.append(template)

    @property
    def pairs(self) -> tuple[IntArray, IntArray]:
        """Columns worth adding to a pool."""
        none: IntArray = np.zeros(0, dtype=np.int64)
        return np.concatenate([none, *self._unit]), np.concatenate([none, *self._template])


def price_all(
    market: Market,
    units: Units,
    prices: FloatArray,
    usd: float,
    *,
    slack: float = 0.0,
    wanted: bool = True,
) -> Priced:
    """Price every unit exactly; better plans join the known ones.

    Args:
        market: Classes.
        units: Demand.
        prices: `(rows,)`.
        usd: Value of a US dollar.
        slack: Plans better than the known ones by less than this part of the worth of a request
            are not looked for; the values say so by being that much lower.
        wanted: Look for no plan that is dearer than a request is worth.
    """
    priced = Priced(len(units))
    edges = np.flatnonzero(np.diff(units.kind, prepend=-1, append=-1)).tolist()
    spans = [slice(a, b) for a, b in itertools.pairwise(edges)]
    kinds = [market.classes[int(units.kind[span.start])] for span in spans]
    columns: dict[int, tuple[IntArray, IntArray]] = {}
    for wave in _waves(kinds) if market.executor else [[k] for k in range(len(kinds))]:
        asked = [
            _asked(kinds[k], units, spans[k], prices, usd, slack=slack, wanted=wanted) for k in wave
        ]
        for k, one, found in zip(wave, asked, _answers(market, asked), strict=True):
            kinds[k].templates.add(found)
            priced.improved += len(kinds[k].templates) - one.knew
            columns[k] = _taken(priced, kinds[k], units, spans[k], one, found)
    for k in range(len(kinds)):
        priced.add(*columns[k])
    return priced


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What one class is asked about: all it takes to answer, wherever that is.

    Attributes:
        kind: The class, its members left out.
        knew: Plans known before.
        site: `(pairs,)` and so are all others.
        pair: `(units,)` the pair of each unit.
    """

    kind: QueryClass
    prices: FloatArray
    usd: float
    knew: int
    site: IntArray
    ask: IntArray
    pair: IntArray
    worth: FloatArray
    best: IntArray
    known: FloatArray
    cutoff: FloatArray

    def answer(self) -> list[Found | None]:
        """The best plan of each pair, None where none is below its cutoff."""
        kind, answers = self.kind, list[Found | None]()
        at_once = int(np.clip(_CELLS // len(kind.layout.uplink) ** 2, 8, _AT_ONCE))
        for start in range(0, len(self.site), at_once):
            part = slice(start, start + at_once)
            found = exact(
                kind, self.prices, self.usd, self.site[part], self.ask[part], self.cutoff[part]
            )
            kind.templates.add(found)  # what is known helps to guess
            answers += found
        return answers


def _waves(kinds: Sequence[QueryClass]) -> list[list[int]]:
    """Classes that may be asked at once: of each family one.

    A class learns from the plans that others of its family have found before, so that these go
    one after another, and the outcome is the same as if all did.
    """
    waves: list[list[int]] = []
    seen: Counter[int] = Counter()
    for k, kind in enumerate(kinds):
        turn = seen[id(kind.templates.family)]
        seen[id(kind.templates.family)] += 1
        if turn == len(waves):
            waves.append([])
        waves[turn].append(k)
    return waves


def _asked(
    kind: QueryClass,
    units: Units,
    span: slice,
    prices: FloatArray,
    usd: float,
    *,
    slack: float,
    wanted: bool,
) -> _Asked:
    key = units.site[span] * len(kind.asks) + units.ask[span]
    pairs, pair = np.unique(key, return_inverse=True)
    sites, asks = np.divmod(pairs, len(kind.asks))
    worth = np.zeros(len(sites))
    np.maximum.at(worth, pair, units.weight[span])
    knew = len(kind.templates)
    learn(kind, prices, usd, sites, asks)
    best, known = cheapest_known(kind, prices, usd, sites, asks)
    most = worth if wanted else np.full(len(sites), np.inf)
    none = kind.query[:0]
    return _Asked(
        kind=dataclasses.replace(kind, query=none, site=none, ask=none),
        prices=prices,
        usd=usd,
        knew=knew,
        site=sites,
        ask=asks,
        pair=pair,
        worth=worth,
        best=best,
        known=known,
        cutoff=np.maximum(np.minimum(known, most) * (1 - _ALIKE) - slack * worth, 0.0),
    )


def _answers(market: Market, asked: Sequence[_Asked]) -> Iterable[list[Found | None]]:
    if market.executor is None:
        return map(_Asked.answer, asked)
    return market.executor.map(_Asked.answer, asked)


def _taken(
    priced: Priced,
    kind: QueryClass,
    units: Units,
    span: slice,
    asked: _Asked,
    found: Sequence[Found | None],
) -> tuple[IntArray, IntArray]:
    """Set the values of a class's units; columns that may help."""
    known, best = asked.known, asked.best
    value = np.minimum(known, asked.cutoff)
    for k, plan in enumerate(found):
        if plan is not None:
            value[k] = known[k] = plan.value
            best[k] = kind.templates.number(plan)
    # Where nothing is below its cutoff the least value may lie anywhere above it.
    priced.value[span] = np.minimum(value, asked.worth)[asked.pair]
    useful = np.flatnonzero(known[asked.pair] < units.weight[span])
    return useful + span.start, best[asked.pair[useful]]


def lagrangian(units: Units, prices: FloatArray, capacity: FloatArray, value: FloatArray) -> float:
    """The bound at the best multiple of `prices`, given least values over all plans; rounded up.

    A multiple of prices multiplies the values. The master programme's prices are a little low, as
    dollars count in it: too little to turn away who is not worth serving, however many they are.
    """
    least = value * (1 - _ROUNDING)
    paid = math.fsum((prices * capacity).tolist())
    times = _multiple(units, paid, least)
    gains = units.rate * np.maximum(units.weight - times * least, 0.0)
    total = math.fsum(gains.tolist()) + times * paid
    total = min(total, math.fsum((units.rate * units.weight).tolist()))
    return math.nextafter(total * (1 + _ROUNDING), math.inf) if total > 0 else 0.0


def _multiple(units: Units, paid: float, least: FloatArray) -> float:
    """The multiple at which the bound, convex in it, is lowest: where demand pays for capacity."""
    asked = np.flatnonzero(least > 0)
    turned = units.weight[asked] / least[asked]  # multiples at which a unit is turned away
    order = np.argsort(-turned, kind="stable")
    demand = np.cumsum((units.rate * least)[asked][order])
    first = int(np.searchsorted(demand, paid))
    return float(turned[order][first]) if first < len(order) else 0.0
