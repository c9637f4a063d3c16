"""The plans of one pipeline from one kind of source, as numbers for `seeking`.

A *card* lists them by the keys of what is measured; with what operators put out it becomes a
`Menu`, which knows how long data is on its way. The product of placements and config vectors
grows fast: where it passes `MOST_PLANS`, placements on many sites are left out, those on the
fewest kept; where even one site is too many, there is no card.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circinus.pipeline import Pipeline
from circinus_coordinator.profiling.ground import Ground, Hop, home
from circinus_coordinator.profiling.keys import (
    AccuracyKey,
    OperatorKey,
    Vector,
    neutralised,
)
from circinus_coordinator.profiling.seeking import Menu

__all__ = ["MOST_PLANS", "Card", "card"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A look at so many takes some ten milliseconds.
MOST_PLANS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """Data that leaves an operator, or the source, on its way between two sites.

    Attributes:
        operator: Position of who put it out; None for the source.
        size_bytes: From the source.
    """

    hop: Hop
    operator: int | None
    size_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Plans of one placement: rows `start` to `stop`; what moves, along each path and in all."""

    start: int
    stop: int
    along: tuple[tuple[_Move, ...], ...]
    moves: tuple[_Move, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Card:
    """See the module.

    Attributes:
        keys: By number of the part; batch size the least that is measured.
        vectors: By number of the config vector; None where accuracy is not measured.
        parts: `(plans, operators)`.
        vector: `(plans,)`.
        choice: `(plans, operators)` number of the config among the operator's.
        configs: `(vectors, operators)` the same of each vector, neutral knobs at their first.
        paths: Positions of the operators on each path.
        blocks: By placement.
        reduced: Some placements were left out.
    """

    keys: tuple[OperatorKey, ...]
    vectors: tuple[AccuracyKey | None, ...]
    parts: Ints
    vector: Ints
    choice: Ints
    configs: Ints
    paths: tuple[tuple[int, ...], ...]
    blocks: tuple[_Block, ...]
    reduced: bool = False

    def menu(self, output_bytes: Sequence[Floats]) -> Menu:
        """With times and prices of the way.

        Args:
            output_bytes: By operator, of each of its configs; 0 where nothing is known yet, so
                that nothing is crossed out too early.
        """
        extra_ms = np.zeros((len(self.parts), len(self.paths)))
        extra_usd = np.zeros(len(self.parts))
        for block in self.blocks:
            rows = slice(block.start, block.stop)
            for k, path in enumerate(block.along):
                for move in path:
                    size = self._size(move, rows, output_bytes)
                    extra_ms[rows, k] += move.hop.rtt_ms / 2 + size * move.hop.ms_per_byte
            for move in block.moves:
                size = self._size(move, rows, output_bytes)
                extra_usd[rows] += size / 1e9 * move.hop.usd_gb
        return Menu(
            parts=self.parts,
            vector=self.vector,
            extra_ms=extra_ms,
            extra_usd=extra_usd,
            paths=self.paths,
            configs=self.configs,
        )

    def _size(self, move: _Move, rows: slice, output_bytes: Sequence[Floats]) -> Floats | float:
        if move.operator is None:
            return move.size_bytes
        size: Floats = output_bytes[move.operator][self.choice[rows, move.operator]]
        return size


def card(
    pipeline: Pipeline,
    ground: Ground,
    operators: Iterable[OperatorKey],
    accuracy: Iterable[AccuracyKey],
    most_plans: int = MOST_PLANS,
) -> Card | None:
    """All plans of a query on its ground, or those on few sites; None where there are too many.

    Args:
        operators: What can be measured.
        accuracy: The same; none where accuracy is not.
    """
    names = list(pipeline.operators)
    numbers = _numbers(pipeline, operators)
    counts = [sum(1 for _ in pipeline.operators[name].configs()) for name in names]
    vectors = math.prod(counts)
    if vectors > most_plans:
        return None
    placements = list(_placements(pipeline, ground, most_plans // vectors + 1, len(ground.sites)))
    reduced = len(placements) * vectors > most_plans
    if reduced:
        placements = _few_sites(pipeline, ground, most_plans // vectors)
    if reduced and not placements:
        return None
    grid = np.indices(counts).reshape(len(counts), -1).T
    places = _configs(pipeline, grid)
    parts, rows, blocks = [], [], []
    start = 0
    for sites in placements:
        table = [numbers.table[k, ground.sites[site].device_class] for k, site in enumerate(sites)]
        found = np.stack([table[k][grid[:, k]] for k in range(len(names))], axis=1)
        able = np.flatnonzero((found >= 0).all(axis=1))
        if len(able):
            blocks.append(_block(pipeline, ground, sites, start, start + len(able)))
            start += len(able)
            parts.append(found[able])
            rows.append(able)
    if not parts:
        return None
    chosen = np.concatenate(rows)
    return Card(
        keys=numbers.keys,
        vectors=_vector_keys(pipeline, places.neutral, accuracy),
        parts=np.concatenate(parts),
        vector=places.number[chosen],
        choice=grid[chosen],
        configs=places.neutral,
        paths=tuple(_paths(pipeline)),
        blocks=tuple(blocks),
        reduced=reduced,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbers:
    """Keys, and by (operator, class) the key's number of each config; -1 for none."""

    keys: tuple[OperatorKey, ...]
    table: _Table


class _Table(dict[tuple[int, str], Ints]):
    """Knows of no key where nothing was said."""

    def __init__(self, counts: Sequence[int]) -> None:
        super().__init__()
        self._counts = counts

    def __missing__(self, place: tuple[int, str]) -> Ints:
        return np.full(self._counts[place[0]], -1, dtype=np.int64)


def _numbers(pipeline: Pipeline, operators: Iterable[OperatorKey]) -> _Numbers:
    configs = [list(spec.configs()) for spec in pipeline.operators.values()]
    position = {name: k for k, name in enumerate(pipeline.operators)}
    order = [{config: i for i, config in enumerate(row)} for row in configs]
    smallest: dict[tuple[int, str, int], OperatorKey] = {}
    for key in operators:
        k = position[key.operator]
        place = (k, key.device_class, order[k][key.config])
        known = smallest.get(place)
        if known is None or key.batch < known.batch:
            smallest[place] = key
    table = _Table([len(row) for row in configs])
    for number, (k, device_class, i) in enumerate(smallest):
        table.setdefault((k, device_class), table[k, device_class])[i] = number
    return _Numbers(keys=tuple(smallest.values()), table=table)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    number: Ints  # of the vector, by row of the grid
    neutral: Ints  # (vectors, operators)


def _configs(pipeline: Pipeline, grid: Ints) -> _Places:
    """Vectors that differ in neutral knobs only are one."""
    alike = []
    for k, spec in enumerate(pipeline.operators.values()):
        configs = list(spec.configs())
        first: dict[object, int] = {}
        plain = [
            tuple(value for knob, value in config.items() if knob not in spec.neutral_knobs)
            for config in configs
        ]
        same = [first.setdefault(values, i) for i, values in enumerate(plain)]
        alike.append(np.array(same, dtype=np.int64)[grid[:, k]])
    neutral, number = np.unique(np.stack(alike, axis=1), axis=0, return_inverse=True)
    return _Places(number=number.reshape(-1).astype(np.int64), neutral=neutral)


def _vector_keys(
    pipeline: Pipeline, neutral: Ints, accuracy: Iterable[AccuracyKey]
) -> tuple[AccuracyKey | None, ...]:
    known: Mapping[Vector, AccuracyKey] = {key.config: key for key in accuracy}
    specs = list(pipeline.operators.values())
    configs = [list(spec.configs()) for spec in specs]
    found = []
    for row in neutral.tolist():
        vector = tuple((s.name, configs[k][row[k]]) for k, s in enumerate(specs) if s.knobs)
        found.append(known.get(neutralised(pipeline, vector)))
    return tuple(found)


# ---- placements -------------------------------------------------------------------------------


def _placements(
    pipeline: Pipeline, ground: Ground, most: int, sites: int
) -> Iterator[tuple[int, ...]]:
    """Sites of all operators, on at most `sites` of them; stops after `most`."""
    names = list(pipeline.operators)
    position = {name: k for k, name in enumerate(names)}
    entry = dict(zip(pipeline.sources, ground.sources, strict=True))
    back = home(pipeline, ground)
    hops = {pair for pair, _ in ground.hops}

    def joined(a: int, b: int) -> bool:
        return a == b or (min(a, b), max(a, b)) in hops

    def fits(name: str, site: int, done: tuple[int, ...]) -> bool:
        spec = pipeline.operators[name]
        before = [done[position[need]] for need in spec.needs] or [entry[name]]
        if back is not None and name in pipeline.sinks and not joined(site, back):
            return False
        tier = ground.sites[site].tier
        return all(
            joined(a, site) and (pipeline.backward or ground.sites[a].tier <= tier) for a in before
        )

    def rest(done: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(done) == len(names):
            yield done
            return
        for site in ground.allowed[len(done)]:
            if len({*done, site}) <= sites and fits(names[len(done)], site, done):
                yield from rest((*done, site))

    return itertools.islice(rest(()), most)


def _few_sites(pipeline: Pipeline, ground: Ground, most: int) -> list[tuple[int, ...]]:
    """Those on two sites, or on one, whichever are not too many."""
    for sites in (2, 1):
        found = list(_placements(pipeline, ground, most + 1, sites))
        if len(found) <= most:
            return found
    return []


def _block(
    pipeline: Pipeline, ground: Ground, sites: tuple[int, ...], start: int, stop: int
) -> _Block:
    hops = dict(ground.hops)
    names = list(pipeline.operators)
    position = {name: k for k, name in enumerate(names)}
    back = home(pipeline, ground)

    def move(a: int, b: int, operator: int | None, size: float = 0.0) -> tuple[_Move, ...]:
        if a == b:
            return ()
        hop = hops[min(a, b), max(a, b)]
        return (_Move(hop=hop, operator=operator, size_bytes=size),)

    entries = {
        position[name]: move(site, sites[position[name]], None, pipeline.input_bytes[name])
        for name, site in zip(pipeline.sources, ground.sources, strict=True)
    }
    edges = {
        (position[need], k): move(sites[position[need]], sites[k], position[need])
        for k, name in enumerate(names)
        for need in pipeline.operators[name].needs
    }
    exits = {
        position[name]: () if back is None else move(sites[position[name]], back, position[name])
        for name in pipeline.sinks
    }
    along = tuple(
        entries[path[0]]
        + tuple(itertools.chain.from_iterable(edges[pair] for pair in itertools.pairwise(path)))
        + exits[path[-1]]
        for path in _paths(pipeline)
    )
    parts = [*entries.values(), *edges.values(), *exits.values()]
    return _Block(
        start=start, stop=stop, along=along, moves=tuple(itertools.chain.from_iterable(parts))
    )


def _paths(pipeline: Pipeline) -> Iterator[tuple[int, ...]]:
    position = {name: k for k, name in enumerate(pipeline.operators)}

    def on(path: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
        after = pipeline.consumers(path[-1])
        if not after:
            yield tuple(position[name] for name in path)
        for name in after:
            yield from on((*path, name))

    for name in pipeline.sources:
        yield from on((name,))
