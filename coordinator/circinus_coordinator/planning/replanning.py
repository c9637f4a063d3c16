"""A plan kept in memory: queries come and go, and everybody else stays where they are.

For fleets of any size where nothing waits (``queueing: false``). A change takes out what goes,
places what comes at the prices of the last full plan, and offers what became free to those who
wait; a few at the margin share out again (`decomposition.mending`). The prices stay, and with them
the certificate: at any prices

    y . b + sum over queries of rate * max(0, weight - least value of a plan at y)

bounds goodput (see `decomposition.bound`), so each query only brings or takes its own term; for
a query whose like was not priced, any lower bound on the least value will do. The more has
changed, the wider the gap: `Replanner.settle` plans anew from there.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from circinus.decision import Assignment, Decision
from circinus.errors import InvalidInput
from circinus.query import Query, Slo
from circinus.scenario import Scenario
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.certificate import above
from circinus_coordinator.planning.decide import Clock
from circinus_coordinator.planning.decomposed import NAME, solved
from circinus_coordinator.planning.decomposition.asked import Asked, Way
from circinus_coordinator.planning.decomposition.bound import price_all
from circinus_coordinator.planning.decomposition.choices import Choices
from circinus_coordinator.planning.decomposition.classes import Market, market
from circinus_coordinator.planning.decomposition.joining import Joined, Joining
from circinus_coordinator.planning.decomposition.keeping import keep
from circinus_coordinator.planning.decomposition.mending import mend
from circinus_coordinator.planning.decomposition.solve import Solution, told
from circinus_coordinator.planning.decomposition.standing import Standing
from circinus_coordinator.planning.decomposition.worth import resource_prices, row_prices
from circinus_coordinator.planning.decomposition.writing import Book, write
from circinus_coordinator.planning.minimums import promised

__all__ = ["Change", "Replanner"]

# So many of those who wait for what became free are asked again, before they are shared out among.
_ALSO = 16


def _still() -> float:
    return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a change did; the assignments of whoever is not named are as they were.

    Attributes:
        assignments: By query all that runs of it now, for each query that runs otherwise than
            before: added ones, some that waited, some that had to make way (nothing, maybe).
        served: Queries served in full now that were not before: added ones, and some that waited.
        waiting: Added queries not served, or only in part.
        goodput_rps: Weighted requests per second that meet their SLOs, of all queries.
        bound_rps: What no decision for the present queries can exceed.
    """

    assignments: Mapping[str, tuple[Assignment, ...]]
    served: tuple[str, ...]
    waiting: tuple[str, ...]
    goodput_rps: float
    bound_rps: float


