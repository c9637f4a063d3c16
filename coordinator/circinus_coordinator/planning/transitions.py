"""What may follow a label: options by automaton node and slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.offers import Choice
from circinus_coordinator.planning.pareto import survivors
from circinus_coordinator.planning.programme import Programme

__all__ = ["Transitions", "transitions"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Transitions:
    """For each (node, slot): a run of (option, next node) entries.

    Attributes:
        start: `(nodes * slots,)` first entry of each run.
        count: `(nodes * slots,)` its length.
        option: `(entries,)`.
        node: `(entries,)` node of the next layer.
        key: `(entries,)` node * slots + slot before.
        after: `(entries,)` next node * slots + slot.
        slot: `(entries,)`.
        size: `(slots,)` least output of the options on each slot; 0 without any.
        taken: `(slots,)` whether there are any.
    """

    start: IntArray
    count: IntArray
    option: IntArray
    node: IntArray
    key: IntArray
    after: IntArray
    slot: IntArray
    size: FloatArray
    taken: npt.NDArray[np.bool_]

    def pairs(self, key: IntArray) -> tuple[IntArray, IntArray]:
        """Every (row of `key`, entry) pair."""
        counts = self.count[key]
        row = np.repeat(np.arange(len(key), dtype=np.int64), counts)
        offset = np.arange(len(row), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
        return row, self.start[key][row] + offset


def transitions(
    programme: Programme, choice: Choice, k: int, *, further: Sequence[FloatArray] = ()
) -> Transitions:
    """What may follow each (node, slot): the undominated options of the configs it permits.

    Where several prices are asked about, of those options that are undominated at any.

    Args:
        programme: The compiled query.
        choice: Options of operator `k`.
        k: Position of the operator.
        further: `(options,)` amounts that count as well.
    """
    step = programme.steps[k]
    node, config, target = programme.automaton.edges[k]
    option = np.flatnonzero(choice.allowed).astype(np.int64)
    # Options on one slot whose configs no node tells apart compete on numbers alone.
    symbol = programme.automaton.symbols[k][step.config[option]]
    group = step.slot[option] * (len(step.configs) + 1) + symbol
    if len(choice.value) == 1:
        worth = [choice.value[0]]
    else:  # what uses less of everything is worth less at whatever prices
        worth = [step.compute[:, r] for r in range(step.compute.shape[1])]
    columns = (choice.mean, choice.variance, choice.usd, *worth, *further, step.size)
    option = option[survivors(group, [column[option] for column in columns])]
    option = option[np.argsort(step.config[option], kind="stable")]
    per_config = np.bincount(step.config[option], minlength=len(step.configs))
    first = np.cumsum(per_config) - per_config
    counts = per_config[config]
    edge = np.repeat(np.arange(len(config), dtype=np.int64), counts)
    offset = np.arange(len(edge), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = option[first[config][edge] + offset]
    slots = len(programme.devices)
    key = node[edge] * slots + step.slot[chosen]
    order = np.argsort(key, kind="stable")
    size = (int(node.max()) + 1) * slots
    count = np.bincount(key, minlength=size).astype(np.int64)
    option, after = chosen[order], target[edge][order]
    slot = step.slot[option]
    least = np.full(slots, np.inf)
    np.minimum.at(least, slot, step.size[option])
    taken = np.isfinite(least)
    return Transitions(
        start=np.cumsum(count) - count,
        count=count,
        option=option,
        node=after,
        key=key[order],
        after=after * slots + slot,
        slot=slot,
        size=np.where(taken, least, 0.0),
        taken=taken,
    )
