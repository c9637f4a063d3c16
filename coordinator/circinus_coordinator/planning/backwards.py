"""What the rest of a pipeline is worth at least, at present prices: completion bounds.

A dynamic programme backwards over (automaton node, slot of the operator just placed), for many
askers at once. Exact for chains whose outputs on one slot are all of one size, and a lower bound
for every DAG: what has to be moved is taken as the least output on a slot, and from where the
inputs of an operator come that do not come from the one before it is not known: those are moved
for nothing.

SLOs that bind are counted by *tolls*, prices on latency and on dollars (Lagrangian relaxation).
Most askers of a class differ in what their own source costs and agree on everything further out.
From where they agree, bounds are worked out once for all who pay the same tolls.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.completion import Bounds, Tolls, Worth
from circinus_coordinator.planning.offers import Choice, Moving
from circinus_coordinator.planning.programme import Hops, Programme
from circinus_coordinator.planning.transitions import Transitions

__all__ = ["remaining_value"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
# Up to this many numbers an array operation costs less than going through slots one by one.
_AT_ONCE = 20_000
# Fewer askers are not worth finding out what they agree on.
_MANY = 8


def remaining_value(
    programme: Programme,
    choices: Sequence[Choice],
    moving: Moving,
    tables: Sequence[Transitions],
    tolls: Tolls,
) -> Worth:
    """Bounds on what remains, for each asker at his tolls."""
    rest = _Backwards(programme, choices, moving, tables, tolls)
    head, tail = [], []
    for k in reversed(range(len(programme.order))):
        rest.leave(k)
        tail.append(rest.bounds())
        rest.place(k)
        head.append(rest.bounds())
    return Worth(head=tuple(reversed(head)), tail=tuple(reversed(tail)))


class _Backwards:
    """The present layer: `common` `(nodes, slots, tolls)` where `shared`, else `own` `(.., m)`."""

    def __init__(
        self,
        programme: Programme,
        choices: Sequence[Choice],
        moving: Moving,
        tables: Sequence[Transitions],
        tolls: Tolls,
    ) -> None:
        self.programme, self.choices, self.moving = programme, choices, moving
        self.tables, self.tolls = tables, tolls
        self.askers, self.slots = len(tolls.per_ms), len(programme.devices)
        self.one, self.toll = tolls.distinct()
        self.sharing = self.askers >= _MANY and 2 * len(self.one) <= self.askers
        self.few = tolls.at(self.one)
        self.dear = bool(tolls.per_usd.any())
        self.late = bool(tolls.per_ms.any()) and programme.is_chain
        self.equal_hop = _equal(moving.hop) if self.sharing else np.zeros(0, dtype=np.bool_)
        self._allot(1, np.full(self.slots, self.sharing))
        self.common[:] = 0.0
        self.own[:] = 0.0

    def _allot(self, nodes: int, shared: BoolArray) -> None:
        self.nodes, self.shared = nodes, shared
        wide = nodes * self.slots
        first = wide * len(self.one) if shared.any() else 0
        second = wide * self.askers if not shared.all() else 0
        self.flat = np.full(first + second, np.inf)
        tall = nodes if first else 0, nodes if second else 0
        common = self.flat[:first].reshape(tall[0], self.slots, len(self.one))
        own = self.flat[first:].reshape(tall[1], self.slots, self.askers)
        self.common: FloatArray = common
        self.own: FloatArray = own

    def bounds(self) -> Bounds:
        """What is known of this layer."""
        each = np.arange(self.askers, dtype=np.int64)
        widths = (len(self.one), self.askers)
        return Bounds(self.flat, self.shared, (self.toll, each), widths, self.common.size)

    def leave(self, k: int) -> None:
        """From arrival at the next operator back to the end of operator k."""
        if k + 1 == len(self.programme.order):
            return
        shared = self._entered(k + 1) if k + 1 in self.programme.entry else self.shared
        common, own = self.common, self.own
        near = k in self.programme.steps[k + 1].needs
        ways = self.tables[k].taken[:, None] & self.tables[k + 1].taken
        if near:
            ways = ways & np.isfinite(self.programme.hops.base_ms)
        agreed = shared
        if shared.any():
            apart = ways & ~(shared & self.equal_hop if near else shared)
            agreed = np.asarray(~apart.any(axis=1))
        self._allot(self.nodes, agreed)
        if agreed.any():
            way = self._way(k, ways, near, self.few, self.one)
            _cheapest(common, way, np.flatnonzero(agreed), self.common)
        if not agreed.all():
            way = self._way(k, ways, near, self.tolls, slice(None))
            full = self._everywhere(common, own, shared)
            _cheapest(full, way, np.flatnonzero(~agreed), self.own)

    def _way(
        self, k: int, ways: BoolArray, near: bool, tolls: Tolls, who: IntArray | slice
    ) -> FloatArray:
        """`(slots, slots, askers)` what moving on from operator k costs."""
        if not near:
            return np.where(ways, 0.0, np.inf)[:, :, None]
        hops, size = self.programme.hops, self.tables[k].size[:, None]
        way = size[:, :, None] * self.moving.hop[who].transpose(1, 2, 0)
        if self.dear:
            way += (size * hops.usd_per_byte)[:, :, None] * tolls.per_usd
        if self.late:
            with np.errstate(invalid="ignore"):
                moving = np.where(size > 0, size * hops.ms_per_byte, 0.0)
            way += _tolled(hops.base_ms + moving, tolls.per_ms)
        way[~ways] = np.inf
        return np.asarray(way)

    def _everywhere(self, common: FloatArray, own: FloatArray, shared: BoolArray) -> FloatArray:
        if not shared.any():
            return own
        if not own.size:
            return np.asarray(common[:, :, self.toll])
        for slot in np.flatnonzero(shared):
            own[:, slot] = common[:, slot][:, self.toll]
        return own

    def _entered(self, k: int) -> BoolArray:
        """Adds what the input from operator k's own source costs."""
        hops, size = self.programme.entry[k]
        entry = self.moving.entry[k]
        shared = self.shared
        open_ = np.isfinite(hops.base_ms)
        if shared.any():
            shared = shared & (_equal(entry) | ~open_)
        common, full = self.common, self.own
        if not shared.all():
            full = self._everywhere(common, full, self.shared)
        if common.size:
            paid = size * (entry[self.one] + hops.usd_per_byte * self.few.per_usd[:, None])
            paid[:, ~open_] = np.inf
            common = common + paid.T
        if full.size:
            paid = size * (entry + hops.usd_per_byte * self.tolls.per_usd[:, None])
            paid[:, ~open_] = np.inf
            full = full + paid.T
        self.common, self.own = common, full
        return shared

    def place(self, k: int) -> None:
        """From the end of operator k back to arrival at it."""
        common, own, shared, table = self.common, self.own, self.shared, self.tables[k]
        agree = shared
        if shared.any():
            apart = self.programme.steps[k].slot[~_equal(self.choices[k].value)]
            agree = shared & ~(np.bincount(apart, minlength=self.slots) > 0)
            if self.programme.exits is not None and self.programme.last_use[k] == k:
                agree = agree & _equal(self.moving.exit)
        self._allot(len(table.count) // self.slots, agree)
        if agree.any():
            part = None if agree.all() else np.flatnonzero(agree[table.slot])
            self._least_of(k, part, common, self.common, self.few, self.one)
        if not agree.all():
            part = np.flatnonzero(~agree[table.slot]) if agree.any() else None
            full = self._everywhere(common, own, shared)
            self._least_of(k, part, full, self.own, self.tolls, slice(None))

    def _least_of(
        self,
        k: int,
        part: IntArray | None,
        beyond: FloatArray,
        into: FloatArray,
        tolls: Tolls,
        who: IntArray | slice,
    ) -> None:
        """The cheapest of the entries `part` for each node and slot, `who` paying `tolls`."""
        choice, table = self.choices[k], self.tables[k]
        option, key, after = table.option, table.key, table.after
        if part is not None:
            option, key, after = option[part], key[part], after[part]
        if not len(key):
            return
        value = choice.value[who].T
        if self.dear:
            value = value + choice.usd[:, None] * tolls.per_usd
        if self.late:
            # Where a wait has no end nobody may go: no entry names such an option.
            mean, variance = np.where(choice.allowed, (choice.mean, choice.variance), 0.0)
            value = value + tolls.per_ms * (mean[:, None] + variance[:, None] * tolls.curve)
        if self.programme.exits is not None and self.programme.last_use[k] == k:
            value = value + self._delivered(k, self.programme.exits, tolls, who)
        askers = into.shape[-1]
        found = beyond.reshape(-1, askers)[after]
        found += np.ascontiguousarray(value)[option]
        first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        into.reshape(-1, askers)[key[first]] = np.minimum.reduceat(found, first, axis=0)

    def _delivered(self, k: int, exits: Hops, tolls: Tolls, who: IntArray | slice) -> FloatArray:
        slot, size = self.programme.steps[k].slot, self.programme.steps[k].size
        paid = size[:, None] * self.moving.exit[who][:, slot].T
        if self.dear:
            paid += (size * exits.usd_per_byte[slot])[:, None] * tolls.per_usd
        late = exits.ms((slot,), size)
        if self.late:
            paid += _tolled(late, tolls.per_ms)
        paid[~np.isfinite(late)] = np.inf
        return np.asarray(paid)


def _equal(of: FloatArray) -> BoolArray:
    """Where all askers (the first axis) agree."""
    return np.asarray((of == of[:1]).all(axis=0))


def _tolled(ms: FloatArray, per_ms: FloatArray) -> FloatArray:
    """`(*ms, askers)`: nothing where the way is not open, which is seen elsewhere."""
    return np.asarray(np.where(np.isfinite(ms), ms, 0.0)[..., None] * per_ms)


def _cheapest(ahead: FloatArray, way: FloatArray, slots: IntArray, into: FloatArray) -> None:
    """Puts the least of `ahead` + `way` over where to go into `into`, for the slots to go from."""
    if ahead.size * len(slots) <= _AT_ONCE:
        into[:, slots] = (ahead[:, None] + way[slots]).min(axis=2)
        return
    for slot in slots:
        to = np.flatnonzero(np.isfinite(way[slot]).any(axis=1))
        if len(to):
            into[:, slot] = (ahead[:, to] + way[slot, to]).min(axis=1)
