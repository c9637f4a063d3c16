"""A pipeline on three machines of which everything is known, to draw samples from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circinus_coordinator.generation.machines import MACHINES
from circinus_coordinator.profiling.seeking import Ask, Menu

__all__ = ["CLASSES", "Floats", "Ints", "World", "asks", "hop", "usd_per_core_ms"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# One machine per tier; (rtt ms, Mbit/s, US dollars per GB) of the links between them, as the
# generator has them.
CLASSES = ("raspberry-pi-5", "intel-nuc", "cloud-vm-large")
LINKS = {(0, 1): (4.0, 100.0, 0.0), (0, 2): (34.0, 60.0, 0.05), (1, 2): (30.0, 400.0, 0.02)}


def hop(a: int, b: int, size: float) -> tuple[float, float]:
    """Milliseconds and dollars for so many bytes from one machine to another."""
    if a == b:
        return 0.0, 0.0
    rtt, mbps, per_gb = LINKS[min(a, b), max(a, b)]
    return rtt / 2 + size * 8e-3 / mbps, size / 1e9 * per_gb


def usd_per_core_ms(name: str) -> float:
    """What a millisecond of one core of this class costs."""
    return MACHINES[name].price_usd_hour / MACHINES[name].cores / 3.6e6


@dataclass(frozen=True, slots=True, kw_only=True)
class World(ABC):
    """What is true of a pipeline on three machines.

    A part is an operator's config on a machine. Samples are numbered: the same numbers of the same
    stream are the same samples.

    Attributes:
        menu: All plans.
        right: `(vectors, labelled inputs)` the score of each.
        plan_usd: `(plans,)` per request.
        usual_ms: `(plans,)` latency by which limits are drawn.
        slack: By how many times of the least usual latency limits exceed it.
        seed: Of all draws.
    """

    name: str
    menu: Menu
    right: Floats
    plan_usd: Floats
    usual_ms: Floats
    slack: tuple[float, float]
    seed: int

    @property
    def labelled(self) -> int:
        """Inputs with a label."""
        return self.right.shape[1]

    @property
    def accuracy(self) -> Floats:
        """`(vectors,)` on the labelled inputs."""
        mean: Floats = self.right.mean(axis=1)
        return mean

    @abstractmethod
    def part_samples(self, stream: int, part: int, start: int, stop: int) -> tuple[Floats, Floats]:
        """`(stop - start,)` milliseconds and dollars of a part run alone, upstream at its best."""

    @abstractmethod
    def plan_ms(self, stream: int, plan: int, start: int, stop: int) -> Floats:
        """`(operators, stop - start)` service times of a plan run from end to end."""

    @abstractmethod
    def scoring_ms(self, vector: int, operator: int) -> float:
        """Mean time that an operator takes to put out one input's output for scoring."""

    @abstractmethod
    def in_time(self, plan: int, limit_ms: float) -> float:
        """Part of a plan's requests that end within the limit."""


def asks(world: World, count: int, seed: int) -> list[Ask]:
    """What queries of this pipeline want: all can be had, most only just."""
    rng = np.random.default_rng([world.seed, seed, 2])
    accuracy = world.accuracy
    best = float(accuracy.max())
    found = []
    for _ in range(count):
        floor = best * (1 - rng.uniform(0.02, 0.25))
        able = accuracy[world.menu.vector] >= floor
        limit = float(world.usual_ms[able].min()) * rng.uniform(*world.slack)
        found.append(Ask(latency_ms=limit, within=0.95, accuracy=floor))
    return found
