"""A rounded solution written down as a decision."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from circinus.decision import Assignment, Decision, Deployment, Estimate, Plan, Rejection, Step
from circinus.fleet import SECONDS_PER_HOUR, Billing
from circinus.query import Query
from circinus_coordinator.planning.certificate import above
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.pieces import Placed
from circinus_coordinator.planning.decomposition.solve import Solution
from circinus_coordinator.planning.decomposition.worth import resource_prices
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, place
from circinus_coordinator.planning.relaxation import round_up
from circinus_coordinator.planning.remedies import Refusals
from circinus_coordinator.planning.shortage import Scene
from circinus_coordinator.planning.uses import describe, link

__all__ = ["write"]

_WHOLE = 1 - 1e-6


def write(
    market: Market,
    solution: Solution,
    placed: Sequence[Placed],
    *,
    planner: str,
    seed: int,
    seconds: Mapping[str, float],
) -> Decision:
    """Assignments, costs, and for whoever is turned away what stood in the way."""
    book = _Book(market)
    merged: dict[tuple[int, int, int, tuple[str, ...]], float] = defaultdict(float)
    for p in placed:
        merged[p.query, p.kind, p.template, p.devices] += p.rate
    assignments = []
    shares: dict[int, float] = defaultdict(float)
    for (query, kind, template, devices), rate in sorted(
        merged.items(), key=lambda item: (item[0][0], -item[1])
    ):
        share = min(1.0, rate / float(market.rate[query]))
        shares[query] += share
        assignments.append(book.assignment(query, kind, template, devices, share, rate))
    goodput = math.fsum(
        float(market.weight[q] * market.rate[q]) * min(1.0, share) for q, share in shares.items()
    )
    return Decision(
        planner=planner,
        seed=seed,
        goodput_rps=goodput,
        bound_rps=above(solution.bound_rps, goodput),
        certified=True,
        deployment=book.deployment(),
        open_devices=tuple(sorted(book.devices)),
        seconds=dict(seconds),
        assignments=tuple(assignments),
        rejected=tuple(_rejections(market, solution, shares)),
        prices=resource_prices(market, solution.prices),
    )


class _Book:
    """Writes assignments, sharing what is alike, and adds up what they cost."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._placed: dict[tuple[int, int], PlacedPlan] = {}
        self._plans: dict[tuple[int, int, tuple[str, ...]], Plan] = {}
        self._estimates: dict[tuple[int, int, object], Estimate] = {}
        self.devices: set[str] = set()
        self._usage: list[float] = []
        self._network: list[float] = []

    def assignment(
        self,
        query: int,
        kind: int,
        template: int,
        devices: tuple[str, ...],
        share: float,
        rate: float,
    ) -> Assignment:
        """One line of the decision."""
        asked = self._market.catalogue.scenario.queries[query]
        plan = self._plan(kind, template, devices)
        key = (kind, template)
        if key not in self._placed:
            self._placed[key] = place(self._market.catalogue, asked, plan)
        placed = self._placed[key]
        told = (kind, template, asked.slo)
        if told not in self._estimates:
            mine = dataclasses.replace(placed, query=asked)
            self._estimates[told] = mine.estimate()
        self._usage.append(placed.usage_usd * rate * SECONDS_PER_HOUR)
        self._network.append(placed.network_usd * rate * SECONDS_PER_HOUR)
        return Assignment(query=asked.id, share=share, plan=plan, estimate=self._estimates[told])

    def _plan(self, kind: int, template: int, devices: tuple[str, ...]) -> Plan:
        key = (kind, template, devices)
        if key not in self._plans:
            programme = self._market.classes[kind].programme
            options = self._market.classes[kind].templates.found[template].options
            steps = {
                step.name: Step(
                    device=devices[step.slot[option]],
                    config=step.rows[option].config,
                    batch=step.rows[option].batch,
                )
                for step, option in zip(programme.steps, options, strict=True)
            }
            self._plans[key] = {name: steps[name] for name in programme.pipeline.operators}
            self.devices.update(step.device for step in steps.values())
        return self._plans[key]

    def deployment(self) -> Deployment:
        """US dollars per hour of everything that runs."""
        scenario = self._market.catalogue.scenario
        kinds = [scenario.class_of(device) for device in self.devices]
        return Deployment(
            usage=math.fsum(self._usage),
            machines=math.fsum(k.price_usd_hour for k in kinds if k.billing is Billing.MACHINE),
            network=math.fsum(self._network),
        )


