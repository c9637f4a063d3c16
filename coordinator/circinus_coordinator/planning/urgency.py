"""Who waits longer because others are served first.

A worker takes the request with the earliest deadline. One that comes with time to spare lets those
pass who come within that time and have less. Where waits are short next to it, this is priority by
class, without preemption (Cobham, "Priority assignment in waiting line problems", Oper. Res. 2,
1954): its wait is to that of first come first served as

    (1 - load) / ((1 - load of the more urgent) (1 - load of those at least as urgent)).

Where it has little to spare it is first come first served, and who waits is passed by so many as
come in that time. In between, the difference of two waits tends exponentially to that by class.
What all classes wait together stays the same (Kleinrock's conservation law, 1965).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["urgency"]


def urgency(
    busy: Mapping[float, float], spare_ms: float, workers: int, wait_ms: float, chance: float
) -> float:
    """A request's mean wait over that of first come first served; above 0.

    Args:
        busy: Workers kept busy by time to spare when a request comes.
        spare_ms: That of the request.
        workers: How many there are.
        wait_ms: Mean wait of all, first come first served.
        chance: That one has to wait.
    """
    load = math.fsum(busy.values()) / workers
    if len(busy) <= 1 or not 0 < load < 1 or not 0 < wait_ms < math.inf or chance <= 0:
        return 1.0
    waiting = wait_ms / chance
    ahead = behind = passing = passed = 0.0
    urgent = 0.0  # load at least as urgent
    mine = math.fsum(its for other, its in busy.items() if other <= spare_ms) / workers
    for other, its in sorted(busy.items()):
        urgent += its / workers
        share = -math.expm1((min(urgent, mine) - 1) * abs(other - spare_ms) / waiting)
        if other < spare_ms:
            ahead, passing = ahead + its, passing + share * its
        elif other > spare_ms:
            behind, passed = behind + its, passed + share * its
    later = 1 + passing / (workers - ahead)
    sooner = 1 - passed / (workers * (1 - load) + behind)
    return later * sooner
