"""What SLOs are worth, learnt from the plans known: tolls that end exact pricing soon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.classes import QueryClass

__all__ = ["tolls"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
# Tolls are taken from a few steps, so that many askers pay the same: what holds for one of them
# then holds for all who agree on prices. Parts of the largest cutoff, for the whole limit.
_STEPS = np.array([0.0, *2.0 ** np.arange(-7, 4)])
# Each of the two tolls is looked for this many times, the other one held.
_TURNS = 2


def tolls(
    kind: QueryClass, value: FloatArray, asks: IntArray, cutoff: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Value per millisecond and per dollar for each asker, zero where no limit seems to bind.

    The tolls at which no known plan, within the limits or not, is worth much less than the
    cutoff: the Lagrangian dual over the known plans.

    Args:
        kind: Whose plans.
        value: `(m, plans)` at the asker's prices.
        asks: `(m,)` positions in `kind.asks`.
        cutoff: `(m,)`.
    """
    templates = kind.templates
    late = _beyond(templates.latency_ms, [slo.latency_ms for slo in kind.asks])
    limits = [None if s.cost_usd_per_1000 is None else s.cost_usd_per_1000 / 1e3 for s in kind.asks]
    dear = _beyond(templates.usd, limits)
    floor = np.array([-np.inf if slo.accuracy is None else slo.accuracy for slo in kind.asks])
    accurate = templates.accuracy >= floor[:, None]
    found = np.zeros((2, len(asks)))
    cheap = np.where(accurate[asks], value, np.inf).min(axis=1, initial=np.inf) < cutoff
    some = np.flatnonzero(cheap & np.isfinite(cutoff))
    if len(some):
        ask = asks[some]
        value = np.where(accurate[ask], value[some], np.inf)
        steps = _STEPS * float(cutoff[some].max())
        excess = np.stack([late[ask], dear[ask]])
        for turn in range(2 * _TURNS):
            this, other = excess[turn % 2], excess[1 - turn % 2]
            held = value + found[1 - turn % 2, some][:, None] * other
            least = np.stack([(held + step * this).min(axis=1) for step in steps])
            found[turn % 2, some] = steps[np.argmax(least, axis=0)]
    per_ms = found[0] / _finite([slo.latency_ms for slo in kind.asks])[asks]
    return per_ms, found[1] / _finite(limits)[asks]


def _finite(limits: Sequence[float | None]) -> FloatArray:
    """Limits, 1 where nothing is to be paid: there is none, or it is not positive."""
    return np.array([1.0 if limit is None or limit <= 0 else limit for limit in limits])


def _beyond(amount: FloatArray, limits: Sequence[float | None]) -> FloatArray:
    """`(asks, plans)` how far each plan is beyond each limit, in parts of it; 0 without limit."""
    positive = np.array([limit is not None and limit > 0 for limit in limits])
    return np.where(positive[:, None], amount / _finite(limits)[:, None] - 1.0, 0.0)
