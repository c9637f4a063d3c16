"""Who waits longer because others are served first.

A worker takes the request with the earliest deadline. One that comes with time to spare lets those
pass who come within that time and have less; where waits are short next to it, this is priority by
class, without preemption (Cobham, "Priority assignment in waiting line problems", Oper. Res. 2,
1954): its wait is to that of first come first served as

    (1 - load) / ((1 - load of the more urgent) (1 - load of those at least as urgent)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["urgency"]


def urgency(busy: Mapping[float, float], deadline_ms: float, workers: int, wait_ms: float) -> float:
    """A request's mean wait over that of first come first served; above 0.

    Args:
        busy: Workers kept busy by deadline (ms from the start of a request).
        deadline_ms: Of the request.
        workers: How many there are.
        wait_ms: Mean wait of all, first come first served.
    """
    load = math.fsum(busy.values()) / workers
    if len(busy) <= 1 or not 0 < load < 1 or not 0 < wait_ms < math.inf:
        return 1.0
    before = behind = 0.0
    for other, its in busy.items():
        passing = -math.expm1(-abs(other - deadline_ms) / wait_ms) * its / workers
        if other < deadline_ms:
            before += passing
        else:
            behind += passing
    return (1 - load) / ((1 - before) * (1 - load + behind))
