"""The ``circinus`` planner: rounds of greedy selection, the best one kept."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from circinus.decision import Decision, Plan
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.alike import Previous, alike
from circinus_coordinator.planning.binding import Binder
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.certificate import Alone, upper_bound
from circinus_coordinator.planning.corrections import Rehearse
from circinus_coordinator.planning.decide import Clock, decision_of, standing, with_latecomers
from circinus_coordinator.planning.decomposition.classes import Market, market
from circinus_coordinator.planning.decomposition.solve import relax
from circinus_coordinator.planning.decomposition.worth import resource_prices
from circinus_coordinator.planning.displacing import Displacing
from circinus_coordinator.planning.evaluate import deployment
from circinus_coordinator.planning.guide import Guide
from circinus_coordinator.planning.guided import Admission, guided, shaken
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.rehearsing import mended
from circinus_coordinator.planning.renting import Renting, rent, with_cost_bound
from circinus_coordinator.planning.saving import save
from circinus_coordinator.planning.selection import Selection, select
from circinus_coordinator.planning.solo import all_alone
from circinus_coordinator.planning.stop import Stop
from circinus_coordinator.planning.uses import Resource

__all__ = ["NAME", "greedy"]

NAME = "circinus"
# A dollar saved never weighs as much as a request served: all the dollars of the dearest plan
# together weigh this part of the least valuable request.
_DOLLAR = 1e-3
# How far the value of a query is moved about to try another order, either way.
_SHAKE = 0.3
# Up to this many queries, plans are searched for at present loads too: one round in so many.
_FEW, _GUIDED = 24, 3
# Part of their latency SLOs within which queries that wait are admitted at first.
_HEADROOM, _LEAST_HEADROOM = 0.7, 0.5
# Starts, up to so many queries; each takes as long as the first. With 60 queries on 8 machines the
# last four were best in none of four scenarios.
_STARTS, _LEAST_STARTS = ((8, 40), (4, 200)), 2
# Newcomers that make room for themselves in a round, and after a rehearsal.
_NEWCOMERS, _LATE_NEWCOMERS = 50, 20

Rank = tuple[float, float, int]


def greedy(
    scenario: Scenario,
    *,
    effort: Stop,
    seed: int,
    previous: Decision | None,
    clock: Clock,
    rehearse: Rehearse | None = None,
) -> Decision:
    """Plan by greedy selection in rounds; see `guided` and `selection`."""
    started = clock()
    had = _plans_of(previous)
    same = alike(scenario) if scenario.queueing else None
    found, binder, solo = _market(scenario if same is None else same.scenario)
    if same is not None:
        same = same.no_more_than({name: alone.share for name, alone in solo.items()})
        found, binder, solo = _market(same.scenario)
    catalogue, plans = found.catalogue, had if same is None else same.previous(had)
    compiled = clock()
    solution = relax(found, clock=clock)
    guide = Guide(found, solution, binder)
    lead = _crowded(catalogue) if scenario.queueing else guide
    relaxed = clock()
    rounds = _Rounds(guide, lead, solo, plans, seed)
    best = rounds.run(effort, lambda: clock() - started)
    selected = clock()
    seconds = {
        "compile": compiled - started,
        "relax": relaxed - compiled,
        "select": selected - relaxed,
    }
    chosen: Sequence[tuple[PlacedPlan, float]] = best.assigned
    if rehearse is not None and rounds.renting is None:
        first = with_latecomers(catalogue, chosen)
        catalogue, chosen = mended(catalogue, first, rehearse, rounds.fill)
        seconds["rehearse"] = clock() - selected
    stands = standing(catalogue, chosen)
    if same is not None:
        catalogue = Catalogue(scenario, catalogue)
        stands = standing(catalogue, same.dealt(stands[0], had))
    decision = decision_of(
        catalogue,
        stands,
        planner=NAME,
        seed=seed,
        bound_rps=min(upper_bound(list(solo.values())), solution.bound_rps),
        clock=clock,
        seconds=seconds,
        prices=resource_prices(found, solution.prices),
        settled=bool(catalogue.corrections.plans),
    )
    return with_cost_bound(decision, rounds.renting)


def _market(scenario: Scenario) -> tuple[Market, Binder, dict[str, Alone]]:
    found = market(Catalogue(scenario))
    binder = Binder(found)
    return found, binder, all_alone(found, binder)


def _crowded(catalogue: Catalogue) -> Guide:
    """Advice that reckons with waiting."""
    found = market(catalogue, crowded=True)
    return Guide(found, relax(found), Binder(found))


def _plans_of(previous: Decision | None) -> dict[str, list[tuple[float, Plan]]]:
    plans: dict[str, list[tuple[float, Plan]]] = {}
    for assignment in previous.assignments if previous else ():
        plans.setdefault(assignment.query, []).append((assignment.share, assignment.plan))
    return plans


class _Rounds:
    """Tries selections until the effort is spent and remembers the best.

    Args:
        guide: Advice as if nothing waited; knows the cheapest plans.
        lead: Advice that reckons with waiting; the same where nothing waits.
        solo: Each query by itself.
        previous: Plans in force.
        seed: Of what is drawn.
    """

    def __init__(
        self,
        guide: Guide,
        lead: Guide,
        solo: Mapping[str, Alone],
        previous: Previous,
        seed: int,
    ) -> None:
        self.guide, self.lead, self.catalogue = guide, lead, guide.market.catalogue
        self.solo, self.previous = solo, previous
        self.random = random.Random(seed)
        scenario = self.catalogue.scenario
        self.queries = [q for q in scenario.queries if solo[q.id].best is not None]
        self.best: tuple[Rank, Selection] | None = None
        self.renting: Renting | None = None
        self.usd = self._dollar()

    def run(self, effort: Stop, elapsed: Callable[[], float]) -> Selection:
        """The best selection found; all starts are the first round."""
        for chosen in self._starts():
            self._consider(chosen)
            if self._perfect() or effort(0, elapsed()):
                break
        done, improved = 1, self._improvements()
        while not (self._perfect() or effort(done, elapsed())):
            self._consider(next(improved))
            done += 1
        assert self.best is not None
        self.renting = rent(
            self.guide,
            best=self._chosen,
            consider=self._consider,
            order=self._served(),
            spent=lambda: effort(0, elapsed()),
        )
        chosen = Selection.of(self.catalogue, [(a.placed, a.share) for a in self.best[1].admitted])
        if self.lead is not self.guide and self.renting is None:
            # What was left out for want of time to spare may fit all the same.
            Admission(self.guide, chosen).serve(self._by(self._worth(self.guide)), {})
        save(self.guide, chosen, self.solo)
        self._consider(chosen)
        return self.best[1]

    def fill(
        self, catalogue: Catalogue, assigned: Sequence[tuple[PlacedPlan, float]]
    ) -> list[tuple[PlacedPlan, float]]:
        """Serve more, by the catalogue's corrections."""
        guide, worth = self.lead.corrected(catalogue), self._worth(self.lead)
        chosen = Selection.of(catalogue, assigned)
        Admission(guide, chosen).serve(self._by(worth), {})
        displacing = Displacing(guide, chosen, self.queries, worth, self.random)
        for _ in range(_LATE_NEWCOMERS):
            displacing.attempt()
        return displacing.best

    def _worth(self, guide: Guide) -> dict[str, float]:
        return {q.id: 0.0 for q in self.queries} | guide.worth()

    def _dollar(self) -> float:
        dearest = max((s.best.usd for s in self.solo.values() if s.best), default=0.0)
        weight = min((q.weight for q in self.queries if q.weight > 0), default=1.0)
        return _DOLLAR * weight / dearest if dearest > 0 else 1.0

    def _improvements(self) -> Iterator[Selection]:
        """The best selection with newcomers, or of few queries another one, without end."""
        searched = self._searched()
        turn = 0
        while True:
            turn += 1
            if turn % _GUIDED == 0 and len(self.queries) <= _FEW:
                yield next(searched)
            else:
                yield self._improved(turn)

    def _starts(self) -> Iterator[Selection]:
        """Selections led by the relaxation.

        Queries that wait are admitted in several orders and with more or less time to spare. What
        is advised as if nothing waited leads to more where little does. Which order is best
        hangs on the scenario: of three, on 30 queries and 6 machines, each was by a fifth better
        than the others somewhere.
        """
        order = self._by(self._worth(self.lead))
        if self.previous:
            yield guided(self.lead, order, self.previous, keep=True)
        if self.lead is self.guide:
            yield guided(self.guide, order, self.previous)
            return
        empty = Ledger(self.catalogue.scenario)
        worth = self._worth(self.guide)
        dense = {q.id: _density(self.solo[q.id], empty) for q in self.queries}
        large = {q.id: q.demand_rps for q in self.queries}
        starts = [
            (self.lead, self._worth(self.lead), _HEADROOM),
            (self.guide, worth, _HEADROOM),
            (self.guide, dense, _HEADROOM),
            (self.guide, large, 1.0),
            (self.guide, worth, 1.0),
            (self.guide, worth, _LEAST_HEADROOM),
            (self.guide, dense, 1.0),
            (self.guide, dense, _LEAST_HEADROOM),
        ]
        most = next((n for n, up_to in _STARTS if len(self.queries) <= up_to), _LEAST_STARTS)
        for guide, worths, headroom in starts[:most]:
            yield guided(guide, self._by(worths), self.previous, headroom=headroom)

    def _improved(self, turn: int) -> Selection:
        """The best selection, or a better one that some newcomers lead to.

        By what is advised with waiting and without in turns: newcomers that one has no place for
        find one by the other.
        """
        guide = self.lead if turn % 2 else self.guide
        start = Selection.of(self.catalogue, [(a.placed, a.share) for a in self._chosen().admitted])
        worth = self._worth(guide)
        displacing = Displacing(guide, start, self.queries, worth, self.random)
        for _ in range(_NEWCOMERS):
            displacing.attempt()
        return Selection.of(self.catalogue, displacing.best)

    def _searched(self) -> Iterator[Selection]:
        pricing = Pricing(usd=self.usd)
        density = {
            q.id: _density(self.solo[q.id], Ledger(self.catalogue.scenario)) for q in self.queries
        }
        if self.previous:
            yield select(self.catalogue, self._by(density), pricing, self.previous, keep=True)
        yield select(self.catalogue, self._by(density), pricing, self.previous)
        prices: dict[Resource, float] = {}
        turn = 0
        while True:
            turn += 1
            prices = self._raised(prices, turn)
            pricing = dataclasses.replace(pricing, of=prices)
            priced = {
                q.id: _priced_density(self.solo[q.id], prices, density[q.id]) for q in self.queries
            }
            order = self._by(shaken(priced, self.random, _SHAKE) if turn % 2 == 0 else priced)
            yield select(self.catalogue, order, pricing, self.previous)

    def _by(self, density: Mapping[str, float]) -> list[Query]:
        return sorted(self.queries, key=lambda q: -density[q.id])

    def _raised(self, prices: Mapping[Resource, float], turn: int) -> dict[Resource, float]:
        """Prices after a step towards what the queries would pay for the best plan's loads.

        What is full while queries are turned away becomes dearer, what is left over cheaper.
        """
        assert self.best is not None
        chosen = self.best[1]
        ledger = chosen.ledger
        wanted: dict[Resource, float] = {}
        for query in self.queries:
            solo = self.solo[query.id].best
            if solo is None:
                continue
            for resource, amount in solo.use.linear.items():
                demand = amount * query.rate_rps * query.count
                wanted[resource] = wanted.get(resource, 0.0) + demand
        worth = math.fsum(q.demand_rps for q in self.queries)
        raised: dict[Resource, float] = {}
        for resource in wanted.keys() | ledger.linear.keys() | prices.keys():
            capacity = ledger.capacity(resource)
            if not 0 < capacity < math.inf:
                continue
            excess = max(wanted.get(resource, 0.0), ledger.load(resource)) / capacity - 1
            step = worth / capacity * min(excess, 1.0) / (2 + turn)
            price = prices.get(resource, 0.0) + step
            if price > 0:
                raised[resource] = price
        return raised

    def _consider(self, chosen: Selection) -> None:
        rank = self._rank(chosen)
        if self.best is None or _better(rank, self.best[0]):
            self.best = (rank, chosen)

    def _rank(self, chosen: Selection) -> Rank:
        goodput = math.fsum(a.placed.query.demand_rps * a.share for a in chosen.admitted)
        cost = deployment(chosen.ledger, [(a.placed, a.share) for a in chosen.admitted])
        moves = sum(
            not any(plan == a.placed.plan for _, plan in self.previous.get(a.placed.query.id, ()))
            for a in chosen.admitted
        )
        return goodput, cost.total, moves

    def _perfect(self) -> bool:
        """All that can be served is, each query by the plan it would take alone."""
        assert self.best is not None
        (goodput, cost, _), _ = self.best
        bound = math.fsum(self.solo[q.id].bound_rps for q in self.queries)
        least = math.fsum(
            s.best.usd * s.query.rate_rps * s.query.count * 3600
            for s in self.solo.values()
            if s.best
        )
        return goodput >= bound * (1 - 1e-9) and cost <= least * (1 + 1e-6) + 1e-12

    def _chosen(self) -> Selection:
        assert self.best is not None
        return self.best[1]

    def _served(self) -> list[Query]:
        assert self.best is not None
        seen = dict.fromkeys(a.placed.query.id for a in self.best[1].admitted)
        by_id = {q.id: q for q in self.queries}
        return [by_id[i] for i in seen] + [q for q in self.queries if q.id not in seen]


def _better(new: Rank, old: Rank) -> bool:
    """Lexicographic, with slack so that rounding in one does not decide over the next."""
    if abs(new[0] - old[0]) > 1e-9 * max(1.0, abs(old[0])):
        return new[0] > old[0]
    if abs(new[1] - old[1]) > 1e-9 * max(1e-6, abs(old[1])):
        return new[1] < old[1]
    return new[2] < old[2]


def _density(solo: Alone, empty: Ledger) -> float:
    """Weighted goodput for what the query's own best plan uses of the machines' capacity."""
    if solo.best is None:
        return 0.0
    used = math.fsum(
        amount / capacity
        for resource, amount in solo.best.use.linear.items()
        if 0 < (capacity := empty.capacity(resource)) < math.inf
    )
    return solo.query.weight / max(used, 1e-12)


def _priced_density(solo: Alone, prices: Mapping[Resource, float], density: float) -> float:
    """Worth for what the query's own best plan would pay, with a little of `density`."""
    if solo.best is None or density <= 0:
        return 0.0
    weight = solo.query.weight
    priced = math.fsum(
        prices.get(resource, 0.0) * amount for resource, amount in solo.best.use.linear.items()
    )
    return weight / (priced + weight / density * 1e-3)
