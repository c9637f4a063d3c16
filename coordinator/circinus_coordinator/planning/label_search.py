"""One run of the label-setting programme: all labels of a stage at once, for all askers."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.bounds import Remainder, remainder
from circinus_coordinator.planning.label_state import Labels, concatenate
from circinus_coordinator.planning.latency import percentile_factor
from circinus_coordinator.planning.offers import Choice, Moving
from circinus_coordinator.planning.pareto import survivors
from circinus_coordinator.planning.programme import Programme
from circinus_coordinator.planning.pruning import TOLERANCE, Asks, Pruning
from circinus_coordinator.planning.transitions import Transitions

__all__ = ["Aim", "Found", "Search", "TooManyError"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# Expanding more pairs at a time costs memory and gains nothing.
_CHUNK = 400_000
# So few labels for each asker are not worth comparing with one another, where bounds end most.
_FEW = 8


class Aim(enum.Enum):
    """What to minimise."""

    VALUE = "value"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best plan: the option taken for each operator in planning order, and its totals."""

    options: tuple[int, ...]
    mean: float
    variance: float
    usd: float
    value: float

    def latency_ms(self, percentile: float) -> float:
        """Its latency at the percentile."""
        return self.mean + percentile_factor(percentile) * float(np.sqrt(self.variance))


class TooManyError(Exception):
    """More labels than expected."""


