"""What the rest of a pipeline costs at least: lower bounds that end hopeless labels early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.offers import Choice
from circinus_coordinator.planning.programme import Hops, Programme

__all__ = ["Remainder", "remainder"]

FloatArray = npt.NDArray[np.float64]


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
