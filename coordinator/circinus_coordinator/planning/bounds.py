"""What the rest of a pipeline costs at least: lower bounds that end hopeless labels early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.offers import Choice, Moving
from circinus_coordinator.planning.programme import Hops, Programme
from circinus_coordinator.planning.transitions import Transitions

__all__ = ["Hurry", "Remainder", "Worth", "remainder", "remaining_value"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remainder:
    """Lower bounds on mean latency (ms) and cost (USD per request), per operator `(slots,)`.

    `head` counts from arrival at the operator, `tail` from its end. Costs of a pipeline that is
    no chain leave the hops out; so bounds hold, if loosely, for every DAG.
    """

    head_ms: tuple[FloatArray, ...]
    tail_ms: tuple[FloatArray, ...]
    head_usd: tuple[FloatArray, ...]
    tail_usd: tuple[FloatArray, ...]


def remainder(programme: Programme, choices: Sequence[Choice]) -> Remainder:
    """Bounds for the options allowed at present."""
    count, slots = len(programme.order), len(programme.devices)
    nothing: FloatArray = np.zeros(slots)
    head_ms, tail_ms = [nothing] * count, [nothing] * count
    head_usd, tail_usd = [nothing] * count, [nothing] * count
    later = 0.0
    for k in reversed(range(count)):
        size = _least(programme, choices, k, programme.steps[k].size)
        consumers = [c for c in range(k + 1, count) if k in programme.steps[c].needs]
        tail_ms[k] = _tail(programme, size, head_ms, consumers, of_time=True)
        head_ms[k] = _least(programme, choices, k, choices[k].mean, tail_ms[k])
        if programme.is_chain:
            tail_usd[k] = _tail(programme, size, head_usd, consumers, of_time=False)
        else:
            tail_usd[k] = np.full(slots, later)
        head_usd[k] = _least(programme, choices, k, choices[k].usd, tail_usd[k])
        later += float(choices[k].usd[choices[k].allowed].min())
    return Remainder(
        head_ms=tuple(head_ms),
        tail_ms=tuple(tail_ms),
        head_usd=tuple(head_usd),
        tail_usd=tuple(tail_usd),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Lower bounds on the priced value that remains, for `m` askers.

    `head` counts from arrival at the operator, `(nodes * slots, m)`; `tail` from its end,
    `(nodes of the next layer, slots, m)`. The accuracy that is still to be reached is seen.
    """

    head: tuple[FloatArray, ...]
    tail: tuple[FloatArray, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hurry:
    """A price on latency, for `m` askers: what a plan would pay if late plans were let through.

    `per_ms` is the price, in value per millisecond; `curve` says how many milliseconds a
    unit of variance counts. With z standard deviations and the limit L, `z² / L` is the chord
    of `z * sqrt(variance)` between 0 and the largest variance that meets the limit, so what is
    counted never exceeds the latency of a plan that meets it.
    """

    per_ms: FloatArray
    curve: FloatArray

    def of(self, asker: IntArray, mean: FloatArray, variance: FloatArray) -> FloatArray:
        """What so much latency costs each asker."""
        return np.asarray(self.per_ms[asker] * (mean + self.curve[asker] * variance))


def remaining_value(
    programme: Programme,
    choices: Sequence[Choice],
    moving: Moving,
    tables: Sequence[Transitions],
    hurry: Hurry,
) -> Worth:
    """Bounds on value and the price of latency for each asker; the cost limit is left out.

    The price of latency counts in chains only: elsewhere latency does not add up.
    """
    count, askers, slots = len(programme.order), len(moving.hop), len(programme.devices)
    head: list[FloatArray] = [np.zeros((0, 0))] * count
    tail: list[FloatArray] = [np.zeros((0, 0, 0))] * count
    for k in reversed(range(count)):
        step, table, choice = programme.steps[k], tables[k], choices[k]
        size = np.minimum(_least(programme, choices, k, step.size), 1e300)
        if k + 1 == count:
            tail[k] = _delivered(programme, moving, size, hurry)
        elif programme.is_chain:
            ahead = head[k + 1].reshape(-1, slots, askers)
            tail[k] = _onwards(programme, moving, size, hurry, ahead)
        else:  # where the next operator's inputs come from is not known here
            least = head[k + 1].reshape(-1, slots, askers).min(axis=1)
            tail[k] = np.repeat(least[:, None, :], slots, axis=1)
        used = np.flatnonzero(table.count)
        value = np.ascontiguousarray(choice.value.T)
        if programme.is_chain and hurry.per_ms.any():
            late = choice.mean[:, None] + choice.variance[:, None] * hurry.curve
            value = value + hurry.per_ms * late
        onwards = tail[k].reshape(-1, askers)[table.node * slots + step.slot[table.option]]
        head[k] = np.full((len(table.count), askers), np.inf)
        if len(used):
            onwards += value[table.option]
            head[k][used] = np.minimum.reduceat(onwards, table.start[used], axis=0)
    return Worth(head=tuple(head), tail=tuple(tail))


def _delivered(programme: Programme, moving: Moving, size: FloatArray, hurry: Hurry) -> FloatArray:
    if programme.exits is None or not programme.is_chain:
        return np.zeros((1, len(size), len(hurry.per_ms)))
    late = _moving(programme.exits, size, of_time=True)[:, None]
    some = np.where(np.isfinite(late), late, 0.0) * hurry.per_ms
    gone = np.where(np.isfinite(late), 0.0, np.inf)
    return np.asarray((size[:, None] * moving.exit.T + some + gone)[None])


def _onwards(
    programme: Programme,
    moving: Moving,
    size: FloatArray,
    hurry: Hurry,
    head: FloatArray,
) -> FloatArray:
    """`(nodes, slots, askers)`: the cheapest way on from each slot."""
    late = _moving(programme.hops, size[:, None], of_time=True)
    found = np.full(head.shape, np.inf)
    for here, there in np.argwhere(np.isfinite(late)):
        way = size[here] * moving.hop[:, here, there] + late[here, there] * hurry.per_ms
        np.minimum(found[:, here], head[:, there] + way, out=found[:, here])
    return found


def _least(
    programme: Programme,
    choices: Sequence[Choice],
    k: int,
    amount: FloatArray,
    beyond: FloatArray | None = None,
) -> FloatArray:
    """Least `amount` over the allowed options of each slot, plus `beyond`; inf without any."""
    found = np.full(len(programme.devices), np.inf)
    allowed = choices[k].allowed
    np.minimum.at(found, programme.steps[k].slot[allowed], amount[allowed])
    return found if beyond is None else found + beyond


def _tail(
    programme: Programme,
    size: FloatArray,
    heads: Sequence[FloatArray],
    consumers: Sequence[int],
    *,
    of_time: bool,
) -> FloatArray:
    if not consumers:
        exits = programme.exits
        return np.zeros(len(size)) if exits is None else _moving(exits, size, of_time)
    to_each = _moving(programme.hops, size[:, None], of_time)
    tails = [np.min(to_each + heads[c][None, :], axis=1) for c in consumers]
    return np.asarray(np.max(np.stack(tails), axis=0))


def _moving(hops: Hops, size: FloatArray, of_time: bool) -> FloatArray:
    # Slots without an option have an infinite size: whatever stands for it is never used.
    something = np.isfinite(size) & (size > 0)
    rate = hops.ms_per_byte if of_time else hops.usd_per_byte
    moving = np.where(something, np.where(something, size, 1.0) * rate, 0.0)
    return np.asarray(
        hops.base_ms + moving if of_time else np.where(np.isfinite(hops.base_ms), moving, np.inf)
    )
