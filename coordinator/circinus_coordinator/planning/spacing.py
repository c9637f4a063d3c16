"""How regular requests come that have been through other stations.

What a station lets through comes no closer together than its service takes. Of constant services
in a row only the longest matters: the waits up to any station add up to the wait for the longest
one so far (Friedman, "Reduction methods for tandem queuing systems", Oper. Res. 13, 1965), and
behind exponential ones arrivals are Poisson again (Burke, "The output of a queuing system", Oper.
Res. 4, 1956). In between, the variation of the service weighs the two, the less the faster the next
station is, and several workers let their streams mix; the weight is fitted to simulations.
"""

from __future__ import annotations

import functools
import math

__all__ = ["Passed", "spaced"]

Passed = tuple[tuple[float, float], ...]
"""Of each station on the way here, the last one not among them: service (ms) and its scv."""


# How much less variation counts where the next station is faster, relative to its share.
_FASTER = 4.0


@functools.lru_cache(maxsize=8192)
def spaced(passed: Passed, service_ms: float, rate: float, most: float) -> float:
    """Part of a stream's own waiting that is left of it, between 0 and 1; grows with the rate.

    Args:
        passed: Where it has been.
        service_ms: Of the station it comes to.
        rate: Requests per millisecond.
        most: Utilisation up to which a worker is planned; there are as many as this takes.
    """
    if service_ms <= 0:
        return 1.0
    before, scv = max((_each(ms, scv, rate, most) for ms, scv in passed), default=(0.0, 1.0))
    here, _ = _each(service_ms, 0.0, rate, most)
    if scv >= 1 or before <= 0:
        return 1.0
    left, faster = 0.0, max(0.0, 1 - here / before)
    if here > before:
        left = 1 - before**2 * (1 - rate * here) / (here**2 * (1 - rate * before))
    mixed = math.pow(scv, (1 + _FASTER * faster) / 2)
    return min(1.0, mixed + (1 - mixed) * left)


def _each(service_ms: float, scv: float, rate: float, most: float) -> tuple[float, float]:
    """Service over the workers that serve it together, and how little regular they leave it."""
    workers = max(1, math.ceil(service_ms * rate / most - 1e-9))
    together = min(service_ms / workers, 0.999999 / rate) if rate > 0 else service_ms
    return together, 1 - max(0.0, 1 - scv) / workers
