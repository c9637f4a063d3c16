"""Every plan that a source may want where its own capacity is short.

At given prices of what is shared, a source that has to serve whole queries within its own
capacity may want a plan that no price of its own capacity leads to: one that fits in what is
left. All such plans are those that no other one beats in what they use at the source and in
their value; they are found by the exact programme with the use of each of the source's resources
as one more number on every label. The front is the same for all sources whose sites look alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.classes import QueryClass
from circinus_coordinator.planning.decomposition.pricing import offered
from circinus_coordinator.planning.decomposition.sites import Layout
from circinus_coordinator.planning.label_search import Aim, Found, Search, TooManyError
from circinus_coordinator.planning.label_state import Labels
from circinus_coordinator.planning.offers import Choice, Moving
from circinus_coordinator.planning.pareto import survivors
from circinus_coordinator.planning.pruning import Asks, Pruning, prune
from circinus_coordinator.planning.transitions import Transitions

__all__ = ["features_of", "front"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_MEGABIT_PER_BYTE = 8e-6
_UPLINK = -1
# Labels of one stage beyond which a front is given up, for each asker and for all together.
_PATIENCE, _IN_ALL = 20_000, 60_000


def features_of(layout: Layout) -> list[int]:
    """The features of a layout's sources: what machines have, not the links between them."""
    starts = range(layout.sources)
    found = [int(f) for at in starts for f in layout.compute[at]]
    return found + [int(layout.uplink[at]) for at in starts if layout.uplink[at] >= 0]


def front(
    kind: QueryClass, prices: FloatArray, site: int, asks: IntArray, cutoff: FloatArray
) -> list[list[Found]]:
    """For each ask, the plans worth less than its cutoff that no other beats.

    Args:
        kind: Whose plans.
        prices: `(rows,)`; what sources have of their own costs nothing.
        site: Position in `kind.sites`.
        asks: `(m,)` positions in `kind.asks`.
        cutoff: `(m,)`.

    Raises:
        TooManyError: There are too many to be found in time.
    """
    sites = np.full(len(asks), site, dtype=np.int64)
    choices, moving, wanted = offered(kind, prices, 0.0, sites, asks, cutoff)
    index, pruning = prune(kind.programme, choices, moving, wanted, kind.tables)
    found: list[list[Found]] = [[] for _ in asks]
    if not len(index):
        return found
    search = _Fronts(kind, choices, moving, wanted, index, pruning)
    for k, plans in zip(index, search.all(min(_PATIENCE * len(index), _IN_ALL)), strict=True):
        found[k] = plans
    return found


class _Fronts(Search):
    """A search that keeps all plans, and counts on its labels what the sources do.

    The amounts stand among the labels' sizes, below zero, where they are compared like these.
    """

    def __init__(
        self,
        kind: QueryClass,
        choices: Sequence[Choice],
        moving: Moving,
        asks: Asks,
        index: IntArray,
        pruning: Pruning | None,
    ) -> None:
        few = [dataclasses.replace(c, value=c.value[index]) for c in choices]
        part = asks.at(index)
        super().__init__(
            kind.programme, few, moving.at(index), part, Aim.VALUE, kind.tables, pruning
        )
        programme, layout = kind.programme, kind.layout
        self._computed = programme.steps[0].compute.shape[1]
        starts = range(layout.sources)
        self._amounts = [(at, r) for at in starts for r in range(self._computed)]
        self._amounts += [(at, _UPLINK) for at in starts if layout.uplink[at] >= 0]
        device = {name: k for k, name in enumerate(programme.devices)}
        source = programme.query.source
        self._start = {k: device[source[programme.order[k]]] for k in programme.entry}
        self._home = device[source[programme.pipeline.sources[0]]]

    def all(self, patience: float) -> list[list[Found]]:
        """Every plan of each asker that no other one beats.

        Raises:
            TooManyError: More labels than `patience` were left after a stage.
        """
        self._found_all: list[list[Found]] = [[] for _ in range(self.askers)]
        self._patience = patience
        self.run(patience)
        return self._found_all

    def _run(
        self,
        labels: Labels,
        k: int,
        mean: FloatArray,
        variance: FloatArray,
        key: IntArray,
        table: Transitions,
    ) -> Labels:
        out = super()._run(labels, k, mean, variance, key, table)
        self._made += len(out.node)
        if self._made > self._patience:
            raise TooManyError
        return out

    def _step(self, labels: Labels, k: int) -> Labels:
        self._made = 0
        if k == 0:
            labels.size = {-1 - k: np.zeros(len(labels.node)) for k in range(len(self._amounts))}
        return super()._step(labels, k)

    def _move(
        self,
        labels: Labels,
        edge: tuple[int | None, int | None],
        at: tuple[IntArray, ...],
        size: FloatArray,
    ) -> None:
        super()._move(labels, edge, at, size)
        first: IntArray | int
        if edge[0] is None and edge[1] is not None:
            first, last = self._start[edge[1]], at[0]
        elif edge[1] is None:
            first, last = self._home, at[0]
        else:
            first, last = at
        for k, (position, what) in enumerate(self._amounts):
            if what == _UPLINK:
                passes = np.equal(first, position) != np.equal(last, position)
                labels.size[-1 - k] = labels.size[-1 - k] + size * passes * _MEGABIT_PER_BYTE

    def _finish(
        self, labels: Labels, k: int, finish: FloatArray, spread: FloatArray, slot: IntArray
    ) -> None:
        compute = self.programme.steps[k].compute[labels.option]
        for number, (position, what) in enumerate(self._amounts):
            if what != _UPLINK:
                here = compute[:, what] * (slot == position)
                labels.size[-1 - number] = labels.size[-1 - number] + here
        super()._finish(labels, k, finish, spread, slot)

    def _best(self, labels: Labels, history: list[tuple[IntArray, IntArray]]) -> list[Found | None]:
        latency = labels.done_mean + self.factor * np.sqrt(labels.done_variance)
        keep = np.isfinite(latency) & (labels.usd <= self.limit_usd[labels.of])
        if self.timed:
            keep &= latency <= self.limit_ms[labels.of]
        if self.cutoff is not None:
            keep &= labels.value < self.cutoff[labels.of]
        index = np.flatnonzero(keep)
        amounts = [labels.value, *labels.size.values()]
        index = index[survivors(labels.of[index], [amount[index] for amount in amounts])]
        for at in index.tolist():
            self._found_all[int(labels.of[at])].append(self._found(labels, at, history))
        return [None] * self.askers
