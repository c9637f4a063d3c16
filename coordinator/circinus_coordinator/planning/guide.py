"""What the relaxation advises: plans worth trying for every query, and who is worth serving."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.binding import Binder
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.solve import Solution

__all__ = ["Advice", "Guide"]

FloatArray = npt.NDArray[np.float64]
# Candidates per query: the cheapest at present prices, and some that are ready well before their
# latency SLO, which waiting will use up.
_CHEAPEST = 14
_EARLY = ((0.7, 6), (0.45, 5))


@dataclass(frozen=True, slots=True)
class Advice:
    """A plan worth trying.

    Attributes:
        kind: Number of the class.
        template: Plan of the class.
        nodes: The site's, one for each position of the layout.
        slots: Positions that the plan runs something at.
        value: Cost of a request at the relaxation's prices.
    """

    kind: int
    template: int
    nodes: tuple[int, ...]
    slots: tuple[int, ...]
    value: float


class Guide:
    """What the relaxation advises, for every query.

    Queries of one class, site and ask get the same plans.
    """

    def __init__(self, market: Market, solution: Solution, binder: Binder) -> None:
        self.market, self.solution, self.binder = market, solution, binder
        scenario = market.catalogue.scenario
        self.position = {query.id: k for k, query in enumerate(scenario.queries)}
        units = solution.units
        self._unit = dict(
            zip(
                units.query.tolist(),
                np.repeat(np.arange(len(units)), np.diff(units.start)).tolist(),
                strict=True,
            )
        )
        self._edges = np.searchsorted(solution.pool.unit, np.arange(len(units) + 1))
        self._advised: dict[int, list[Advice]] = {}

    def corrected(self, catalogue: Catalogue) -> Guide:
        """The same advice on plans whose waits are corrected."""
        market = dataclasses.replace(self.market, catalogue=catalogue)
        return Guide(market, self.solution, Binder(market))

    def worth(self) -> dict[str, float]:
        """For each query with a plan: worth of a request over its price, shares served first."""
        units, pool = self.solution.units, self.solution.pool
        served = np.bincount(pool.unit, weights=self.solution.mixture.rate, minlength=len(units))
        found = {}
        queries = self.market.catalogue.scenario.queries
        for query, unit in self._unit.items():
            candidates = self.candidates(query)
            if not candidates:
                continue
            ratio = float(units.weight[unit]) / max(candidates[0].value, 1e-12)
            part = min(1.0, float(served[unit] / units.rate[unit]))
            found[queries[query].id] = ratio * (1 + part)
        return found

    def candidates(self, query: int) -> list[Advice]:
        """Plans worth trying for a query, best first."""
        if query not in self._unit:
            return []
        unit = self._unit[query]
        if unit not in self._advised:
            self._advised[unit] = self._advise(unit)
        return self._advised[unit]

    def cheapest(self, query: int, count: int) -> list[Advice]:
        """The known plans of a query that cost least dollars, cheapest first."""
        if query not in self._unit:
            return []
        unit = self._unit[query]
        units = self.solution.units
        number = int(units.kind[unit])
        kind = self.market.classes[number]
        if not len(kind.templates):
            return []
        value = self._value(unit)
        usd = np.where(np.isfinite(value), kind.templates.usd, np.inf)
        nodes = kind.sites[int(units.site[unit])].nodes
        return [
            Advice(number, int(t), nodes, self._slots(number, int(t)), float(value[t]))
            for t in np.lexsort((value, usd))[:count]
            if np.isfinite(usd[t])
        ]

    def _value(self, unit: int) -> FloatArray:
        """`(templates,)` cost of a request at these prices; inf where SLOs are broken."""
        units, solution = self.solution.units, self.solution
        kind = self.market.classes[int(units.kind[unit])]
        templates = kind.templates
        value = templates.use @ solution.prices[kind.rows[units.site[unit]]]
        value = np.asarray(value + solution.usd * templates.usd)
        value[~templates.meeting([kind.asks[units.ask[unit]]])[0]] = np.inf
        return value

    def _advise(self, unit: int) -> list[Advice]:
        units, solution = self.solution.units, self.solution
        number = int(units.kind[unit])
        kind = self.market.classes[number]
        templates = kind.templates
        if not len(templates):
            return []
        value, slo = self._value(unit), kind.asks[units.ask[unit]]
        columns = slice(self._edges[unit], self._edges[unit + 1])
        mixed = solution.pool.template[columns][solution.mixture.rate[columns] > 0]
        chosen = [int(t) for t in sorted(mixed, key=lambda t: float(value[t]))]
        limit = math.inf if slo.latency_ms is None else slo.latency_ms
        for part, count in ((1.0, _CHEAPEST), *_EARLY):
            order = np.argsort(
                np.where(templates.latency_ms <= part * limit, value, np.inf), kind="stable"
            )
            chosen += [int(t) for t in order[:count]]
        nodes = kind.sites[int(units.site[unit])].nodes
        return [
            Advice(number, t, nodes, self._slots(number, t), float(value[t]))
            for t in dict.fromkeys(chosen)
            if np.isfinite(value[t]) and templates.latency_ms[t] <= limit * (1 + 1e-9)
        ]

    def _slots(self, number: int, template: int) -> tuple[int, ...]:
        kind = self.market.classes[number]
        options = kind.templates.found[template].options
        steps = zip(kind.programme.steps, options, strict=True)
        return tuple(sorted({int(step.slot[option]) for step, option in steps}))
