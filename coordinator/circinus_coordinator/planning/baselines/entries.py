"""Plans over slots, many at a time: what they take, cost and promise on an idle fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.decision import Plan, Step
from circinus.pipeline import Deliver
from circinus.query import Query
from circinus_coordinator.planning.baselines.tables import CHEAP, FAST, Table, Vectors
from circinus_coordinator.planning.baselines.views import View
from circinus_coordinator.planning.latency import percentile_factor

__all__ = ["Entries", "concatenate", "evaluate_all", "evaluate_each", "kinds", "nothing"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


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
        kind = kinds(table, view)
        rows = np.arange(len(self))
        for which in (CHEAP, FAST):
            for k, pick in enumerate(table.picks[which]):
                at = rows[self.pick == which]
                slot, config = self.slots[at, k], self.configs[at, k]
                np.add.at(found, (at, slot), pick.compute[kind[slot], config])
        return found

    def plan(self, index: int, table: Table, view: View, devices: Sequence[str]) -> Plan:
        """The plan on these devices, one for each slot."""
        kind, pick = kinds(table, view), table.picks[int(self.pick[index])]
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


def evaluate_all(
    table: Table, view: View, query: Query, where: IntArray, vectors: Vectors, which: int
) -> Entries:
    """Every placement with every vector, by the unloaded estimate of `placed`."""
    some = _unloaded(table, view, query, where[:, None], vectors.ids[None], which)
    p, v = (index.reshape(-1) for index in np.indices((len(where), len(vectors.ids))))
    return Entries(
        slots=where[p],
        configs=vectors.ids[v],
        pick=np.full(len(p), which, dtype=np.int64),
        accuracy=vectors.accuracy[v],
        **{name: values.reshape(-1) for name, values in some.items()},
    )


def evaluate_each(
    table: Table, view: View, query: Query, where: IntArray, vectors: Vectors, pick: IntArray
) -> Entries:
    """Each placement with the vector and the rows (`CHEAP` or `FAST`) beside it."""
    found = [
        Entries(
            slots=where[at],
            configs=vectors.ids[at],
            pick=pick[at],
            accuracy=vectors.accuracy[at],
            **_unloaded(table, view, query, where[at], vectors.ids[at], which),
        )
        for which in (CHEAP, FAST)
        for at in (np.flatnonzero(pick == which),)
    ]
    return concatenate(found).take(np.argsort(np.argsort(pick, kind="stable")).astype(np.int64))


def _unloaded(
    table: Table, view: View, query: Query, where: IntArray, ids: IntArray, which: int
) -> dict[str, FloatArray]:
    """Latency, dollars and load of plans over slots.

    Args:
        table: The pipeline.
        view: What the sources see.
        query: Says at which percentile.
        where: `(..., operators)` slots.
        ids: `(..., operators)` config ids; broadcast with `where`.
        which: `CHEAP` or `FAST` rows.
    """
    kind, pipeline = kinds(table, view), table.pipeline
    position = {name: k for k, name in enumerate(table.order)}
    zero: FloatArray = np.zeros(np.broadcast_shapes(where.shape, ids.shape)[:-1])
    usd, load = zero, zero
    done: list[tuple[FloatArray, FloatArray]] = []
    sizes: list[FloatArray] = []

    def hop(start: IntArray, end: IntArray, size: FloatArray) -> FloatArray:
        nonlocal usd
        usd = usd + size * view.usd_per_byte[start, end]
        with np.errstate(invalid="ignore"):
            moving = np.where(size > 0, size * view.ms_per_byte[start, end], 0.0)
        return np.asarray(view.base_ms[start, end] + moving)

    for k, name in enumerate(table.order):
        pick, spec, here = table.picks[which][k], pipeline.operators[name], where[..., k]
        at = (kind[here], ids[..., k])
        if spec.needs:
            mean, variance = zero, zero
            for need in (position[n] for n in spec.needs):
                mean = np.maximum(mean, done[need][0] + hop(where[..., need], here, sizes[need]))
                variance = np.maximum(variance, done[need][1])
        else:
            home = np.full_like(here, view.sources[pipeline.sources.index(name)])
            mean = hop(home, here, zero + float(pipeline.input_bytes[name]))
            variance = zero
        usd, load = usd + pick.usd[at], load + pick.load[at]
        done.append((mean + pick.mean[at], variance + pick.variance[at]))
        sizes.append(zero + pick.size[at])
    mean, variance = zero, zero
    for k in (position[name] for name in pipeline.sinks):
        way = zero
        if pipeline.deliver is Deliver.SOURCE:
            way = hop(where[..., k], np.full_like(where[..., k], view.sources[0]), sizes[k])
        mean, variance = np.maximum(mean, done[k][0] + way), np.maximum(variance, done[k][1])
    latency = mean + percentile_factor(query.slo.percentile) * np.sqrt(variance)
    return {"latency_ms": latency, "usd": usd, "load": load}


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


def kinds(table: Table, view: View) -> IntArray:
    """`(slots,)` position of each slot's class in the table."""
    position = {kind: k for k, kind in enumerate(table.kinds)}
    return np.array([position[kind] for kind in view.kind], dtype=np.int64)