class Replanner:
    """A scenario's plan, ready to change."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        seed: int = 0,
        previous: Decision | None = None,
        clock: Clock = _still,
        executor: Executor | None = None,
    ) -> None:
        """Plan all queries, cold or from a previous decision; on an executor, if there is one.

        Raises:
            InvalidInput: Where queries keep each other waiting, or tenants are promised shares.
        """
        if scenario.queueing:
            raise InvalidInput(
                "a plan in memory knows no waiting",
                key="queueing",
                remedy="set it to false, or plan anew with the previous decision",
            )
        if promised(scenario):
            raise InvalidInput(
                "a plan in memory keeps no minimum shares",
                key="tenants",
                remedy="leave them out, or plan anew with the previous decision",
            )
        self._seed, self._clock, self._executor = seed, clock, executor
        self._start(scenario, previous)

    @property
    def scenario(self) -> Scenario:
        """The present one."""
        queries = tuple(asked.query for asked in self._standing.asked.values())
        return dataclasses.replace(self._scenario, queries=queries)

    @property
    def goodput_rps(self) -> float:
        """Weighted requests per second that meet their SLOs."""
        return math.fsum(self._standing.worth.values())

    @property
    def bound_rps(self) -> float:
        """Weighted goodput that no decision can exceed."""
        total = (self._paid + math.fsum(self._gain.values())) * (1 + 1e-12)
        demand = math.fsum(self._demand.values())
        return above(min(total, demand), self.goodput_rps)

    def change(self, *, add: Sequence[Query] = (), remove: Collection[str] = ()) -> Change:
        """Let queries go and come; all of it, or none of it where something is wrong.

        Raises:
            InvalidInput: For an unknown, repeated or malformed query.
        """
        self._check(add, remove)
        standing, new = self._standing, [query.id for query in add]
        standing.leave(remove)
        for name in remove:
            del self._gain[name], self._demand[name]
        for query in add:
            standing.asked[query.id] = self._new(query)
        standing.place(new, _ALSO)
        mend(standing)
        served = standing.served()
        return Change(
            assignments=self._written(standing.changed()),
            served=tuple(served),
            waiting=tuple(name for name in new if not standing.asked[name].in_full),
            goodput_rps=self.goodput_rps,
            bound_rps=self.bound_rps,
        )

    def settle(self) -> None:
        """Plan all of it anew, from the decision in force: new prices, and as few moves as pay."""
        self._start(self.scenario, self._draft())

    def decision(self) -> Decision:
        """The whole of it as it runs, written down, with reasons for whoever waits."""
        draft, fresh = self._draft(), market(Catalogue(self.scenario))
        placed = keep(fresh, draft)
        solution = told(fresh, row_prices(fresh, draft.prices), self.bound_rps, self._usd)
        return write(fresh, solution, placed, planner=NAME, seed=self._seed, seconds={}, give=False)

    def _start(self, scenario: Scenario, previous: Decision | None) -> None:
        found = solved(
            scenario,
            seed=self._seed,
            clock=self._clock,
            previous=previous,
            executor=self._executor,
        )
        solution, units = found.solution, found.solution.units
        self._scenario = dataclasses.replace(scenario, queries=())
        self._joining, self._usd = Joining(found.market), solution.usd
        self._standing = Standing(found.market, self._joining, solution.prices, solution.usd)
        self._book = Book(found.market)
        self._certify(found.market, solution)
        self._gain: dict[str, float] = {}
        self._demand: dict[str, float] = {}
        ways: dict[int, list[Way]] = defaultdict(list)
        for p in found.placed:
            ways[p.query].append((p.template, p.devices, p.rate))
        gain = Choices(found.market, solution, within=0.0).gain
        price = np.append(1 - gain / units.weight, np.inf)[units.of_query(len(scenario.queries))]
        everybody = [self._new(query) for query in scenario.queries]
        for asked, taken in zip(everybody, price.tolist(), strict=True):
            asked.price = taken
        self._standing.start((asked, ways[k]) for k, asked in enumerate(everybody))

    def _certify(self, found: Market, solution: Solution) -> None:
        """The bound's parts at the present prices."""
        units = solution.units
        least = price_all(found, units, solution.prices, 0.0).value
        self._paid = math.fsum((solution.prices * found.capacity).tolist())
        self._least: dict[Joined, list[tuple[Slo, float]]] = defaultdict(list)
        for kind, site, ask, value in zip(
            units.kind.tolist(), units.site.tolist(), units.ask.tolist(), least, strict=True
        ):
            slo = found.classes[kind].asks[ask]
            self._least[Joined(kind, site)].append((slo, float(value)))

    def _new(self, query: Query) -> Asked:
        joined, rate = self._joining.join(query), query.rate_rps * query.count
        standing = self._standing
        if len(standing.market.sites.resources) > len(standing.prices):
            standing.grow()
        # A plan for tighter objectives is one for looser ones, and worth no less.
        some = self._least.get(joined, ()) if joined is not None else ()
        least = max((v for slo, v in some if _as_loose(slo, query.slo)), default=0.0)
        gain = rate * max(0.0, query.weight - least * (1 - 1e-12))
        self._gain[query.id] = gain if joined is not None else 0.0
        self._demand[query.id] = query.demand_rps
        return Asked(query, joined, rate)

    def _draft(self) -> Decision:
        """The decision in force as far as it takes to go on from it."""
        everybody = self._standing.asked.items()
        running = {name: asked.running() for name, asked in everybody if asked.ways}
        return Decision(
            planner=NAME,
            seed=self._seed,
            assignments=tuple(itertools.chain.from_iterable(self._written(running).values())),
            prices=resource_prices(self._standing.market, self._standing.prices),
        )

    def _written(self, running: Mapping[str, list[Way]]) -> dict[str, tuple[Assignment, ...]]:
        """What runs of some queries, as a decision says it."""
        found: dict[str, tuple[Assignment, ...]] = {}
        for name, ways in running.items():
            asked = self._standing.asked[name]
            kind = asked.joined.kind if asked.joined is not None else -1
            found[name] = tuple(
                self._book.assignment(
                    asked.query, kind, template, devices, min(1.0, rate / asked.rate)
                )
                for template, devices, rate in ways
            )
        return found

    def _check(self, add: Sequence[Query], remove: Collection[str]) -> None:
        gone, seen = set(remove), set()
        for name in gone:
            if name not in self._standing.asked:
                raise InvalidInput(f"there is no query {name!r}", key="remove")
        for k, query in enumerate(add):
            if query.id in seen or (query.id in self._standing.asked and query.id not in gone):
                raise InvalidInput(
                    f"query {query.id!r} is there already",
                    key=f"add[{k}].id",
                    remedy="remove it in the same change, or choose another name",
                )
            seen.add(query.id)
        # The scenario's own rules, for the new queries alone.
        dataclasses.replace(self._scenario, profiles=(), accuracy=(), queries=tuple(add))


def _as_loose(one: Slo, other: Slo) -> bool:
    """Whether whoever meets the other's objectives meets these."""
    latency = one.latency_ms is None or (
        other.latency_ms is not None and other.latency_ms <= one.latency_ms
    )
    usd = one.cost_usd_per_1000 is None or (
        other.cost_usd_per_1000 is not None and other.cost_usd_per_1000 <= one.cost_usd_per_1000
    )
    floor = one.accuracy is None or (other.accuracy is not None and other.accuracy >= one.accuracy)
    return latency and usd and floor
