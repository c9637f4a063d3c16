"""How much of the demand fits: a bound on pooled machines, cheap enough for any size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus_coordinator.generation.dice import figure
from circinus_coordinator.generation.reference import Plans, Resource

__all__ = ["Group", "fraction", "plan_uses", "scale_for"]

FloatArray = npt.NDArray[np.float64]

_STEPS = 40  # of price ascent at each scale tried
_HALVINGS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Queries alike but for where exactly they come from.

    Attributes:
        rate_rps: Of all of them together.
        weight: Worth of a request.
        uses: `(plans, resources)` what a request takes, as a fraction of the whole pool; no rows
            where no plan meets the SLOs even alone.
    """

    rate_rps: float
    weight: float
    uses: FloatArray


def fraction(groups: Sequence[Group], scale: float) -> float:
    """The part of the weighted demand that fits at `scale` times the rates, at most 1.

    An upper bound (Lagrangian, prices by multiplicative ascent) on the linear programme

        max sum w r x   with, for each resource,  sum r x u <= 1,  sum over plans x <= 1

    over the demand of groups that have a plan at all, plans as `reference` estimates them. Pools:
    cores, accelerators and memory of all machines of one class in one tier (of end devices only
    those that are sources, each by itself in a small scenario), and the uplinks of one class and
    access. Links between tiers and what is lost to whole workers are left out.
    """
    return _Bound(groups).fraction(scale)


def scale_for(groups: Sequence[Group], contention: float) -> float:
    """The factor on all rates at which `fraction` is `contention` (3 digits).

    1 where there is no demand with a plan.
    """
    bound = _Bound(groups)
    if bound.demand <= 0:
        return 1.0
    target = min(contention, 0.999)
    low = high = 1.0
    while bound.fraction(high) >= target and high < 1e12:
        high *= 4
    while bound.fraction(low) < target and low > 1e-12:
        low /= 4
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if bound.fraction(middle) >= target else (low, middle)
    return figure(math.sqrt(low * high), 3)


class _Bound:
    """The dual; prices found at one scale serve at all others.

    At prices p (of a pool, in weighted requests per second) the bound on goodput over the scale
    is ``sum p / scale + sum max(0, w r - r min_plan p u)``: each price vector leaves two numbers,
    and the envelope over them bounds every scale.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        served = [g for g in groups if len(g.uses) and g.rate_rps > 0]
        self.demand = math.fsum(g.rate_rps * g.weight for g in served)
        if not served:
            return
        self._rate = np.array([g.rate_rps for g in served])
        self._worth = np.array([g.rate_rps * g.weight for g in served])
        self._uses = np.concatenate([g.uses for g in served])
        ends = np.cumsum([len(g.uses) for g in served])
        self._starts = np.concatenate([[0], ends[:-1]])
        self._sizes = np.array([len(g.uses) for g in served])
        means = np.add.reduceat(self._uses.sum(axis=1), self._starts) / self._sizes
        usual = self.demand / max(float(self._rate @ means), 1e-30)
        self._prices = np.full(self._uses.shape[1], usual)
        self._floor = 1e-9 * usual
        self._seen: list[tuple[float, float]] = [(0.0, self.demand)]

    def fraction(self, scale: float) -> float:
        if self.demand <= 0:
            return 1.0
        self._ascend(scale)
        return min(1.0, min(a / scale + b for a, b in self._seen) / self.demand)

    def _ascend(self, scale: float) -> None:
        prices = self._prices
        for step in range(_STEPS):
            value = self._uses @ prices
            least = np.minimum.reduceat(value, self._starts)
            gain = self._worth - self._rate * least
            taken = gain > 0
            self._seen.append((float(prices.sum()), float(gain[taken].sum())))
            cheapest = value <= np.repeat(least * (1 + 1e-9), self._sizes)
            ties = np.add.reduceat(cheapest.astype(np.float64), self._starts)
            share = np.where(taken, self._rate * scale, 0.0) / ties
            load = (np.repeat(share, self._sizes) * cheapest) @ self._uses
            pace = 0.6 / math.sqrt(1 + step)
            prices = np.maximum(prices * np.exp(pace * np.clip(load - 1, -1, 2)), self._floor)
        self._prices = prices


def plan_uses(
    plans: Plans,
    feasible: npt.NDArray[np.bool_],
    pools: Mapping[Resource, float],
) -> FloatArray:
    """`(plans, resources)` relative uses of the plans worth considering.

    Per placement two: the cheapest in money, and that with the least relative use in all.
    """
    names = list(pools)
    total = np.zeros(feasible.shape)
    for name, use in plans.uses.items():
        total = total + use / max(pools[name], 1e-9)
    rows = np.flatnonzero(feasible.any(axis=1))
    picks: list[tuple[int, int]] = []
    for measure in (plans.usd, total):
        best = np.where(feasible, measure, np.inf)[rows].argmin(axis=1)
        picks.extend(zip(rows.tolist(), best.tolist(), strict=True))
    found = list(dict.fromkeys(picks))
    uses = np.zeros((len(found), len(names)))
    if not found:
        return uses
    at = np.array(found)
    for name, use in plans.uses.items():
        uses[:, names.index(name)] = use[at[:, 0], at[:, 1]] / max(pools[name], 1e-9)
    return uses[_undominated(uses[:, uses.any(axis=0)])]


def _undominated(uses: FloatArray) -> npt.NDArray[np.bool_]:
    """Plans that no other undercuts everywhere, of equal ones the first; nobody wants the rest."""
    no_more = (uses[:, None, :] <= uses[None, :, :]).all(axis=2)
    less = (uses[:, None, :] < uses[None, :, :]).any(axis=2)
    earlier = np.arange(len(uses))[:, None] < np.arange(len(uses))[None, :]
    return np.asarray(~(no_more & (less | earlier)).any(axis=0))
