"""Which config vectors of a pipeline reach an accuracy floor, as a small automaton.

Accuracy is a table over whole config vectors, so it does not add up along a pipeline. The
admissible vectors are folded into a minimal layered automaton over the operators in planning
order: two prefixes that allow the same continuations share a node. A label carries only its
node, and labels at one node may be compared with one another.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.pipeline import Config
from circinus.scenario import Scenario

__all__ = ["AccuracyTable", "Automaton", "anything", "recognise"]

Key = frozenset[tuple[str, Config]]
Vector = tuple[int, ...]
IntArray = npt.NDArray[np.int64]


class AccuracyTable:
    """The measured accuracies of one pipeline.

    A row holds for every value of a neutral knob, unless the very vector has its own row.
    """

    def __init__(self, scenario: Scenario, pipeline: str) -> None:
        self._operators = scenario.pipelines[pipeline].operators
        self._exact: dict[Key, float] = {}
        self._alike: dict[Key, float] = {}
        self._neutral = any(spec.neutral_knobs for spec in self._operators.values())
        for row in scenario.accuracy:
            if row.pipeline == pipeline:
                self._exact[row.key] = row.mean
                self._alike.setdefault(self._essence(row.key), row.mean)

    def of(self, configs: Mapping[str, Config]) -> float | None:
        """Accuracy under the config vector, None where it was not measured."""
        key = frozenset((name, config) for name, config in configs.items() if len(config))
        if key in self._exact or not self._neutral:
            return self._exact.get(key)
        return self._alike.get(self._essence(key))

    def levels(self) -> list[float]:
        """The distinct accuracies that occur, best first."""
        return sorted(set(self._exact.values()), reverse=True)

    def vectors(
        self, floor: float, order: Sequence[str], ids: Sequence[Mapping[Config, int]]
    ) -> list[Vector]:
        """Vectors of at least `floor` as config ids in `order`; those without an id left out.

        Args:
            floor: Lowest accuracy admitted.
            order: All operators of the pipeline.
            ids: For each operator, the id of each config it may take.
        """
        found: dict[Vector, None] = {}
        for key, mean in self._exact.items():
            if mean >= floor and (vector := _vector(dict(key), order, ids)) is not None:
                found[vector] = None
        if self._neutral:
            for key, mean in self._alike.items():
                if mean >= floor:
                    found.update(dict.fromkeys(self._variants(dict(key), order, ids)))
        return list(found)

    def _essence(self, key: Key) -> Key:
        """The vector without its neutral knobs."""
        return frozenset(
            (name, core) for name, config in key if len(core := self._core(name, config))
        )

    def _core(self, name: str, config: Config) -> Config:
        neutral = self._operators[name].neutral_knobs
        return Config({k: v for k, v in config.items() if k not in neutral})

    def _variants(
        self,
        cores: Mapping[str, Config],
        order: Sequence[str],
        ids: Sequence[Mapping[Config, int]],
    ) -> Iterator[Vector]:
        """Every vector with these cores that has no row of its own."""
        empty = Config()
        fitting = [
            [config for config in known if self._core(name, config) == cores.get(name, empty)]
            for name, known in zip(order, ids, strict=True)
        ]
        for configs in itertools.product(*fitting):
            named = zip(order, configs, strict=True)
            if frozenset((n, c) for n, c in named if len(c)) not in self._exact:
                yield tuple(known[c] for known, c in zip(ids, configs, strict=True))


def _vector(
    configs: Mapping[str, Config], order: Sequence[str], ids: Sequence[Mapping[Config, int]]
) -> Vector | None:
    if not configs.keys() <= set(order):
        return None
    empty = Config()
    vector = [known.get(configs.get(n, empty)) for n, known in zip(order, ids, strict=True)]
    found = tuple(v for v in vector if v is not None)
    return found if len(found) == len(order) else None


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
