"""Which config vectors of a pipeline reach an accuracy floor, as a small automaton.

Accuracy is a table over whole config vectors, so it does not add up along a pipeline. The
admissible vectors are folded into a minimal layered automaton over the operators in planning
order: two prefixes that allow the same continuations share a node. A label carries only its
node, and labels at one node may be compared with one another.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.pipeline import Config
from circinus.scenario import Scenario

__all__ = ["AccuracyTable", "Automaton", "recognise"]

Key = frozenset[tuple[str, Config]]
Vector = tuple[int, ...]
IntArray = npt.NDArray[np.int64]


class AccuracyTable:
    """The measured accuracies of one pipeline.

    A row holds for every value of a neutral knob, unless the very vector has its own row.

    Args:
        scenario: What was measured.
        pipeline: Its name.
        known: The table of the same rows in another scenario.
    """

    def __init__(
        self, scenario: Scenario, pipeline: str, known: AccuracyTable | None = None
    ) -> None:
        self._operators = scenario.pipelines[pipeline].operators
        self.exact: dict[Key, float] = {}
        self.alike: dict[Key, float] = {}
        self._vectors: dict[object, dict[Vector, float]] = {}
        self._cores: dict[tuple[str, Config], Config] = {}
        self._neutral = any(spec.neutral_knobs for spec in self._operators.values())
        if known is not None and known.neutral_knobs == self.neutral_knobs:
            self.exact, self.alike = known.exact, known.alike
            return
        for row in scenario.accuracy:
            if row.pipeline == pipeline:
                self.exact[row.key] = row.mean
                self.alike.setdefault(self._essence(row.key), row.mean)

    def of(self, configs: Mapping[str, Config]) -> float | None:
        """Accuracy under the config vector, None where it was not measured."""
        key = frozenset((name, config) for name, config in configs.items() if len(config))
        if key in self.exact or not self._neutral:
            return self.exact.get(key)
        return self.alike.get(self._essence(key))

    @property
    def neutral_knobs(self) -> dict[str, tuple[str, ...]]:
        """By operator, the knobs that no accuracy depends on."""
        return {name: spec.neutral_knobs for name, spec in self._operators.items()}

    def levels(self) -> list[float]:
        """The distinct accuracies that occur, best first."""
        return sorted(set(self.exact.values()), reverse=True)

    def vectors(
        self, floor: float, order: Sequence[str], ids: Sequence[Mapping[Config, int]]
    ) -> list[Vector]:
        """Vectors of at least `floor` as config ids in `order`; those without an id left out.

        Args:
            floor: Lowest accuracy admitted.
            order: All operators of the pipeline.
            ids: For each operator, the id of each config it may take.
        """
        key = tuple((name, *known) for name, known in zip(order, ids, strict=True))
        if key not in self._vectors:
            self._vectors[key] = self._all(order, ids)
        return [vector for vector, mean in self._vectors[key].items() if mean >= floor]

    def _all(
        self, order: Sequence[str], ids: Sequence[Mapping[Config, int]]
    ) -> dict[Vector, float]:
        found: dict[Vector, float] = {}
        if self._neutral:
            alike: list[dict[Config, list[int]]] = []
            for name, known in zip(order, ids, strict=True):
                alike.append({})
                for config, number in known.items():
                    alike[-1].setdefault(self._core(name, config), []).append(number)
            empty = Config()
            for key, mean in self.alike.items():
                cores = dict(key)
                if not cores.keys() <= set(order):
                    continue
                fitting = [
                    known.get(cores.get(name, empty), [])
                    for name, known in zip(order, alike, strict=True)
                ]
                found.update(dict.fromkeys(itertools.product(*fitting), mean))
        # A vector's own row beats the one of its like.
        for key, mean in self.exact.items():
            vector = _vector(dict(key), order, ids)
            if vector is not None:
                found[vector] = mean
        return found

    def _essence(self, key: Key) -> Key:
        """The vector without its neutral knobs."""
        return frozenset(
            (name, core) for name, config in key if len(core := self._core(name, config))
        )

    def _core(self, name: str, config: Config) -> Config:
        neutral = self._operators[name].neutral_knobs
        if not neutral:
            return config
        key = (name, config)
        if key not in self._cores:
            self._cores[key] = Config({k: v for k, v in config.items() if k not in neutral})
        return self._cores[key]


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
        starts: Node of the first layer for each floor it was made for; -1 where no vector is
            admissible.
    """

    edges: tuple[IntArray, ...]
    symbols: tuple[IntArray, ...]
    starts: tuple[int, ...]

    @property
    def empty(self) -> bool:
        """True where no vector is admissible."""
        return any(layer.shape[1] == 0 for layer in self.edges)


def recognise(floors: Sequence[Sequence[Vector] | None], counts: Sequence[int]) -> Automaton:
    """The minimal layered automaton of several floors, each with a start of its own.

    Args:
        floors: For each floor exactly the vectors to accept; None for all.
        counts: Number of configs of each operator.
    """
    length = len(counts)
    layers: list[list[dict[int, int]]] = [[] for _ in counts]
    known: dict[tuple[int, frozenset[Vector] | None], int] = {}

    def node(depth: int, suffixes: frozenset[Vector] | None) -> int:
        if depth == length:
            return 0
        key = (depth, suffixes)
        if key not in known:
            if suffixes is None:
                edges = dict.fromkeys(range(counts[depth]), node(depth + 1, None))
            else:
                rests: dict[int, set[Vector]] = {}
                for suffix in suffixes:
                    rests.setdefault(suffix[0], set()).add(suffix[1:])
                edges = {c: node(depth + 1, frozenset(r)) for c, r in sorted(rests.items())}
            known[key] = len(layers[depth])
            layers[depth].append(edges)
        return known[key]

    starts = [
        -1 if accepted is not None and not accepted else node(0, accepted)
        for accepted in (None if v is None else frozenset(v) for v in floors)
    ]
    return Automaton(
        edges=tuple(_edges(layer) for layer in layers),
        symbols=tuple(_symbols(layer, n) for layer, n in zip(layers, counts, strict=True)),
        starts=tuple(starts),
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
