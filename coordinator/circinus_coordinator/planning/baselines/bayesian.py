"""Per-query Bayesian optimisation over placements and configs, with a Gaussian process.

After Vulcan (Zhang, Zhang, Ananthanarayanan, Iyer, Shu, Bahl, Mao and Chowdhury, "Vulcan:
Automatic Query Planning for Live ML Analytics", NSDI 2024): for each query by itself it looks
for placement and configuration of most *utility*, accuracy and latency beyond the goals for the
resources taken, by Bayesian optimisation. What differs, and why, is in docs/baselines.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.decision import Decision
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.baselines.admission import Admission, Course, Probe
from circinus_coordinator.planning.baselines.best import HEADROOMS, best_of, better
from circinus_coordinator.planning.baselines.classes import Classes
from circinus_coordinator.planning.baselines.entries import (
    Entries,
    concatenate,
    evaluate_all,
    nothing,
)
from circinus_coordinator.planning.baselines.menu import placements
from circinus_coordinator.planning.baselines.orders import FIRST_COME, Order
from circinus_coordinator.planning.baselines.report import Standing, judged, report
from circinus_coordinator.planning.baselines.surrogate import Surrogate
from circinus_coordinator.planning.baselines.tables import CHEAP, FAST, Table
from circinus_coordinator.planning.baselines.views import View
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decide import Clock
from circinus_coordinator.planning.stop import Stop

__all__ = ["Bayesian"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# Plans the next one is chosen among, drawn once per search.
_POOL = 512
# Plans drawn at random before the surrogate is asked: a fifth of the budget, at most this many.
_RANDOM = 10
# How far below a feasible plan of the same utility one that breaks a goal by nothing stands, and
# how much further the broken goal may push it. In units of the logarithm of utility, whose spread
# over feasible plans is about as much.
_BROKEN, _MOST_BROKEN = 3.0, 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bayesian:
    """Each query in turn gets the plan that a search of its own found of most utility.

    Attributes:
        name: Name of the planner.
        budget: Plans evaluated per search.
        share_classes: One search, on the idle fleet, serves all queries of a class.
        orders: Admission orders tried; the best by (goodput, cost) counts. Where there are
            several, one search per query on the idle fleet serves them all, beside first come
            first served with a search on what is left each.
    """

    name: str
    budget: int
    share_classes: bool = False
    orders: Sequence[Order] = FIRST_COME

    def __call__(
        self,
        scenario: Scenario,
        *,
        effort: Stop,
        seed: int,
        previous: Decision | None,  # noqa: ARG002 - knows nothing of stickiness
        clock: Clock,
    ) -> Decision:
        """Plan; `effort` cuts short the orders tried, never the first."""
        started = clock()
        catalogue = Catalogue(scenario)
        find = _Find(catalogue, self.budget, seed)
        if self.share_classes:
            courses = {query.id: find.classes.course(query) for query in scenario.queries}
        elif len(self.orders) > 1:
            idle = Admission(catalogue)
            courses = {q.id: find.course(q, idle) for q in scenario.queries}
        else:
            courses = {}
        searched = clock()
        found = []
        if courses:
            found.append(
                best_of(catalogue, courses, self.orders, lambda: effort(0, clock() - started))
            )
        if not self.share_classes:
            found.append(self._first_come(catalogue, find))
        stands = functools.reduce(better, (stands for stands, _ in found))
        return report(
            catalogue,
            stands,
            planner=self.name,
            seed=seed,
            hopeless=(),
            evaluations=find.evaluations + sum(evaluated for _, evaluated in found),
            seconds={"compile": searched - started, "select": clock() - searched},
        )

    def _first_come(self, catalogue: Catalogue, find: _Find) -> tuple[Standing, int]:
        """Each query searches with what those before it left."""
        # To try every headroom would take a search each.
        admission = Admission(catalogue, HEADROOMS[1] if catalogue.scenario.queueing else 1.0)
        for query in catalogue.scenario.queries:
            admission.serve(find.course(query, admission))
        return judged(catalogue, admission.admitted), admission.evaluations


class _Find:
    """Searches, and what they share: tables, views, the seed."""

    def __init__(self, catalogue: Catalogue, budget: int, seed: int) -> None:
        self.catalogue, self.budget, self.seed = catalogue, budget, seed
        self.evaluations = 0
        self._idle = Admission(catalogue)
        self.classes = Classes(catalogue, self._menu)

    def _menu(self, table: Table, view: View, query: Query) -> tuple[Entries, int]:
        return self._search(table, view, query, self._idle), 0

    def course(self, query: Query, admission: Admission) -> Course:
        """What a search for the query with what `admission` has left found, best first."""
        table, view = self.classes.table(query), self.classes.view(query)
        return self.classes.course_of(query, self._search(table, view, query, admission))

    def _search(self, table: Table, view: View, query: Query, admission: Admission) -> Entries:
        rng = np.random.default_rng([self.seed, len(query.id), *query.id.encode()])
        pool = _pool(table, view, query, rng)
        if not len(pool):
            return pool
        course = Course(
            query=query, table=table, view=view, entries=pool, needs=pool.needs(table, view)
        )

        def utility(index: int) -> tuple[float, bool]:
            self.evaluations += 1
            return _utility(query, pool, index, admission.probe(course, index))

        found = _optimise(_features(pool, table, view), utility, self.budget, self.seed)
        best = sorted((k for k, (_, ok) in found.items() if ok), key=lambda k: -found[k][0])
        return pool.take(np.array(best, dtype=np.int64))


def _optimise(
    features: FloatArray,
    utility: Callable[[int], tuple[float, bool]],
    budget: int,
    seed: int,
) -> dict[int, tuple[float, bool]]:
    """Utility and feasibility of the points looked at, by position in the pool."""
    found: dict[int, tuple[float, bool]] = {}
    budget = min(budget, len(features))
    for k in range(min(budget, max(2, min(_RANDOM, budget // 5)))):  # the pool is in random order
        found[k] = utility(k)
    surrogate = Surrogate(features, seed)
    while len(found) < budget:
        k = surrogate.next({k: value for k, (value, _) in found.items()})
        found[k] = utility(k)
    return found


def _pool(table: Table, view: View, query: Query, rng: np.random.Generator) -> Entries:
    """Plans drawn at random: a placement, a config vector whose accuracy is known if it must be."""
    where = placements(table, view)
    vectors = table.vectors(None if query.slo.accuracy is None else -np.inf)
    if not len(where) or not len(vectors.ids):
        return nothing(len(table.order))
    p = rng.integers(len(where), size=_POOL)
    v = rng.integers(len(vectors.ids), size=_POOL)
    which = rng.integers(2, size=_POOL) if not table.same else np.zeros(_POOL, dtype=np.int64)
    drawn = list(dict.fromkeys(zip(p.tolist(), v.tolist(), which.tolist(), strict=True)))
    parts = []
    for pick in (CHEAP, FAST):
        for at in sorted({a for a, _, w in drawn if w == pick}):
            some = np.array([b for a, b, w in drawn if (a, w) == (at, pick)], dtype=np.int64)
            every = evaluate_all(table, view, query, where[[at]], vectors.take(some), pick)
            parts.append(every)
    if not parts:
        return nothing(len(table.order))
    pool = concatenate(parts)
    possible = np.flatnonzero(np.isfinite(pool.latency_ms) & np.isfinite(pool.usd))
    return pool.take(rng.permutation(possible).astype(np.int64))


def _features(pool: Entries, table: Table, view: View) -> FloatArray:
    """`(plans, features)` in [0, 1]: for each operator its tier, its slot and its knobs."""
    columns = [pool.pick.astype(np.float64)]
    tiers = max(1, len(table.catalogue.scenario.tiers) - 1)
    for k, name in enumerate(table.order):
        slot = pool.slots[:, k]
        columns += [view.tier[slot] / tiers, slot / max(1, len(view.kind) - 1)]
        for knob, values in table.pipeline.operators[name].knobs.items():
            scale = [values.index(config[knob]) for config in table.configs[k]]
            columns.append(np.array(scale)[pool.configs[:, k]] / max(1, len(values) - 1))
    return np.stack(columns, axis=1)


def _utility(query: Query, pool: Entries, index: int, probe: Probe) -> tuple[float, bool]:
    """Logarithm of what the plan does beyond the goals for what it takes; whether it keeps them.

    Vulcan's utility weighs accuracy and latency against each other and divides by resources
    taken. Its weights are not known to us; here both count the same. Goals broken, and capacity
    that is not there, count against the plan in relative amounts.
    """
    slo = query.slo
    broken, beyond = probe.overload, 1.0
    if slo.latency_ms is not None:
        slack = 1 - min(probe.latency_ms / slo.latency_ms, 1e3)
        broken, beyond = broken + max(0.0, -slack), beyond + max(0.0, slack) / 2
    if slo.accuracy is not None:
        slack = (float(pool.accuracy[index]) - slo.accuracy) / max(1 - slo.accuracy, 1e-3)
        broken, beyond = broken + max(0.0, -slack), beyond + max(0.0, slack) / 2
    if slo.cost_usd_per_1000 is not None:
        over = float(pool.usd[index]) * 1000 / max(slo.cost_usd_per_1000, 1e-12) - 1
        broken += min(max(0.0, over), 1e3)
    value = float(np.log(beyond) - np.log(max(float(pool.load[index]), 1e-9)))
    if probe.fits and broken <= 0:
        return value, True
    return value - _BROKEN - min(broken, _MOST_BROKEN), False
