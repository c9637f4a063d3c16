"""Which device measures what."""

from __future__ import annotations

from collections.abc import Iterable

from circinus_coordinator.profiling.keys import AccuracyKey, Key, LinkKey, OperatorKey
from circinus_coordinator.profiling.needs import Needs
from circinus_coordinator.profiling.orders import ProbeDevice

__all__ = ["able", "preferred"]


def able(key: Key, devices: Iterable[ProbeDevice], needs: Needs) -> list[ProbeDevice]:
    """Devices that could measure `key`: those like their class first, then idle ones, by id."""
    ordered = sorted(devices, key=lambda d: (d.apart, d.busy, d.id))
    if isinstance(key, OperatorKey):
        return [
            d for d in ordered if d.stands_for(key.device_class) and d.offers(key.implementation)
        ]
    if isinstance(key, LinkKey):
        way = needs.links.get(key)
        return [d for d in ordered if way is not None and d.id == way[0]]
    work = needs.work.get(key.pipeline)
    if work is None:
        return []
    used = {spec.implementation for spec in work.pipeline.operators.values()}
    return [d for d in ordered if all(d.offers(name) for name in used)]


def preferred(key: Key, devices: Iterable[ProbeDevice], needs: Needs) -> list[ProbeDevice]:
    """Those worth waiting for, best first.

    A score is the same wherever it is made, and made soonest on a large machine far out. It waits
    for one of the largest, as what a small one would take is a multiple; but where all of those
    serve, one that serves nothing is taken before them, whatever its size.
    """
    found = able(key, devices, needs)
    if not found or not isinstance(key, AccuracyKey):
        return found
    idle = [d for d in found if not d.busy] or found
    best = max((d.tier, d.cores) for d in idle)
    return [d for d in idle if (d.tier, d.cores) == best]
