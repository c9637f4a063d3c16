"""Cuts where choosers take one option each within a row: lifted covers.

Some choosers whose options of at least so much each cannot all be taken together are a *cover*; all
but one of them may take such options. An option that takes as much as the h largest of the cover
together counts h times, whoever takes it (Balas, "Facets of the knapsack polytope", 1975). For if
the counts added up to as many as the cover has: those that count 1 by being of the cover take what
it does, and the sum of the h largest is concave in h, so the others take at least what the rest of
the cover would, and that is too much.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["covers"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# How much a cover exceeds the row at least: what fits but for rounding fits.
_EXCESS = 1e-6
# How much a cut has to cut off.
_VIOLATED = 1e-3


def covers(use: FloatArray, chooser: IntArray, part: FloatArray) -> FloatArray:
    """Cuts that a fractional solution violates.

    Args:
        use: `(options, rows)` parts of each row's room, which is 1.
        chooser: `(options,)` whose, in rising order.
        part: `(options,)` of each option that is taken.

    Returns:
        `(options, cuts)`: coefficients of cuts whose right hand sides are 1.
    """
    found: list[FloatArray] = [np.zeros((len(part), 0))]
    for row in range(use.shape[1]):
        cut = _cover(use[:, row], chooser, part)
        if cut is not None and cut @ part > 1 + _VIOLATED:
            found.append(cut[:, None])
    return np.concatenate(found, axis=1)


def _cover(use: FloatArray, chooser: IntArray, part: FloatArray) -> FloatArray | None:
    """A cover that is cheap in what its choosers leave, lifted."""
    items = _items(use, chooser, part)
    chosen: dict[int, tuple[float, float]] = {}
    total = 0.0
    for missing, amount, owner in items:
        before = chosen.get(owner, (0.0, 0.0))
        if amount > before[1]:
            chosen[owner] = (missing, amount)
            total += amount - before[1]
        if total > 1 + _EXCESS:
            break
    if total <= 1 + _EXCESS:
        return None
    for owner in sorted(chosen, key=lambda k: -chosen[k][0]):
        if len(chosen) > 2 and total - chosen[owner][1] > 1 + _EXCESS:
            total -= chosen.pop(owner)[1]
    return _lifted(use, chooser, {k: amount for k, (_, amount) in chosen.items()})


def _items(use: FloatArray, chooser: IntArray, part: FloatArray) -> list[tuple[float, float, int]]:
    """(missing, amount, chooser), cheapest first: how much of the chooser takes less than that."""
    some = np.flatnonzero((part > 0) & (use > 0))
    some = some[np.lexsort((-use[some], chooser[some]))]
    if not len(some):
        return []
    total = np.cumsum(part[some])
    first = np.flatnonzero(np.diff(chooser[some], prepend=-1))
    length = np.diff(first, append=len(some))
    before = np.repeat(total[first] - part[some[first]], length)
    missing = np.maximum(1 - (total - before), 0.0)
    # What is missing of a whole choice, per amount.
    order = np.argsort(missing / use[some], kind="stable")
    some = some[order]
    return list(
        zip(missing[order].tolist(), use[some].tolist(), chooser[some].tolist(), strict=True)
    )


def _lifted(use: FloatArray, chooser: IntArray, cover: dict[int, float]) -> FloatArray | None:
    """The cut of a cover: an amount by chooser."""
    most = len(cover) - 1
    if not most:
        return None
    largest = np.cumsum(sorted(cover.values(), reverse=True))
    found = np.searchsorted(largest, use, side="right").astype(np.float64)
    threshold = np.full(int(chooser.max()) + 1, np.inf)
    threshold[list(cover)] = list(cover.values())
    found = np.maximum(found, (use >= threshold[chooser]).astype(np.float64))
    # No option may be taken twice: what counts more than all may not be taken at all.
    return np.asarray(np.minimum(found, most + 1) / most)
