"""The cheapest plan that keeps its promises, from as few samples as possible.

For one query: plans are looked at from the cheapest on, at what they seem to cost by now. Each is
tested (`verdicts`) on samples of its parts; one that is certain to miss an objective is crossed
out, and the first that is certain to meet all of them is chosen. Only what the plan now looked at
still lacks is asked for, so no sample is taken that cannot change the decision.

Samples belong to parts, an operator's config on a device class or a config vector's score, and
not to plans or queries: what one query had measured, all others find there (`Book`). The i-th
latency samples of a plan's operators, put together, are a sample of its latency, and all of these
are independent of one another as far as operators are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from circinus_coordinator.profiling.surrogate import Losses
from circinus_coordinator.profiling.verdicts import Target, Verdict, samples_to_go, verdict

__all__ = ["Ask", "Book", "Chosen", "Menu", "Rules", "Seeker", "Wants"]

# From so many samples on a plan may be promised.
_SURVIVED = 32
_NEVER = 1e-300

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu:
    """The plans of one pipeline from one kind of source.

    Attributes:
        parts: `(plans, operators)` number of the operator's config on a device class.
        vector: `(plans,)` number of the config vector.
        extra_ms: `(plans, paths)` time on the way along each path from a source to a sink.
        extra_usd: `(plans,)` price of moving data, per request.
        paths: Positions of the operators on each path.
        configs: `(vectors, operators)` config number of each operator in each vector.
    """

    parts: Ints
    vector: Ints
    extra_ms: Floats
    extra_usd: Floats
    paths: tuple[tuple[int, ...], ...]
    configs: Ints

    def latency_ms(self, plan: int, service_ms: Floats) -> Floats:
        """`(n,)` of a plan, from `(operators, n)` service times: the slowest path counts."""
        along = [
            service_ms[list(path)].sum(axis=0) + self.extra_ms[plan, k]
            for k, path in enumerate(self.paths)
        ]
        longest: Floats = np.max(along, axis=0)
        return longest


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a query wants; None where it wants nothing.

    Attributes:
        within: Part of the requests that have to be in time: 0.95 for a p95.
    """

    latency_ms: float | None = None
    within: float = 0.95
    accuracy: float | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How sure is sure, and when it is enough.

    Attributes:
        delta: Chance of promising what does not hold.
        zone: Short of an objective by less is near enough; a part of requests, of accuracy.
        first: Samples every part gets before it is looked at closely.
        most_samples: Of a latency.
        most_scores: Labelled inputs there are.
        doubtful: Standard deviations by which an accuracy nobody scored must seem to miss the
            floor before its plans are passed over.
    """

    delta: float = 0.05
    zone: float = 0.01
    first: int = 3
    most_samples: int = 4000
    most_scores: int = 500
    doubtful: float = 3.0


@dataclass(slots=True)
class Book:
    """Samples of all parts, in the order taken.

    Attributes:
        service_ms: By part.
        usd: By part, per request.
        scores: By config vector.
    """

    service_ms: dict[int, Floats] = field(default_factory=dict)
    usd: dict[int, Floats] = field(default_factory=dict)
    scores: dict[int, Floats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """Up to so many samples of these would take the decision further.

    Attributes:
        parts: Number of samples by part.
        scores: Number of scores by vector.
    """

    parts: Mapping[int, int] = field(default_factory=dict)
    scores: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The decision of one query.

    Attributes:
        plan: None where no plan is certain to meet all objectives.
        doubtful: Cheaper plans that were given up without certainty.
    """

    plan: int | None
    doubtful: int


