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

__all__ = ["Passed", "waited"]

Passed = tuple[tuple[float, float], ...]
"""Of each station on the way here, the last one not among them: service (ms) and its scv."""


# How much less variation counts where the next station is faster, relative to its share.
_FASTER = 4.0


@functools.lru_cache(maxsize=8192)
def waited(passed: Passed, service_ms: float, rate: float, most: float) -> float:
    """Milliseconds that a stream has waited before and will not wait again; grows with the rate.

    Args:
        passed: Where it has been.
        service_ms: Of the station it comes to.
        rate: Requests per millisecond.
        most: Utilisation up to which a worker is planned; there are as many as this takes.
    """
    if service_ms <= 0:
        return 0.0
    before, workers, scv = max(
        ((*_each(ms, rate, most), scv) for ms, scv in passed), default=(0.0, 1, 1.0)
    )
    if scv >= 1 or before <= 0:
        return 0.0
    here, beside = _each(service_ms, rate, most)
    mixed = math.pow(scv, (1 + _FASTER * max(0.0, 1 - here / before)) / 2)
    # For each other they would not wait longer than this here.
    return (1 - mixed) * min(_wait(before, workers, rate), _wait(here, beside, rate))


def _wait(together: float, workers: int, rate: float) -> float:
    """Mean wait of a Poisson stream for constant service; Sakasegawa 1977 as in `latency`."""
    load = rate * together
    return math.pow(load, math.sqrt(2 * (workers + 1)) - 1) * together / (2 * (1 - load))


def _each(service_ms: float, rate: float, most: float) -> tuple[float, int]:
    """Service over the workers that serve a stream together, and how many these are."""
    workers = max(1, math.ceil(service_ms * rate / most - 1e-9))
    together = min(service_ms / workers, 0.999999 / rate) if rate > 0 else service_ms
    return together, workers
