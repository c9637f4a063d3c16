"""Simulated service times: what is no drift, and what is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks._profiler.table import DATA, load
from circinus.histogram import Histogram

__all__ = ["BASE_MS", "STEP_S", "Kind", "benign", "messages", "passing"]

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, float], Floats]

BASE_MS = 40.0
STEP_S = 2.0  # an agent that serves tells of it so often


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Service times of an operator.

    Attributes:
        draw: `(rng, n, rate)` to `(n,)` service times in ms at `rate` batches per second.
        profile: `(rng, n)` to `(n,)`: what a probe took before; as `draw` where None.
    """

    name: str
    draw: Draw
    profile: Callable[[np.random.Generator, int], Floats] | None = None

    def samples(self, rng: np.random.Generator, n: int) -> tuple[float, ...]:
        """Of a probe, at some other time."""
        if self.profile is not None:
            return tuple(self.profile(rng, n).tolist())
        return tuple(self.draw(rng, n, 5.0).tolist())


def lognormal(sd: float) -> Kind:
    """Independent, with this standard deviation of the logarithm."""
    return Kind(
        name=f"independent, sd of log {sd:g}",
        draw=lambda rng, n, _: BASE_MS * np.exp(sd * rng.standard_normal(n)),
    )


def wandering(sd: float, seconds: float) -> Kind:
    """Neighbours alike: a normal process that forgets within so many seconds, and as much noise."""

    def draw(rng: np.random.Generator, n: int, rate: float) -> Floats:
        phi = math.exp(-1 / rate / seconds)
        noise = rng.standard_normal(n) * math.sqrt(1 - phi * phi)
        level = np.empty(n)
        last = float(rng.standard_normal())
        for i in range(n):
            last = level[i] = phi * last + noise[i]
        both = (level + rng.standard_normal(n)) / math.sqrt(2)
        return BASE_MS * np.exp(sd * both)

    def profile(rng: np.random.Generator, n: int) -> Floats:
        return BASE_MS * np.exp(sd * rng.standard_normal(n))

    return Kind(name=f"sd {sd:g}, alike for {seconds:g} s", draw=draw, profile=profile)


def spiky(part: float, ms: float) -> Kind:
    """Now and then one that takes very long."""

    def draw(rng: np.random.Generator, n: int, _: float) -> Floats:
        times = BASE_MS * np.exp(0.1 * rng.standard_normal(n))
        return np.where(rng.random(n) < part, ms, times)

    return Kind(
        name=f"{part:.0%} of {ms / 1e3:g} s",
        draw=draw,
        profile=lambda rng, n: BASE_MS * np.exp(0.1 * rng.standard_normal(n)),
    )


def neighbour(times: float, lasts_s: float, every_s: float) -> Kind:
    """Others use the device for a while, at times that nobody knows."""

    def draw(rng: np.random.Generator, n: int, rate: float) -> Floats:
        slow = np.zeros(n, dtype=bool)
        at = rng.exponential(every_s)
        while at * rate < n:
            until = at + rng.exponential(lasts_s)
            slow[int(at * rate) : int(until * rate) + 1] = True
            at = until + rng.exponential(every_s)
        quick = BASE_MS * np.exp(0.1 * rng.standard_normal(n))
        return np.where(slow, times * quick, quick)

    return Kind(
        name=f"{times:g} times for {lasts_s:g} s, each {every_s:g} s",
        draw=draw,
        profile=lambda rng, n: BASE_MS * np.exp(0.1 * rng.standard_normal(n)),
    )


def measured(operator: int) -> Kind:
    """An operator of examples/read-signs: blocks of the measured table as they were taken."""
    table = load(DATA / "read-signs")
    node = int(table.paths[0, operator])
    blocks = table.latency_ms[node].reshape(-1, table.block)

    def draw(rng: np.random.Generator, n: int, _: float) -> Floats:
        picked = rng.integers(len(blocks), size=-(-n // table.block))
        found: Floats = blocks[picked].ravel()[:n]
        return found

    name = list(table.manifest["operators"])[operator]
    return Kind(name=f"measured: read-signs {name}", draw=draw)


def benign() -> list[Kind]:
    """What no device should be planned anew for."""
    return [
        lognormal(0.1),
        lognormal(1.0),
        spiky(0.05, 162_000.0),
        wandering(0.2, 1.0),
        wandering(0.2, 10.0),
        wandering(0.2, 60.0),
        neighbour(3.0, 1.0, 60.0),
        measured(1),
        measured(3),
    ]


def passing() -> list[Kind]:
    """What is slower for a while, and then again not."""
    return [wandering(0.4, 60.0), neighbour(3.0, 30.0, 600.0)]


def messages(times_ms: Floats, rate: float, rng: np.random.Generator) -> Iterator[Histogram]:
    """The times as they are told of, message by message; requests come at random."""
    at = 0
    while at < len(times_ms):
        served = Histogram()
        count = int(rng.poisson(rate * STEP_S))
        for ms in times_ms[at : at + count]:
            served.add(float(ms))
        at += count
        yield served
