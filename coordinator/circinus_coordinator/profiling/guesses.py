"""What parts may take that need no samples yet.

Each config is measured on one class, the outermost where it runs, and the best config of each
operator on all. The rest follows well enough to say in which order to look at plans; nothing is
promised on it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from circinus_coordinator.profiling.menu import Card
from circinus_coordinator.profiling.seeking import Book
from circinus_coordinator.profiling.surrogate import speeds

__all__ = ["Guesses"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Guesses:
    """Of the parts of a card."""

    def __init__(self, card: Card) -> None:
        self._tables = [_table(card, k) for k in range(card.parts.shape[1])]
        self._measured = {
            part for table in self._tables for part in [*table[:, -1].tolist(), *table[0].tolist()]
        }

    def fill(self, book: Book) -> None:
        """Enter them: of parts without samples that are no part of the design.

        Before the design is complete they are nothing: what is part of it is measured first.
        """
        complete = all(part in book.service_ms for part in self._measured if part >= 0)
        for table in self._tables:
            ms = speeds(_means(table, book.service_ms))
            usd = speeds(_means(table, book.usd))
            for (config, place), number in np.ndenumerate(table):
                part = int(number)
                if part < 0 or part in book.service_ms or part in self._measured:
                    continue
                guess = float(ms[config, place]) if complete else 0.0
                if np.isfinite(guess):  # else it has to be measured
                    book.guessed_ms[part] = guess
                    # A gap where nothing costs anything.
                    book.guessed_usd[part] = float(np.nan_to_num(usd[config, place]) * complete)


def _means(table: Ints, samples: Mapping[int, Floats]) -> Floats:
    found = np.full(table.shape, np.nan)
    for place, part in np.ndenumerate(table):
        had = samples.get(int(part))
        if had is not None and (mean := float(had.mean())) > 0:
            found[place] = mean
    return found


def _table(card: Card, k: int) -> Ints:
    """`(configs, classes)` number of an operator's parts, -1 for none; the outermost class last.

    Plans list placements from the source outwards.
    """
    column = card.parts[:, k]
    parts, first = np.unique(column, return_index=True)
    classes = list(dict.fromkeys(card.keys[part].device_class for part in column.tolist()))
    table = np.full((int(card.choice[:, k].max()) + 1, len(classes)), -1, dtype=np.int64)
    for part, plan in zip(parts.tolist(), first.tolist(), strict=True):
        table[card.choice[plan, k], classes.index(card.keys[part].device_class)] = part
    return table
