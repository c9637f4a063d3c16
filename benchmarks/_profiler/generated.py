"""Worlds of the generator's families: gamma service times, independent of one another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks._profiler.world import CLASSES, Floats, Ints, World, hop
from circinus_coordinator.generation.families import FAMILIES
from circinus_coordinator.generation.machines import MACHINES
from circinus_coordinator.generation.profiles import OperatorFigures, operator_figures
from circinus_coordinator.generation.templates import PipelineTemplate
from circinus_coordinator.profiling.seeking import Menu

__all__ = ["Generated", "generated"]

LABELLED = 500  # inputs with a label
MOST_CONFIGS = 4
MOST_PLANS = 3000
TRUTH_SAMPLES = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated(World):
    """A world of independent gamma distributions.

    Attributes:
        mean_ms: `(parts,)` service time; gamma distributed.
        shape: `(parts,)` of the gamma.
        usd: `(parts,)` per request.
        fastest: `(vectors, operators)` the part by which scores are made: the fastest machine.
    """

    mean_ms: Floats
    shape: Floats
    usd: Floats
    fastest: Ints

    def part_samples(self, stream: int, part: int, start: int, stop: int) -> tuple[Floats, Floats]:
        rng = np.random.default_rng([self.seed, stream, 4, part, start])
        service = self._draw(rng, np.array([part]), stop - start)[0]
        return service, service * (self.usd[part] / self.mean_ms[part])

    def plan_ms(self, stream: int, plan: int, start: int, stop: int) -> Floats:
        rng = np.random.default_rng([self.seed, stream, 6, plan, start])
        return self._draw(rng, self.menu.parts[plan], stop - start)

    def scoring_ms(self, vector: int, operator: int) -> float:
        return float(self.mean_ms[self.fastest[vector, operator]])

    def in_time(self, plan: int, limit_ms: float) -> float:
        """By many draws, the same for all limits."""
        rng = np.random.default_rng([self.seed, 99])
        service = self._draw(rng, self.menu.parts[plan], TRUTH_SAMPLES)
        return float((self.menu.latency_ms(plan, service) <= limit_ms).mean())

    def _draw(self, rng: np.random.Generator, parts: Ints, n: int) -> Floats:
        shape, mean = self.shape[parts][:, None], self.mean_ms[parts][:, None]
        return rng.gamma(shape, mean / shape, (len(parts), n))


def generated(seed: int) -> World:
    """The world of a seed: family, pipeline, configs and figures."""
    rng = np.random.default_rng([seed, 1])
    families = list(FAMILIES.values())
    family = families[seed % len(families)]
    template = family.pipelines[int(rng.integers(len(family.pipelines)))]
    operators = [operator_figures(family.by_name[name], CLASSES, seed) for name in template.needs]
    picks = _picks(rng, operators)
    placements = list(_placements(template, operators, picks))
    return _assemble(seed, template, operators, picks, placements)


def _picks(rng: np.random.Generator, operators: list[OperatorFigures]) -> list[Ints]:
    """A few configs of each operator: the best, and others that differ in what they lose."""
    most = MOST_CONFIGS
    while True:
        found = []
        for op in operators:
            plain = np.flatnonzero(~op.neutral)
            plain = plain[[bool(np.isfinite(op.mean_ms[CLASSES[2]][i])) for i in plain]]
            rest = plain[1:]
            n = min(most - 1, len(rest))
            found.append(np.sort(np.append(plain[0], rng.choice(rest, n, replace=False))))
        vectors = math.prod(len(p) for p in found)
        if vectors * math.comb(len(operators) + 2, 2) <= MOST_PLANS or most == 2:
            return found
        most -= 1


def _placements(
    template: PipelineTemplate, operators: list[OperatorFigures], picks: list[Ints]
) -> Iterator[tuple[int, ...]]:
    """Machines of all operators, never inwards; those that can run none of the configs left out."""
    names = list(template.needs)
    tiers = ("device", "edge", "cloud")

    def rest(done: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        k = len(done)
        if k == len(names):
            yield done
            return
        least = max((done[names.index(n)] for n in template.needs[names[k]]), default=0)
        op = operators[k]
        for c in range(least, len(CLASSES)):
            allowed = op.template.tiers is None or tiers[c] in op.template.tiers
            if allowed and np.isfinite(op.mean_ms[CLASSES[c]][picks[k]]).any():
                yield from rest((*done, c))

    return rest(())


def _assemble(
    seed: int,
    template: PipelineTemplate,
    operators: list[OperatorFigures],
    picks: list[Ints],
    placements: list[tuple[int, ...]],
) -> World:
    names = list(template.needs)
    number: dict[tuple[int, int, int], int] = {}
    mean, shape, usd = [], [], []
    for k, op in enumerate(operators):
        for j, config in enumerate(picks[k]):
            for c, name in enumerate(CLASSES):
                ms = float(op.mean_ms[name][config])
                if not math.isfinite(ms):
                    continue
                number[k, j, c] = len(mean)
                mean.append(ms)
                shape.append((ms / float(op.deviation_ms[name][config])) ** 2)
                machine = MACHINES[name]
                share = float(op.cores_s[name][config]) / machine.cores
                usd.append(share * machine.price_usd_hour / 3600 + float(op.price_usd[config]))
    configs = np.stack(
        np.unravel_index(np.arange(math.prod(len(p) for p in picks)), tuple(len(p) for p in picks)),
        axis=1,
    ).astype(np.int64)
    kept = np.ones(len(configs))
    for k, op in enumerate(operators):
        kept = kept * (1 - op.loss[picks[k]][configs[:, k]])
    paths = tuple(_paths(template))
    parts, vector, extra_ms, extra_usd = [], [], [], []
    for v, row in enumerate(configs):
        out = [float(op.output_bytes[picks[k][row[k]]]) for k, op in enumerate(operators)]
        for place in placements:
            keys = [(k, int(row[k]), place[k]) for k in range(len(names))]
            if not all(key in number for key in keys):
                continue
            parts.append([number[key] for key in keys])
            vector.append(v)
            ms, price = _moving(template, place, out, paths)
            extra_ms.append(ms)
            extra_usd.append(price)
    menu = Menu(
        parts=np.array(parts, dtype=np.int64),
        vector=np.array(vector, dtype=np.int64),
        extra_ms=np.array(extra_ms),
        extra_usd=np.array(extra_usd),
        paths=paths,
        configs=configs,
    )
    costs = np.array(usd)
    hard = np.random.default_rng([seed, 5]).random(LABELLED)
    fastest = np.array(
        [
            [
                min(
                    (number[k, int(row[k]), c] for c in range(3) if (k, int(row[k]), c) in number),
                    key=lambda part: mean[part],
                )
                for k in range(len(names))
            ]
            for row in configs
        ]
    )
    mean_ms = np.array(mean)
    return Generated(
        name=template.name,
        menu=menu,
        mean_ms=mean_ms,
        shape=np.array(shape),
        usd=costs,
        # What is hard for one config is for others: the worse one fails on the same and on more.
        right=(hard[None, :] < (template.best * kept)[:, None]).astype(float),
        plan_usd=menu.extra_usd + costs[menu.parts].sum(axis=1),
        fastest=fastest,
        usual_ms=np.max(
            [
                mean_ms[menu.parts[:, list(path)]].sum(axis=1) + menu.extra_ms[:, k]
                for k, path in enumerate(paths)
            ],
            axis=0,
        ),
        slack=(1.3, 4.0),
        seed=seed,
    )


def _paths(template: PipelineTemplate) -> Iterator[tuple[int, ...]]:
    names = list(template.needs)
    feeds = {n: [m for m in names if n in template.needs[m]] for n in names}

    def on(path: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
        if not feeds[path[-1]]:
            yield tuple(names.index(n) for n in path)
        for after in feeds[path[-1]]:
            yield from on((*path, after))

    for name in names:
        if not template.needs[name]:
            yield from on((name,))


def _moving(
    template: PipelineTemplate,
    place: tuple[int, ...],
    out: list[float],
    paths: tuple[tuple[int, ...], ...],
) -> tuple[list[float], float]:
    names = list(template.needs)

    entry = {
        names.index(n): hop(0, place[names.index(n)], template.input_bytes[n])
        for n in names
        if not template.needs[n]
    }
    edges = {
        (names.index(need), k): hop(place[names.index(need)], place[k], out[names.index(need)])
        for k, n in enumerate(names)
        for need in template.needs[n]
    }
    ms = [
        entry[path[0]][0] + sum(edges[a, b][0] for a, b in itertools.pairwise(path))
        for path in paths
    ]
    return ms, sum(p for _, p in entry.values()) + sum(p for _, p in edges.values())
