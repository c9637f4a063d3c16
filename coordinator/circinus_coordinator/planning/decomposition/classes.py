"""Query classes: queries of one pipeline whose sites look alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.query import Query, Slo
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposition.crowding import Crowded
from circinus_coordinator.planning.decomposition.held import HELD, Held
from circinus_coordinator.planning.decomposition.sites import Layout, Site, Sites
from circinus_coordinator.planning.decomposition.templates import Family, Templates
from circinus_coordinator.planning.offers import Choice
from circinus_coordinator.planning.programme import Programme, StepOptions
from circinus_coordinator.planning.transitions import Transitions, transitions

__all__ = ["Market", "QueryClass", "admit", "market", "unpriced", "way", "widen"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(slots=True)
class QueryClass:
    """Queries with one programme and one set of templates.

    They differ in where they start (their site), in what they want (their SLOs, the *ask*), and
    in rate and worth.

    Attributes:
        programme: Compiled on one of the sites; its slots are the layout's nodes in order.
        layout: Of all its sites.
        sites: The distinct ones.
        rows: `(sites, used features)` resource row of each feature.
        used: Features of the layout that a plan of this class can use.
        asks: The distinct SLOs.
        query: `(n,)` position of each member in the scenario.
        site: `(n,)` its site.
        ask: `(n,)` its SLOs.
        templates: The plans known so far.
        tables: What may follow what in the programme, at whatever prices.
    """

    programme: Programme
    layout: Layout
    sites: list[Site]
    rows: IntArray
    used: IntArray
    asks: list[Slo]
    query: IntArray
    site: IntArray
    ask: IntArray
    templates: Templates
    tables: list[Transitions]


@dataclass(slots=True)
class Market:
    """All classes, and what they compete for; arrays `(queries,)` are in scenario order.

    Attributes:
        rate: Requests per second of all `count` of a query.
        weight: Worth of a request.
        capacity: `(rows,)` of each resource, slack included.
        sites: The nodes.
        splittable: Any share may go any way.
        families: Of its classes.
        executor: Who asks classes for their best plans; None for one after another, here.
    """

    catalogue: Catalogue
    classes: list[QueryClass]
    rate: FloatArray
    weight: FloatArray
    capacity: FloatArray
    sites: Sites
    splittable: npt.NDArray[np.bool_]
    families: dict[tuple[object, ...], Family]
    executor: Executor | None = None

    def of_class(self) -> Iterator[tuple[int, QueryClass]]:
        """The classes with their numbers."""
        return iter(enumerate(self.classes))


def market(
    catalogue: Catalogue, executor: Executor | None = None, *, crowded: bool = False
) -> Market:
    """Sort the scenario's queries into classes and compile each class once.

    Args:
        catalogue: Of the scenario.
        executor: Where exact pricing is to be done, class by class; what is found is the same.
        crowded: Make up some waiting (`crowding`): for advice, never for a bound.
    """
    scenario = catalogue.scenario
    # Where nothing waits, nothing is held.
    held = (Crowded if crowded else Held)(catalogue) if scenario.queueing else None
    sites = Sites(scenario, (*catalogue.resources, HELD) if held else catalogue.resources)
    sorted_in: dict[tuple[object, ...], tuple[list[int], list[Site]]] = {}
    split: dict[str, bool] = {
        name: not any(spec.stateful for spec in pipeline.operators.values())
        for name, pipeline in scenario.pipelines.items()
    }
    ways: dict[tuple[object, ...], tuple[tuple[object, ...], Site]] = {}
    for position, query in enumerate(scenario.queries):
        # In the pipeline's order: documents may list sources in any.
        starts = tuple(query.source[name] for name in scenario.pipelines[query.pipeline].sources)
        start = (query.pipeline, starts)
        if start not in ways:
            ways[start] = way(catalogue, sites, query)
        kind, site = ways[start]
        members = sorted_in.setdefault((*kind, query.slo.percentile), ([], []))
        members[0].append(position)
        members[1].append(site)
    families: dict[tuple[object, ...], Family] = {}
    queries = scenario.queries
    classes = [
        _compile(
            catalogue, sites, [queries[p] for p in positions], positions, found, held, families
        )
        for positions, found in sorted_in.values()
    ]
    return Market(
        catalogue=catalogue,
        classes=[c for c in classes if c is not None],
        rate=np.array([q.rate_rps * q.count for q in queries], dtype=np.float64),
        weight=np.array([q.weight for q in queries], dtype=np.float64),
        capacity=sites.resources.capacities,
        sites=sites,
        splittable=np.array([q.splittable and split[q.pipeline] for q in queries], dtype=np.bool_),
        families=families,
        executor=executor,
    )


def way(catalogue: Catalogue, sites: Sites, query: Query) -> tuple[tuple[object, ...], Site]:
    """What a query's start says of its class, and its site."""
    pipeline = catalogue.scenario.pipelines[query.pipeline]
    starts = tuple(dict.fromkeys(query.source[name] for name in pipeline.sources))
    position = {device: k for k, device in enumerate(starts)}
    roles = tuple(position[query.source[name]] for name in pipeline.sources)
    site = sites.of(starts, backward=pipeline.backward)
    return (query.pipeline, roles, site.layout.number), site


