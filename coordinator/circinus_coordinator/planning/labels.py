"""The exact per-query programme: label setting over (operator, slot, config, batch).

Operators are placed one after the other in planning order. A label stands for one way to place
those so far. It carries what the rest of the pipeline can still see: the automaton node (which
config vectors remain possible), the slot, finishing time and output size of every operator that
a later one still waits for (the *frontier*: one operator in a chain, more where branches are
open), the finishing time of the sinks that are done, the cost and the priced value. Of two
labels with equal node and slots, one that is nowhere smaller is dropped; labels that cannot
meet the limits by a lower bound on what remains are dropped too. Neither loses an optimum:
every estimate is monotone in each of these numbers.

Works on all labels of a stage at once, as arrays; and for many askers at once (`solve_each`):
a query class is asked about with each of its SLOs, at the prices of each of its sources.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circinus_coordinator.planning.label_search import Aim, Found, Search, TooManyError
from circinus_coordinator.planning.offers import Choice, Moving
from circinus_coordinator.planning.programme import Programme
from circinus_coordinator.planning.pruning import TOLERANCE, Asks, Pruning, attempts, prune
from circinus_coordinator.planning.transitions import Transitions, transitions

__all__ = ["TOLERANCE", "Aim", "Asks", "Found", "Limits", "solve", "solve_each"]

# From so many labels on, bounds that end most of them take less time than the labels do.
_PATIENCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """SLOs as the programme checks them; infinite where absent."""

    latency_ms: float = np.inf
    usd: float = np.inf


def solve(
    programme: Programme,
    choices: Sequence[Choice],
    moving: Moving,
    limits: Limits,
    *,
    aim: Aim = Aim.VALUE,
) -> Found | None:
    """The best plan within the limits, None where there is none.

    Args:
        programme: The compiled query.
        choices: Its options at the present load, in planning order.
        moving: Prices and limits of moving data.
        limits: SLOs; the accuracy floor is in the programme's automaton.
        aim: What to minimise; ties go to the lower cost, then the lower latency.
    """
    alone = [dataclasses.replace(c, value=c.value[None]) for c in choices]
    asks = Asks(
        start=np.array(programme.automaton.starts[:1], dtype=np.int64),
        latency_ms=np.array([limits.latency_ms]),
        usd=np.array([limits.usd]),
    )
    there = moving.stacked()
    possible = not programme.automaton.empty and all(c.allowed.any() for c in choices)
    if aim is not Aim.VALUE or not possible:
        return solve_each(programme, alone, there, asks, aim=aim)[0]
    tables = [transitions(programme, choice, k) for k, choice in enumerate(alone)]
    search = Search(programme, alone, there, asks, aim, tables, None)
    try:
        return search.run(patience=_PATIENCE)[0]
    except TooManyError:
        pass
    # What beats a guess that is a little too high is the best of all; none where it is too low.
    for guess, pruning in attempts(programme, alone, there, asks, tables):
        few = dataclasses.replace(asks, cutoff=np.array([guess]))
        found = Search(programme, alone, there, few, aim, tables, pruning).run()[0]
        if found is not None:
            return found
    return search.run()[0]


def solve_each(
    programme: Programme,
    choices: Sequence[Choice],
    moving: Moving,
    asks: Asks,
    *,
    aim: Aim = Aim.VALUE,
    tables: Sequence[Transitions] | None = None,
) -> list[Found | None]:
    """As `solve`, for `m` askers at once, each at prices of its own.

    Args:
        programme: The compiled query.
        choices: Its options; `value` is `(m, options)`.
        moving: Its arrays have a first axis of length `m` as well.
        asks: What each wants.
        aim: What to minimise.
        tables: `transitions` of each step, where they are known already.
    """
    if programme.automaton.empty or not all(c.allowed.any() for c in choices):
        return [None] * len(asks.start)
    if tables is None:
        tables = [transitions(programme, choice, k) for k, choice in enumerate(choices)]
    found: list[Found | None] = [None] * len(asks.start)
    index = np.flatnonzero(asks.start >= 0).astype(np.int64)
    pruning: Pruning | None = None
    if asks.cutoff is not None:
        index, pruning = prune(programme, choices, moving, asks, tables)
    if len(index):
        few = [dataclasses.replace(c, value=c.value[index]) for c in choices]
        search = Search(programme, few, moving.at(index), asks.at(index), aim, tables, pruning)
        for k, plan in zip(index, search.run(), strict=True):
            found[k] = plan
    return found
