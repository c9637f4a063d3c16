"""Renting for more queries than can be tried one by one, where nothing waits."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from circinus.fleet import SECONDS_PER_HOUR, DeviceClass
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.master import Mixture
from circinus_coordinator.planning.decomposition.placement import Placed
from circinus_coordinator.planning.decomposition.rounding import round_off
from circinus_coordinator.planning.decomposition.solve import Solution
from circinus_coordinator.planning.renting.bill import rented
from circinus_coordinator.planning.renting.demand import Ways
from circinus_coordinator.planning.renting.propose import Renting
from circinus_coordinator.planning.renting.settle import open_devices
from circinus_coordinator.planning.renting.solve import machines, solve

__all__ = ["rent_at_large"]

_ENOUGH = 1e-2
# Parts of machines planned for; what is left makes up for the walls between them.
_FILLS = (1 - 1e-6, 1 - 1e-6, 0.99, 0.97, 0.95, 0.9)
_SAME = 1e-9


def rent_at_large(
    market: Market, solution: Solution, placed: Sequence[Placed], *, seed: int
) -> tuple[Sequence[Placed], Renting | None]:
    """What was placed, or as much goodput for less on fewer machines; and what bounds the cost.

    Args:
        market: Classes.
        solution: Of the relaxation.
        placed: On all machines.
        seed: Of the order in which equals are placed.
    """
    scenario = market.catalogue.scenario
    if not rented(scenario) or not placed or not len(solution.units):
        return placed, None
    goodput, cost = _worth(market, placed)
    wanted = goodput * (1 - _SAME)
    if wanted <= 0:
        return placed, None
    rental = solve(market, solution, wanted, cost, enough=_ENOUGH)
    columns, units = rental.columns, solution.units
    used = dict.fromkeys((device for p in placed for device in p.devices), 1.0)
    refused: set[tuple[int, int]] = set()
    pairs = list(zip(columns.pool.unit.tolist(), columns.pool.template.tolist(), strict=True))
    for fill in _FILLS:
        allowed = np.array([pair not in refused for pair in pairs], dtype=np.bool_)
        chosen = machines(rental, wanted * (1 + 1e-6), fill, allowed=allowed)
        if chosen is None or chosen.usd_hour >= cost:
            continue
        closed = set(rented(scenario)) - open_devices(columns, chosen.share, chosen.opened, used)
        rate = chosen.share * units.rate[columns.pool.unit]
        mixed = dataclasses.replace(
            solution, pool=columns.pool, mixture=Mixture(rate, solution.prices, 0.0), refused=set()
        )
        found = round_off(_without(market, closed), mixed, seed=seed, attempts=2)
        served, usd_hour = _worth(market, found)
        if served >= wanted and usd_hour < cost:
            return found, Renting(rental)
        refused |= mixed.refused
    return placed, Renting(rental)


def _worth(market: Market, placed: Sequence[Placed]) -> tuple[float, float]:
    """Weighted goodput, and US dollars per hour."""
    scenario, ways = market.catalogue.scenario, [Ways(market, kind) for kind in market.classes]
    opened: set[str] = set()
    usd, goodput = [], []
    for p in placed:
        way = ways[p.kind]
        goodput.append(float(market.weight[p.query]) * p.rate)
        usd.append(float(way.usd[p.template]) * p.rate * SECONDS_PER_HOUR)
        opened.update(p.devices[slot] for slot in set(way.slots[p.template].tolist()))
    rent = [scenario.class_of(d).price_usd_hour for d in opened & set(rented(scenario))]
    return math.fsum(goodput), math.fsum(usd) + math.fsum(rent)


def _without(market: Market, closed: set[str]) -> Market:
    """The market with nothing to be had of these devices; capacities of groups stay as they are."""
    scenario = market.catalogue.scenario
    name = "shut"
    while name in scenario.device_classes:
        name += "_"
    shut = DeviceClass(name=name, cores=0, memory_mb=0)
    devices = tuple(
        dataclasses.replace(d, device_class=name) if d.id in closed else d for d in scenario.devices
    )
    catalogue = copy.copy(market.catalogue)
    catalogue.scenario = dataclasses.replace(
        scenario, devices=devices, device_classes={**scenario.device_classes, name: shut}
    )
    return dataclasses.replace(market, catalogue=catalogue)
