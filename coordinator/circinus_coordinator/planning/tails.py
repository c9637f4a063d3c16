"""The chance of finding too much held, for all instances on a device in one go.

`Holding.but` convolves all others anew for each instance. Where all are asked for, as when a
newcomer may hurt anybody on its device, products from the left and from the right are shared.
"""

from __future__ import annotations

from circinus_coordinator.planning.holding import Holding, occupied
from circinus_coordinator.planning.uses import InstanceKey

__all__ = ["chances"]


def chances(holding: Holding) -> dict[InstanceKey, float]:
    """For each instance the chance that a worker finds less left than it wants to hold."""
    kinds = list(holding.kinds.items())
    nothing = [1.0] + [0.0] * (holding.size + 1)
    left = [nothing]
    for _, kind in kinds[:-1]:
        left.append(occupied(left[-1], *kind))
    found, right = {}, nothing
    for (key, kind), before in zip(reversed(kinds), reversed(left), strict=True):
        units, workers, busy = kind
        others = occupied(right, units, workers - 1, busy * (workers - 1) / workers)
        found[key] = _reaching(before, others, holding.size - units + 1)
        right = occupied(right, *kind)
    return found


def _reaching(one: list[float], two: list[float], units: int) -> float:
    """The chance that two independent holders together hold so many units or more."""
    # Rests that the second alone must make up for, from its last possible amount down.
    rest = sum(two[units:])
    total = one[0] * rest
    for held, chance in enumerate(one[1:], 1):
        if held <= units:
            rest += two[units - held]
        total += chance * rest
    return min(total, 1.0)
