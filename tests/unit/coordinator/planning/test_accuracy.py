"""The automaton accepts the admissible config vectors and no others."""

from __future__ import annotations

import itertools
import random

import numpy as np

from circinus_coordinator.planning.accuracy import Automaton, anything, recognise


def accepted(automaton: Automaton) -> set[tuple[int, ...]]:
    heads: list[tuple[tuple[int, ...], int]] = [((), 0)]
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
        assert accepted(recognise(vectors, [3] * 4)) == set(vectors)


def test_prefixes_that_allow_the_same_rest_share_a_node() -> None:
    automaton = recognise(list(itertools.product(range(5), repeat=3)), [5] * 3)
    assert [len(np.unique(edges[0])) for edges in automaton.edges] == [1, 1, 1]
    assert [set(symbols.tolist()) for symbols in automaton.symbols] == [{0}] * 3


def test_no_vectors_leave_it_empty() -> None:
    assert recognise([], [2, 2]).empty
    assert not anything([2, 2]).empty
    assert anything([2, 0]).empty