def _compile(
    catalogue: Catalogue,
    sites: Sites,
    queries: Sequence[Query],
    positions: Sequence[int],
    found: Sequence[Site],
    held: Held | None,
    families: dict[tuple[object, ...], Family],
) -> QueryClass | None:
    query, site = queries[0], found[0]
    asks: dict[Slo, int] = {}
    ask = [asks.setdefault(one.slo, len(asks)) for one in queries]
    programme = _programme(catalogue, sites, query, site, list(asks))
    if programme.automaton.empty or not all(len(step.slot) for step in programme.steps):
        return None
    if held:
        programme = held.extended(programme)
    programme = programme.unloaded()
    distinct: dict[int, int] = {}
    unique: list[Site] = []
    site_of = np.empty(len(found), dtype=np.int64)
    for k, one in enumerate(found):
        number = distinct.setdefault(id(one), len(unique))
        if number == len(unique):
            unique.append(one)
        site_of[k] = number
    used = _used(programme, site.layout)
    family = families.setdefault(_alike(programme), Family())
    return QueryClass(
        programme=programme,
        layout=site.layout,
        sites=unique,
        rows=np.stack([one.rows for one in unique])[:, used],
        used=used,
        asks=list(asks),
        query=np.array(positions, dtype=np.int64),
        site=site_of,
        ask=np.array(ask, dtype=np.int64),
        templates=Templates(
            programme, site.layout, used, catalogue.accuracy(query.pipeline), family
        ),
        tables=[transitions(programme, unpriced(s), k) for k, s in enumerate(programme.steps)],
    )


def admit(market: Market, query: Query, site: Site) -> int | None:
    """The number of a new class, of which a query that came later is the first; None for no plan.

    The market's arrays of queries know nothing of it: nothing waits, and nobody is a member.
    """
    found = _compile(market.catalogue, market.sites, [query], [0], [site], None, market.families)
    if found is None:
        return None
    found.query, found.site, found.ask = found.query[:0], found.site[:0], found.ask[:0]
    market.classes.append(found)
    return len(market.classes) - 1


def widen(market: Market, kind: QueryClass, ask: Slo) -> None:
    """Compile a class anew for one ask more; its options, and with them its plans, stay."""
    kind.asks.append(ask)
    query, site = kind.programme.query, kind.sites[0]
    programme = _programme(market.catalogue, market.sites, query, site, kind.asks)
    kind.programme = programme.unloaded()
    steps = kind.programme.steps
    kind.tables = [transitions(kind.programme, unpriced(s), k) for k, s in enumerate(steps)]


def _programme(
    catalogue: Catalogue, sites: Sites, query: Query, site: Site, asks: Sequence[Slo]
) -> Programme:
    starts = set(query.source.values())
    bound = []
    for k, node in enumerate(site.nodes):
        members = sites.members[node]
        free = members if k < site.layout.sources else [m for m in members if m not in starts]
        bound.append((members, free[0]))
    return catalogue.compile(query, bound, [slo.accuracy for slo in asks])


def _alike(programme: Programme) -> tuple[object, ...]:
    """Equal where the same options stand for the same ways to run each step."""
    query, pipeline = programme.query, programme.pipeline
    position = {device: k for k, device in enumerate(programme.devices)}
    return (
        pipeline.name,
        tuple(position[query.source[name]] for name in pipeline.sources),
        *(
            (step.slot.tobytes(), step.config.tobytes(), step.configs, step.batch.tobytes())
            for step in programme.steps
        ),
    )


def unpriced(step: StepOptions) -> Choice:
    """Every option, asked about by two: at no prices in particular."""
    return Choice(
        allowed=np.ones(len(step.slot), dtype=np.bool_),
        mean=step.mean,
        variance=step.variance,
        usd=step.usd,
        value=np.zeros((2, len(step.slot))),
    )


def _used(programme: Programme, layout: Layout) -> IntArray:
    """Features that some plan uses: compute where an option runs, links and uplinks between."""
    found: set[int] = set()
    slots: set[int] = set()
    for step in programme.steps:
        slots.update(int(s) for s in np.unique(step.slot))
        for r in range(step.compute.shape[1]):
            at = np.unique(step.slot[step.compute[:, r] > 0])
            found.update(int(f) for f in layout.compute[at, r])
    ends = sorted(slots | set(range(layout.sources)))
    for i in ends:
        if layout.uplink[i] >= 0:
            found.add(int(layout.uplink[i]))
        found.update(int(layout.link[i, j]) for j in ends if j > i and layout.link[i, j] >= 0)
    return np.array(sorted(found), dtype=np.int64)
