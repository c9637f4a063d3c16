"""The automaton accepts the admissible config vectors and no others."""

from __future__ import annotations

import itertools
import random

import numpy as np

from circinus_coordinator.planning.accuracy import Automaton, recognise


def accepted(automaton: Automaton, floor: int = 0) -> set[tuple[int, ...]]:
    heads: list[tuple[tuple[int, ...], int]] = [((), automaton.starts[floor])]
    for edges in automaton.edges:
        heads = [
            ((*prefix, int(config)), int(target))
            for prefix, node in heads
            for start, config, target in edges.T
            if start == node
        ]
    return {prefix for prefix, _ in heads}


def test_it_accepts_exactly_the_vectors_given() -> None:
    rng = random.Random(1)
    for share in (0.05, 0.3, 0.9):
        vectors = [v for v in itertools.product(range(3), repeat=4) if rng.random() < share]
        assert accepted(recognise([vectors], [3] * 4)) == set(vectors)


def test_prefixes_that_allow_the_same_rest_share_a_node() -> None:
    automaton = recognise([list(itertools.product(range(5), repeat=3))], [5] * 3)
    assert [len(np.unique(edges[0])) for edges in automaton.edges] == [1, 1, 1]
    assert [set(symbols.tolist()) for symbols in automaton.symbols] == [{0}] * 3


def test_no_vectors_leave_it_empty() -> None:
    assert recognise([[]], [2, 2]).empty
    assert not recognise([None], [2, 2]).empty
    assert recognise([None], [2, 0]).empty


def test_each_floor_has_a_start_of_its_own() -> None:
    rng = random.Random(2)
    every = list(itertools.product(range(3), repeat=3))
    some = [v for v in every if rng.random() < 0.4]
    few = some[: len(some) // 2]
    automaton = recognise([some, None, few, []], [3] * 3)
    assert accepted(automaton, 0) == set(some)
    assert accepted(automaton, 1) == set(every)
    assert accepted(automaton, 2) == set(few)
    assert automaton.starts[3] == -1
