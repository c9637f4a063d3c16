"""Where a per-query search looks: plans drawn at random, their neighbours, and their features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from circinus.query import Query
from circinus_coordinator.planning.baselines.entries import (
    Entries,
    concatenate,
    evaluate_each,
    kinds,
    nothing,
)
from circinus_coordinator.planning.baselines.menu import placements, within
from circinus_coordinator.planning.baselines.tables import CHEAP, FAST, Table
from circinus_coordinator.planning.baselines.views import View

__all__ = ["Space"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# Plans wanted to begin with, and draws for them: where few plans keep the objectives even on an
# idle fleet, more have to be drawn.
_WANTED, _DRAWN, _DRAWS = 512, 1024, 8
# Neighbours looked at: so many with another config of one operator or two, and so many with
# another place of one or two.
_NEIGHBOURS, _FAR = 64, 2


class Space:
    """Plans of one query that keep its objectives on an idle fleet, as far as looked at.

    What does not depend on anybody's loads is known without an evaluation: whether the accuracy
    reaches the floor, what a request costs and takes, how long it takes unloaded. Plans that
    fail already by this are not searched.

    Args:
        table: The query's pipeline.
        view: What its sources see.
        query: The query.
        rng: Of the draws.

    Attributes:
        entries: The plans.
        features: `(plans, features)`, of the first plans in [0, 1]: knobs, place, service time and
            machine time of each operator; latency, machine time and cost of the whole.
    """

    def __init__(self, table: Table, view: View, query: Query, rng: np.random.Generator) -> None:
        self._table, self._view, self._query, self._rng = table, view, query, rng
        self._where = placements(table, view)
        self._vectors = table.vectors(query.slo.accuracy)
        self._seen: set[int] = set()
        self._at: IntArray = np.zeros((0, 3), dtype=np.int64)  # (placement, vector, pick)
        self.entries = nothing(len(table.order))
        self._draw()
        raw = self._raw(self.entries)
        self._least = raw.min(axis=0) if len(raw) else np.zeros(raw.shape[1])
        spread = raw.max(axis=0) - self._least if len(raw) else np.zeros(raw.shape[1])
        self._varies = spread > 0
        self._spread = spread[self._varies]
        self.features = self._scaled(raw)

    def __len__(self) -> int:
        return len(self.entries)

    def expand(self, index: int) -> FloatArray:
        """Add the neighbours of a plan that are not there yet; their features."""
        p, v, which = self._at[index].tolist()
        vectors = self._near(self._vectors.ids, v)
        where = self._near(self._where, p)
        other = [[p, v, CHEAP + FAST - which]] if not self._table.same else []
        moves = [[p, k, which] for k in vectors] + [[k, v, which] for k in where] + other
        before = len(self)
        self._add(np.array(moves, dtype=np.int64).reshape(-1, 3))
        new = np.arange(before, len(self), dtype=np.int64)
        found = self._scaled(self._raw(self.entries.take(new)))
        self.features = np.concatenate([self.features, found])
        return found

    def _near(self, rows: IntArray, at: int) -> list[int]:
        """Rows that differ from one row in one place or two, the nearer first."""
        apart = (rows != rows[at]).sum(axis=1)
        order = self._rng.permutation(np.flatnonzero((apart > 0) & (apart <= _FAR)))
        found: list[int] = order[np.argsort(apart[order], kind="stable")][:_NEIGHBOURS].tolist()
        return found

    def _draw(self) -> None:
        if not len(self._where) or not len(self._vectors.ids):
            return
        for _ in range(_DRAWS):
            drawn = self._rng.integers(
                [len(self._where), len(self._vectors.ids), 1 if self._table.same else 2],
                size=(_DRAWN, 3),
            )
            self._add(drawn)
            if len(self) >= _WANTED:
                return

    def _add(self, drawn: IntArray) -> None:
        """Those that are new and keep the objectives on an idle fleet, as they come."""
        if not len(drawn):
            return
        code = (drawn[:, 0] * len(self._vectors.ids) + drawn[:, 1]) * 2 + drawn[:, 2]
        first = {c: k for k, c in reversed(list(enumerate(code.tolist()))) if c not in self._seen}
        self._seen.update(first)
        drawn = drawn[sorted(first.values())]
        if not len(drawn):
            return
        some = evaluate_each(
            self._table,
            self._view,
            self._query,
            self._where[drawn[:, 0]],
            self._vectors.take(drawn[:, 1]),
            drawn[:, 2],
        )
        keep = within(some, self._query)
        self._at = np.concatenate([self._at, drawn[keep]])
        self.entries = concatenate([self.entries, some.take(keep)])

    def _raw(self, entries: Entries) -> FloatArray:
        table, view = self._table, self._view
        whole = (entries.latency_ms, entries.load, entries.usd)
        columns = [entries.pick.astype(np.float64), *(np.log(np.maximum(w, 1e-12)) for w in whole)]
        kind = kinds(table, view)
        for k, name in enumerate(table.order):
            slot, config = entries.slots[:, k], entries.configs[:, k]
            columns += [view.tier[slot].astype(np.float64), slot.astype(np.float64)]
            for of in ("mean", "load"):
                both = np.stack([getattr(picks[k], of) for picks in table.picks])
                columns.append(np.log(np.maximum(both[entries.pick, kind[slot], config], 1e-12)))
            for knob, values in table.pipeline.operators[name].knobs.items():
                scale = [float(values.index(c[knob])) for c in table.configs[k]]
                columns.append(np.array(scale)[config])
        return np.stack(columns, axis=1)

    def _scaled(self, raw: FloatArray) -> FloatArray:
        return np.asarray((raw - self._least)[:, self._varies] / self._spread)
