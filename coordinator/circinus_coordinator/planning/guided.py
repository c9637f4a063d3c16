"""Admitting plans one by one where they keep each other waiting, led by the relaxation's prices.

The relaxation knows which plans are good and who is worth serving, but nothing of waiting. Here
its candidates are put on the ledger in the order of their worth; a plan stands only if it and
everybody it shares a machine with keep their SLOs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.decision import Plan, Step
from circinus.query import Query
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.solve import Solution
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing
from circinus_coordinator.planning.placed import PlacedPlan, place
from circinus_coordinator.planning.selection import (
    LEAST_SHARE,
    Selection,
    admit,
    largest,
    linear_limit,
    readmit,
    rounded,
    splittable,
)

__all__ = ["Guide", "guided"]

FloatArray = npt.NDArray[np.float64]
# Candidates per query: the cheapest at present prices, and some that are ready well before their
# latency SLO, which waiting will use up.
_CHEAPEST = 6
_EARLY = ((0.7, 3), (0.45, 2))
# Machines of a group that one query is spread over by one plan, at most.
_MACHINES = 64
# Parts of what is left of the traffic that a plan is tried with.
_PARTS = (1.0, 0.5, 0.2)


@dataclass(frozen=True, slots=True)
class _Candidate:
    kind: int
    template: int
    nodes: tuple[int, ...]


class Guide:
    """What the relaxation advises, for every query."""

    def __init__(self, market: Market, solution: Solution) -> None:
        self.market, self.solution = market, solution
        self._placed: dict[tuple[int, int, int, tuple[str, ...]], PlacedPlan] = {}
        scenario = market.catalogue.scenario
        self.position = {query.id: k for k, query in enumerate(scenario.queries)}
        self._unit: dict[int, int] = {}
        units = solution.units
        for unit in range(len(units)):
            for query in units.query[units.start[unit] : units.start[unit + 1]]:
                self._unit[int(query)] = unit
        self._advised: dict[int, list[_Candidate]] = {}

    def worth(self) -> dict[str, float]:
        """For each query with a plan: worth of a request over its price, shares served first."""
        units, pool = self.solution.units, self.solution.pool
        served = np.bincount(pool.unit, weights=self.solution.mixture.rate, minlength=len(units))
        found = {}
        for query, unit in self._unit.items():
            candidates = self.candidates(query)
            if not candidates:
                continue
            value = self._value(unit)[candidates[0].template]
            ratio = float(units.weight[unit]) / max(float(value), 1e-12)
            part = min(1.0, float(served[unit] / units.rate[unit]))
            found[self.market.catalogue.scenario.queries[query].id] = ratio * (1 + part)
        return found

    def candidates(self, query: int) -> list[_Candidate]:
        """Plans worth trying for a query, best first."""
        if query not in self._unit:
            return []
        unit = self._unit[query]
        if unit not in self._advised:
            self._advised[unit] = self._advise(unit)
        return self._advised[unit]

    def _value(self, unit: int) -> FloatArray:
        units, solution = self.solution.units, self.solution
        kind = self.market.classes[int(units.kind[unit])]
        templates = kind.templates
        value = templates.use @ solution.prices[kind.rows[units.site[unit]]]
        return np.asarray(value + solution.usd * templates.usd)

    def _advise(self, unit: int) -> list[_Candidate]:
        units, solution = self.solution.units, self.solution
        number = int(units.kind[unit])
        kind = self.market.classes[number]
        templates = kind.templates
        if not len(templates):
            return []
        value = self._value(unit)
        slo = kind.asks[units.ask[unit]]
        value[~templates.meeting([slo])[0]] = np.inf
        used = (solution.pool.unit == unit) & (solution.mixture.rate > 0)
        mixed = sorted(solution.pool.template[used], key=lambda t: float(value[t]))
        chosen = [int(t) for t in mixed if np.isfinite(value[t])]
        limit = math.inf if slo.latency_ms is None else slo.latency_ms
        for part, count in ((1.0, _CHEAPEST), *_EARLY):
            order = np.argsort(np.where(templates.latency_ms <= part * limit, value, np.inf))
            chosen += [int(t) for t in order[:count] if np.isfinite(value[t])]
        nodes = kind.sites[int(units.site[unit])].nodes
        early = [t for t in dict.fromkeys(chosen) if templates.latency_ms[t] <= limit * (1 + 1e-9)]
        return [_Candidate(number, t, nodes) for t in early]

    def placed(self, query: int, candidate: _Candidate, devices: tuple[str, ...]) -> PlacedPlan:
        """A candidate on these devices (one for each position of its layout)."""
        key = (query, candidate.kind, candidate.template, devices)
        if key not in self._placed:
            kind = self.market.classes[candidate.kind]
            options = kind.templates.found[candidate.template].options
            steps = {
                step.name: Step(
                    device=devices[step.slot[option]],
                    config=step.rows[option].config,
                    batch=step.rows[option].batch,
                )
                for step, option in zip(kind.programme.steps, options, strict=True)
            }
            plan = {name: steps[name] for name in kind.programme.pipeline.operators}
            asked = self.market.catalogue.scenario.queries[query]
            self._placed[key] = place(self.market.catalogue, asked, plan)
        return self._placed[key]

    def slots(self, candidate: _Candidate) -> list[int]:
        """Positions of its layout that the candidate runs something at."""
        kind = self.market.classes[candidate.kind]
        options = kind.templates.found[candidate.template].options
        steps = zip(kind.programme.steps, options, strict=True)
        return sorted({int(step.slot[option]) for step, option in steps})


def guided(
    guide: Guide,
    order: Sequence[Query],
    previous: Mapping[str, Sequence[tuple[float, Plan]]],
    *,
    closed: frozenset[str] = frozenset(),
    keep: bool = False,
) -> Selection:
    """Admit queries in this order, each by the plans the guide advises.

    Args:
        guide: The advice.
        order: Queries, first come first served.
        previous: For each query the shares and plans it had; tried first.
        closed: Devices nothing may be placed on.
        keep: Take previous plans over before anybody else is served.
    """
    catalogue = guide.market.catalogue
    chosen = Selection(catalogue, Ledger(catalogue.scenario))
    for query in order if keep else ():
        for share, plan in previous.get(query.id, ()):
            readmit(chosen, query, share, plan)
    for query in order:
        for share, plan in previous.get(query.id, ()):
            if chosen.share_of(query.id) + share <= 1 + 1e-6:
                readmit(chosen, query, share, plan)
        if query.demand_rps > 0:
            _admit(guide, chosen, query, closed)
        else:  # worth nothing, so the relaxation has nothing to say of it
            admit(chosen, query, Pricing(usd=guide.solution.usd, closed=closed))
    return chosen


def _admit(guide: Guide, chosen: Selection, query: Query, closed: frozenset[str]) -> None:
    position = guide.position[query.id]
    unit = 0.0 if splittable(chosen.catalogue, query) else 1.0 / query.count
    rest = 1.0 - chosen.share_of(query.id)
    for candidate in guide.candidates(position):
        # One machine of a group after another, as long as the query gets more from it.
        for _ in range(_MACHINES):
            before = rest
            for devices in _bindings(guide, chosen, candidate, closed):
                placed = guide.placed(position, candidate, devices)
                rest -= _admit_share(chosen, placed, rest, unit)
                if rest < max(unit * (1 - 1e-6), LEAST_SHARE):
                    return
            if rest == before:
                break


def _admit_share(chosen: Selection, placed: PlacedPlan, rest: float, unit: float) -> float:
    """Admit as much of `rest` as the plan takes; how much that is."""
    most = min(rest, linear_limit(chosen, placed))
    tried: set[float] = set()
    for part in _PARTS:
        share = rounded(most * part, unit)
        if share in tried or share > most * (1 + 1e-9) or share < LEAST_SHARE * 1e-4:
            continue
        tried.add(share)
        if chosen.judge(placed, share) is None:
            taken = largest(chosen, placed, share, rest, unit)
            chosen.admit(placed, taken)
            return taken
    return 0.0


def _bindings(
    guide: Guide, chosen: Selection, candidate: _Candidate, closed: frozenset[str]
) -> Iterator[tuple[str, ...]]:
    """Machines for the candidate's positions: the fullest in use, then the freest."""
    members, ledger = guide.market.sites.members, chosen.ledger
    devices = [members[node][0] for node in candidate.nodes]
    groups = [at for at in guide.slots(candidate) if len(members[candidate.nodes[at]]) > 1]
    fixed = {devices[at] for at in guide.slots(candidate) if at not in groups}
    if fixed & closed:
        return
    seen: set[tuple[str, ...]] = set()
    for packed in (True, False):
        taken, some = set(fixed), list(devices)
        for at in groups:
            open_ = [d for d in members[candidate.nodes[at]] if d not in taken | closed]
            if not open_:
                return
            free = {d: ledger.free(("cores", d)) for d in open_}
            used = [d for d in open_ if ledger.instances.get(d) and free[d] > 0]
            device = min(used, key=free.__getitem__) if packed and used else ""
            some[at] = device or max(open_, key=free.__getitem__)
            taken.add(some[at])
        binding = tuple(some)
        if binding not in seen:
            seen.add(binding)
            yield binding


def shaken(worth: Mapping[str, float], generator: random.Random, by: float) -> dict[str, float]:
    """The same worths, each moved about by up to `by` either way, on a logarithmic scale."""
    return {k: v * math.exp(generator.uniform(-by, by)) for k, v in worth.items()}
