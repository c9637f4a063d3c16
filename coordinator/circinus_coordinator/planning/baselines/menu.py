"""What a class of queries may choose from: feasible plans over slots, in order of preference.

A menu is worked out once per class on the unloaded fleet, for every placement that is permitted,
and holds for all queries of the class whatever their sources are called. Which machine of a slot
a plan takes, and whether it still fits, is settled when the query's turn comes (`admission`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.decision import Plan, Step
from circinus.pipeline import Deliver
from circinus.query import Query
from circinus_coordinator.planning.baselines.tables import CHEAP, FAST, Table, Vectors
from circinus_coordinator.planning.baselines.views import View
from circinus_coordinator.planning.labels import TOLERANCE
from circinus_coordinator.planning.latency import percentile_factor

__all__ = [
    "Entries",
    "Preference",
    "concatenate",
    "evaluate_all",
    "menu",
    "nothing",
    "placements",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# Placements looked at; beyond, those with the least time on the way between operators.
_MOST_PLACEMENTS = 2048
# Plans kept per placement, each lighter on the machines than those preferred to it, and in all.
_MOST_PER_PLACEMENT = 12
_MOST_ENTRIES = 384
# Vectors times placements evaluated at a time, and vectors where they may soon be enough.
_CHUNK = 60_000
_FEW = 64


class Preference(enum.Enum):
    """Which of two plans comes first."""

    CHEAPEST = "cheapest"
    MOST_ACCURATE = "most accurate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """Plans over slots; arrays `(plans,)` unless said otherwise.

    Attributes:
        slots: `(plans, operators)` slot of each operator, in the pipeline's order.
        configs: `(plans, operators)` config ids.
        pick: Which rows, `CHEAP` or `FAST`.
        latency_ms: At the SLO's percentile, unloaded; inf where the plan is not possible.
        usd: Per request.
        accuracy: NaN where unknown.
        load: Machine time per request, as a part of a machine, summed over operators.
    """

    slots: IntArray
    configs: IntArray
    pick: IntArray
    latency_ms: FloatArray
    usd: FloatArray
    accuracy: FloatArray
    load: FloatArray

    def __len__(self) -> int:
        return len(self.usd)

    def take(self, index: IntArray) -> Entries:
        """Some of them."""
        return Entries(**{name: getattr(self, name)[index] for name in self.__slots__})

    def needs(self, table: Table, view: View) -> FloatArray:
        """`(plans, slots, resources)` seconds per request."""
        resources = len(table.catalogue.resources)
        found = np.zeros((len(self), len(view.kind), resources))
        kind = _kinds(table, view)
        rows = np.arange(len(self))
        for which in (CHEAP, FAST):
            for k, pick in enumerate(table.picks[which]):
                at = rows[self.pick == which]
                slot, config = self.slots[at, k], self.configs[at, k]
                np.add.at(found, (at, slot), pick.compute[kind[slot], config])
        return found

    def plan(self, index: int, table: Table, view: View, devices: Sequence[str]) -> Plan:
        """The plan on these devices, one for each slot."""
        kind, pick = _kinds(table, view), table.picks[int(self.pick[index])]
        steps = {}
        for k, name in enumerate(table.order):
            slot = int(self.slots[index, k])
            row = pick[k].rows[int(kind[slot]), int(self.configs[index, k])]
            steps[name] = Step(device=devices[slot], config=row.config, batch=row.batch)
        return steps


def concatenate(parts: Sequence[Entries]) -> Entries:
    """All parts, one after the other."""
    return Entries(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in Entries.__slots__
        }
    )


def placements(table: Table, view: View, tier: int | None = None) -> IntArray:
    """Permitted placements, `(placements, operators)` slots.

    Args:
        table: The pipeline.
        view: The fleet as the sources see it.
        tier: Index of the tier that operators have to be on where they may.
    """
    pipeline, kind = table.pipeline, _kinds(table, view)
    position = {name: k for k, name in enumerate(table.order)}
    linked = np.isfinite(view.base_ms)
    if not pipeline.backward:
        linked = linked & (view.tier[:, None] <= view.tier[None, :])
    found: IntArray = np.zeros((1, 0), dtype=np.int64)
    away: FloatArray = np.zeros(1)
    for k, name in enumerate(table.order):
        spec = pipeline.operators[name]
        able = np.array([bool(np.isfinite(table.picks[CHEAP][k].mean[c]).any()) for c in kind])
        if spec.tiers is not None:
            able &= np.array([table.catalogue.scenario.tiers[t] in spec.tiers for t in view.tier])
        if tier is not None and (able & (view.tier == tier)).any():
            able &= view.tier == tier
        if name in pipeline.sinks and pipeline.deliver is Deliver.SOURCE:
            able &= np.isfinite(view.base_ms[:, view.sources[0]])
        slots = np.flatnonzero(able).astype(np.int64)
        wide = np.repeat(found, len(slots), axis=0)
        last = np.tile(slots, len(found))
        far = np.repeat(away, len(slots))
        froms = [wide[:, position[need]] for need in spec.needs]
        if not spec.needs:
            froms = [np.full(len(last), view.sources[pipeline.sources.index(name)])]
        ok = np.ones(len(last), dtype=bool)
        for start in froms:
            ok &= linked[start, last]
            far = far + np.where(ok, view.base_ms[start, last], 0.0)
        found = np.concatenate([wide, last[:, None]], axis=1)[ok]
        away = far[ok]
        if len(found) > _MOST_PLACEMENTS:
            keep = np.sort(np.argsort(away, kind="stable")[:_MOST_PLACEMENTS])
            found, away = found[keep], away[keep]
    return found


def evaluate_all(
    table: Table, view: View, query: Query, where: IntArray, vectors: Vectors, which: int
) -> Entries:
    """Every placement with every vector, by the unloaded estimate of `placed`."""
    ids, kind = vectors.ids, _kinds(table, view)
    position = {name: k for k, name in enumerate(table.order)}
    pipeline = table.pipeline
    shape = (len(where), len(ids))
    zero: FloatArray = np.zeros(shape)
    usd, load = zero, zero
    done: list[tuple[FloatArray, FloatArray]] = []
    sizes: list[FloatArray] = []

    def hop(start: IntArray, end: IntArray, size: FloatArray) -> FloatArray:
        nonlocal usd
        usd = usd + size * view.usd_per_byte[start, end][:, None]
        with np.errstate(invalid="ignore"):
            moving = np.where(size > 0, size * view.ms_per_byte[start, end][:, None], 0.0)
        return np.asarray(view.base_ms[start, end][:, None] + moving)

    for k, name in enumerate(table.order):
        pick, spec, here = table.picks[which][k], pipeline.operators[name], where[:, k]
        at = (kind[here][:, None], ids[None, :, k])
        if spec.needs:
            mean, variance = zero, zero
            for need in (position[n] for n in spec.needs):
                mean = np.maximum(mean, done[need][0] + hop(where[:, need], here, sizes[need]))
                variance = np.maximum(variance, done[need][1])
        else:
            home = np.full(len(where), view.sources[pipeline.sources.index(name)])
            mean = hop(home, here, np.full(shape, float(pipeline.input_bytes[name])))
            variance = zero
        usd, load = usd + pick.usd[at], load + pick.load[at]
        done.append((mean + pick.mean[at], variance + pick.variance[at]))
        sizes.append(pick.size[at])
    mean, variance = zero, zero
    for k in (position[name] for name in pipeline.sinks):
        way = zero
        if pipeline.deliver is Deliver.SOURCE:
            way = hop(where[:, k], np.full(len(where), view.sources[0]), sizes[k])
        mean, variance = np.maximum(mean, done[k][0] + way), np.maximum(variance, done[k][1])
    latency = mean + percentile_factor(query.slo.percentile) * np.sqrt(variance)
    p, v = (index.reshape(-1) for index in np.indices(shape))
    return Entries(
        slots=where[p],
        configs=ids[v],
        pick=np.full(len(p), which, dtype=np.int64),
        latency_ms=latency.reshape(-1),
        usd=usd.reshape(-1),
        accuracy=vectors.accuracy[v],
        load=load.reshape(-1),
    )


def menu(
    table: Table,
    view: View,
    query: Query,
    preference: Preference,
    *,
    beam: int | None,
    tier: int | None = None,
) -> tuple[Entries, int]:
    """The menu of the query's class and the number of plans evaluated for it.

    Args:
        table: The query's pipeline at its percentile.
        view: What its sources see.
        query: Any query of the class.
        preference: What comes first.
        beam: Config vectors that fit somewhere after which no more are looked at; None for all.
        tier: As for `placements`.
    """
    where = placements(table, view, tier)
    vectors = table.vectors(query.slo.accuracy)
    accuracy = np.nan_to_num(vectors.accuracy, nan=-1.0)
    key = vectors.usd if preference is Preference.CHEAPEST else -accuracy
    vectors = vectors.take(np.lexsort((vectors.usd, key)).astype(np.int64))
    parts, evaluated, fitting = [], 0, 0
    for part in _parts(len(vectors.ids), len(where), _CHUNK if beam is None else _FEW):
        some = vectors.take(part)
        for which in (CHEAP,) if table.same else (CHEAP, FAST):
            every = evaluate_all(table, view, query, where, some, which)
            evaluated += len(every)
            parts.append(_within(every, query))
        fitting += len({row.tobytes() for row in parts[-1].configs})
        if beam is not None and fitting >= beam:
            break
    if not parts:
        return nothing(len(table.order)), 0
    return _shortlist(concatenate(parts), preference), evaluated


def _parts(vectors: int, where: int, most: int) -> Iterator[IntArray]:
    if not where:
        return
    step = max(1, min(most, _CHUNK // where))
    for start in range(0, vectors, step):
        yield np.arange(start, min(vectors, start + step), dtype=np.int64)


def _within(entries: Entries, query: Query) -> Entries:
    """Those that keep the query's SLOs on an idle fleet; the floor is in the vectors."""
    slo = query.slo
    most = np.inf if slo.latency_ms is None else slo.latency_ms * (1 + TOLERANCE)
    ok = np.isfinite(entries.latency_ms) & (entries.latency_ms <= most)
    if slo.cost_usd_per_1000 is not None:
        ok &= entries.usd * 1000 <= slo.cost_usd_per_1000 * (1 + TOLERANCE)
    return entries.take(np.flatnonzero(ok).astype(np.int64))


