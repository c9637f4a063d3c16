"""A mixture shared out among the queries of each unit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.solve import Solution

__all__ = ["pieces"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_LEAST_SHARE = 1e-9


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
            part = float(min(room, rest))
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
