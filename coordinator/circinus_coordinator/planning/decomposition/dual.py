"""Prices by multiplicative weights: what is overloaded gets dearer, what is left over cheaper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.pool import Pool, Units

__all__ = ["Ascent", "ascend", "first_prices"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
# Steps shrink from the first to the last of these over an ascent.
_FIRST_STEP, _LAST_STEP = 0.5, 0.02
# Steps of the last phase, whose columns the master programme chooses from.
_FINE_STEP = 0.03
# A price starts, and stays, at least at this part of what would turn everybody away.
_FLOOR = 1e-5


@dataclass(slots=True)
class Ascent:
    """Where an ascent got to.

    Attributes:
        prices: `(rows,)` the best ones met.
        bound: What the pool's columns cannot exceed, by these prices; infinite without rounds.
        touched: `(columns,)` chosen in the last phase.
    """

    prices: FloatArray
    bound: float
    touched: BoolArray


def first_prices(units: Units, pool: Pool, capacity: FloatArray) -> FloatArray:
    """`(rows,)` prices at which a typical request would spend a part of its worth."""
    worth = units.weight[pool.unit]
    per_row = _mean_worth(pool, worth)
    return np.asarray(0.05 * per_row * (capacity > 0))


def _mean_worth(pool: Pool, worth: FloatArray) -> FloatArray:
    """`(rows,)` mean over the columns that use a row of worth / use."""
    use = pool.use
    row_of = np.repeat(np.arange(len(pool)), np.diff(use.indptr))
    total = np.bincount(use.indices, weights=worth[row_of] / use.data, minlength=use.shape[1])
    count = np.bincount(use.indices, minlength=use.shape[1])
    return np.asarray(total / np.maximum(count, 1))


def ascend(
    units: Units,
    pool: Pool,
    capacity: FloatArray,
    prices: FloatArray,
    *,
    usd: float,
    rounds: int,
    fine: int,
    gentle: bool = False,
) -> Ascent:
    """Raise the bound over the pool's columns.

    Args:
        units: Demand.
        pool: Columns; units without any are not served.
        capacity: `(rows,)`.
        prices: `(rows,)` to start from.
        usd: Value of a US dollar.
        rounds: Steps of shrinking length.
        fine: Further steps of a small constant length, whose columns are remembered.
        gentle: Start with small steps: the prices are nearly right.
    """
    starts = pool.starts()
    unit = pool.unit[starts]
    weight, rate = units.weight[unit], units.rate[unit]
    counts = np.diff(np.append(starts, len(pool)))
    floor = _FLOOR * _mean_worth(pool, units.weight[pool.unit])
    inverse = np.where(capacity > 0, 1.0 / np.maximum(capacity, 1e-300), 0.0)
    prices = np.maximum(prices, floor)
    best, bound = prices, np.inf
    touched = np.zeros(len(pool), dtype=np.bool_)
    start = _FINE_STEP * 2 if gentle else _FIRST_STEP
    decay = (_LAST_STEP / start) ** (1.0 / max(1, rounds))
    for turn in range(rounds + fine):
        value = pool.use @ prices + usd * pool.usd
        least = np.minimum.reduceat(value, starts) if len(starts) else value
        gain = weight - least
        taken = gain > 0
        reached = float(prices @ capacity + rate @ np.maximum(gain, 0.0))
        if reached < bound:
            best, bound = prices, reached
        chosen = _first(value, least, starts, counts)[taken]
        if turn >= rounds:
            touched[chosen] = True
        load = pool.used(chosen).T @ rate[taken]
        step = _FINE_STEP if turn >= rounds else start * decay**turn
        excess = np.clip(load * inverse - 1.0, -1.0, 2.0)
        prices = np.maximum(prices * np.exp(step * excess), floor)
    return Ascent(prices=best, bound=bound, touched=touched)


def _first(value: FloatArray, least: FloatArray, starts: IntArray, counts: IntArray) -> IntArray:
    """The first column of each unit that attains its least value."""
    at = np.flatnonzero(value <= np.repeat(least, counts))
    group = np.searchsorted(starts, at, side="right")
    return at[np.flatnonzero(np.diff(group, prepend=-1))].astype(np.int64)
