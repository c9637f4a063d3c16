"""What is to be measured now, over all queries that wait.

Every kind of query has its aim; each wants samples of some keys. An aim is looked at again when
all it wanted is there, and now and then while part of it is; not with every sample, so that many
queries cost little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Hashable, Iterable
from dataclasses import dataclass, field, replace

from circinus.fleet import Link
from circinus_coordinator.profiling.keys import AccuracyKey, Key, LinkKey, OperatorKey
from circinus_coordinator.profiling.ledger import Ledger
from circinus_coordinator.profiling.menu import card
from circinus_coordinator.profiling.needs import Needs
from circinus_coordinator.profiling.pursuit import (
    Aim,
    Everything,
    Pursuit,
    Step,
    ask_of,
    most,
)
from circinus_coordinator.profiling.settings import ProfilingSettings
from circinus_coordinator.profiling.summary import median

__all__ = ["Agenda"]

# Looks that one event may cause, and one tick: a look takes some milliseconds.
_PER_EVENT = 4
_PER_TICK = 16
# What only makes a served plan cheaper counts less than what lets a query be served at all.
_REFINING = 0.01
# Of knowing whether a device is still like its class: weighted requests per second.
_EXTRA = 1.0


@dataclass(slots=True, eq=False)
class _Entry:
    """An aim, and who has it."""

    make: Callable[[], Aim]
    aim: Aim
    queries: dict[str, float] = field(default_factory=dict)  # worth of each
    step: Step = field(default_factory=Step)
    looked: bool = False

    def waiting(self, away: Container[str]) -> bool:
        """One of its queries is not served for want of what it wants."""
        return not self.step.safe or any(query in away for query in self.queries)


class Agenda:
    """See the module."""

    def __init__(self, settings: ProfilingSettings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._needs = Needs()
        self._entries: dict[Hashable, _Entry] = {}
        self._of: dict[str, Hashable] = {}  # by query
        self._links: dict[str, set[LinkKey]] = {}  # by query, those it waits for
        self._by_key: dict[Key, dict[Hashable, int]] = {}
        self._due: dict[Hashable, None] = {}  # all they wanted is there
        self._stale: dict[Hashable, None] = {}  # some of it is
        self._certified: dict[AccuracyKey, float] = {}
        self._away: set[str] = set()  # queries that got no room
        self._widening: set[str] = set()  # those that were not looked further for since
        self.version = 0
        """Changes whenever planning anew may give something else."""

    # ---- what there is ----------------------------------------------------------------------

    def upto(self, key: Key) -> int:
        """Samples it should have in all, by what is known now; 0 where nobody wants any."""
        if self.checking(key):
            return 0 if self.met(key) else self._few(key) or most(key, self._settings)
        if isinstance(key, LinkKey):
            return 1 if key in self._needs.links else 0
        return max(self._by_key.get(key, {}).values(), default=0)

    def met(self, key: Key) -> bool:
        """Nobody wants more of it now."""
        if self.checking(key):
            row, few = self._ledger.growing(key), self._few(key)
            if isinstance(key, OperatorKey) and not row.done:
                return row.samples >= few if few else row.enough(self._settings)
            return row.done
        if isinstance(key, LinkKey):
            return key not in self._needs.links or self._ledger.over(key)
        return all(
            self._entries[name].aim.met(key, n, self._ledger)
            for name, n in self._by_key.get(key, {}).items()
        )

    def open(self) -> list[Key]:
        """All that somebody wants more of."""
        keys = dict.fromkeys(
            [*self._needs.links, *self._needs.extra, *self._ledger.renewed, *self._by_key]
        )
        return [key for key in keys if not self.met(key)]

    def checking(self, key: Key) -> bool:
        """It is measured for another reason than that a query waits for it."""
        return key in self._needs.extra or key in self._ledger.renewed

    def tell(self, key: Key) -> bool:
        """The planner may be told of it: samples enough, or given up."""
        return self._ledger.given_up(key) or self.enough_to_tell(key)

    def enough_to_tell(self, key: Key) -> bool:
        """There are samples enough for the planner to use."""
        if isinstance(key, AccuracyKey):
            return self.mean_accuracy(key) is not None
        if isinstance(key, OperatorKey) and self._settings.seek and key not in self._needs.extra:
            row = self._ledger.rows.get(key)
            return row is not None and len(row.latency_ms) >= self._settings.min_samples
        return self._ledger.over(key)

    def mean_accuracy(self, key: AccuracyKey) -> float | None:
        """Of a vector: of all its inputs; else held below the floors it is not certain to reach.

        None where it is certain to reach none.
        """
        row = self._ledger.rows.get(key)
        if row is None or not row.scores:
            return None
        mean = math.fsum(row.scores) / len(row.scores)
        whole = min(row.population or math.inf, self._settings.accuracy_samples)
        if len(row.scores) >= whole or (row.done and not self._settings.seek):
            return mean
        certain = self._certified.get(key)
        if certain is None:
            return None
        floors = [
            q.slo.accuracy for q in self._needs.queries.values() if q.pipeline == key.pipeline
        ]
        doubtful = [f for f in floors if f is not None and certain < f <= mean]
        return math.nextafter(min(doubtful), 0.0) if doubtful else max(mean, certain)

    def worth(self, key: Key) -> float:
        """To all queries that want it: weighted requests per second that wait for it."""
        if self.checking(key):
            return _EXTRA
        return sum(self._worth(self._entries[name]) for name in self._by_key.get(key, ()))

    def _worth(self, entry: _Entry) -> float:
        """Of one of the things it wants."""
        whole = sum(entry.queries.values())
        if not entry.waiting(self._away):
            whole *= _REFINING
        return whole / max(len(entry.step.wants), 1)

    def refining(self, key: Key) -> bool:
        """All who wait for it have a plan that can be promised, if perhaps no room for it."""
        return not self.checking(key) and all(
            self._entries[name].step.safe for name in self._by_key.get(key, ())
        )

    def ready(self, query: str) -> bool:
        """It may be planned: some plan can be promised, or nothing more is to be known."""
        entry = self._entries.get(self._of.get(query))
        if entry is None or not entry.looked:
            return False
        return entry.step.safe or not (entry.step.wants or self._links.get(query))

    def lacking(self, query: str) -> set[Key]:
        """What it waits for now; empty once it is ready."""
        if self.ready(query):
            return set()
        entry = self._entries.get(self._of.get(query))
        wanted = set(entry.step.wants) if entry else set()
        return wanted | self._links.get(query, set())

    # ---- changes ----------------------------------------------------------------------------

    def on_needs(self, needs: Needs) -> None:
        """Queries, pipelines or the fleet changed."""
        self._needs = needs
        for name in [name for name in self._links if name not in needs.by_query]:
            self._release(name)
        for name, keys in needs.by_query.items():
            self._links[name] = {
                key for key in keys if isinstance(key, LinkKey) and not self._ledger.over(key)
            }
            self._assign(name)
        self.settle(len(self._entries))

    def on_samples(self, key: Key) -> None:
        """There are more of them, or there will be none."""
        if self.checking(key) and self.met(key):
            self.version += 1
        if isinstance(key, LinkKey):
            if self._ledger.over(key):
                self._link_over(key)
            return
        for name, n in self._by_key.get(key, {}).items():
            entry = self._entries[name]
            if entry.aim.met(key, n, self._ledger):
                self._stale[name] = None
                wants = entry.step.wants.items()
                if all(entry.aim.met(other, m, self._ledger) for other, m in wants):
                    self._due[name] = None
        self.settle(_PER_EVENT)

    def on_tick(self) -> None:
        """Time passed."""
        self._widen()
        self._due |= self._stale
        self.settle(_PER_TICK)

    def restart(self, keys: Iterable[Key]) -> None:
        """What was given up is tried again: whatever was decided without it is open again."""
        again = set(keys)
        for name, entry in self._entries.items():
            if again & entry.aim.keys:
                entry.aim = entry.make()
                self._due[name] = None
        self.settle(len(self._entries))

    def turned_away(self, queries: Iterable[str]) -> None:
        """These were planned and got no room, or not for all of their traffic.

        Once what they wanted is known, other plans are looked for, one more at first and with
        every decision that leaves them out twice as many: perhaps there is room elsewhere.
        """
        self._away = set(queries)
        self._widening = set(self._away)

    def _widen(self) -> None:
        for query in sorted(self._widening):
            name = self._of.get(query)
            entry = self._entries.get(name)
            if entry is None or (entry.looked and not entry.step.wants):
                self._widening.discard(query)
                if entry is not None and entry.aim.widen():
                    self._due[name] = None

    def settle(self, most: int) -> None:
        """Look at those that are due."""
        for name in list(self._due)[:most]:
            del self._due[name]
            self._stale.pop(name, None)
            self._look(name)

    # ---- inside -----------------------------------------------------------------------------

    def _few(self, key: Key) -> int:
        return self._needs.extra.get(key, 0) if isinstance(key, OperatorKey) else 0

    def _look(self, name: Hashable) -> None:
        entry = self._entries[name]
        before = (entry.step.safe, not entry.step.wants) if entry.looked else None
        self._unlist(name)
        entry.step, entry.looked = entry.aim.look(self._ledger), True
        if before != (entry.step.safe, not entry.step.wants):
            self.version += 1
        for key, n in entry.step.wants.items():
            self._by_key.setdefault(key, {})[name] = n
        for vector, floor in entry.aim.certified():
            self._certified[vector] = max(floor, self._certified.get(vector, floor))

    def _unlist(self, name: Hashable) -> None:
        for key in self._entries[name].step.wants:
            wanting = self._by_key.get(key, {})
            wanting.pop(name, None)
            if not wanting:
                self._by_key.pop(key, None)

    def _link_over(self, key: LinkKey) -> None:
        if self._needs.terrain is not None:
            self._needs.terrain.links_changed()
        for query, waiting in self._links.items():
            if key in waiting:
                waiting.discard(key)
                if not waiting:
                    self.version += 1
                    self._assign(query)
        self.settle(_PER_EVENT)

    def _release(self, query: str) -> None:
        self._links.pop(query, None)
        self._leave(query)

    def _leave(self, query: str) -> None:
        name = self._of.pop(query, None)
        entry = self._entries.get(name)
        if entry is not None:
            entry.queries.pop(query, None)
            if not entry.queries:
                self._unlist(name)
                del self._entries[name]
                self._due.pop(name, None)
                self._stale.pop(name, None)

    def _assign(self, query: str) -> None:
        """Have the query share the aim of those that are alike."""
        needs = self._needs
        if needs.terrain is not None and self._settings.seek:
            entry = self._entries.get(self._of.get(query))
            if query not in needs.placements:
                self._leave(query)  # its source is away
                return
            if self._links[query]:  # nobody knows yet which plans there are; old ones hold on
                if entry is not None and not entry.aim.keys <= set(needs.by_query[query]):
                    self._leave(query)
                return
        name, make = self._aim(query)
        if self._of.get(query) != name:
            self._leave(query)
            if name not in self._entries:
                self._entries[name] = _Entry(make=make, aim=make())
                self._due[name] = None
            self._of[query] = name
            self.version += 1
        known = self._needs.queries.get(query)
        self._entries[name].queries[query] = known.demand_rps if known else 1.0

    def _aim(self, query: str) -> tuple[Hashable, Callable[[], Aim]]:
        needs, settings = self._needs, self._settings
        keys = frozenset(k for k in needs.by_query[query] if not isinstance(k, LinkKey))

        def everything() -> Aim:
            return Everything(keys, settings)

        if needs.terrain is None or not settings.seek:
            return ("everything", keys), everything
        terrain, asker = needs.terrain, needs.queries[query]
        pipeline = needs.work[asker.pipeline].pipeline
        ground = terrain.ground(asker, pipeline, needs.placements[query], self._link)
        ask = ask_of(asker)

        def pursuit() -> Aim:
            mine = [key for key in needs.keys if key in keys]  # in an order that stays the same
            operators = [key for key in mine if isinstance(key, OperatorKey)]
            vectors = [key for key in mine if isinstance(key, AccuracyKey)]
            plans = card(pipeline, ground, operators, vectors)
            if plans is None:
                return everything()
            return Pursuit(plans, ask, settings, _batches(operators), terrain.classes)

        sizes = tuple(pipeline.input_bytes.items())
        name = (pipeline.name, pipeline.deliver, pipeline.backward, sizes, ground, ask, keys)
        return name, pursuit

    def _link(self, a: str, b: str) -> Link | None:
        """As the planner will see it; None while it is still to be measured."""
        terrain = self._needs.terrain
        assert terrain is not None  # or nobody would ask
        assumed = terrain.assumed(a, b)
        key = LinkKey(a=min(a, b), b=max(a, b))
        if assumed is None or key not in self._needs.links or self._ledger.given_up(key):
            return assumed
        row = self._ledger.rows.get(key)
        if row is None or not row.done:
            return None
        rtt_ms, mbps = median(row.rtt_ms), median(row.bandwidth_mbps)
        return Link(
            between=assumed.between,
            rtt_ms=assumed.rtt_ms if rtt_ms is None else rtt_ms,
            bandwidth_mbps=assumed.bandwidth_mbps if mbps is None else mbps,
            price_usd_gb=assumed.price_usd_gb,
        )


def _batches(keys: Iterable[OperatorKey]) -> dict[OperatorKey, tuple[OperatorKey, ...]]:
    """For each, those that differ from it in batch size."""
    alike: dict[OperatorKey, list[OperatorKey]] = {}
    for key in keys:
        alike.setdefault(replace(key, batch=0), []).append(key)
    return {
        key: tuple(other for other in some if other != key)
        for some in alike.values()
        for key in some
        if len(some) > 1
    }
