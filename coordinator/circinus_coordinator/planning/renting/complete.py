"""Small scenarios: all plans on their machines, one mixed-integer programme.

What the bound over pooled machines leaves out is kept here: memory, whole queries, single
workers, and which machine of several that look the same. Waiting is left out all the same, so
what is found has to be judged, and the programme's bound stays a bound.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from circinus.decision import Step
from circinus.errors import NoData
from circinus.fleet import SECONDS_PER_HOUR
from circinus.query import Query
from circinus_coordinator.planning.candidates import candidate_placements, edge_allowed
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.loads import SLACK, Ledger
from circinus_coordinator.planning.placed import PlacedPlan, meets, place
from circinus_coordinator.planning.renting.bill import rented
from circinus_coordinator.planning.renting.mip import Model
from circinus_coordinator.planning.selection import splittable
from circinus_coordinator.planning.uses import LINK, UPLINK, WORKER, InstanceKey, Resource

__all__ = ["Complete", "complete", "every_plan"]

FloatArray = npt.NDArray[np.float64]
# Plans of all queries together, and steps looked at for each, beyond which there are too many.
_MOST_PLANS, _STEPS = 4_000, 15
# What HiGHS takes for satisfied or whole (1e-6 and 1e-7), and a margin, of what counts as 1.
_TOLERANCE = 3e-6
_LEAST_SHARE = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """An answer.

    Attributes:
        assigned: Plans with their shares, as if nothing waited.
        usd_hour: Their cost.
        bound_usd_hour: No decision of that goodput costs less.
    """

    assigned: tuple[tuple[PlacedPlan, float], ...]
    usd_hour: float
    bound_usd_hour: float


def complete(catalogue: Catalogue, goodput_rps: float, scale: float) -> Complete | None:
    """The cheapest whole machines; None where there are too many plans, or the solver fails.

    Args:
        catalogue: Compiled queries.
        goodput_rps: Weighted requests per second that are to be served, above 0.
        scale: US dollars per hour that count as 1.
    """
    plans = every_plan(catalogue)
    if not plans:
        return None
    programme = _Programme(catalogue, plans, goodput_rps, scale)
    answer = programme.model.solve(gap=1e-7)
    if answer is None:
        return None
    units = np.clip(answer.x[programme.units], 0.0, None)
    shares = [
        round(float(u)) / n if whole else float(u)
        for u, n, whole in zip(units, programme.most, programme.whole, strict=True)
    ]
    assigned = [(p, s) for p, s in zip(plans, shares, strict=True) if s > _LEAST_SHARE]
    return Complete(
        assigned=tuple(assigned),
        usd_hour=answer.objective * scale,
        bound_usd_hour=max(0.0, (answer.bound - _TOLERANCE) * scale),
    )


def every_plan(catalogue: Catalogue, most: int = _MOST_PLANS) -> list[PlacedPlan] | None:
    """Every plan worth serving that keeps its SLOs on the idle fleet; None for over `most`."""
    found: list[PlacedPlan] = []
    steps = 0
    for query in catalogue.scenario.queries:
        if query.demand_rps <= 0:
            continue
        for plan in _plans(catalogue, query):
            steps += len(plan)
            if len(found) >= most or steps >= most * _STEPS:
                return None
            try:
                placed = place(catalogue, query, plan)
            except NoData:
                continue
            if meets(query, placed.estimate()) is None:
                found.append(placed)
    return found


def _plans(catalogue: Catalogue, query: Query) -> Iterator[dict[str, Step]]:
    """Every plan that keeps the placement rules, operator by operator."""
    scenario = catalogue.scenario
    pipeline = scenario.pipelines[query.pipeline]
    ways: dict[str, list[Step]] = {name: [] for name in pipeline.operators}
    for name, device in candidate_placements(scenario, query):
        kind = scenario.class_of(device)
        for row in catalogue.profiles.rows(pipeline.name, pipeline.operators[name], kind.name):
            if row.memory_mb <= kind.memory_mb:
                ways[name].append(Step(device=device, config=row.config, batch=row.batch))

    def extend(begun: dict[str, Step], names: Sequence[str]) -> Iterator[dict[str, Step]]:
        if not names:
            yield begun
            return
        needs = pipeline.operators[names[0]].needs
        for step in ways[names[0]]:
            if all(edge_allowed(scenario, pipeline, begun[n].device, step.device) for n in needs):
                yield from extend({**begun, names[0]: step}, names[1:])

    yield from extend({}, list(pipeline.operators))


class _Programme:
    """Variables: units of each plan, instances that are there, machines that are rented."""

    def __init__(
        self, catalogue: Catalogue, plans: Sequence[PlacedPlan], goodput_rps: float, scale: float
    ) -> None:
        self.plans, self.scenario = plans, catalogue.scenario
        self.empty = Ledger(catalogue.scenario)
        self.whole = [not splittable(catalogue, p.query) for p in plans]
        self.most = [p.query.count if w else 1 for p, w in zip(plans, self.whole, strict=True)]
        self.rate = [
            p.query.rate_rps * p.query.count / n for p, n in zip(plans, self.most, strict=True)
        ]
        self.model = Model()
        hourly = [
            (p.usage_usd + p.network_usd) * r * SECONDS_PER_HOUR / scale
            for p, r in zip(plans, self.rate, strict=True)
        ]
        self.units = self.model.variables(np.array(hourly), np.array(self.most, dtype=float))
        for k, whole in zip(self.units.tolist(), self.whole, strict=True):
            self.model.integral[k] = whole
        self.machine = {
            d: int(self.model.variables(np.array([price / scale]), 1.0, integral=True)[0])
            for d in rented(self.scenario)
            for price in [self.scenario.class_of(d).price_usd_hour]
        }
        value = [p.query.weight * r / goodput_rps for p, r in zip(plans, self.rate, strict=True)]
        self.model.rows([(sparse.csr_matrix(value), self.units)], 1.0, np.inf)
        self._linear()
        self._places()
        self._memory()

    def _linear(self) -> None:
        """Traffic and per-second resources; those of a rented machine only where it is."""
        each: dict[str, list[tuple[int, float]]] = collections.defaultdict(list)
        found: dict[Resource, list[tuple[int, float]]] = collections.defaultdict(list)
        for k, placed in enumerate(self.plans):
            each[placed.query.id].append((k, 1.0 / self.most[k]))
            for resource, amount in placed.use.linear.items():
                used, capacity = amount * self.rate[k], self.empty.capacity(resource)
                # More than a million times too much is as good as infinitely much.
                part = min(used / capacity, 1e6) if capacity > 0 else 1e6
                if used > 0:
                    found[resource].append((k, part))
        for terms in each.values():
            self.model.row(terms, -np.inf, 1.0)
        for resource, terms in found.items():
            # Data leaves a source by its uplink, rented or not.
            if resource[0] not in (LINK, UPLINK, WORKER) and resource[1] in self.machine:
                terms = [*terms, (self.machine[resource[1]], -(1.0 + SLACK))]
                self.model.row(terms, -np.inf, 0.0)
            else:
                self.model.row(terms, -np.inf, 1.0 + SLACK)

    def _places(self) -> None:
        """What part of a query runs an operator on a machine, that part of it is rented."""
        at: dict[tuple[str, str, str], list[int]] = collections.defaultdict(list)
        for k, placed in enumerate(self.plans):
            for name, step in placed.plan.items():
                if step.device in self.machine:
                    at[placed.query.id, name, step.device].append(k)
        for (_, _, device), plans in at.items():
            terms = [(k, 1.0 / self.most[k]) for k in plans]
            self.model.row([*terms, (self.machine[device], -1.0)], -np.inf, 0.0)

    def _memory(self) -> None:
        """Instances, where not all of them fit a machine; one worker each, the least it takes."""
        size: dict[InstanceKey, float] = {}
        users: dict[tuple[InstanceKey, str], set[int]] = collections.defaultdict(set)
        for k, placed in enumerate(self.plans):
            for step in placed.use.steps:
                size[step.key] = min(size.get(step.key, np.inf), step.memory_mb)
                users[step.key, placed.query.id].add(k)
        held: dict[str, list[InstanceKey]] = collections.defaultdict(list)
        for key in size:
            held[key[0]].append(key)
        there: dict[InstanceKey, int] = {}
        for device, keys in held.items():
            memory = self.scenario.class_of(device).memory_mb
            if sum(size[key] for key in keys) <= memory:
                continue
            first = self.model.variables(np.zeros(len(keys)), 1.0, integral=True)
            there.update(zip(keys, first.tolist(), strict=True))
            terms = [(there[key], size[key] / memory) for key in keys if size[key] > 0]
            self.model.row(terms, -np.inf, 1.0)
        for (key, _), plans in users.items():
            if key in there:
                terms = [(k, 1.0 / self.most[k]) for k in sorted(plans)]
                self.model.row([*terms, (there[key], -1.0)], -np.inf, 0.0)
