"""What many plans of one class add up to, all at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.sites import Layout
from circinus_coordinator.planning.labels import Found
from circinus_coordinator.planning.programme import Programme

__all__ = ["plans_of", "used"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_MEGABIT_PER_BYTE = 8e-6


def plans_of(programme: Programme, plans: Sequence[tuple[int, ...]]) -> list[Found | None]:
    """What the programme would tell of plans with these options (their `value` is `usd`).

    None where data cannot go that way.
    """
    if not plans:
        return []
    sums = (column.tolist() for column in _sums(programme, np.array(plans, dtype=np.int64)))
    return [
        Found(options=options, mean=mean, variance=variance, usd=usd, value=usd)
        if np.isfinite(mean)
        else None
        for options, mean, variance, usd in zip(plans, *sums, strict=True)
    ]


def used(programme: Programme, layout: Layout, options: IntArray) -> FloatArray:
    """`(plans, features)` seconds and megabits that a request of each of these plans uses."""
    each = np.arange(len(options))
    # What a layout lacks is feature -1: it lands in a last column.
    use = np.zeros((len(options), layout.features + 1))
    slot = [step.slot[options[:, k]] for k, step in enumerate(programme.steps)]
    size = [step.size[options[:, k]] for k, step in enumerate(programme.steps)]
    device = {name: k for k, name in enumerate(programme.devices)}
    source = programme.query.source

    def move(a: IntArray, b: IntArray, amount: FloatArray | float) -> None:
        moved = np.where(a == b, 0.0, amount) * _MEGABIT_PER_BYTE
        for feature in (layout.link[a, b], layout.uplink[a], layout.uplink[b]):
            use[each, feature] += moved

    for k, step in enumerate(programme.steps):
        use[each[:, None], layout.compute[slot[k]]] += step.compute[options[:, k]]
        if k in programme.entry:
            home = np.full(len(options), device[source[step.name]])
            move(home, slot[k], programme.entry[k][1])
        for need in step.needs:
            move(slot[need], slot[k], size[need])
        if programme.exits is not None and programme.last_use[k] == k:
            home = np.full(len(options), device[source[programme.pipeline.sources[0]]])
            move(slot[k], home, size[k])
    return use[:, :-1]


def _sums(programme: Programme, options: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`(plans,)` mean and variance of the latency, and dollars per request, unloaded."""
    count = len(options)
    mean: list[FloatArray] = []
    variance: list[FloatArray] = []
    slot = [step.slot[options[:, k]] for k, step in enumerate(programme.steps)]
    size = [step.size[options[:, k]] for k, step in enumerate(programme.steps)]
    done: FloatArray = np.zeros(count)
    spread: FloatArray = np.zeros(count)
    usd: FloatArray = np.zeros(count)
    for k, step in enumerate(programme.steps):
        arrived: FloatArray = np.zeros(count)
        widened: FloatArray = np.zeros(count)
        if k in programme.entry:
            way, amount = programme.entry[k]
            arrived = way.ms((slot[k],), np.full(count, amount))
            usd += amount * way.usd_per_byte[slot[k]]
        for need in step.needs:
            at = slot[need], slot[k]
            arrived = np.maximum(arrived, mean[need] + programme.hops.ms(at, size[need]))
            widened = np.maximum(widened, variance[need])
            usd += size[need] * programme.hops.usd_per_byte[at]
        mean.append(arrived + step.mean[options[:, k]])
        variance.append(widened + step.variance[options[:, k]])
        usd += step.usd[options[:, k]]
        if programme.last_use[k] == k:
            finish = mean[k]
            if programme.exits is not None:
                finish = finish + programme.exits.ms((slot[k],), size[k])
                usd += size[k] * programme.exits.usd_per_byte[slot[k]]
            done, spread = np.maximum(done, finish), np.maximum(spread, variance[k])
    return done, spread, usd
