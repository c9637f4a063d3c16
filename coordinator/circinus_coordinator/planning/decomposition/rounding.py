"""From a mixture of plans per unit of demand to plans for each query, on real machines."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.pool import Units
from circinus_coordinator.planning.decomposition.solve import Solution, without

__all__ = ["Placed", "pieces", "round_off"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# Plans tried for what found no room, per query.
_SECOND_CHOICES = 24
_LEAST_SHARE = 1e-9
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Placed:
    """A part of a query's traffic and where it goes.

    Attributes:
        query: Position in the scenario.
        kind: Number of its class.
        template: The plan.
        devices: Device of each position of the class's layout.
        rate: Requests per second.
    """

    query: int
    kind: int
    template: int
    devices: tuple[str, ...]
    rate: float


def round_off(
    market: Market, solution: Solution, *, seed: int, attempts: int = _ATTEMPTS
) -> list[Placed]:
    """Place the mixture, then whatever else there is room for.

    The relaxation knows nothing of memory. Where a machine's memory refuses plans of the mixture,
    these are taken out of the choice and the mixture is made again.

    Args:
        market: Classes.
        solution: Of the relaxation; its pool and mixture are replaced where plans are refused.
        seed: Of the order in which equals are placed.
        attempts: Mixtures to place at most; the best one counts.
    """
    best: list[Placed] = []
    reached = -1.0
    for attempt in range(attempts):
        placed, refused = _attempt(market, solution, seed)
        goodput = float(sum(p.rate * market.weight[p.query] for p in placed))
        if goodput > reached:
            best, reached = placed, goodput
        if not refused or attempt + 1 == attempts:
            break
        without(market, solution, refused)
    return best


def _attempt(
    market: Market, solution: Solution, seed: int
) -> tuple[list[Placed], set[tuple[int, int]]]:
    """One mixture placed, and the (unit, template) pairs that found no room."""
    filling = Filling(market)
    units = solution.units
    placed: list[Placed] = []
    refused: set[tuple[int, int]] = set()
    wanted = list(pieces(market, solution))
    random.Random(seed).shuffle(wanted)
    # Whole queries first, large ones before small ones: what is left then suits the others.
    wanted.sort(key=lambda piece: -piece[3] if not market.splittable[piece[0]] else 0.0)
    left = market.rate.copy()
    for query, unit, template, rate in wanted:
        done = _put(market, filling, units, placed, (query, unit, template), rate)
        left[query] -= done
        if done < rate * _LEAST_SHARE:
            refused.add((unit, template))
    _second_choices(market, solution, filling, placed, left)
    return placed, refused


def _put(
    market: Market,
    filling: Filling,
    units: Units,
    placed: list[Placed],
    piece: tuple[int, int, int],
    rate: float,
) -> float:
    """Place a piece; the requests per second that found room."""
    query, unit, template = piece
    number = int(units.kind[unit])
    kind = market.classes[number]
    nodes = kind.sites[int(units.site[unit])].nodes
    steps = filling.recipe(number, kind.templates.found[template].options)
    done = 0.0
    for part in _parts(market, query, rate):
        pieces, rest = filling.place(steps, nodes, part, whole=not bool(market.splittable[query]))
        placed += [Placed(query, number, template, devices, r) for devices, r in pieces]
        done += part - rest
        if rest > 0:
            break
    return done


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


def _second_choices(
    market: Market,
    solution: Solution,
    filling: Filling,
    placed: list[Placed],
    left: FloatArray,
) -> None:
    """Serve what is left with what is left, dearest requests first."""
    units = solution.units
    unit_of = np.repeat(np.arange(len(units)), np.diff(units.start))
    wanting = np.flatnonzero(left[units.query] > _LEAST_SHARE * market.rate[units.query])
    if not len(wanting):
        return
    tries: list[tuple[float, int, int, list[int]]] = []
    for unit, queries in _by_unit(unit_of[wanting], units.query[wanting]):
        kind = market.classes[int(units.kind[unit])]
        templates = kind.templates
        if not len(templates):
            continue
        value = templates.use @ solution.prices[kind.rows[units.site[unit]]]
        value += solution.usd * templates.usd
        value[~templates.meeting(kind.asks)[units.ask[unit]]] = np.inf
        best = np.argsort(value, kind="stable")[:_SECOND_CHOICES]
        best = best[np.isfinite(value[best])]
        if len(best):
            worth = float(units.weight[unit]) / max(float(value[best[0]]), 1e-12)
            tries += [(-worth, int(q), unit, [int(t) for t in best]) for q in queries]
    for _, query, unit, templates_ in sorted(tries):
        for template in templates_:
            rest = float(left[query])
            if rest <= _LEAST_SHARE * float(market.rate[query]):
                break
            left[query] -= _put(market, filling, units, placed, (query, unit, template), rest)


def _by_unit(unit: IntArray, query: IntArray) -> Iterator[tuple[int, IntArray]]:
    edges = np.flatnonzero(np.diff(unit, prepend=-1, append=-1))
    for a, b in itertools.pairwise(edges):
        yield int(unit[a]), query[a:b]
