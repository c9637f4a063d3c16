"""The relaxation's prices as a decision tells them, and back again."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from circinus.decision import ResourcePrice
from circinus.fleet import CORES
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.held import HELD
from circinus_coordinator.planning.uses import LINK, UPLINK

__all__ = ["named", "resource_prices", "row_prices"]

FloatArray = npt.NDArray[np.float64]
Key = tuple[str, tuple[str, ...], tuple[bool, ...]]
# Below this part of the highest worth a price says nothing but how a solver rounds.
_NOTHING = 1e-9


def resource_prices(market: Market, prices: FloatArray) -> tuple[ResourcePrice, ...]:
    """What one more core, accelerator or Mbit/s is worth, dearest first.

    Only a part of cores, accelerators and links may be planned, so one more of them is worth
    `max_utilisation` times the price of what may be.

    Args:
        market: The rows' resources.
        prices: `(rows,)` weighted requests per second for a core-second per second, or megabit
            per second, that may be planned.
    """
    members, keys = market.sites.members, market.sites.resources.keys
    worth = [float(p) * _per_unit(market, key[0]) for p, key in zip(prices, keys, strict=True)]
    least = max(worth, default=0.0) * _NOTHING
    # One more core may be held as well.
    held = {key[1]: value for value, key in zip(worth, keys, strict=True) if key[0] == HELD}
    found = []
    for value, (name, one, two) in zip(worth, keys, strict=True):
        if name == CORES:
            value += held.get(one, 0.0)
        if value <= least or name == HELD:
            continue
        nodes = (one, two) if name == LINK else (one,)
        found.append(
            ResourcePrice(
                resource=name,
                devices=tuple(named(members, nodes)),
                machines=tuple(len(members[node]) for node in nodes),
                weighted_rps_per_unit=value,
            )
        )
    return tuple(sorted(found, key=lambda p: (-p.weighted_rps_per_unit, p.resource, p.devices)))


def row_prices(market: Market, told: Iterable[ResourcePrice]) -> FloatArray:
    """`(rows,)` the prices that a decision tells, 0 where it tells none: what to start from.

    A pool is found again by the machine that stood for it, whatever its size is now.
    """
    members, keys = market.sites.members, market.sites.resources.keys
    known: dict[Key, float] = {}
    for price in told:
        ends = zip(price.devices, (count > 1 for count in price.machines), strict=True)
        known[_key(price.resource, ends)] = price.weighted_rps_per_unit
    found = np.zeros(len(keys))
    held = any(name == HELD for name, _, _ in keys)
    for row, (name, one, two) in enumerate(keys if known else ()):
        nodes = (one, two) if name == LINK else (one,)
        pooled = (len(members[node]) > 1 for node in nodes)
        ends = zip(named(members, nodes), pooled, strict=True)
        value = known.get(_key(CORES if name == HELD else name, ends), 0.0)
        if held and name in (HELD, CORES):
            value /= 2  # the decision tells their sum
        found[row] = value / _per_unit(market, name) if value else 0.0
    return found


def _per_unit(market: Market, name: str) -> float:
    return 1.0 if name in (UPLINK, HELD) else market.sites.scenario.max_utilisation


def named(members: list[tuple[str, ...]], nodes: tuple[int, ...]) -> list[str]:
    """A machine for each node; where a source is linked with its like, two different ones."""
    if len(nodes) == 1:
        return [members[nodes[0]][0]]
    one, two = (members[node] for node in nodes)
    return next([a, b] for a in one for b in two if a != b)


def _key(resource: str, ends: Iterable[tuple[str, bool]]) -> Key:
    ordered = sorted(ends)
    return resource, tuple(d for d, _ in ordered), tuple(pooled for _, pooled in ordered)
