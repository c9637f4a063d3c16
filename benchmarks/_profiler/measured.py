"""Worlds made of a measured table: three machines as fast as the measured one, or slower.

Only one machine was measured. It stands for the cloud's; the others take the same milliseconds of
a core times a factor drawn by the seed (time spent waiting for others stays as it is), so that
nothing is known here of how a Raspberry Pi's caches or its missing 8-bit instructions change the
proportions. What is real: how times vary from input to
input and from one moment to the next, that they depend on what the operators before put out,
that a picture with many signs is slow in all of them, and what configs do to scores.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from benchmarks._profiler.table import Table
from benchmarks._profiler.world import CLASSES, Floats, Ints, World, hop, usd_per_core_ms
from circinus_coordinator.profiling.seeking import Menu

__all__ = ["FACTORS", "Measured", "measured"]

# The generator's cores are 8, 4 and 2 times slower than a server core: 4, 2 and 1 times slower
# than the cloud's, give or take.
FACTORS = ((3.0, 6.0), (1.5, 3.0), (1.0, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured(World):
    """A world whose samples are those of the table.

    A stream is blocks of the table drawn with putting back, each replayed in the order taken, so
    that neighbours resemble one another as they did. All parts and plans of a stream are run on the
    same inputs in the same order, as an agent's probes are.

    Attributes:
        nodes: `(parts,)` node of the table with everything before it at its best config.
        factors: `(classes,)` by which each is slower than the measured machine.
        places: `(plans, operators)` number of the class.
        usd: `(classes,)` dollars per millisecond of a core.
    """

    table: Table
    nodes: Ints
    factors: Floats
    places: Ints
    usd: Floats

    def part_samples(self, stream: int, part: int, start: int, stop: int) -> tuple[Floats, Floats]:
        inputs = self._inputs(stream, stop)[start:]
        node, place = self.nodes[part], part % len(CLASSES)
        cores = self.table.core_ms[node, inputs] * self.factors[place]
        usd = cores * self.usd[place] + self.table.price_usd[node, inputs]
        return _scaled(self.table, node, self.factors[place])[inputs], usd

    def plan_ms(self, stream: int, plan: int, start: int, stop: int) -> Floats:
        return self._service_ms(plan)[:, self._inputs(stream, stop)[start:]]

    def scoring_ms(self, vector: int, operator: int) -> float:
        node = self.table.paths[vector, operator]
        return float(_scaled(self.table, node, self.factors.min()).mean())

    def in_time(self, plan: int, limit_ms: float) -> float:
        """Of the table's inputs, all of them."""
        ms = self.menu.latency_ms(plan, self._service_ms(plan))
        return float((ms <= limit_ms).mean())

    def _service_ms(self, plan: int) -> Floats:
        nodes = self.table.paths[self.menu.vector[plan]]
        return _scaled(self.table, nodes, self.factors[self.places[plan]][:, None])

    def _inputs(self, stream: int, stop: int) -> Ints:
        """The first inputs of a stream."""
        table = self.table
        enough = 1 << max(stop - 1, 0).bit_length()
        return _stream(self.seed, stream, table.block, table.latency_ms.shape[1], enough)[:stop]


def _scaled(table: Table, nodes: Ints | np.int64, factor: Floats | np.float64) -> Floats:
    """`(..., inputs)` milliseconds of nodes on a machine so many times slower."""
    scaled: Floats = table.latency_ms[nodes] + table.core_ms[nodes] * (factor - 1)
    return scaled


@lru_cache(maxsize=64)
def _stream(seed: int, stream: int, block: int, inputs: int, least: int) -> Ints:
    blocks = -(-inputs // block)
    # The last block may be short.
    drawn = np.random.default_rng([seed, stream, 9]).integers(blocks, size=2 * (-(-least // block)))
    found = (block * drawn[:, None] + np.arange(block)).ravel()
    return found[found < inputs]


def measured(seed: int, table: Table) -> Measured:
    """The world of a seed: how slow the machines are."""
    rng = np.random.default_rng([seed, 1])
    factors = np.array([rng.uniform(*bounds) for bounds in FACTORS])
    usd = np.array([usd_per_core_ms(name) for name in CLASSES])
    steps = table.configs.shape[1]
    placements = list(itertools.combinations_with_replacement(range(len(CLASSES)), steps))
    vector = np.repeat(np.arange(len(table.configs)), len(placements))
    places = np.tile(np.array(placements), (len(table.configs), 1))
    number, nodes = _parts(table)
    sent = table.output_bytes.mean(axis=1)[table.paths]  # (vectors, operators)
    hops = [
        _moving(float(table.manifest["input_bytes"]), sent[v], place)
        for v, place in zip(vector.tolist(), places.tolist(), strict=True)
    ]
    menu = Menu(
        parts=number[np.arange(steps), table.configs[vector]] * len(CLASSES) + places,
        vector=vector,
        extra_ms=np.array([[ms] for ms, _ in hops]),
        extra_usd=np.array([usd for _, usd in hops]),
        paths=(tuple(range(steps)),),
        configs=table.configs,
    )
    paths = table.paths[vector]
    core_ms = table.core_ms.mean(axis=1)[paths] * factors[places]
    price_usd = table.price_usd.mean(axis=1)[paths]
    p95 = [
        np.quantile(_scaled(table, path, factors[place][:, None]).sum(axis=0), 0.95)
        for path, place in zip(paths, places, strict=True)
    ]
    return Measured(
        name=str(table.manifest["pipeline"]),
        menu=menu,
        right=table.scores,
        plan_usd=menu.extra_usd + (core_ms * usd[places] + price_usd).sum(axis=1),
        usual_ms=np.array(p95) + menu.extra_ms[:, 0],
        slack=(1.05, 3.0),
        seed=seed,
        table=table,
        nodes=nodes,
        factors=factors,
        places=places,
        usd=usd,
    )


def _parts(table: Table) -> tuple[Ints, Ints]:
    """`(operators, configs)` number of each config, and the node of each part."""
    counts = table.configs.max(axis=0) + 1
    number = np.full((len(counts), int(counts.max())), -1)
    nodes: list[int] = []
    for k, count in enumerate(counts.tolist()):
        for config in range(count):
            best = (table.configs[:, :k] == 0).all(axis=1) & (table.configs[:, k] == config)
            number[k, config] = len(nodes) // len(CLASSES)
            nodes += [int(table.paths[np.argmax(best), k])] * len(CLASSES)
    return number, np.array(nodes)


def _moving(entering: float, sent: Floats, place: list[int]) -> tuple[float, float]:
    """The way from the source through all operators and back."""
    stops = [0, *place, 0]
    hops = [
        hop(a, b, float(size))
        for (a, b), size in zip(itertools.pairwise(stops), [entering, *sent], strict=True)
    ]
    return sum(ms for ms, _ in hops), sum(usd for _, usd in hops)
