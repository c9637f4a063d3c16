"""Which config vectors of a pipeline reach an accuracy floor, as a small automaton.

Accuracy is a table over whole config vectors, so it does not add up along a pipeline. The
admissible vectors are folded into a minimal layered automaton over the operators in planning
order: two prefixes that allow the same continuations share a node. A label carries only its
node, and labels at one node may be compared with one another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.pipeline import Config
from circinus.scenario import Scenario

__all__ = ["AccuracyTable", "Automaton", "anything", "recognise"]

Vector = tuple[int, ...]
IntArray = npt.NDArray[np.int64]


class AccuracyTable:
    """The measured accuracies of one pipeline."""

    def __init__(self, scenario: Scenario, pipeline: str) -> None:
        self._rows = {row.key: row.mean for row in scenario.accuracy if row.pipeline == pipeline}

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, configs: Mapping[str, Config]) -> float | None:
        """Accuracy under the config vector, None where it was not measured."""
        return self._rows.get(
            frozenset((name, config) for name, config in configs.items() if len(config))
        )

    def levels(self) -> list[float]:
        """The distinct accuracies that occur, best first."""
        return sorted(set(self._rows.values()), reverse=True)

    def vectors(
        self, floor: float, order: Sequence[str], ids: Sequence[Mapping[Config, int]]
    ) -> list[Vector]:
        """Vectors of at least `floor` as config ids in `order`; those without an id left out.

        Args:
            floor: Lowest accuracy admitted.
            order: All operators of the pipeline.
            ids: For each operator, the id of each config it may take.
        """
        found = []
        empty = Config()
        for key, mean in self._rows.items():
            if mean < floor:
                continue
            configs = dict(key)
            if not configs.keys() <= set(order):
                continue
            vector = [ids[i].get(configs.get(name, empty)) for i, name in enumerate(order)]
            if None not in vector:
                found.append(tuple(v for v in vector if v is not None))
        return found


@dataclass(frozen=True, slots=True)
class Automaton:
    """A layer of nodes before each operator; reading a config leads on to the next layer.

    Attributes:
        edges: For each operator ``(3, n)`` int64: node, config id, node of the next layer.
        symbols: For each operator an array over config ids, equal for configs that no node
            tells apart.
    """

    edges: tuple[IntArray, ...]
    symbols: tuple[IntArray, ...]

    @property
    def empty(self) -> bool:
        """True where no vector is admissible."""
        return any(layer.shape[1] == 0 for layer in self.edges)


def anything(counts: Sequence[int]) -> Automaton:
    """Accepts every vector; `counts` is the number of configs of each operator."""
    return Automaton(
        edges=tuple(
            np.stack([np.zeros(n, dtype=np.int64), np.arange(n), np.zeros(n, dtype=np.int64)])
            for n in counts
        ),
        symbols=tuple(np.zeros(n, dtype=np.int64) for n in counts),
    )


def recognise(vectors: Sequence[Vector], counts: Sequence[int]) -> Automaton:
    """The minimal layered automaton that accepts exactly `vectors`."""
    length = len(counts)
    layers: list[list[dict[int, int]]] = [[] for _ in counts]
    known: dict[tuple[int, frozenset[Vector]], int] = {}

    def node(depth: int, suffixes: frozenset[Vector]) -> int:
        if depth == length:
            return 0
        key = (depth, suffixes)
        if key not in known:
            by_config: dict[int, set[Vector]] = {}
            for suffix in suffixes:
                by_config.setdefault(suffix[0], set()).add(suffix[1:])
            edges = {c: node(depth + 1, frozenset(rest)) for c, rest in sorted(by_config.items())}
            known[key] = len(layers[depth])
            layers[depth].append(edges)
        return known[key]

    node(0, frozenset(vectors))
    return Automaton(
        edges=tuple(_edges(layer) for layer in layers),
        symbols=tuple(_symbols(layer, n) for layer, n in zip(layers, counts, strict=True)),
    )


def _edges(layer: Sequence[Mapping[int, int]]) -> IntArray:
    found = [(n, c, target) for n, edges in enumerate(layer) for c, target in edges.items()]
    return np.array(found, dtype=np.int64).reshape(-1, 3).T


def _symbols(layer: Sequence[Mapping[int, int]], count: int) -> IntArray:
    columns: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for number, edges in enumerate(layer):
        for config, target in edges.items():
            columns[config].append((number, target))
    names: dict[tuple[tuple[int, int], ...], int] = {}
    return np.array([names.setdefault(tuple(c), len(names)) for c in columns], dtype=np.int64)
