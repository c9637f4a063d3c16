"""Queries: who asks for what, from where, and how often."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.query import Query, Slo
from circinus_coordinator.generation.dice import Dice, figure
from circinus_coordinator.generation.fleet import Site
from circinus_coordinator.generation.reference import Path
from circinus_coordinator.generation.slos import TEMPLATES
from circinus_coordinator.generation.templates import PipelineTemplate

__all__ = ["Demand", "build_queries", "draw_demand", "settle"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

# Quantiles of a log-normal of sigma 0.8 at 1/16, 3/16, ..., 15/16, over its mean: rates differ,
# and stay few (the spread is assumed).
SPREAD = (0.21, 0.36, 0.49, 0.64, 0.82, 1.08, 1.48, 2.47)
# Of the customers who ask for what their place cannot give, so many insist (assumed); the others
# take what can be had.
STUBBORN = 0.1
# Up to so many queries each source device is a pool of its own; beyond, the devices of a class
# behind one access are a pool, among which queries spread evenly enough.
MAX_OWN_POOLS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Everything drawn about queries before rates are scaled; arrays `(queries,)`.

    Attributes:
        pipeline: Number of the pipeline.
        template: Number in `TEMPLATES`.
        source: Number of the source device.
        intensity: Factor on the pipeline's typical rate.
        split: True where traffic may be split.
        other: For each device, the other one of a pair of sources (itself where alone).
        paths: What kinds of source there are, those apart after the others.
        path: For each device, its number in `paths`, where its queries' sources are not apart.
        devices: Ids of end devices.
    """

    pipelines: tuple[PipelineTemplate, ...]
    pipeline: IntArray
    template: IntArray
    source: IntArray
    intensity: FloatArray
    split: npt.NDArray[np.bool_]
    other: IntArray
    paths: tuple[Path, ...]
    path: IntArray
    devices: tuple[str, ...]

    def kinds(self) -> tuple[IntArray, IntArray]:
        """For each query the number of its (pipeline, path), and the numbers that occur.

        A number is pipeline x len(paths) + path.
        """
        two = np.array([len(p.input_bytes) > 1 for p in self.pipelines])
        apart = two[self.pipeline] & (self.other[self.source] != self.source)
        where = self.path[self.source] + np.where(apart, len(self.paths) // 2, 0)
        numbers = self.pipeline * len(self.paths) + where
        return numbers, np.unique(numbers)

    def rates(self) -> Iterator[tuple[int, int, float]]:
        """Kind, template, and the sum of rates of the queries alike in both."""
        numbers, _ = self.kinds()
        typical = np.array([p.rate_rps for p in self.pipelines])
        key = numbers * len(TEMPLATES) + self.template
        sums = np.bincount(key, weights=typical[self.pipeline] * self.intensity)
        for found in np.unique(key).tolist():
            kind, template = divmod(found, len(TEMPLATES))
            yield kind, template, float(sums[found])


def draw_demand(
    count: int,
    pipelines: Sequence[PipelineTemplate],
    sites: Sequence[Site],
    *,
    seed: int,
    splittable: float,
    arrivals: Sequence[float] | None,
) -> Demand:
    """Draw `count` queries: pipeline and customer, source, rate."""
    paths: dict[Path, int] = {}
    devices: list[str] = []
    where: list[int] = []
    other: list[int] = []
    for site in sites:
        first = len(devices)
        for i, device in enumerate(site.devices):
            pool = device if count <= MAX_OWN_POOLS else ""
            path = Path(device_class=site.device_class, access=site.access, pool=pool)
            where.append(paths.setdefault(path, len(paths)))
            # Every other device has its second sensor at its neighbour.
            paired = i % 2 == 0 and i + 1 < len(site.devices)
            other.append(first + i + 1 if paired else first + i)
        devices.extend(site.devices)
    levels = np.array(SPREAD if arrivals is None else tuple(arrivals))
    return Demand(
        pipelines=tuple(pipelines),
        pipeline=Dice(seed, "pipelines").indices(count, len(pipelines)),
        template=Dice(seed, "customers").weighted(count, [t.share for t in TEMPLATES]),
        source=Dice(seed, "sources").indices(count, len(devices)),
        intensity=levels[Dice(seed, "rates").indices(count, len(levels))],
        split=Dice(seed, "splittable").uniforms(count) < splittable,
        other=np.array(other, dtype=np.int64),
        paths=(*paths, *(dataclasses.replace(path, apart=True) for path in paths)),
        path=np.array(where, dtype=np.int64),
        devices=tuple(devices),
    )


def settle(demand: Demand, feasible: Mapping[int, Sequence[bool]], seed: int) -> Demand:
    """Let customers whose SLOs nothing can meet ask for less, but for a few.

    Args:
        demand: As drawn.
        feasible: For each kind (pipeline and path), which templates some plan meets.
        seed: Of the scenario.
    """
    numbers, kinds = demand.kinds()
    again = Dice(seed, "second thoughts")
    insist = again.uniforms(len(numbers)) < STUBBORN
    draws = again.uniforms(len(numbers))
    template = demand.template.copy()
    order = np.argsort(numbers, kind="stable")
    edges = np.searchsorted(numbers[order], np.append(kinds, kinds[-1] + 1))
    for kind, a, b in zip(kinds.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        possible = np.array(feasible[kind])
        shares = np.cumsum(np.where(possible, [t.share for t in TEMPLATES], 0.0))
        if possible.all() or not possible.any():
            continue
        members = order[a:b]
        members = members[~possible[template[members]] & ~insist[members]]
        template[members] = np.searchsorted(shares, draws[members] * shares[-1], side="right")
    return dataclasses.replace(demand, template=template)


def build_queries(
    demand: Demand, slos: Mapping[tuple[int, int], Slo], scale: float
) -> tuple[Query, ...]:
    """The queries, sharing what they have in common: SLOs, sources, rates."""
    rates: dict[tuple[int, float], float] = {}
    sources: dict[tuple[tuple[str, ...], int], dict[str, str]] = {}
    width = len(str(len(demand.pipeline)))
    entries = [tuple(p.input_bytes) for p in demand.pipelines]
    return tuple(
        Query(
            id=f"q{i:0{width}d}",
            pipeline=demand.pipelines[p].name,
            source=sources.get((entries[p], s)) or _source(demand, entries[p], s, sources),
            rate_rps=rates.get((p, level)) or _rate(demand, p, level, scale, rates),
            weight=TEMPLATES[t].weight,
            splittable=split,
            tenant=TEMPLATES[t].tenant,
            slo=slos[p, t],
        )
        for i, p, t, s, level, split in zip(
            itertools.count(1),
            demand.pipeline.tolist(),
            demand.template.tolist(),
            demand.source.tolist(),
            demand.intensity.tolist(),
            demand.split.tolist(),
        )
    )


def _source(
    demand: Demand,
    entries: tuple[str, ...],
    device: int,
    known: dict[tuple[tuple[str, ...], int], dict[str, str]],
) -> dict[str, str]:
    second = demand.devices[int(demand.other[device])]
    found = {name: second if k else demand.devices[device] for k, name in enumerate(entries)}
    return known.setdefault((entries, device), found)


def _rate(
    demand: Demand,
    pipeline: int,
    level: float,
    scale: float,
    known: dict[tuple[int, float], float],
) -> float:
    found = figure(demand.pipelines[pipeline].rate_rps * level * scale)
    return known.setdefault((pipeline, level), found)
