"""Minimum shares per tenant: what each is to have at least, before the rest is given to the best.

A tenant's *reach* is the weighted goodput of its queries in the relaxation with the fleet to
themselves; its minimum is a share of that. The master programme gets a row per tenant,

    goodput of its queries + what is missing >= minimum,

whose dual price multiplies the worth of its queries where plans are priced (Dantzig-Wolfe). What
is missing is dearer than anything else, so that minimums that cannot be kept together are kept as
far as they go. The mixture says which queries make up each minimum: that part of them is planned
first, as queries of their own of overwhelming weight, and counted with its true weight afterwards.

The bound is that of the scenario without minimums: they only take ways away, so it stays valid.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
from scipy import sparse

from circinus.decision import Assignment, Decision, Rejection, TenantShare
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.certificate import above
from circinus_coordinator.planning.decide import Clock, decision_of
from circinus_coordinator.planning.decomposition.bound import price_all
from circinus_coordinator.planning.decomposition.classes import Market, market
from circinus_coordinator.planning.decomposition.pool import Pool, Units, everything, make_units
from circinus_coordinator.planning.decomposition.solve import relax
from circinus_coordinator.planning.evaluate import evaluate
from circinus_coordinator.planning.placed import place
from circinus_coordinator.planning.renting.mip import Answer, Model

__all__ = ["Minimums", "minimums", "promised", "with_minimums"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# Worth of what is missing of a minimum, and of what is reserved for it, times the worth of others.
_FIRST = 1e4
# Rounds of pricing plans at the tenants' prices.
_PRICINGS = 12
# Parts of a query's traffic, or of a minimum, that are rounding.
_NOTHING = 1e-9
# Capacity up to this is none.
_EMPTY = 1e-12
Plan = Callable[[Scenario], Decision]


@dataclasses.dataclass(frozen=True, slots=True)
class Minimums:
    """What the relaxation says of the tenants with a minimum, in the scenario's order.

    Attributes:
        names: Their labels.
        reach_rps: `(tenants,)` weighted goodput with the fleet to themselves.
        missing_rps: `(tenants,)` what cannot be had of the minimum.
        reserved: By query the part of its traffic that makes up minimums.
        bound_rps: Weighted goodput that no assignment exceeds, minimums or not.
    """

    names: tuple[str, ...]
    reach_rps: FloatArray
    missing_rps: FloatArray
    reserved: Mapping[str, float]
    bound_rps: float


def promised(scenario: Scenario) -> tuple[str, ...]:
    """Tenants with a minimum above 0."""
    return tuple(name for name, tenant in scenario.tenants.items() if tenant.min_share > 0)


def with_minimums(
    scenario: Scenario, plan: Plan, *, seed: int, clock: Clock, one_by_one: bool
) -> Decision:
    """Plan so that every tenant has its minimum, as far as it can be had.

    Args:
        scenario: With `tenants`.
        plan: Plans a scenario whose tenants are promised nothing.
        seed: Of the decision.
        clock: For reporting.
        one_by_one: Estimates depend on loads, and are made anew for the queries as they are.
    """
    began = clock()
    found = market(Catalogue(scenario))
    least = minimums(found)
    reserved = clock()
    first, parts = _reserved(scenario, least.reserved, found)
    decision = plan(first)
    assigned, rejected = _merged(scenario, decision, parts)
    decision = dataclasses.replace(
        decision,
        goodput_rps=_goodput(scenario, assigned),
        assignments=assigned,
        rejected=rejected,
        deployment_bound_usd_hour=None,
        seconds={"tenants": reserved - began, **decision.seconds},
    )
    if one_by_one:
        decision = _judged(found, decision, least.bound_rps, seed, clock)
    decision = dataclasses.replace(
        decision, bound_rps=above(least.bound_rps, decision.goodput_rps), certified=True
    )
    return dataclasses.replace(decision, tenants=_told(scenario, least, decision))


def minimums(market: Market) -> Minimums:
    """Reach, and the mixture that keeps the minimums."""
    scenario = market.catalogue.scenario
    names = promised(scenario)
    number = {name: k for k, name in enumerate(names)}
    label = np.array([number.get(q.tenant or "", -1) for q in scenario.queries], dtype=np.int64)
    bound_rps = relax(market).bound_rps
    alone = [
        relax(dataclasses.replace(market, weight=np.where(label == k, market.weight, 0.0)))
        for k in range(len(names))
    ]
    reach = np.array([solution.goodput_rps for solution in alone])
    wanted = np.array([scenario.tenants[name].min_share for name in names]) * reach
    units = make_units(market, label)
    tenant = label[units.query[units.start[:-1]]]
    share, missing = _mixed(market, units, tenant, wanted)
    parts: dict[str, float] = {}
    served = units.weight * units.rate * share
    for k in range(len(names)):
        mine = np.flatnonzero(tenant == k)
        total = float(served[mine].sum())
        keep = min(1.0, float(wanted[k]) / total) if total > 0 else 0.0
        for unit in mine.tolist():
            parts.update(_parts(market, units, unit, float(share[unit]) * keep))
    return Minimums(names, reach, missing, parts, bound_rps)


def _mixed(
    market: Market, units: Units, tenant: IntArray, wanted: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Share of each unit that is served, and what is missing of each minimum."""
    pool = Pool.of(market, units, *everything(market, units))
    share: FloatArray = np.zeros(len(units))
    missing = wanted.copy()
    for _ in range(_PRICINGS):
        master = _Master(market, units, pool, tenant, wanted)
        answer = master.model.solve(relaxed=True)
        if answer is None:
            break
        x = np.clip(answer.x[master.share], 0.0, 1.0)
        share = np.asarray(np.bincount(master.pool.unit, weights=x, minlength=len(units)) * 1.0)
        missing = np.maximum(answer.x[master.short], 0.0) * master.top
        prices, raised = master.prices(answer)
        dearer = dataclasses.replace(units, weight=units.weight * (1 + raised))
        unit, template = price_all(market, dearer, prices, 0.0).pairs
        wider = Pool.of(
            market,
            units,
            np.concatenate([pool.unit, unit]),
            np.concatenate([pool.template, template]),
        )
        if len(wider) == len(pool):
            break
        pool = wider
    return share, np.where(missing > _NOTHING * wanted, missing, 0.0)


