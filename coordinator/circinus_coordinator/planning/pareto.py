"""Removing dominated rows, group by group, in whole-array steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["survivors"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Each row is compared with this many better-ranked rows of its group per round: beyond two
# dimensions a complete comparison costs more than the few rows it still removes are worth.
_LOOK_BACK = 12
_ROUNDS = 3
# Up to so many pairs all of them are compared: that takes less than the rounds above.
_PAIRS = 40_000


def survivors(group: IntArray, dimensions: Sequence[FloatArray]) -> IntArray:
    """Indices of rows worth keeping: smaller is better in every dimension.

    No row is dropped unless another one kept of its group is at least as good everywhere. With
    up to two dimensions, and in small groups, exactly the Pareto front of each group remains (one
    row of equal ones, the first); otherwise a few dominated rows may survive, which costs time and
    nothing else.

    Args:
        group: `(n,)` group of each row.
        dimensions: Arrays `(n,)`, finite.

    Returns:
        `(kept,)` int64, sorted by group.
    """
    varying = [d for d in dimensions if len(d) and not np.all(d == d[0])]
    if len(group) <= 1:
        return np.arange(len(group), dtype=np.int64)
    if len(varying) == 0:
        return np.unique(group, return_index=True)[1].astype(np.int64)
    if len(varying) == 1:
        order = np.lexsort((varying[0], group))
        return np.asarray(order[_first_of_group(group[order])])
    if len(varying) == 2:
        return _staircase(group, varying[0], varying[1])
    found = _each_with_each(group, varying)
    return _look_back(group, varying) if found is None else found


def _first_of_group(group: IntArray) -> npt.NDArray[np.bool_]:
    first = np.ones(len(group), dtype=np.bool_)
    first[1:] = group[1:] != group[:-1]
    return first


def _staircase(group: IntArray, x: FloatArray, y: FloatArray) -> IntArray:
    """Complete in two dimensions: sorted by x, y has to fall below all before it."""
    order = np.lexsort((y, x, group))
    g = group[order]
    rank = np.unique(y[order], return_inverse=True)[1].reshape(-1).astype(np.int64)
    first = _first_of_group(g)
    # Ranks of a later group lie below all of an earlier one, so one running minimum over the
    # whole array starts afresh with each group; integers, so nothing is lost to rounding.
    shifted = rank - (np.cumsum(first) - 1) * (len(rank) + 1)
    best = np.minimum.accumulate(shifted)
    keep = np.ones(len(order), dtype=np.bool_)
    keep[1:] = shifted[1:] < best[:-1]
    return np.asarray(order[keep])


def _each_with_each(group: IntArray, dimensions: Sequence[FloatArray]) -> IntArray | None:
    """The exact front by comparing all pairs of a group; None where groups are too large."""
    order = np.argsort(group, kind="stable")
    first = np.flatnonzero(_first_of_group(group[order]))
    counts = np.diff(np.append(first, len(order)))
    most = int(counts.max())
    if len(first) * most * most > _PAIRS:
        return None
    place = np.arange(len(order)) - np.repeat(first, counts)
    at = np.repeat(np.arange(len(first)), counts) * most + place
    table = np.full((len(dimensions), len(first) * most), np.inf)
    for row, column in zip(table, dimensions, strict=True):
        row[at] = column[order]
    blocks = table.reshape(len(dimensions), len(first), most)
    better = blocks[0][:, :, None] <= blocks[0][:, None, :]
    for row in blocks[1:]:
        better &= row[:, :, None] <= row[:, None, :]
    # Of equal rows the first one stays.
    better &= ~better.transpose(0, 2, 1) | np.triu(np.ones((most, most), dtype=np.bool_), 1)
    return np.asarray(order[~better.any(axis=1).reshape(-1)[at]])


def _look_back(group: IntArray, dimensions: Sequence[FloatArray]) -> IntArray:
    kept = np.arange(len(group), dtype=np.int64)
    for turn in range(_ROUNDS):
        columns = np.stack([d[kept] for d in dimensions])
        g = group[kept]
        order = np.lexsort((*_ranking(columns, turn), g))
        columns, g = columns[:, order], g[order]
        dominated = np.zeros(len(g), dtype=np.bool_)
        for back in range(1, min(_LOOK_BACK, len(g) - 1) + 1):
            better = g[back:] == g[:-back]
            for column in columns:
                better &= column[:-back] <= column[back:]
            dominated[back:] |= better
        before = len(kept)
        kept = kept[order[~dominated]]
        if len(kept) > 0.9 * before:
            break
    return kept


def _ranking(columns: FloatArray, turn: int) -> list[FloatArray]:
    """Sort keys, last one first: a dominating row never ranks behind the one it dominates."""
    if turn == 0:
        scale = np.maximum(np.max(np.abs(columns), axis=1), 1e-300)
        # Rounding could rank two rows of nearly equal sums the wrong way round: harmless, as a
        # row is only dropped after a comparison in each dimension.
        return [*columns[::-1], np.sum(columns / scale[:, None], axis=0)]
    return list(np.roll(columns, turn, axis=0))