class Search:
    """Finds the best plan of each asker."""

    def __init__(
        self,
        programme: Programme,
        choices: Sequence[Choice],
        moving: Moving,
        asks: Asks,
        aim: Aim,
        tables: Sequence[Transitions],
        pruning: Pruning | None,
    ) -> None:
        self.programme, self.choices, self.moving = programme, choices, moving
        self.tables = tables
        self.askers, self.cutoff, self.start = len(asks.start), asks.cutoff, asks.start
        self.limit_ms = asks.latency_ms * (1 + TOLERANCE)
        self.limit_usd = asks.usd * (1 + TOLERANCE)
        self.aim = aim
        self.factor = percentile_factor(programme.query.slo.percentile)
        self.timed = aim is Aim.LATENCY or bool(np.isfinite(self.limit_ms).any())
        self.frugal = bool(np.isfinite(self.limit_usd).any())
        self.slots = len(programme.devices)
        self.rest: Remainder = remainder(programme, choices)
        self.pruning = pruning

    def run(self, patience: float = np.inf) -> list[Found | None]:
        """The plans, None where there is none.

        Raises:
            TooManyError: More labels than `patience` were left after a stage.
        """
        each: IntArray = np.arange(self.askers, dtype=np.int64)
        none: FloatArray = np.zeros(len(each))
        nothing: IntArray = np.zeros(len(each), dtype=np.int64)
        labels = Labels(
            each, self.start[each], {}, {}, {}, {}, none, none, none, none, nothing, nothing
        )
        history: list[tuple[IntArray, IntArray]] = []
        for k in range(len(self.programme.order)):
            labels = self._step(labels, k)
            if not len(labels.node):
                return [None] * self.askers
            history.append((labels.parent, labels.option))
            if len(labels.node) > patience:
                raise TooManyError
        return self._best(labels, history)

    def _step(self, labels: Labels, k: int) -> Labels:
        labels.parent = np.arange(len(labels.node), dtype=np.int64)
        arrived, mean, variance, slot = self._arrive(labels, k)
        table = self.tables[k]
        key = arrived.node * self.slots + slot
        counts = table.count[key]
        parts = []
        for start, stop in _chunks(counts):
            part = arrived.take(np.arange(start, stop, dtype=np.int64))
            parts.append(
                self._run(part, k, mean[start:stop], variance[start:stop], key[start:stop], table)
            )
        if len(parts) == 1:
            return parts[0]
        merged = concatenate(parts)
        return merged.take(self._survivors(merged))

    def _arrive(self, labels: Labels, k: int) -> tuple[Labels, FloatArray, FloatArray, IntArray]:
        """Each label taken to each slot where operator k may run, its inputs all there."""
        options = self.programme.steps[k]
        slots = np.unique(options.slot[self.choices[k].allowed])
        slot = np.tile(slots, len(labels.node))
        there = labels.take(np.repeat(np.arange(len(labels.node), dtype=np.int64), len(slots)))
        mean: FloatArray = np.zeros(len(slot))
        variance: FloatArray = np.zeros(len(slot))
        if k in self.programme.entry:
            hops, input_bytes = self.programme.entry[k]
            sizes = np.full(len(slot), input_bytes)
            mean = hops.ms((slot,), sizes)
            self._cap(mean, (None, k), (slot,), sizes)
            self._move(there, (None, k), (slot,), sizes)
        for need in options.needs:
            at, size = (there.at[need], slot), there.size[need]
            moved = there.mean[need] + self.programme.hops.ms(at, size)
            self._cap(moved, (need, k), at, size)
            mean = np.maximum(mean, moved)
            variance = np.maximum(variance, there.variance[need])
            self._move(there, (need, k), at, size)
            if self.programme.last_use[need] == k:
                del there.at[need], there.mean[need], there.variance[need], there.size[need]
        ahead = mean + self.rest.head_ms[k][slot]
        usd = there.usd + self.rest.head_usd[k][slot]
        keep = self._promising(there.of, ahead, variance, usd)
        if self.pruning is not None:
            of = there.of[keep]
            late = mean[keep], variance[keep]
            paid = self.pruning.paid(of, there.value[keep], *late, there.usd[keep])
            rest = self.pruning.worth.head[k].of(there.node[keep], slot[keep], of)
            keep = keep[paid + rest < self.pruning.most[of]]
        there, mean, variance, slot = there.take(keep), mean[keep], variance[keep], slot[keep]
        if self.pruning is not None:
            # Few are left, and comparing them costs more than carrying them.
            return there, mean, variance, slot
        keep = self._survivors(there, (mean, variance), slot)
        return there.take(keep), mean[keep], variance[keep], slot[keep]

    def _cap(
        self,
        mean: FloatArray,
        edge: tuple[int | None, int | None],
        at: tuple[IntArray, ...],
        size: FloatArray,
    ) -> None:
        most = self.moving.max_bytes.get(edge)
        if most is not None:
            mean[size > most[at]] = np.inf

    def _move(
        self,
        labels: Labels,
        edge: tuple[int | None, int | None],
        at: tuple[IntArray, ...],
        size: FloatArray,
    ) -> None:
        """Have labels pay for moving `size` bytes from the source, between steps or back."""
        programme, of = self.programme, labels.of
        before, after = edge
        if before is None and after is not None:
            usd, value = programme.entry[after][0].usd_per_byte[at], self.moving.entry[after]
        elif after is None and programme.exits is not None:
            usd, value = programme.exits.usd_per_byte[at], self.moving.exit
        else:
            usd, value = programme.hops.usd_per_byte[at], self.moving.hop
        labels.usd = labels.usd + size * usd
        index = (of, *at)
        labels.value = labels.value + size * value[index]

    def _run(
        self,
        labels: Labels,
        k: int,
        mean: FloatArray,
        variance: FloatArray,
        key: IntArray,
        table: Transitions,
    ) -> Labels:
        """Each arrived label with each option that its node and slot permit."""
        label, entry = table.pairs(key)
        option, node = table.option[entry], table.node[entry]
        choice, options = self.choices[k], self.programme.steps[k]
        finish = mean[label] + choice.mean[option]
        spread = variance[label] + choice.variance[option]
        usd = labels.usd[label] + choice.usd[option]
        slot = options.slot[option]
        of = labels.of[label]
        ahead, still = finish + self.rest.tail_ms[k][slot], usd + self.rest.tail_usd[k][slot]
        keep = self._promising(of, ahead, spread, still)
        value = labels.value[label] + choice.value[of, option]
        if self.pruning is not None:
            who = of[keep]
            paid = self.pruning.paid(who, value[keep], finish[keep], spread[keep], usd[keep])
            rest = self.pruning.worth.tail[k].of(node[keep], slot[keep], who)
            keep = keep[paid + rest < self.pruning.most[who]]
        label, option, node, slot = label[keep], option[keep], node[keep], slot[keep]
        out = labels.take(label)
        out.node, out.option, out.usd, out.value = node, option, usd[keep], value[keep]
        self._finish(out, k, finish[keep], spread[keep], slot)
        if not np.isfinite(out.done_mean).all():
            out = out.take(np.flatnonzero(np.isfinite(out.done_mean)).astype(np.int64))
        if self.pruning is not None and len(out.node) <= _FEW * self.askers:
            return out
        return out.take(self._survivors(out))

    def _finish(
        self, labels: Labels, k: int, finish: FloatArray, spread: FloatArray, slot: IntArray
    ) -> None:
        size = self.programme.steps[k].size[labels.option]
        if self.programme.last_use[k] != k:
            labels.at[k], labels.size[k] = slot, size
            labels.mean[k], labels.variance[k] = finish, spread
            return
        if self.programme.exits is not None:
            exits = self.programme.exits
            finish = finish + exits.ms((slot,), size)
            self._cap(finish, (k, None), (slot,), size)
            self._move(labels, (k, None), (slot,), size)
        labels.done_mean = np.maximum(labels.done_mean, finish)
        labels.done_variance = np.maximum(labels.done_variance, spread)

    def _promising(
        self, of: IntArray, ahead: FloatArray, variance: FloatArray, usd: FloatArray
    ) -> IntArray:
        keep = np.isfinite(ahead)
        if self.frugal:
            keep &= usd <= self.limit_usd[of]
        if self.timed:
            keep &= ahead + self.factor * np.sqrt(variance) <= self.limit_ms[of]
        return np.flatnonzero(keep).astype(np.int64)

    def _survivors(
        self,
        labels: Labels,
        now: tuple[FloatArray, FloatArray] | None = None,
        slot: IntArray | None = None,
    ) -> IntArray:
        """Undominated labels; `now` and `slot` are those of the operator just arrived at."""
        group = labels.node if self.askers == 1 else labels.node * self.askers + labels.of
        for places in [*labels.at.values(), *([slot] if slot is not None else [])]:
            group = group * self.slots + places
            if len(group) and group.max() > 2**40:
                group = np.unique(group, return_inverse=True)[1].reshape(-1).astype(np.int64)
        dimensions = [*labels.size.values()]
        if self.timed:
            dimensions += [*labels.mean.values(), *labels.variance.values()]
            dimensions += [labels.done_mean, labels.done_variance, *(now or ())]
        return survivors(group, [*dimensions, *self._money(labels)])

    def _money(self, labels: Labels) -> list[FloatArray]:
        if self.aim is Aim.LATENCY:
            return [labels.usd] if self.frugal else []
        if self.frugal and not np.array_equal(labels.usd, labels.value):
            return [labels.value, labels.usd]
        return [labels.value]

    def _best(self, labels: Labels, history: list[tuple[IntArray, IntArray]]) -> list[Found | None]:
        latency = labels.done_mean + self.factor * np.sqrt(labels.done_variance)
        keep = np.isfinite(latency) & (labels.usd <= self.limit_usd[labels.of])
        if self.timed:
            keep &= latency <= self.limit_ms[labels.of]
        if self.cutoff is not None:
            keep &= labels.value < self.cutoff[labels.of]
        index = np.flatnonzero(keep)
        first, second = (
            (labels.value, latency) if self.aim is Aim.VALUE else (latency, labels.value)
        )
        of = labels.of[index]
        order = np.lexsort((second[index], labels.usd[index], first[index], of))
        index, of = index[order], of[order]
        found: list[Found | None] = [None] * self.askers
        for at in np.flatnonzero(np.diff(of, prepend=-1)):
            found[of[at]] = self._found(labels, int(index[at]), history)
        return found

    def _found(self, labels: Labels, best: int, history: list[tuple[IntArray, IntArray]]) -> Found:
        options, at = [], best
        for parent, option in reversed(history):
            options.append(int(option[at]))
            at = int(parent[at])
        return Found(
            options=tuple(reversed(options)),
            mean=float(labels.done_mean[best]),
            variance=float(labels.done_variance[best]),
            usd=float(labels.usd[best]),
            value=float(labels.value[best]),
        )


def _chunks(counts: IntArray) -> list[tuple[int, int]]:
    """Runs of labels whose expansions stay below the chunk size, or single labels."""
    total = np.cumsum(counts)
    runs, start = [], 0
    while start < len(counts):
        before = int(total[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + _CHUNK, side="right")))
        runs.append((start, stop))
        start = stop
    return runs or [(0, 0)]
