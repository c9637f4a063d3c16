"""What a class of queries may choose from: feasible plans over slots, in order of preference.

A menu is worked out once per class on the unloaded fleet, for every placement that is permitted,
and holds for all queries of the class whatever their sources are called. Which machine of a slot
a plan takes, and whether it still fits, is settled when the query's turn comes (`admission`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from circinus.pipeline import Deliver
from circinus.query import Query
from circinus_coordinator.planning.baselines.entries import (
    Entries,
    concatenate,
    evaluate_all,
    kinds,
    nothing,
)
from circinus_coordinator.planning.baselines.tables import CHEAP, FAST, Table
from circinus_coordinator.planning.baselines.views import View
from circinus_coordinator.planning.labels import TOLERANCE

__all__ = ["Preference", "menu", "placements", "within"]

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


def placements(table: Table, view: View, tier: int | None = None) -> IntArray:
    """Permitted placements, `(placements, operators)` slots.

    Args:
        table: The pipeline.
        view: The fleet as the sources see it.
        tier: Index of the tier that operators have to be on where they may.
    """
    pipeline, kind = table.pipeline, kinds(table, view)
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
    parts, evaluated, fitted = [], 0, set[int]()
    for part in _parts(len(vectors.ids), len(where), _CHUNK if beam is None else _FEW):
        some = vectors.take(part)
        for which in (CHEAP,) if table.same else (CHEAP, FAST):
            every = evaluate_all(table, view, query, where, some, which)
            fitting = within(every, query)
            evaluated += len(every)
            fitted.update((fitting % len(part) + part[0]).tolist())
            parts.append(every.take(fitting))
        if beam is not None and len(fitted) >= beam:
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


def within(entries: Entries, query: Query) -> IntArray:
    """Those that keep the query's SLOs on an idle fleet; the floor is in the vectors."""
    slo = query.slo
    most = np.inf if slo.latency_ms is None else slo.latency_ms * (1 + TOLERANCE)
    ok = np.isfinite(entries.latency_ms) & (entries.latency_ms <= most)
    if slo.cost_usd_per_1000 is not None:
        ok &= entries.usd * 1000 <= slo.cost_usd_per_1000 * (1 + TOLERANCE)
    return np.flatnonzero(ok).astype(np.int64)


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
    # Slots are few and operators too: their numbers fit into one.
    base = int(entries.slots.max()) + 1
    code = entries.slots @ (base ** np.arange(entries.slots.shape[1], dtype=np.int64))
    group = np.unique(code, return_inverse=True)[1].reshape(-1)
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
