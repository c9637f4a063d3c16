"""The mixed-integer programme over enumerated plans, solved by HiGHS.

Variables: of each plan its units (a share of the traffic, or whole queries of `count` where it
may not be split); of each instance that matters whether it is there, its replicas and, where its
users differ in memory, how much of it a replica takes; of each rented machine whether it is.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp
from scipy.sparse import coo_array

from circinus.fleet import SECONDS_PER_HOUR, Billing
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.selection import splittable
from circinus_coordinator.planning.uses import WORKER, InstanceKey, Resource, taken

__all__ = ["solve"]

FloatArray = npt.NDArray[np.float64]
Terms = Sequence[tuple[int, float]]
# HiGHS takes 1e-6 off an integer for whole, rows to be kept within 1e-7, and a gap of 1e-6 of the
# objective, here scaled to the whole demand, for none.
_TOLERANCE = 1e-6


def solve(catalogue: Catalogue, plans: Sequence[PlacedPlan]) -> tuple[list[float], float]:
    """Shares of most weighted goodput, at the least deployment cost, and a bound on goodput.

    Args:
        catalogue: Compiled queries.
        plans: Every plan there is.

    Returns:
        The share of each plan, and weighted requests per second no assignment exceeds.
    """
    demand = math.fsum({p.query.id: p.query.demand_rps for p in plans}.values())
    if demand <= 0:
        return [0.0] * len(plans), 0.0
    model = _Model(catalogue, plans)
    worth = model.objective([p.query.demand_rps / demand for p in plans])
    first = model.minimise(-worth, [])
    least = [(int(k), float(worth[k])) for k in np.flatnonzero(worth)]
    cost = model.cost()
    second = model.minimise(
        cost / (cost.max(initial=0.0) or 1.0), [(least, -float(first.fun) - _TOLERANCE, np.inf)]
    )
    x = second.x if second.x is not None else first.x
    # Without anything integral there is no gap, and scipy gives no dual bound.
    least_loss = first.fun if first.mip_dual_bound is None else first.mip_dual_bound
    reached = -min(float(first.fun), float(least_loss))
    return model.shares(x), (reached + 2 * _TOLERANCE) * demand


class _Model:
    """Variables and rows under construction."""

    def __init__(self, catalogue: Catalogue, plans: Sequence[PlacedPlan]) -> None:
        self.scenario, self.plans = catalogue.scenario, plans
        self.empty = Ledger(catalogue.scenario)
        self.whole = [not splittable(catalogue, p.query) for p in plans]
        self.units = [
            float(p.query.count) if w else 1.0 for p, w in zip(plans, self.whole, strict=True)
        ]
        self.upper = [*self.units]
        self.integral = [int(w) for w in self.whole]
        self.rows: list[tuple[Terms, float, float]] = []
        self.usd: dict[int, float] = {}
        self.linear = self._linear()
        self.rows += [(terms, -np.inf, 1.0) for terms in self.linear]
        self._instances()

    def objective(self, values: Sequence[float]) -> FloatArray:
        """Coefficients of a value that a plan has when it carries all traffic."""
        found: FloatArray = np.zeros(len(self.upper))
        found[: len(self.plans)] = np.array(values) / self.units
        return found

    def cost(self) -> FloatArray:
        """US dollars per hour, coefficients."""
        found = self.objective(
            [(p.usage_usd + p.network_usd) * _rate(p) * SECONDS_PER_HOUR for p in self.plans]
        )
        for k, usd in self.usd.items():
            found[k] = usd
        return found

    def minimise(
        self, objective: FloatArray, further: Sequence[tuple[Terms, float, float]]
    ) -> OptimizeResult:
        """Solve, with further rows."""
        rows = [*self.rows, *further]
        at = [(r, c) for r, (terms, _, _) in enumerate(rows) for c, _ in terms]
        values = np.array([v for terms, _, _ in rows for _, v in terms], dtype=np.float64)
        where = np.array(at, dtype=np.int64).reshape(-1, 2).T
        matrix = coo_array((values, (where[0], where[1])), shape=(len(rows), len(self.upper)))
        limits = LinearConstraint(
            matrix.tocsr(),
            np.array([low for _, low, _ in rows]),
            np.array([high for _, _, high in rows]),
        )
        # Presolve of the HiGHS inside scipy 1.15 calls some small programmes infeasible that have
        # 0 for a solution, and 0 the optimum of others that have a better one.
        return milp(
            objective,
            integrality=np.array(self.integral),
            bounds=Bounds(0.0, np.array(self.upper)),
            constraints=limits,
            options={"mip_rel_gap": 0.0, "presolve": False},
        )

    def shares(self, x: FloatArray) -> list[float]:
        """Shares within every limit: what the solver's tolerance exceeds is cut off."""
        units = np.array(
            [
                round(x[k]) if whole else (x[k] if x[k] > 2 * _TOLERANCE else 0.0)
                for k, whole in enumerate(self.whole)
            ],
            dtype=np.float64,
        )
        for terms in self.linear:
            whole = math.fsum(v * units[k] for k, v in terms if self.whole[k])
            part = math.fsum(v * units[k] for k, v in terms if not self.whole[k])
            if whole + part > 1.0 and part > 0:
                cut = max(0.0, 1.0 - whole) / part * (1 - 1e-12)
                for k, _ in terms:
                    units[k] *= 1.0 if self.whole[k] else cut
        return [float(share) for share in units / self.units]

    def _linear(self) -> list[Terms]:
        """Rows of traffic and per-second resources, each scaled to at most 1."""
        found: dict[object, list[tuple[int, float]]] = collections.defaultdict(list)
        for k, placed in enumerate(self.plans):
            found[placed.query.id].append((k, 1.0 / self.units[k]))
            for resource, amount in placed.use.linear.items():
                used = amount * _rate(placed)
                if resource[0] != WORKER and used > 0:
                    found[resource].append((k, self._part(resource, used) / self.units[k]))
        return list(found.values())

    def _part(self, resource: Resource, used: float) -> float:
        capacity = self.empty.capacity(resource)
        # More than a million times too much: as good as infinitely, and the solver stays calm.
        return min(used / capacity, 1e6) if capacity > 0 else 1e6

    def _instances(self) -> None:
        """What is shared: memory of instances, their replicas, and rented machines."""
        users: dict[InstanceKey, dict[int, float]] = collections.defaultdict(dict)
        memory: dict[InstanceKey, dict[int, float]] = collections.defaultdict(dict)
        stateful: dict[InstanceKey, set[int]] = collections.defaultdict(set)
        longest: dict[InstanceKey, float] = {}
        planned: dict[InstanceKey, dict[int, float]] = {}  # workers, waits in lines counted
        for k, placed in enumerate(self.plans):
            for step in placed.use.steps:
                mine, busy = users[step.key], step.erlang_ms / 1e3 * _rate(placed)
                mine[k] = mine.get(k, 0.0) + busy / self.units[k]
                memory[step.key][k] = max(memory[step.key].get(k, 0.0), step.memory_mb)
                longest[step.key] = max(longest.get(step.key, 1.0), taken(step.compute_s))
                if step.stateful:
                    stateful[step.key].add(k)
        for key, times in longest.items():
            if key not in stateful:
                planned[key] = {k: busy * times for k, busy in users[key].items()}
        at: dict[str, list[InstanceKey]] = collections.defaultdict(list)
        for key in users:
            at[key[0]].append(key)
        for device, keys in at.items():
            self._device(device, {key: (planned.get(key, users[key]), memory[key]) for key in keys})
        for key, having in stateful.items():
            self._single(users[key], having)

    def _device(
        self,
        device: str,
        instances: Mapping[InstanceKey, tuple[Mapping[int, float], Mapping[int, float]]],
    ) -> None:
        kind = self.scenario.class_of(device)
        rented = None
        if kind.billing is Billing.MACHINE:
            rented = self._variable(1.0)
            self.usd[rented] = kind.price_usd_hour
        most = {
            key: max(memory.values()) * self._most_replicas(users)
            for key, (users, memory) in instances.items()
        }
        tight = math.fsum(most.values()) > kind.memory_mb
        held: list[tuple[int, float]] = []
        for users, memory in instances.values():
            if rented is None and not (tight and any(memory.values())):
                continue
            there = self._variable(1.0)
            for k in users:
                self.rows.append(([(k, 1.0), (there, -self.units[k])], -np.inf, 0.0))
            if rented is not None:
                self.rows.append(([(there, 1.0), (rented, -1.0)], -np.inf, 0.0))
            if tight:
                held += self._memory(users, memory, there, kind.memory_mb)
        if held:
            self.rows.append((held, -np.inf, 1.0))

    def _memory(
        self, users: Mapping[int, float], memory: Mapping[int, float], there: int, capacity: float
    ) -> Terms:
        """What the instance takes of the machine's memory."""
        replicas, most = there, self._most_replicas(users)
        if most > 1:
            replicas = self._variable(most)
            self.rows.append(([(there, 1.0), (replicas, -1.0)], -np.inf, 0.0))
            busy = [(k, b) for k, b in users.items() if b > 0]
            limit = self.scenario.max_utilisation
            self.rows.append(([*busy, (replicas, -limit)], -np.inf, 0.0))
        levels = sorted(set(memory.values()))
        if len(levels) == 1:
            return [(replicas, levels[0] / capacity)]
        # As much per replica as the largest of those present wants.
        taken = self._variable(math.inf, integral=False)
        for level in levels:
            present = self._variable(1.0)
            for k, wanted in memory.items():
                if wanted >= level:
                    self.rows.append(([(k, 1.0), (present, -self.units[k])], -np.inf, 0.0))
            part = level / capacity
            terms = [(replicas, part), (present, part * most), (taken, -1.0)]
            self.rows.append((terms, -np.inf, part * most))
        return [(taken, 1.0)]

    def _most_replicas(self, users: Mapping[int, float]) -> float:
        if not self.scenario.queueing:
            return 1.0
        busy = math.fsum(b * self.units[k] for k, b in users.items())
        return float(max(1, math.ceil(busy / self.scenario.max_utilisation) + 1))

    def _single(self, users: Mapping[int, float], having: set[int]) -> None:
        """The one worker of a stateful operator carries everybody's requests."""
        most = math.fsum(b * self.units[k] for k, b in users.items())
        limit = self.scenario.max_utilisation
        if most <= limit:
            return
        present = self._variable(1.0)
        for k in having:
            self.rows.append(([(k, 1.0), (present, -self.units[k])], -np.inf, 0.0))
        self.rows.append(([*users.items(), (present, most - limit)], -np.inf, most))

    def _variable(self, upper: float, *, integral: bool = True) -> int:
        self.upper.append(upper)
        self.integral.append(int(integral))
        return len(self.upper) - 1


def _rate(placed: PlacedPlan) -> float:
    return placed.query.rate_rps * placed.query.count