class Seeker:
    """Seeks the plan of one query; keeps what was crossed out, for its asks only."""

    def __init__(self, menu: Menu, ask: Ask, rules: Rules, losses: Losses) -> None:
        self._menu, self._ask, self._rules, self._losses = menu, ask, rules, losses
        self._out = np.zeros(len(menu.parts), dtype=np.bool_)
        self._doubtful = np.zeros(len(menu.parts), dtype=np.bool_)
        self._missed: set[int] = set()  # vectors
        # In the order in which each got its level:
        self._scored: list[int] = []  # vectors
        self._promised: list[int] = []  # plans
        self._used = np.unique(menu.parts)

    def look(self, book: Book) -> Chosen | Wants:
        """The decision, or what it lacks."""
        first = {
            int(part): self._rules.first
            for part in self._used
            if len(book.service_ms.get(int(part), ())) < self._rules.first
        }
        if first:
            return Wants(parts=first)
        usd = self._menu.extra_usd + self._means(book.usd)[self._menu.parts].sum(axis=1)
        if self._ask.usd is not None:
            self._out |= usd > self._ask.usd
        self._screen(book)
        self._pass_over(book)
        order = np.argsort(usd, kind="stable")
        for plan in order[~self._out[order]].tolist():
            found = self._test(plan, book)
            if isinstance(found, Wants):
                return found
            if found is Verdict.MET:
                return Chosen(plan=plan, doubtful=int(self._doubtful.sum()))
            self._out[plan] = True
        return Chosen(plan=None, doubtful=int(self._doubtful.sum()))

    # ---- one plan ---------------------------------------------------------------------------

    def _test(self, plan: int, book: Book) -> Verdict | Wants:
        """Late ones fall after a few samples; to promise a latency costs most, so it comes last."""
        if int(self._menu.vector[plan]) in self._missed:
            return Verdict.MISSED
        for step in (self._hardly_late, self._accurate, self._in_time):
            found = step(plan, book)
            if found is not Verdict.MET:
                return found
        return Verdict.MET

    def _hits(self, plan: int, book: Book) -> Floats:
        """Whether each sample of the plan is in time."""
        parts = self._menu.parts[plan]
        n = min(len(book.service_ms[int(part)]) for part in parts)
        service = np.array([book.service_ms[int(part)][:n] for part in parts])
        limit = math.inf if self._ask.latency_ms is None else self._ask.latency_ms
        hits: Floats = (self._menu.latency_ms(plan, service) <= limit).astype(float)
        return hits

    def _hardly_late(self, plan: int, book: Book) -> Verdict | Wants:
        if self._ask.latency_ms is None:
            return Verdict.MET
        hits, target = self._hits(plan, book), self._in_time_target
        said = verdict(hits, target, accept=_NEVER, reject=self._rules.delta)
        if said is Verdict.OPEN and len(hits) < _SURVIVED:
            return self._lacking(plan, book, min(2 * len(hits), _SURVIVED))
        return Verdict.MISSED if said is Verdict.MISSED else Verdict.MET

    def _in_time(self, plan: int, book: Book) -> Verdict | Wants:
        rules = self._rules
        if self._ask.latency_ms is None:
            return Verdict.MET
        hits, target = self._hits(plan, book), self._in_time_target
        accept = _level(self._promised, plan, rules.delta)
        said = verdict(hits, target, accept=accept, reject=rules.delta)
        if said is not Verdict.OPEN:
            return said
        n = len(hits)
        if n + samples_to_go(hits, target, accept=accept) > rules.most_samples:
            self._doubtful[plan] = True
            return Verdict.MISSED
        return self._lacking(plan, book, min(2 * n, rules.most_samples))

    def _accurate(self, plan: int, book: Book) -> Verdict | Wants:
        ask, rules = self._ask, self._rules
        if ask.accuracy is None:
            return Verdict.MET
        vector = int(self._menu.vector[plan])
        scores = book.scores.get(vector, np.zeros(0))
        n = len(scores)
        least = min(_SURVIVED, rules.most_scores)
        said = verdict(
            scores,
            Target(least=ask.accuracy, zone=rules.zone),
            accept=_NEVER if n < least else _level(self._scored, vector, rules.delta),
            reject=rules.delta,
            population=rules.most_scores,
        )
        if said is Verdict.MISSED:
            self._missed.add(vector)
        if said is not Verdict.OPEN:
            return said
        return Wants(scores={vector: min(max(2 * n, 8), rules.most_scores)})

    @property
    def _in_time_target(self) -> Target:
        return Target(least=self._ask.within, zone=self._rules.zone)

    def _lacking(self, plan: int, book: Book, upto: int) -> Wants:
        parts = [int(p) for p in self._menu.parts[plan] if len(book.service_ms[int(p)]) < upto]
        return Wants(parts=dict.fromkeys(parts, upto))

    # ---- all plans --------------------------------------------------------------------------

    def _means(self, samples: Mapping[int, Floats]) -> Floats:
        means = np.zeros(int(self._used.max(initial=-1)) + 1)
        for part in self._used:
            means[part] = samples[int(part)].mean()
        return means

    def _screen(self, book: Book) -> None:
        """Cross out what was never in time in the first samples, where that is certain enough."""
        limit, rules = self._ask.latency_ms, self._rules
        if limit is None or rules.first * math.log(1 / (1 - self._ask.within)) < 2 * math.log(
            1 / rules.delta
        ):
            return
        first = np.zeros((int(self._used.max()) + 1, rules.first))
        for part in self._used:
            first[part] = book.service_ms[int(part)][: rules.first]
        service = first[self._menu.parts]  # (plans, operators, first)
        along = [
            service[:, list(path)].sum(axis=1) + self._menu.extra_ms[:, k, None]
            for k, path in enumerate(self._menu.paths)
        ]
        self._out |= (np.max(along, axis=0) > limit).all(axis=1)

    def _pass_over(self, book: Book) -> None:
        """Leave out vectors that are out of the question by what others scored."""
        floor, least = self._ask.accuracy, 2 * self._menu.configs.shape[1]
        if floor is None or len(book.scores) < least:
            return
        n = len(self._menu.configs)
        mean, samples = np.zeros(n), np.zeros(n, dtype=np.int64)
        # Inputs differ in how hard they are, for all configs alike. All scores begin with the
        # same inputs, so the vector with most of them tells how hard those of another were.
        most = max(book.scores, key=lambda vector: len(book.scores[vector]))
        yardstick = book.scores[most]
        for vector, scores in book.scores.items():
            same = float(yardstick[: len(scores)].mean())
            if same > 0:
                mean[vector] = scores.mean() * float(yardstick.mean()) / same
                samples[vector] = len(scores)
        guess, sd = self._losses.predict(mean, samples)
        poor = (guess + self._rules.doubtful * sd < floor) & (samples == 0)
        self._out |= poor[self._menu.vector]


def _level(tested: list[int], what: int, delta: float) -> float:
    """Chance of a wrong promise that one more may have, on this objective.

    Half of delta is shared out as 1/2, 1/6, 1/12 ... over those that were not seen to miss by
    the first samples. What falls before is no temptation, and nothing is promised on so few.
    """
    if what not in tested:
        tested.append(what)
    k = tested.index(what) + 1
    return delta / 2 / (k * (k + 1))