class _Master:
    """The master programme with a row per tenant, as a minimisation."""

    def __init__(
        self, market: Market, units: Units, pool: Pool, tenant: IntArray, wanted: FloatArray
    ) -> None:
        capacity = market.capacity
        gone = np.asarray(pool.use @ (capacity <= _EMPTY).astype(float)) > 0
        self.pool = pool = pool.take(np.flatnonzero(~gone).astype(np.int64))
        self.units, self.tenant, self.model = units, tenant, Model()
        gain = units.weight * units.rate
        self.top = float(gain.max(initial=0.0)) or 1.0
        worth = gain[pool.unit] / self.top
        self.share = self.model.variables(-worth, 1.0)
        self.short = self.model.variables(np.full(len(wanted), _FIRST))
        columns = np.arange(len(pool))
        each = sparse.csr_matrix(
            (np.ones(len(pool)), (pool.unit, columns)), shape=(len(units), len(pool))
        )
        self.model.rows([(each, self.share)], -np.inf, 1.0)
        self.rows = np.flatnonzero(capacity > _EMPTY)
        parts = sparse.diags(units.rate[pool.unit]) @ pool.use[:, self.rows]
        parts = sparse.csr_matrix((parts @ sparse.diags(1.0 / capacity[self.rows])).T)
        self.at_rows = self.model.rows([(parts, self.share)], -np.inf, 1.0)
        of = tenant[pool.unit]
        mine = of >= 0
        having = sparse.csr_matrix(
            (worth[mine], (of[mine], columns[mine])), shape=(len(wanted), len(pool))
        )
        lacking = sparse.identity(len(wanted), format="csr")
        parts_of = [(having, self.share), (sparse.csr_matrix(lacking), self.short)]
        self.at_tenants = self.model.rows(parts_of, wanted / self.top, np.inf)
        self.capacity = capacity

    def prices(self, answer: Answer) -> tuple[FloatArray, FloatArray]:
        """`(rows,)` of resources, and `(units,)` what a tenant's minimum adds to its worth."""
        dual = np.abs(answer.dual) * self.top
        found = np.zeros(len(self.capacity))
        found[self.rows] = dual[self.at_rows :][: len(self.rows)] / self.capacity[self.rows]
        raised = np.append(dual[self.at_tenants :] / self.top, 0.0)
        return found, raised[self.tenant]


def _parts(market: Market, units: Units, unit: int, share: float) -> Iterator[tuple[str, float]]:
    """The unit's reserved traffic, query after query; of whole ones a little more."""
    queries = market.catalogue.scenario.queries
    rest = share * float(units.rate[unit])
    for query in units.query[units.start[unit] : units.start[unit + 1]].tolist():
        rate = float(market.rate[query])
        part = min(1.0, rest / rate)
        if part <= _NOTHING:
            return
        if not market.splittable[query]:
            part = min(1.0, math.ceil(part * queries[query].count - 1e-6) / queries[query].count)
        yield queries[query].id, part
        rest -= part * rate


