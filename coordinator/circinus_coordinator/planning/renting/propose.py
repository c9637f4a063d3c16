"""Which whole machines to rent for a decision, and what nobody can go below."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from circinus.decision import Decision, Plan
from circinus.query import Query
from circinus_coordinator.planning.decide import standing
from circinus_coordinator.planning.evaluate import deployment
from circinus_coordinator.planning.guide import Guide
from circinus_coordinator.planning.guided import guided
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.offers import Pricing
from circinus_coordinator.planning.renting.bill import rented
from circinus_coordinator.planning.renting.choice import choose
from circinus_coordinator.planning.renting.complete import Complete, complete
from circinus_coordinator.planning.renting.settle import open_devices, settle, top_up
from circinus_coordinator.planning.renting.solve import Rental, solve
from circinus_coordinator.planning.selection import Selection, admit, splittable

__all__ = ["Renting", "rent", "with_cost_bound"]

FloatArray = npt.NDArray[np.float64]

# A gap that is left alone: of one query's cheapest deployment none, it is meant to be exact.
_ENOUGH, _EXACT = 1e-3, 1e-5
# Parts of a machine planned for, of the latency SLO, and what is wanted beyond the goodput: where
# nothing waits walls between machines may lose a little; where queries wait there must be room.
_WALLS = (
    (1 - 1e-6, 1.0, 1e-6),
    (1 - 1e-6, 1.0, 1e-3),
    (0.97, 1.0, 1e-3),
    (0.9, 1.0, 1e-2),
    (0.75, 1.0, 1e-2),
)
_WAITING = (
    (1.0, 1.0, 1e-7),
    (0.9, 0.9, 1e-3),
    (0.8, 0.8, 1e-3),
    (0.65, 0.7, 1e-2),
    (0.5, 0.6, 1e-2),
    (0.35, 0.5, 1e-2),
)
# Relative: the same but for rounding, and nearly all that the relaxation reaches.
_SAME, _NEARLY = 1e-10, 1e-4
# Goodputs looked at one after another, and growth that is worth looking at, relative.
_PASSES, _GREW = 3, 2e-3


@dataclass(slots=True)
class Renting:
    """What is proved.

    Attributes:
        rental: Over pooled machines.
        complete: Over all plans, where they are few.
        at: Bounds for other goodputs.
    """

    rental: Rental
    complete: Complete | None = None
    at: dict[float, float] = field(default_factory=dict)

    def bound_usd_hour(self, goodput_rps: float, usd_hour: float) -> float:
        """No decision of at least this goodput costs less; `usd_hour` is what one costs.

        Raises:
            AssertionError: If that is less than the bound: then one of the two is wrong.
        """
        rental = self.rental
        found = rental.bound_usd_hour if goodput_rps >= rental.goodput_rps else 0.0
        if self.complete is not None and goodput_rps >= rental.goodput_rps:
            found = max(found, self.complete.bound_usd_hour)
        less = goodput_rps < rental.goodput_rps
        if less or goodput_rps > rental.goodput_rps * (1 + 1e-6):
            if goodput_rps not in self.at:
                self.at[goodput_rps] = rental.bound_at(goodput_rps * (1 - _SAME), _EXACT)
            found = max(found, self.at[goodput_rps])
        if found > usd_hour * (1 + 1e-6) + 1e-9:
            raise AssertionError(
                f"cost {usd_hour} is below its bound {found}: please report the scenario"
            )
        return min(found, usd_hour)


def rent(
    guide: Guide,
    *,
    best: Callable[[], Selection],
    consider: Callable[[Selection], None],
    order: Sequence[Query],
    spent: Callable[[], bool],
) -> Renting | None:
    """Propose cheaper deployments of the goodput reached; None where nothing is rented.

    Args:
        guide: What the relaxation advises.
        best: The selection to beat.
        consider: Takes a selection in if it is better.
        order: Queries, the most valuable first.
        spent: True when no more time is left for proposals.
    """
    scenario = guide.market.catalogue.scenario
    if not rented(scenario):
        return None
    goodput, cost = _worth(best())
    solution = guide.solution
    if goodput <= 0 or not len(solution.units):
        return None
    enough = _EXACT if len(solution.units) == 1 else _ENOUGH
    reachable = 0.0 if scenario.queueing else solution.goodput_rps * (1 - _NEARLY)
    found = None
    # Where nothing waits, what the relaxation reaches is worth trying, and what it costs. What
    # then was served besides is to be had for less as well.
    for target in (reachable, *[0.0] * _PASSES):
        goodput, cost = _worth(best())
        wanted = target or goodput * (1 - _SAME)
        if target and target <= goodput * (1 + _NEARLY):
            continue
        if found is not None and not target and spent():
            break
        found = Renting(solve(guide.market, solution, wanted, cost, enough=enough))
        reached = _Proposing(guide, found, best, consider, order, spent, enough).run()
        if reached and _worth(best())[0] <= wanted * (1 + _GREW):
            break
    return found


def with_cost_bound(decision: Decision, renting: Renting | None) -> Decision:
    """The decision with the bound on its cost; as it is where nothing is rented."""
    if renting is None:
        return decision
    bound = renting.bound_usd_hour(decision.goodput_rps, decision.deployment.total)
    return dataclasses.replace(decision, deployment_bound_usd_hour=bound)


class _Proposing:
    def __init__(
        self,
        guide: Guide,
        found: Renting,
        best: Callable[[], Selection],
        consider: Callable[[Selection], None],
        order: Sequence[Query],
        spent: Callable[[], bool],
        enough: float,
    ) -> None:
        self.guide, self.found, self.best, self.consider = guide, found, best, consider
        self.order, self.spent, self.enough = order, spent, enough
        self.scenario = guide.market.catalogue.scenario
        self.rented = frozenset(rented(self.scenario))

    def run(self) -> bool:
        """Propose until it is good enough; False where the goodput was not to be had."""
        wanted = self.found.rental.goodput_rps * (1 - _SAME)
        for selection in self._proposals():
            self.consider(selection)
            if self._good_enough() or self.spent():
                break
        return _worth(self.best())[0] >= wanted

    def _good_enough(self) -> bool:
        goodput, cost = _worth(self.best())
        return (
            goodput >= self.found.rental.goodput_rps
            and cost <= self.found.bound_usd_hour(goodput, cost) * (1 + self.enough) + 1e-12
        )

    def _proposals(self) -> Iterator[Selection]:
        rental = self.found.rental
        units, seen = rental.demand.units, set()
        demand = math.fsum((units.rate * units.weight).tolist()) * (1 - _SAME)
        for fill, part, more in _WAITING if self.scenario.queueing else _WALLS:
            wanted = max(rental.goodput_rps, min(rental.goodput_rps * (1 + more), demand))
            if (fill, part, wanted) not in seen:
                seen.add((fill, part, wanted))
                yield from self._mixed(fill, part, wanted)
        self.found.complete = complete(
            self.guide.market.catalogue, rental.goodput_rps, rental.scale
        )
        if self.found.complete is not None:
            yield self._completed(self.found.complete)
        yield from self._closing()

    def _mixed(self, fill: float, part: float, wanted: float) -> Iterator[Selection]:
        """The cheapest mixture of known plans with some room to spare."""
        rental = self.found.rental
        columns, units = rental.columns, rental.demand.units
        early = columns.latency_ms <= part * self._limits()[columns.pool.unit]
        # Who has no plan as early as that may use any.
        able = np.zeros(len(units), dtype=np.bool_)
        able[columns.pool.unit[early]] = True
        chosen = choose(
            columns,
            wanted,
            rental.scale,
            whole=True,
            fill=fill,
            allowed=early | ~able[columns.pool.unit],
            gap=self.enough / 4,
        )
        if chosen is None or chosen.usd_hour >= _worth(self.best())[1]:
            return
        ledger = self.best().ledger
        used = {d: ledger.load(("cores", d)) for d in ledger.devices()}
        closed = self.rented - open_devices(columns, chosen.share, chosen.opened, used)
        for spread in (False, True):
            settled = self._standing(
                settle(
                    self.guide.market,
                    self.guide.solution,
                    columns,
                    chosen.share,
                    closed,
                    spread=spread,
                ),
                closed,
            )
            yield settled
            if _worth(settled)[0] >= rental.goodput_rps:
                return
        if self.scenario.queueing:
            filled = guided(self.guide, self.order, _plans(settled), closed=closed, keep=True)
            yield self._standing(filled, closed)

    def _standing(self, chosen: Selection, closed: frozenset[str]) -> Selection:
        """What of it keeps its promises, and who is worth nothing on the machines it opens."""
        catalogue = self.guide.market.catalogue
        assigned, _ = standing(catalogue, chosen.assigned)
        if len(assigned) < len(chosen.admitted):
            chosen = Selection.of(catalogue, assigned)
        self._worthless(chosen, closed)
        return chosen

    def _limits(self) -> FloatArray:
        """`(units,)` latency SLOs."""
        units, classes = self.found.rental.demand.units, self.guide.market.classes
        asked = [
            classes[kind].asks[ask].latency_ms
            for kind, ask in zip(units.kind.tolist(), units.ask.tolist(), strict=True)
        ]
        return np.array([np.inf if limit is None else limit for limit in asked])

    def _completed(self, found: Complete) -> Selection:
        catalogue = self.guide.market.catalogue
        chosen = Selection(catalogue, Ledger(self.scenario))
        for placed, share in sorted(found.assigned, key=lambda pair: -pair[1]):
            if chosen.judge(placed, share) is None:
                chosen.admit(placed, share)
            elif not splittable(catalogue, placed.query):
                continue
            elif chosen.judge(placed, share * (1 - 1e-6)) is None:
                chosen.admit(placed, share * (1 - 1e-6))
        top_up(chosen)
        return self._standing(chosen, self.rented - set(chosen.ledger.devices()))

    def _closing(self) -> Iterator[Selection]:
        """Without each rented machine in turn, dearest first; its plans go elsewhere."""
        price = {d: self.scenario.class_of(d).price_usd_hour for d in self.rented}
        tried: set[str] = set()
        while True:
            opened = self.rented & set(self.best().ledger.devices())
            left = sorted(opened - tried, key=lambda d: (-price[d], d))
            if not left:
                return
            tried.add(left[0])
            closed = (self.rented - opened) | {left[0]}
            kept = {
                query: [(s, p) for s, p in plans if all(t.device != left[0] for t in p.values())]
                for query, plans in _plans(self.best()).items()
            }
            filled = guided(self.guide, self.order, kept, closed=closed, keep=True)
            yield self._standing(filled, closed)

    def _worthless(self, chosen: Selection, closed: frozenset[str]) -> None:
        """Queries that are worth nothing take what is left of the machines that are open."""
        for query in self.order:
            if query.demand_rps <= 0:
                admit(chosen, query, Pricing(usd=self.guide.solution.usd, closed=closed))


def _worth(chosen: Selection) -> tuple[float, float]:
    """Weighted goodput, and US dollars per hour."""
    goodput = math.fsum(a.placed.query.demand_rps * a.share for a in chosen.admitted)
    return goodput, deployment(chosen.ledger, [(a.placed, a.share) for a in chosen.admitted]).total


def _plans(chosen: Selection) -> dict[str, list[tuple[float, Plan]]]:
    found: dict[str, list[tuple[float, Plan]]] = {}
    for a in chosen.admitted:
        found.setdefault(a.placed.query.id, []).append((a.share, a.placed.plan))
    return found
