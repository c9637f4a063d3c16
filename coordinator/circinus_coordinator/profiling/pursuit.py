"""What one kind of query still has to know before it can be planned, or planned better.

Queries that want the same of the same pipeline on the same ground share a pursuit. `Pursuit` seeks
the cheapest plan that keeps its promises; `Everything` wants all there is to know, as one must
where plans are too many to look through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from circinus.fleet import DeviceClass
from circinus.query import Query
from circinus_coordinator.profiling.guesses import Guesses
from circinus_coordinator.profiling.keys import AccuracyKey, Key, OperatorKey
from circinus_coordinator.profiling.ledger import START_S, UNKNOWN_S, Ledger, seconds
from circinus_coordinator.profiling.menu import Card
from circinus_coordinator.profiling.seeking import Ask, Book, Rules, Seeker, Wants
from circinus_coordinator.profiling.settings import ProfilingSettings
from circinus_coordinator.profiling.surrogate import Losses

__all__ = ["Aim", "Everything", "Pursuit", "Step", "ask_of", "most"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Scores of a vector before anything is said of it; as in `seeking`, which doubles from there.
_FIRST_SCORES = 8
_SURE_SCORES = 32  # as in `seeking`
# What the planner accepts is a mean at or above the floor; rounding must not stand between.
_ROUNDING = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where a pursuit stands.

    Attributes:
        safe: There is a plan that can be promised, though a cheaper one may do.
        wants: Samples in all that would take it further, by key; none where it is at its end.
    """

    safe: bool = False
    wants: Mapping[Key, int] = field(default_factory=dict)


class Aim(Protocol):
    """What a pursuit is to others."""

    @property
    def keys(self) -> frozenset[Key]:
        """All it could ever want."""
        ...

    def look(self, ledger: Ledger) -> Step:
        """Where it stands by these samples."""
        ...

    def met(self, key: Key, upto: int, ledger: Ledger) -> bool:
        """It needs no more samples of a key of which it wanted so many."""
        ...

    def widen(self) -> bool:
        """Go on to plans beyond those that can be made of what it has asked for; False for none."""
        ...

    def certified(self) -> Iterable[tuple[AccuracyKey, float]]:
        """Vectors whose accuracy is certain to reach a floor, and the floor."""
        ...


class Everything:
    """Wants all of these keys."""

    def __init__(self, keys: Iterable[Key], settings: ProfilingSettings) -> None:
        self._keys = frozenset(keys)
        self._settings = settings

    @property
    def keys(self) -> frozenset[Key]:
        """See `Aim`."""
        return self._keys

    def look(self, ledger: Ledger) -> Step:
        """See `Aim`."""
        wants = {key: most(key, self._settings) for key in self._keys if not ledger.over(key)}
        return Step(wants=wants)

    def met(self, key: Key, upto: int, ledger: Ledger) -> bool:  # noqa: ARG002
        """See `Aim`: an operator's mean is known precisely enough, anything else is over."""
        if ledger.over(key):
            return True
        row = ledger.rows.get(key)
        return isinstance(key, OperatorKey) and row is not None and row.enough(self._settings)

    def widen(self) -> bool:
        """See `Aim`."""
        return False

    def certified(self) -> Iterable[tuple[AccuracyKey, float]]:
        """See `Aim`."""
        return ()


def most(key: Key, settings: ProfilingSettings) -> int:
    """Samples beyond which nobody asks for more."""
    if isinstance(key, OperatorKey):
        return settings.max_samples
    return settings.accuracy_samples if isinstance(key, AccuracyKey) else 1


def ask_of(query: Query) -> Ask:
    """What a query wants, as the planner will judge it."""
    slo = query.slo
    return Ask(
        latency_ms=slo.latency_ms,
        within=slo.percentile / 100,
        accuracy=slo.accuracy,
        usd=None if slo.cost_usd_per_1000 is None else slo.cost_usd_per_1000 / 1000,
    )