Parts = dict[str, tuple[Query, float]]


def _reserved(
    scenario: Scenario, reserved: Mapping[str, float], market: Market
) -> tuple[Scenario, Parts]:
    """The scenario with what is reserved as queries that are worth more than anything else.

    Returns:
        It, and for each of its queries the true one and the part it stands for.
    """
    worth = [q.weight for q in scenario.queries if q.weight > 0]
    times = _FIRST * max(worth, default=1.0) / min(worth, default=1.0)
    queries: list[Query] = []
    parts: Parts = {}
    taken = {q.id for q in scenario.queries}
    for position, query in enumerate(scenario.queries):
        part = reserved.get(query.id, 0.0)
        first = dataclasses.replace(query, weight=query.weight * times)
        if part <= _NOTHING or part >= 1 - _NOTHING:
            queries.append(first if part > 0.5 else query)
            parts[query.id] = query, 1.0
            continue
        name = next(n for k in range(len(taken) + 1) if (n := f"least-{k}-{position}") not in taken)
        for one, share in ((dataclasses.replace(first, id=name), part), (query, 1 - part)):
            queries.append(_part(one, share, splittable=bool(market.splittable[position])))
            parts[one.id] = query, share
    return dataclasses.replace(scenario, queries=tuple(queries), tenants={}), parts


def _part(query: Query, share: float, *, splittable: bool) -> Query:
    """A part of a query's traffic: of whole ones so many, of others so much of each."""
    if splittable:
        return dataclasses.replace(query, rate_rps=query.rate_rps * share)
    return dataclasses.replace(query, count=max(1, round(query.count * share)))


def _merged(
    scenario: Scenario, decision: Decision, parts: Parts
) -> tuple[tuple[Assignment, ...], tuple[Rejection, ...]]:
    """In terms of the true queries, in their order."""
    found: dict[str, list[Assignment]] = defaultdict(list)
    for a in decision.assignments:
        query, part = parts[a.query]
        mine = found[query.id]
        same = next((k for k, other in enumerate(mine) if other.plan == a.plan), None)
        share = a.share * part + (mine[same].share if same is not None else 0.0)
        new = dataclasses.replace(a, query=query.id, share=min(1.0, share))
        if same is None:
            mine.append(new)
        else:
            mine[same] = new
    turned: dict[str, Rejection] = {}
    for r in decision.rejected:
        name = parts[r.query][0].id
        turned.setdefault(name, dataclasses.replace(r, query=name))
    ids = [query.id for query in scenario.queries]
    assigned = [a for name in ids for a in sorted(found[name], key=lambda a: -a.share)]
    return tuple(assigned), tuple(turned[name] for name in ids if name in turned)


def _judged(
    found: Market, decision: Decision, bound_rps: float, seed: int, clock: Clock
) -> Decision:
    """Estimates, replicas and refusals at the final loads of the queries as they are."""
    catalogue = found.catalogue
    by_id = {q.id: q for q in catalogue.scenario.queries}
    chosen = [(place(catalogue, by_id[a.query], a.plan), a.share) for a in decision.assignments]
    while True:
        judged = evaluate(catalogue, chosen)
        full = {resource for resource, _ in judged.overloads}
        kept = [
            pair
            for pair, fault in zip(chosen, judged.broken, strict=True)
            if fault is None and not full & pair[0].touches
        ]
        if len(kept) == len(chosen):
            break
        chosen = kept
    return decision_of(
        catalogue,
        (chosen, judged),
        planner=decision.planner,
        seed=seed,
        bound_rps=bound_rps,
        clock=clock,
        seconds=decision.seconds,
        prices=decision.prices,
    )


def _goodput(
    scenario: Scenario, assigned: tuple[Assignment, ...], name: str | None = None
) -> float:
    by_id = {q.id: q for q in scenario.queries if name is None or q.tenant == name}
    return math.fsum(by_id[a.query].demand_rps * a.share for a in assigned if a.query in by_id)


def _told(scenario: Scenario, least: Minimums, decision: Decision) -> tuple[TenantShare, ...]:
    return tuple(
        TenantShare(
            tenant=name,
            min_share=scenario.tenants[name].min_share,
            reach_rps=float(least.reach_rps[k]),
            goodput_rps=_goodput(scenario, decision.assignments, name),
            attainable=bool(least.missing_rps[k] <= 0),
        )
        for k, name in enumerate(least.names)
    )
