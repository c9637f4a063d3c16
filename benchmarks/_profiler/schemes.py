"""Ways to find each query's plan, all paying for samples in seconds of a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks._profiler.world import World
from circinus_coordinator.profiling.seeking import Ask, Book, Chosen, Rules, Seeker
from circinus_coordinator.profiling.surrogate import Losses

__all__ = ["Lab", "factored"]

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Lab:
    """Draws samples and counts what they cost.

    Attributes:
        device_s: Spent so far, on all machines.
    """

    world: World
    seed: int
    book: Book = field(default_factory=Book)
    device_s: float = 0.0
    _order: NDArray[np.int64] = field(init=False)
    _prefixes: dict[tuple[int, ...], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.world.seed, self.seed, 3])
        self._order = rng.permutation(self.world.labelled)

    def measure(self, part: int, upto: int) -> None:
        """Have samples of a part, up to so many in all."""
        had = self.book.service_ms.get(part, np.zeros(0))
        if upto <= len(had):
            return
        more, usd = self.world.part_samples(self.seed, part, len(had), upto)
        before = self.book.usd.get(part, np.zeros(0))
        self.book.service_ms[part] = np.concatenate([had, more])
        self.book.usd[part] = np.concatenate([before, usd])
        self.device_s += float(more.sum()) / 1e3

    def score(self, vector: int, upto: int) -> None:
        """Have a config vector scored on the first inputs; what others put out before is reused."""
        upto = min(upto, self.world.labelled)
        self.book.scores[vector] = self.world.right[vector, self._order[:upto]]
        configs = self.world.menu.configs[vector]
        for k in range(len(configs)):
            prefix = tuple(configs[: k + 1].tolist())
            had = self._prefixes.get(prefix, 0)
            if upto > had:
                self.device_s += (upto - had) * self.world.scoring_ms(vector, k) / 1e3
                self._prefixes[prefix] = upto


def factored(lab: Lab, wanted: Sequence[Ask], rules: Rules) -> list[int | None]:
    """Ours: what is asked for by most queries for the least time is measured first."""
    losses = Losses(lab.world.menu.configs)
    seekers = {k: Seeker(lab.world.menu, ask, rules, losses) for k, ask in enumerate(wanted)}
    plans: list[int | None] = [None] * len(wanted)
    while seekers:
        parts: dict[int, list[int]] = {}
        scores: dict[int, list[int]] = {}
        for k, seeker in list(seekers.items()):
            found = seeker.look(lab.book)
            if isinstance(found, Chosen):
                plans[k] = found.plan
                del seekers[k]
                continue
            for part, n in found.parts.items():
                parts.setdefault(part, []).append(n)
            for vector, n in found.scores.items():
                scores.setdefault(vector, []).append(n)
        for part, ns in parts.items():
            lab.measure(part, min(ns))
        for vector, ns in scores.items():
            lab.score(vector, min(ns))
    return plans