class Pursuit:
    """Seeks the plan of queries that want the same.

    Args:
        batches: The other keys that differ from one of the card's in batch size only.
        classes: For prices.
    """

    def __init__(
        self,
        card: Card,
        ask: Ask,
        settings: ProfilingSettings,
        batches: Mapping[OperatorKey, tuple[OperatorKey, ...]],
        classes: Mapping[str, DeviceClass],
    ) -> None:
        self._card, self._floor, self._settings = card, ask.accuracy, settings
        self._batches, self._classes = batches, classes
        self._rules = self._rules_for(settings.accuracy_samples)
        # Above the floor, or below the end of a zone above it: the planner knows no zone.
        shifted = None if ask.accuracy is None else ask.accuracy + self._rules.zone - _ROUNDING
        self._ask = Ask(latency_ms=ask.latency_ms, within=ask.within, usd=ask.usd, accuracy=shifted)
        blank = card.menu([np.zeros(int(column.max()) + 1) for column in card.choice.T])
        self._seeker = Seeker(blank, self._ask, self._rules, Losses(card.configs))
        self._guesses = Guesses(card)
        operators = card.parts.shape[1]
        self._step_s: Floats = np.full(operators, UNKNOWN_S / operators)  # for one score
        self._beyond = 0  # plans to be found beside the cheapest
        self._exhausted = False

    @property
    def keys(self) -> frozenset[Key]:
        """See `Aim`."""
        scored = [] if self._floor is None else [key for key in self._card.vectors if key]
        others = [key for some in self._batches.values() for key in some]
        return frozenset([*self._card.keys, *scored, *others])

    def look(self, ledger: Ledger) -> Step:
        """See `Aim`."""
        self._rules = self._rules_for(self._population(ledger))
        self._seeker.redraw(self._card.menu(self._output_bytes(ledger)), self._rules)
        self._bar(ledger)
        book = self._book(ledger)
        safe = self._seeker.safe(book, self._settings.min_samples)
        wants = self._search(book, ledger)
        if self._parts_only(wants):  # scoring goes on beside measuring
            wants |= self._first_scores()
        if safe is None:
            wants = _larger(wants, self._soonest(book, ledger))
        wants = {key: n for key, n in wants.items() if not ledger.has(key, n)}
        return Step(safe=safe is not None, wants=wants)

    def met(self, key: Key, upto: int, ledger: Ledger) -> bool:
        """See `Aim`."""
        return ledger.has(key, upto)

    def widen(self) -> bool:
        """See `Aim`."""
        if self._exhausted:
            return False
        self._beyond = 2 * self._beyond + 1
        return True

    def certified(self) -> Iterable[tuple[AccuracyKey, float]]:
        """See `Aim`."""
        if self._floor is None:
            return
        for vector in self._seeker.accurate:
            key = self._card.vectors[vector]
            assert key is not None  # it was scored
            yield key, self._floor

    # ---- samples ----------------------------------------------------------------------------

    def _book(self, ledger: Ledger) -> Book:
        book = Book()
        for number, key in enumerate(self._card.keys):
            latency_ms = ledger.array(key, "latency_ms")
            if len(latency_ms):
                book.service_ms[number] = latency_ms
                book.usd[number] = self._usd(key, ledger, len(latency_ms))
        self._guesses.fill(book)
        self._step_s = self._score_s(book)
        if self._floor is not None:
            for number, vector in enumerate(self._card.vectors):
                if vector is not None and len(scores := ledger.array(vector, "scores")):
                    book.scores[number] = scores[: self._rules.most_scores]
        return book

    def _usd(self, key: OperatorKey, ledger: Ledger, n: int) -> Floats:
        """`(n,)` price of each sample; the mean of all where they do not fit together."""
        machine = self._classes.get(key.device_class)
        rate = machine.price_usd_hour / 3600 / machine.cores if machine else 0.0
        core_s, metered = (ledger.array(key, what) for what in ("compute_s", "price_usd"))
        total = np.zeros(n)
        for usd in (core_s * rate, metered):
            total = total + (usd if len(usd) == n else usd.mean() if len(usd) else 0.0)
        return total

    def _output_bytes(self, ledger: Ledger) -> list[Floats]:
        """By operator, of each config: from whichever class has samples; 0 where none has."""
        card = self._card
        found: list[Floats] = [np.zeros(int(column.max()) + 1) for column in card.choice.T]
        for number, plan, k in zip(*self._places, strict=True):
            sizes = ledger.array(card.keys[number], "output_bytes")
            if len(sizes):
                found[k][card.choice[plan, k]] = sizes.mean()
        return found

    @property
    def _places(self) -> tuple[list[int], list[int], list[int]]:
        """Each part once: its number, a plan it is in, and its position there."""
        numbers, first = np.unique(self._card.parts, return_index=True)
        plans, positions = np.unravel_index(first, self._card.parts.shape)
        return numbers.tolist(), plans.tolist(), positions.tolist()

    def _population(self, ledger: Ledger) -> int:
        """Inputs that a vector can be scored on."""
        sizes = [
            row.population
            for key in self._card.vectors
            if key is not None and (row := ledger.rows.get(key)) and row.population is not None
        ]
        return min([self._settings.accuracy_samples, *sizes])

    def _bar(self, ledger: Ledger) -> None:
        """Cross out plans of which something cannot be measured."""
        parts = [n for n, key in enumerate(self._card.keys) if ledger.given_up(key)]
        out: Bools = np.asarray(np.isin(self._card.parts, parts).any(axis=1))
        if self._floor is not None:
            scored = self._card.vectors
            barred = [n for n, key in enumerate(scored) if key is None or ledger.given_up(key)]
            out |= np.isin(self._card.vector, barred)
        self._seeker.leave_out(out)

    def _rules_for(self, population: int) -> Rules:
        settings = self._settings
        return Rules(
            first=min(settings.first_samples, settings.max_samples),
            most_samples=settings.max_samples,
            most_scores=population,
            plausible=True,
        )

    # ---- wants ------------------------------------------------------------------------------

    def _keyed(self, wants: Wants) -> dict[Key, int]:
        found: dict[Key, int] = {self._card.keys[part]: n for part, n in wants.parts.items()}
        for vector, n in wants.scores.items():
            key = self._card.vectors[vector]
            assert key is not None  # or its plans would be crossed out
            found[key] = n
        return found

    def _search(self, book: Book, ledger: Ledger) -> dict[Key, int]:
        """What is lacking to the cheapest plan, then to those that come after it."""
        passed = np.zeros(len(self._card.parts), dtype=np.bool_)
        for _ in range(self._beyond + 1):
            found = self._seeker.look(book, passed)
            if isinstance(found, Wants):
                return self._keyed(self._ahead(found, book, passed))
            if found.plan is None:
                self._exhausted = True
                return {} if passed.any() else self._refusal(book)
            wants = self._promise(found.plan)
            if any(not ledger.has(key, n) for key, n in wants.items()):
                return wants
            passed |= self._known(ledger)
            passed[found.plan] = True
        return {}

    def _ahead(self, wants: Wants, book: Book, passed: Bools) -> Wants:
        """What plans that come soon after will want is asked for with it, where it is little.

        That is as much as takes no longer than another probe would, which starts processes and
        runs anew what vectors have in common.
        """
        rules, spent_s = self._rules, 0.0
        parts, scores = dict(wants.parts), self._rounded(wants.scores, book)
        lacking = max((self._lacks(v, n, book) for v, n in scores.items()), default=0)
        another_s = self._again_s + lacking * self._each_s
        while spent_s <= another_s:
            skip = passed | np.isin(self._card.vector, list(scores))
            skip |= np.isin(self._card.parts, list(parts)).any(axis=1)
            found = self._seeker.look(book, skip)
            if not isinstance(found, Wants) or any(n > rules.first for n in found.parts.values()):
                break
            more = self._rounded(found.scores, book)
            spent_s += START_S * len(found.parts)
            for vector, upto in more.items():
                inputs = self._lacks(vector, upto, book)
                spent_s += self._beside_s(vector, inputs, scores)
            parts |= found.parts
            scores |= more
        return Wants(parts=parts, scores=scores)

    def _lacks(self, vector: int, upto: int, book: Book) -> int:
        """Scores a vector is short of so many."""
        return max(0, upto - len(book.scores.get(vector, ())))

    def _beside_s(self, vector: int, inputs: int, others: Iterable[int]) -> float:
        """What scoring a vector takes in a probe that scores others: what they do not share.

        Operators before the first that differs put out the same, and configs that another one of
        them has are loaded.
        """
        configs = self._card.configs
        there = configs[list(others)]
        alike = there == configs[vector]
        shared = int(np.logical_and.accumulate(alike, axis=1).sum(axis=1).max(initial=0))
        starts = int((~alike.any(axis=0))[shared:].sum())
        return START_S * starts + inputs * float(self._step_s[shared:].sum())

    def _rounded(self, scores: Mapping[int, int], book: Book) -> dict[int, int]:
        """All inputs, where the rest takes no longer than starting another probe.

        A vector that may well do is scored on as many as a promise takes.
        """
        most = self._rules.most_scores
        found = {}
        for vector, n in scores.items():
            had = book.scores.get(vector, np.zeros(0))
            if (most - len(had)) * self._each_s <= self._again_s:
                n = most
            elif self._floor is not None and len(had) and had.mean() >= self._floor:
                n = max(n, _SURE_SCORES)
            found[vector] = min(n, most)
        return found

    @property
    def _again_s(self) -> float:
        """What starting another scoring probe takes: a process for each operator."""
        return START_S * self._card.parts.shape[1]

    @property
    def _each_s(self) -> float:
        """What one more score takes, by all operators."""
        return float(self._step_s.sum())

    def _score_s(self, book: Book) -> Floats:
        """`(operators,)` what one more score takes, on a machine like the fastest of each."""
        known = np.full(len(self._card.keys), np.nan)
        for part, samples in book.service_ms.items():
            known[part] = samples.mean() / 1e3
        found: Floats = np.full(self._card.parts.shape[1], UNKNOWN_S / self._card.parts.shape[1])
        for k, column in enumerate(self._card.parts.T):
            mine = known[np.unique(column)]
            mine = mine[~np.isnan(mine)]
            if len(mine):  # half-way between a good config and a quick one
                found[k] = float(np.median(mine))
        return found

    def _promise(self, plan: int) -> dict[Key, int]:
        """What a plan needs so that the planner is told of it."""
        least = self._settings.min_samples
        keys = [self._card.keys[part] for part in self._card.parts[plan].tolist()]
        return {k: least for key in keys for k in (key, *self._batches.get(key, ()))}

    def _known(self, ledger: Ledger) -> Bools:
        """`(plans,)` those the planner is told of."""
        least = self._settings.min_samples
        parts = [ledger.count(key) >= least for key in self._card.keys]
        known: Bools = np.asarray(np.array(parts)[self._card.parts].all(axis=1))
        if self._floor is not None:
            known &= np.isin(self._card.vector, list(self._seeker.accurate))
        return known

    def _refusal(self, book: Book) -> dict[Key, int]:
        """What it takes to tell how far a query that cannot be served is from being served.

        That is the score of the best vector, and the fastest plan of those that are accurate.
        """
        wants: dict[Key, int] = {}
        able = np.array([(n in book.service_ms) for n in range(len(self._card.keys))])
        plans: Bools = np.asarray(able[self._card.parts].all(axis=1))
        if self._floor is not None:
            scored = [v for v in book.scores if len(book.scores[v])]
            best = max(scored, key=lambda v: (book.scores[v].mean(), -v), default=None)
            if best is not None:
                key = self._card.vectors[best]
                assert key is not None  # it was scored
                wants[key] = self._rules.most_scores
            accurate = plans & np.isin(self._card.vector, list(self._seeker.accurate))
            plans = accurate if accurate.any() else plans
        if self._ask.latency_ms is not None and plans.any():
            wants |= self._promise(self._seeker.fastest(book, np.flatnonzero(plans)))
        return wants

    def _soonest(self, book: Book, ledger: Ledger) -> dict[Key, int]:
        """What the plan lacks that could be promised first, whatever it costs."""
        card, least = self._card, self._settings.min_samples
        cost_s = np.array(
            [0.0 if ledger.has(k, least) else seconds(k, least, ledger) for k in card.keys]
        )
        vector_s = np.zeros(len(card.vectors))
        sure = min(_SURE_SCORES, self._rules.most_scores)
        if self._floor is not None:
            for number, key in enumerate(card.vectors):
                had = book.scores.get(number, np.zeros(0))
                good = key is not None and len(had) and had.mean() >= self._floor
                known = number in self._seeker.accurate
                vector_s[number] = 0.0 if known else (sure - len(had)) if good else np.inf
                if key is not None and good and not known and len(had) >= sure:
                    vector_s[number] = self._rules.most_scores
        plan = self._seeker.soonest(book, cost_s, np.maximum(vector_s, 0.0))
        if plan is None:
            return {}
        wants = self._promise(plan)
        vector = card.vectors[int(card.vector[plan])]
        if self._floor is not None and vector is not None:
            more = sure if ledger.count(vector) < sure else self._rules.most_scores
            if int(card.vector[plan]) not in self._seeker.accurate:
                wants[vector] = more
        return wants

    def _parts_only(self, wants: Mapping[Key, int]) -> bool:
        return bool(wants) and all(isinstance(key, OperatorKey) for key in wants)

    def _first_scores(self) -> dict[Key, int]:
        """Of the best config of every operator, and of all vectors that differ from it in one.

        Enough to tell what each config loses, and thereby what to expect of all vectors.
        """
        if self._floor is None:
            return {}
        apart = (self._card.configs != 0).sum(axis=1)
        wants: dict[Key, int] = {}
        for vector, key in enumerate(self._card.vectors):
            if key is not None and apart[vector] <= 1:
                wants[key] = _FIRST_SCORES if apart[vector] else _SURE_SCORES
                if self._rules.most_scores * self._each_s <= self._again_s:
                    wants[key] = self._rules.most_scores
                wants[key] = min(wants[key], self._rules.most_scores)
        return wants


def _larger(some: Mapping[Key, int], others: Mapping[Key, int]) -> dict[Key, int]:
    return {key: max(some.get(key, 0), others.get(key, 0)) for key in {**some, **others}}
