"""What a short probe of one more device of a known class measures, and what it says."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from circinus_coordinator.profiling.drift import DriftSettings, typical_ms
from circinus_coordinator.profiling.keys import OperatorKey

__all__ = ["compared", "telling"]


def telling(
    profiles: Mapping[OperatorKey, Sequence[float]], settings: DriftSettings
) -> list[OperatorKey]:
    """Targets that tell most of a device for their price: the quickest of each operator first.

    Those that take little more than the operating system adds come last.

    Args:
        profiles: Samples of one class in ms, one or more of each.
    """
    ranked: dict[str, list[tuple[bool, float, OperatorKey]]] = {}
    for key, samples in profiles.items():
        ms = typical_ms(samples)
        slight = ms < 2 * settings.least_ms
        ranked.setdefault(key.implementation, []).append((slight, ms, key))
    columns = [sorted(rows, key=lambda row: row[:2]) for _, rows in sorted(ranked.items())]
    rows = [row for level in itertools.zip_longest(*columns) for row in level if row is not None]
    rows.sort(key=lambda row: row[0])  # a stable one
    return [key for _, _, key in rows[: settings.calibrated]]


def compared(
    mine: Mapping[OperatorKey, Sequence[float]],
    theirs: Mapping[OperatorKey, Sequence[float]],
    settings: DriftSettings,
) -> dict[str, list[float]]:
    """Service times of a device over those of its class, by implementation.

    Probes run the same inputs in the same order, so samples are compared one by one: that some
    pictures take longer than others cancels.

    Args:
        mine: Samples of the device in ms, by its class's key.
        theirs: Of the class, by the same keys; what is missing in either is left out.
    """
    found: dict[str, list[float]] = {}
    for key, samples in mine.items():
        profile = theirs.get(key)
        if not samples or not profile:
            continue
        pairs = list(zip(samples, profile, strict=False))
        alike = abs(typical_ms(samples) - typical_ms(profile)) <= settings.least_ms
        ratio = 1.0 if alike else typical_ms([a / b for a, b in pairs if b > 0] or [1.0])
        found.setdefault(key.implementation, []).append(ratio)
    return found
