"""What workers hold of a device while they run: whole cores, parts of accelerators.

The agents' runtime lets a batch start when its threads' cores are free, and keeps them from others
until it is through, however little it computes meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from circinus.fleet import CORES
from circinus_coordinator.planning.latency import Station, occupied
from circinus_coordinator.planning.uses import InstanceKey

__all__ = ["Holding", "Instance", "meeting", "tokens", "units_held", "units_of"]

FloatArray = npt.NDArray[np.float64]
# Accelerators are shared out in as many parts.
PARTS = 64


@dataclass(slots=True)
class Instance:
    """All workers of one (implementation, config, batch) on a device."""

    memory_mb: float = 0.0
    stateful: bool = False
    station: Station = field(default_factory=Station)
    compute: dict[str, float] = field(default_factory=dict)  # resource -> held per second
    users: int = 0

    def copy(self) -> Instance:
        """An independent copy."""
        return Instance(
            self.memory_mb, self.stateful, self.station.copy(), dict(self.compute), self.users
        )


class Holding:
    """What the workers on a device hold of one of its resources, in whole units.

    Args:
        size: Units there are.
        kinds: Of each instance the units a worker holds, the workers, and how many are busy.
    """

    def __init__(self, size: int, kinds: Mapping[InstanceKey, tuple[int, int, float]]) -> None:
        self.size = size
        self.kinds = kinds
        self.most = sum(units * workers for units, workers, _ in kinds.values())
        self.mean = math.fsum(units * busy for units, _, busy in kinds.values())
        self._but: dict[InstanceKey | None, FloatArray] = {}

    def but(self, key: InstanceKey | None) -> FloatArray:
        """`(size + 2,)` probabilities of what all but one instance hold; None leaves none out."""
        if key not in self._but:
            held: FloatArray = np.zeros(self.size + 2)
            held[0] = 1.0
            for other, kind in self.kinds.items():
                if other != key:
                    held = occupied(held, *kind)
            self._but[key] = held
        return self._but[key]


def meeting(
    holding: Holding, key: InstanceKey, row: tuple[str, float], load: tuple[float, float, int]
) -> tuple[float, float, float, float]:
    """What a worker of an instance finds held once the instance carries a load.

    Args:
        holding: What is held before.
        key: The instance, which may be there already.
        row: The resource's name and amount.
        load: Of the instance then: held per second, busy workers, workers.

    Returns:
        Units held on average by all and by all other workers, the chance of finding too much
        held, and the units there are.
    """
    before = holding.kinds.get(key)
    _, busy, workers = load
    units = units_held(*row, load[0], busy)
    was = (before[0] * before[1], before[0] * before[2]) if before else (0, 0.0)
    most = holding.most - was[0] + units * workers
    mean = holding.mean - was[1] + units * busy
    others = mean - units * busy / workers
    if most <= holding.size:
        return mean, others, 0.0, holding.size
    if mean >= holding.size:
        return mean, others, 1.0, holding.size
    rest = holding.but(key if before else None)
    rest = occupied(rest, units, workers - 1, busy * (workers - 1) / workers)
    return mean, others, float(rest[holding.size - units + 1 :].sum()), holding.size


def units_of(name: str, amount: float) -> int:
    """Units a resource is handed out in: whole cores, accelerators in parts."""
    return max(1, int(amount)) if name == CORES else PARTS


def units_held(name: str, amount: float, held_per_second: float, busy: float) -> int:
    """Units a worker holds while it runs, no more than there are."""
    size = units_of(name, amount)
    if name == CORES:
        return min(size, int(tokens(held_per_second, busy)))
    return min(size, math.ceil(held_per_second / busy / amount * size - 1e-6))


def tokens(held_per_second: float, busy: float) -> float:
    """Whole units a worker holds while it runs: mean use while busy, rounded up."""
    return float(max(1, math.ceil(held_per_second / busy - 1e-6))) if held_per_second > 0 else 0.0
