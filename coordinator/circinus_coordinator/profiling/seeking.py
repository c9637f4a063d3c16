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
_OPTIMISM = 3.0  # standard errors of a price
# Guesses of service times (`surrogate.Speeds`) are off by some 20 %, seldom by half.
_CHEAPER, _GUESS_SD, _QUICKER = 0.85, 0.2, 0.5
_SLACK = 1.2  # of a few samples' slowest, for what more will bring

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

    def all_latency_ms(self, plans: Ints, service_ms: Floats) -> Floats:
        """`(m, n)` of m plans, from `(m, operators, n)` service times."""
        along = [
            service_ms[:, list(path)].sum(axis=1) + self.extra_ms[plans, k, None]
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
        plausible: A latency that could not be settled with `most_samples` may be promised where
            the samples themselves meet it; else it is not.
        doubtful: Standard deviations by which an accuracy nobody scored must seem to miss the
            floor before its plans are passed over.
    """

    delta: float = 0.05
    zone: float = 0.01
    first: int = 3
    most_samples: int = 4000
    most_scores: int = 500
    plausible: bool = False
    doubtful: float = 3.0


@dataclass(slots=True)
class Book:
    """Samples of all parts, in the order taken.

    Attributes:
        service_ms: By part.
        usd: By part, per request.
        scores: By config vector.
        guessed_ms: Of parts without samples that are not worth any before a plan with them is
            looked at: what they may take; with `guessed_usd`.
    """

    service_ms: dict[int, Floats] = field(default_factory=dict)
    usd: dict[int, Floats] = field(default_factory=dict)
    scores: dict[int, Floats] = field(default_factory=dict)
    guessed_ms: dict[int, float] = field(default_factory=dict)
    guessed_usd: dict[int, float] = field(default_factory=dict)


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
        self._accurate_vectors: set[int] = set()
        # In the order in which each got its level:
        self._scored: list[int] = []  # vectors
        self._promised: list[int] = []  # plans
        self._used = np.unique(menu.parts)

    def redraw(self, menu: Menu, rules: Rules) -> None:
        """The same plans with other times and prices of the way."""
        self._menu, self._rules = menu, rules

    def leave_out(self, plans: NDArray[np.bool_]) -> None:
        """Cross out plans for reasons of one's own."""
        self._out |= plans

    @property
    def accurate(self) -> frozenset[int]:
        """Vectors that are certain to reach the accuracy asked for."""
        return frozenset(self._accurate_vectors)

    @property
    def missed(self) -> frozenset[int]:
        """Vectors that are certain not to."""
        return frozenset(self._missed)

    def look(self, book: Book, beyond: NDArray[np.bool_] | None = None) -> Chosen | Wants:
        """The decision, or what it lacks.

        Args:
            beyond: `(plans,)` those that are known already and no answer.
        """
        first = {
            int(part): self._rules.first
            for part in np.unique(self._menu.parts[~self._out])
            if len(book.service_ms.get(int(part), ())) < self._rules.first
            and int(part) not in book.guessed_ms
        }
        if first:
            return Wants(parts=first)
        usd, spread = self._usd(book)
        if self._ask.usd is not None:
            self._out |= usd - _OPTIMISM * spread > self._ask.usd
        self._screen(book)
        self._pass_over(book)
        order = np.argsort(usd, kind="stable")
        seen = self._out if beyond is None else self._out | beyond
        for plan in order[~seen[order]].tolist():
            if self._ask.usd is not None and usd[plan] > self._ask.usd:
                found = self._too_dear(plan, book)
            else:
                found = self._test(plan, book)
            if isinstance(found, Wants):
                return found
            if found is Verdict.MET:
                return Chosen(plan=plan, doubtful=int(self._doubtful.sum()))
            self._out[plan] = True
        return Chosen(plan=None, doubtful=int(self._doubtful.sum()))

    def safe(self, book: Book, least: int) -> int | None:
        """The cheapest plan that may be promised by what is known now, though a cheaper one may do.

        Its accuracy is certain; its latency was met in as many samples as are asked for, and is
        not certain to be missed.

        Args:
            least: Samples that each of its parts must have.
        """
        enough = np.zeros(int(self._used.max(initial=-1)) + 1, dtype=np.bool_)
        for part in self._used:
            enough[part] = len(book.service_ms.get(int(part), ())) >= least
        able = np.flatnonzero(enough[self._menu.parts].all(axis=1) & ~self._out)
        usd = self._usd(book)[0][able]
        if self._ask.usd is not None:
            able, usd = able[usd <= self._ask.usd], usd[usd <= self._ask.usd]
        if self._ask.latency_ms is not None and len(able):
            seen = self._first(book, least)[self._menu.parts[able]]
            late = self._menu.all_latency_ms(able, seen) > self._ask.latency_ms
            kept = (~late).mean(axis=1) >= self._ask.within
            able, usd = able[kept], usd[kept]
        for plan in able[np.argsort(usd, kind="stable")].tolist():
            if self._ask.latency_ms is not None:
                hits = self._hits(plan, book)
                if hits.mean() < self._ask.within:
                    continue
            if self._accurate(plan, book) is Verdict.MET:
                return int(plan)
        return None

    def soonest(self, book: Book, cost_s: Floats, vector_s: Floats) -> int | None:
        """The plan that could be promised soonest, if it is what it seems to be.

        Args:
            cost_s: `(parts,)` time until there are samples enough of each.
            vector_s: `(vectors,)` the same of scores; inf where a vector seems too poor.
        """
        seen = np.zeros(int(self._used.max(initial=-1)) + 1, dtype=np.bool_)
        for part in self._used:
            seen[part] = len(book.service_ms.get(int(part), ())) >= self._rules.first
        able = np.flatnonzero(seen[self._menu.parts].all(axis=1) & ~self._out)
        if self._ask.usd is not None:
            able = able[self._usd(book)[0][able] <= self._ask.usd]
        if self._ask.latency_ms is not None and len(able):
            service = self._first(book, self._rules.first)[self._menu.parts[able]]
            slow = self._menu.all_latency_ms(able, service).max(axis=1) * _SLACK
            able = able[slow <= self._ask.latency_ms]
        took = cost_s[self._menu.parts[able]].sum(axis=1) + vector_s[self._menu.vector[able]]
        if not np.isfinite(took).any():
            return None
        return int(able[int(took.argmin())])

    def fastest(self, book: Book, plans: Ints) -> int:
        """The fastest of these plans, in the mean; all of their parts have samples."""
        mean = np.zeros((int(self._used.max(initial=-1)) + 1, 1))
        for part in self._used:
            samples = book.service_ms.get(int(part))
            if samples is not None and len(samples):
                mean[part] = samples.mean()
        ms = self._menu.all_latency_ms(plans, mean[self._menu.parts[plans]])
        return int(plans[int(ms[:, 0].argmin())])

    # ---- one plan ---------------------------------------------------------------------------

    def _test(self, plan: int, book: Book) -> Verdict | Wants:
        """Late ones fall after a few samples; to promise a latency costs most, so it comes last."""
        if int(self._menu.vector[plan]) in self._missed:
            return Verdict.MISSED
        if lacking := self._unseen(plan, book):
            # Its accuracy may rule it out without it.
            found = self._accurate(plan, book)
            return lacking if found is Verdict.MET else found
        for step in (self._hardly_late, self._accurate, self._in_time):
            found = step(plan, book)
            if found is not Verdict.MET:
                return found
        return Verdict.MET

    def _unseen(self, plan: int, book: Book) -> Wants | None:
        """What it takes to know anything of the plan itself."""
        first = self._rules.first
        parts = [int(part) for part in self._menu.parts[plan]]
        few = {part: first for part in parts if len(book.service_ms.get(part, ())) < first}
        return Wants(parts=few) if few else None

    def _too_dear(self, plan: int, book: Book) -> Verdict | Wants:
        """A price that is little too high by few samples may be due to those."""
        if lacking := self._unseen(plan, book):
            return lacking
        n = min(len(book.service_ms[int(part)]) for part in self._menu.parts[plan])
        survived = min(_SURVIVED, self._rules.most_samples)
        if n >= survived:
            return Verdict.MISSED
        return self._lacking(plan, book, min(2 * n, survived))

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
        survived = min(_SURVIVED, self._rules.most_samples)
        if said is Verdict.OPEN and len(hits) < survived:
            return self._lacking(plan, book, min(2 * len(hits), survived))
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
            if rules.plausible and n < rules.most_samples and hits.mean() < 1:
                return self._lacking(plan, book, min(2 * n, rules.most_samples))
            self._doubtful[plan] = True
            plausible = rules.plausible and hits.mean() >= self._ask.within
            return Verdict.MET if plausible else Verdict.MISSED
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
        elif said is Verdict.MET:
            self._accurate_vectors.add(vector)
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

    def _usd(self, book: Book) -> tuple[Floats, Floats]:
        """`(plans,)` price of each as it seems by now, and its standard error.

        Parts without samples may be cheaper than guessed, so that none is passed over for a guess;
        where there is no guess either they are left out.
        """
        mean = np.zeros(int(self._used.max(initial=-1)) + 1)
        variance = np.zeros(len(mean))
        for part in self._used:
            samples = book.usd.get(int(part))
            if samples is not None and len(samples):
                mean[part] = samples.mean()
                variance[part] = samples.var() / len(samples)
            elif (guess := book.guessed_usd.get(int(part))) is not None:
                mean[part] = guess * _CHEAPER
                variance[part] = (guess * _GUESS_SD) ** 2
        usd: Floats = self._menu.extra_usd + mean[self._menu.parts].sum(axis=1)
        return usd, np.sqrt(variance[self._menu.parts].sum(axis=1))

    def _first(self, book: Book, n: int) -> Floats:
        """`(parts, n)` the first service times of each; 0 where there are not so many."""
        first = np.zeros((int(self._used.max(initial=-1)) + 1, n))
        for part in self._used:
            if len(samples := book.service_ms.get(int(part), ())) >= n:
                first[part] = samples[:n]
            elif int(part) in book.guessed_ms:
                first[part] = book.guessed_ms[int(part)] * _QUICKER
        return first

    def _screen(self, book: Book) -> None:
        """Cross out what was never in time in the first samples, where that is certain enough."""
        limit, rules = self._ask.latency_ms, self._rules
        if limit is None or rules.first * math.log(1 / (1 - self._ask.within)) < 2 * math.log(
            1 / rules.delta
        ):
            return
        left = np.flatnonzero(~self._out)
        service = self._first(book, rules.first)[self._menu.parts[left]]
        self._out[left] = (self._menu.all_latency_ms(left, service) > limit).all(axis=1)

    def _pass_over(self, book: Book) -> None:
        """Leave out vectors that are out of the question by what others scored."""
        floor = self._ask.accuracy
        if floor is None or not self._telling(book):
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

    def _telling(self, book: Book) -> bool:
        """Every config of every operator was seen in some vector, or vectors enough were."""
        configs = self._menu.configs
        if len(book.scores) >= 2 * configs.shape[1]:
            return True
        seen = configs[list(book.scores)]
        return all(
            len(np.unique(mine)) == len(np.unique(every))
            for mine, every in zip(seen.T, configs.T, strict=True)
        )


def _level(tested: list[int], what: int, delta: float) -> float:
    """Chance of a wrong promise that one more may have, on this objective.

    Half of delta is shared out as 1/2, 1/6, 1/12 ... over those that were not seen to miss by
    the first samples. What falls before is no temptation, and nothing is promised on so few.
    """
    if what not in tested:
        tested.append(what)
    k = tested.index(what) + 1
    return delta / 2 / (k * (k + 1))