def order_of(entries: Entries, preference: Preference) -> IntArray:
    """Positions from the first choice to the last; ties go to the lighter, then the faster."""
    keys = [entries.latency_ms, entries.load, entries.usd]
    if preference is Preference.MOST_ACCURATE:
        keys.append(-np.nan_to_num(entries.accuracy, nan=-1.0))
    return np.asarray(np.lexsort(keys), dtype=np.int64)


def _shortlist(entries: Entries, preference: Preference) -> Entries:
    """Of each placement the plans that are lighter than all preferred to them; the best in all."""
    if not len(entries):
        return entries
    entries = entries.take(order_of(entries, preference))
    group = np.unique(entries.slots, axis=0, return_inverse=True)[1].reshape(-1)
    by_group = np.argsort(group, kind="stable")
    weight = np.unique(entries.load, return_inverse=True)[1].reshape(-1)[by_group]
    # The running minimum starts anew with each group: its numbers lie below all before it.
    falling = weight - group[by_group] * (len(entries) + 1)
    least = np.minimum.accumulate(falling)
    lighter = np.concatenate([[True], falling[1:] < least[:-1]])
    kept, of = by_group[lighter], group[by_group][lighter]
    starts = np.searchsorted(of, of)
    turn = np.arange(len(of)) - starts
    # Every placement's first choice goes before any second one.
    few = turn < _MOST_PER_PLACEMENT
    kept, later = kept[few], turn[few] > 0
    kept = kept[np.lexsort((kept, later))]
    return entries.take(np.sort(kept[:_MOST_ENTRIES]).astype(np.int64))


def nothing(operators: int) -> Entries:
    """No plans of a pipeline of so many operators."""
    none: FloatArray = np.zeros(0)
    ids: IntArray = np.zeros((0, operators), dtype=np.int64)
    return Entries(
        slots=ids,
        configs=ids,
        pick=np.zeros(0, dtype=np.int64),
        latency_ms=none,
        usd=none,
        accuracy=none,
        load=none,
    )


def _kinds(table: Table, view: View) -> IntArray:
    """`(slots,)` position of each slot's class in the table."""
    position = {kind: k for k, kind in enumerate(table.kinds)}
    return np.array([position[kind] for kind in view.kind], dtype=np.int64)