def _rejections(market: Market, solution: Solution, shares: Mapping[int, float]) -> list[Rejection]:
    """In the order of the scenario's queries."""
    scenario = market.catalogue.scenario
    where = _where(market, solution, shares)
    impossible: dict[object, Rejection] = {}
    refusals = Refusals(Scene(market.catalogue, Ledger(scenario), []))
    found = []
    for position, query in enumerate(scenario.queries):
        share = shares.get(position, 0.0)
        if share >= _WHOLE:
            continue
        if query.demand_rps == 0:
            found.append(_worthless(query))
            continue
        if position in where:
            found.append(_crowded(market, position, share, *where[position]))
            continue
        # Alike in every respect that an empty fleet could tell apart.
        sources = scenario.pipelines[query.pipeline].sources
        starts = tuple(scenario.device[query.source[s]].device_class for s in sources)
        key = (query.pipeline, query.slo, starts)
        if key not in impossible:
            told, _ = refusals.explain(query, 0.0, thorough=True)
            impossible[key] = Rejection(
                query=query.id,
                reason=told.reason,
                binding=told.binding or "",
                relaxation=told.relaxation,
                relaxations=told.relaxations,
            )
        found.append(dataclasses.replace(impossible[key], query=query.id))
    return found


def _worthless(query: Query) -> Rejection:
    lacking = "weight" if query.weight == 0 else "rate"
    return Rejection(
        query=query.id,
        reason=f"its {lacking} is 0: serving it is worth nothing",
        binding=lacking,
        relaxation=f"needs a {lacking} above 0",
    )


def _where(
    market: Market, solution: Solution, shares: Mapping[int, float]
) -> dict[int, tuple[int, float]]:
    """For each query turned away that has a plan: scarcest resource of the cheapest, its use."""
    units, found = solution.units, {}
    for unit in range(len(units)):
        queries = units.query[units.start[unit] : units.start[unit + 1]]
        if all(shares.get(int(query), 0.0) >= _WHOLE for query in queries):
            continue
        kind = market.classes[int(units.kind[unit])]
        if not len(kind.templates):
            continue
        rows = kind.rows[units.site[unit]]
        paid = kind.templates.use * solution.prices[rows]
        value = paid.sum(axis=1) + solution.usd * kind.templates.usd
        value[~kind.templates.meeting([kind.asks[units.ask[unit]]])[0]] = np.inf
        best = int(np.argmin(value))
        if np.isfinite(value[best]):
            feature = int(np.argmax(paid[best]))
            if paid[best, feature] <= 0:
                load = kind.templates.use[best] / np.maximum(market.capacity[rows], 1e-12)
                feature = int(np.argmax(load))
            use = float(kind.templates.use[best, feature])
            found.update({int(query): (int(rows[feature]), use) for query in queries})
    return found


def _crowded(market: Market, position: int, share: float, row: int, use: float) -> Rejection:
    scenario = market.catalogue.scenario
    query = scenario.queries[position]
    name, one, two = market.sites.resources.key(row)
    members = market.sites.members
    lacking = float(market.rate[position]) * (1 - share) * use
    resource = link(members[one][0], members[two][0]) if name == "link" else (name, members[one][0])
    what = describe(resource)
    if len(members[one]) > 1 and name != "link":
        what = f"{name} of the {len(members[one])} machines like {members[one][0]}"
    unit = "Mbit/s" if name in ("link", "uplink") else name
    grown = lacking if name == "uplink" else lacking / scenario.max_utilisation
    reason = f"{what} serve more valuable requests"
    if share > 0:
        reason = f"{1 - share:.0%} of its traffic is not served: {reason}"
    return Rejection(
        query=query.id,
        reason=reason,
        binding=what,
        relaxation=f"needs {round_up(grown)} more {unit} there, or more weight",
    )
