"""Per-query Bayesian optimisation over placements and configs, with a Gaussian process.

After Vulcan (Zhang, Zhang, Ananthanarayanan, Iyer, Shu, Bahl, Mao and Chowdhury, "Vulcan:
Automatic Query Planning for Live ML Analytics", NSDI 2024): for each query by itself it looks
for placement and configuration of most *utility*, accuracy and latency beyond the goals for the
resources taken, by Bayesian optimisation. What differs, and why, is in docs/baselines.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from circinus.query import Query
from circinus_coordinator.planning.baselines.admission import Admission
from circinus_coordinator.planning.baselines.best import HEADROOMS
from circinus_coordinator.planning.baselines.classes import Classes
from circinus_coordinator.planning.baselines.courses import Course, Probe
from circinus_coordinator.planning.baselines.entries import Entries
from circinus_coordinator.planning.baselines.report import Standing, judged
from circinus_coordinator.planning.baselines.space import Space
from circinus_coordinator.planning.baselines.surrogate import Surrogate, one_thread
from circinus_coordinator.planning.baselines.tables import Table
from circinus_coordinator.planning.baselines.turns import InTurn, Offer
from circinus_coordinator.planning.baselines.views import View
from circinus_coordinator.planning.catalogue import Catalogue

__all__ = ["Bayesian"]

FloatArray = npt.NDArray[np.float64]
# Plans drawn at random before the surrogate is asked: a fifth of the budget, at most this many.
_RANDOM = 10
# Limits on what is told of one plan, so that one that is hopelessly late does not flatten the rest.
_MOST_LATE = _MOST_LACKING = float(np.log(10))
# What is told of a plan that is not bound to a latency, or lacks nothing.
_IN_TIME, _ENOUGH = -1.0, -0.3
# Plans a search hands over, those of most utility: more are hardly ever reached.
_MOST_OFFERED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Bayesian(InTurn):
    """Each query in turn gets the plan that a search of its own found of most utility.

    Where several orders are tried, one search per query on the idle fleet serves them all, beside
    first come first served with a search on what is left each.

    Attributes:
        budget: Plans evaluated per search.
        share_classes: One search, on the idle fleet, serves all queries of a class.
    """

    budget: int
    share_classes: bool = False

    def offer(self, catalogue: Catalogue, seed: int) -> Offer:
        """Search, unless each query is to search at its turn."""
        find, queries = _Find(catalogue, self.budget, seed), catalogue.scenario.queries
        courses: dict[str, Course] = {}
        if self.share_classes:
            courses = {query.id: find.classes.course(query) for query in queries}
        elif len(self.orders) > 1:
            idle = Admission(catalogue)
            courses = {query.id: find.course(query, idle) for query in queries}
        return Offer(
            courses=courses,
            evaluated=lambda: find.evaluations,
            at_turn=None if self.share_classes else find.at_turn,
        )


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

    def at_turn(self) -> tuple[Standing, int]:
        """Each query searches at its turn, with what those before it left."""
        catalogue = self.catalogue
        # To try every headroom would take a search each.
        admission = Admission(catalogue, HEADROOMS[1] if catalogue.scenario.queueing else 1.0)
        for query in catalogue.scenario.queries:
            admission.serve(self.course(query, admission))
        return judged(catalogue, admission.admitted), admission.evaluations

    def _search(self, table: Table, view: View, query: Query, admission: Admission) -> Entries:
        rng = np.random.default_rng([self.seed, len(query.id), *query.id.encode()])
        space = Space(table, view, query, rng)
        found: dict[int, _Outcome] = {}
        with one_thread():
            for index in _proposals(space, found, self.budget):
                self.evaluations += 1
                one = space.entries.take(np.array([index], dtype=np.int64))
                needs = one.needs(table, view)
                course = Course(query=query, table=table, view=view, entries=one, needs=needs)
                found[index] = _outcome(query, one, admission.probe(course, 0))
        best = sorted((k for k, o in found.items() if o.fits), key=lambda k: -found[k].utility)
        return space.entries.take(np.array(best[:_MOST_OFFERED], dtype=np.int64))


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What an evaluation said of a plan.

    Attributes:
        utility: Logarithm; see `_outcome`.
        late: Logarithm of latency over the SLO.
        lacking: Logarithm of 1 + the part of the worst resource that is lacking.
        fits: Neither late nor lacking anything.
    """

    utility: float
    late: float
    lacking: float
    fits: bool


def _proposals(space: Space, found: Mapping[int, _Outcome], budget: int) -> Iterator[int]:
    """Which plan to evaluate next; `found` is to be brought up to date in between.

    The first are drawn at random. Then comes the plan of most expected improvement (Jones,
    Schonlau and Welch, "Efficient Global Optimization of Expensive Black-Box Functions", Journal
    of Global Optimization 13, 1998, section 4.1) times the chance that it is in time and fits
    (Gardner et al., "Bayesian Optimization with Inequality Constraints", ICML 2014),
    among those drawn and the neighbours of the best ones so far (as in SMAC: Hutter, Hoos and
    Leyton-Brown, LION 5, 2011).
    """
    surrogate = Surrogate(space.features, 3)
    random = max(2, min(_RANDOM, budget // 5))
    best: int | None = None
    for turn in range(min(budget, len(space))):
        # What is drawn is in random order.
        index = turn if turn < random else _next(surrogate, best, found)
        yield index
        outcome = found[index]
        surrogate.tell(index, np.array([outcome.utility, outcome.late, outcome.lacking]))
        better = outcome.fits and (best is None or outcome.utility > found[best].utility)
        best = index if better else best
        if best is not None and (better if turn >= random else turn == random - 1):
            surrogate.extend(space.expand(best))


def _next(surrogate: Surrogate, best: int | None, found: Mapping[int, _Outcome]) -> int:
    mean, deviation = surrogate.predict()
    deviation = np.maximum(deviation, 1e-9)
    # Both at once: late and lacking.
    score = ndtr(-mean[:, 1:] / deviation[:, 1:]).prod(axis=1)
    if best is not None:
        score = score * _improvement(mean[:, 0], deviation[:, 0], found[best].utility)
    score[surrogate.known] = -1.0
    return int(np.argmax(score))


def _improvement(mean: FloatArray, deviation: FloatArray, best: float) -> FloatArray:
    """Expected improvement on `best`."""
    z = (mean - best) / deviation
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray((mean - best) * ndtr(z) + deviation * density)


def _outcome(query: Query, plan: Entries, probe: Probe) -> _Outcome:
    """What the plan does beyond the goals for what it takes, and how it keeps them.

    Vulcan's utility weighs accuracy and latency against each other and divides by resources
    taken. Its weights are not known to us; here both count the same, and resources are counted as
    parts of what is left of them. Of two plans as good as one another the one that takes more of
    the traffic is better.
    """
    slo, beyond, late = query.slo, 1.0, _IN_TIME
    if slo.latency_ms is not None:
        part = min(max(probe.latency_ms / slo.latency_ms, 1e-6), 1e6)
        late, beyond = min(float(np.log(part)), _MOST_LATE), beyond + max(0.0, 1 - part) / 2
    if slo.accuracy is not None:
        beyond += (float(plan.accuracy[0]) - slo.accuracy) / max(1 - slo.accuracy, 1e-3) / 2
    lacking = min(float(np.log1p(probe.overload)), _MOST_LACKING) if probe.overload > 0 else _ENOUGH
    return _Outcome(
        utility=float(np.log(beyond * probe.share / max(probe.taken, 1e-12))),
        late=late,
        lacking=lacking,
        fits=probe.fits,
    )
