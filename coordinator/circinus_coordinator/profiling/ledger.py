"""All samples, by key, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from circinus_coordinator.profiling.keys import Key, OperatorKey
from circinus_coordinator.profiling.summary import Summary

__all__ = ["START_S", "UNKNOWN_S", "Ledger", "seconds"]

Floats = NDArray[np.float64]
_NOTHING: Floats = np.zeros(0)

# To start an operator's process and load a model, before the first sample; typical of a small
# machine, and no more than a guess by which probes are put in order.
START_S = 2.0
UNKNOWN_S = 0.2  # a sample's, before there is one


@dataclass(slots=True)
class Ledger:
    """See the module.

    Attributes:
        rows: What is known of each key.
        renewed: Measured anew; those in `rows` hold until that is done.
        exhausted: Keys that have some samples, and of which no more are to be had.
    """

    rows: dict[Key, Summary] = field(default_factory=dict)
    renewed: dict[Key, Summary] = field(default_factory=dict)
    exhausted: set[Key] = field(default_factory=set)
    _arrays: dict[tuple[Key, str], Floats] = field(default_factory=dict)

    def row(self, key: Key) -> Summary:
        """The key's, made if there is none."""
        return self.rows.setdefault(key, Summary())

    def growing(self, key: Key) -> Summary:
        """What samples of a key go into."""
        found = self.renewed.get(key)
        return self.row(key) if found is None else found

    def settle(self, key: Key) -> None:
        """What was measured anew, if it was, takes the place of the old."""
        if key in self.renewed:
            self.rows[key] = self.renewed.pop(key)

    def forget(self, key: Key) -> None:
        """Nothing is known of it any more."""
        self.rows.pop(key, None)
        self.renewed.pop(key, None)

    def count(self, key: Key) -> int:
        """Samples of a key."""
        found = self.rows.get(key)
        return found.samples if found else 0

    def given_up(self, key: Key) -> bool:
        """Nobody tries to measure it any more."""
        found = self.rows.get(key)
        return found is not None and found.done and found.cause is not None

    def over(self, key: Key) -> bool:
        """A probe has ended with what it could get, or it was given up."""
        found = self.rows.get(key)
        return found is not None and found.done

    def has(self, key: Key, upto: int) -> bool:
        """There are so many samples, or no more are to be had."""
        if upto <= self.count(key) or self.given_up(key) or key in self.exhausted:
            return True
        found = self.rows.get(key)
        whole = found.population if found else None
        return whole is not None and self.count(key) >= whole

    def array(self, key: Key, what: str) -> Floats:
        """``latency_ms``, ``compute_s``, ``output_bytes``, ``price_usd`` or ``scores``."""
        found = self.rows.get(key)
        if found is None:
            return _NOTHING
        samples = getattr(found, what)
        known = self._arrays.get((key, what), _NOTHING)
        if len(known) != len(samples) or (len(samples) and known[-1] != samples[-1]):
            known = self._arrays[key, what] = np.asarray(samples, dtype=np.float64)
        return known


def seconds(key: Key, upto: int, ledger: Ledger) -> float:
    """What it may take of a device to have so many samples."""
    if isinstance(key, OperatorKey):
        had = ledger.array(key, "latency_ms")
        each = float(had.mean()) / 1e3 if len(had) else UNKNOWN_S
    else:
        each = UNKNOWN_S
    return START_S + max(upto - ledger.count(key), 1) * each
