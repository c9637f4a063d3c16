"""New queries in a market that is there already: of which class they are, and what fits them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.query import Query, Slo
from circinus_coordinator.planning.decomposition.classes import Market, admit, way, widen
from circinus_coordinator.planning.decomposition.pricing import exact

__all__ = ["Joined", "Joining"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# Multiples of the prices at which the first plans of a class are sought.
_TIMES = (1.0, 0.25, 4.0)


@dataclass(frozen=True, slots=True)
class Joined:
    """A query in the terms of a market.

    Attributes:
        kind: Number of its class.
        site: Position in the class's sites.
    """

    kind: int
    site: int


class Joining:
    """Finds the class of a query; sites that are new join the market."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._ways: dict[tuple[object, ...], Joined] = {}
        self._kinds: dict[tuple[object, ...], int] = {}
        self._sites: dict[tuple[int, tuple[int, ...]], int] = {}
        self._sought: set[tuple[int, Slo]] = set()
        self._hopeless: set[tuple[object, float | None]] = set()
        queries = market.catalogue.scenario.queries
        for number, kind in market.of_class():
            for position, site in enumerate(kind.sites):
                self._sites[number, site.nodes] = position
            first = kind.programme.query
            found, _ = way(market.catalogue, market.sites, first)
            self._kinds[found, first.slo.percentile] = number
            for query, place in zip(kind.query.tolist(), kind.site.tolist(), strict=True):
                self._ways[self._way(queries[query])] = Joined(number, place)

    def join(self, query: Query) -> Joined | None:
        """Class and site of a query, compiled where there was no such class; None for no plan."""
        key = self._way(query)
        if key not in self._ways:
            found, site = way(self._market.catalogue, self._market.sites, query)
            known = (found, query.slo.percentile)
            if known not in self._kinds:
                # Its accuracy may be out of reach, and the next query's of the same class not.
                hopeless = (known, query.slo.accuracy)
                if hopeless in self._hopeless:
                    return None
                number = admit(self._market, query, site)
                if number is None:
                    self._hopeless.add(hopeless)
                    return None
                self._kinds[known] = number
                self._sites[number, site.nodes] = 0
            number = self._kinds[known]
            position = self._sites.get((number, site.nodes))
            if position is None:
                kind = self._market.classes[number]
                position = self._sites[number, site.nodes] = len(kind.sites)
                kind.sites.append(site)
                kind.rows = np.concatenate([kind.rows, site.rows[kind.used][None, :]])
            self._ways[key] = Joined(number, position)
        return self._ways[key]

    def choices(
        self, joined: Joined, slo: Slo, prices: FloatArray, usd: float
    ) -> tuple[IntArray, FloatArray]:
        """The known plans that meet the SLOs, cheapest first, and their values at the prices.

        Where none does, one is looked for, once.
        """
        kind = self._market.classes[joined.kind]
        known = kind.templates
        some = np.flatnonzero(known.meeting([slo])[0])
        if not len(some) and (joined.kind, slo) not in self._sought:
            self._sought.add((joined.kind, slo))
            self._learn(joined, slo, prices, usd)
            some = np.flatnonzero(known.meeting([slo])[0])
        value = known.use[some] @ prices[kind.rows[joined.site]] + usd * known.usd[some]
        order = np.argsort(value, kind="stable")
        return some[order].astype(np.int64), np.asarray(value[order])

    def _learn(self, joined: Joined, slo: Slo, prices: FloatArray, usd: float) -> None:
        """Look for the best plan of all; for a new class also for such as keep clear of others."""
        kind = self._market.classes[joined.kind]
        if slo not in kind.asks:
            widen(self._market, kind, slo)
        site, ask = np.array([joined.site]), np.array([kind.asks.index(slo)])
        for times in (1.0,) if len(kind.templates) else _TIMES:
            kind.templates.add(exact(kind, times * prices, usd, site, ask, np.array([np.inf])))

    def _way(self, query: Query) -> tuple[object, ...]:
        sources = self._market.catalogue.scenario.pipelines[query.pipeline].sources
        return (query.pipeline, query.slo.percentile, *(query.source[name] for name in sources))
