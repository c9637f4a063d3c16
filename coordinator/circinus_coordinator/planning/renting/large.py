"""Renting for more queries than can be tried one by one, where nothing waits."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence

from circinus.decision import Decision
from circinus.fleet import DeviceClass
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.master import Mixture
from circinus_coordinator.planning.decomposition.pieces import Placed
from circinus_coordinator.planning.decomposition.rounding import round_off
from circinus_coordinator.planning.decomposition.solve import Solution
from circinus_coordinator.planning.renting.bill import rented
from circinus_coordinator.planning.renting.propose import Renting, with_cost_bound
from circinus_coordinator.planning.renting.settle import open_devices
from circinus_coordinator.planning.renting.solve import machines, solve

__all__ = ["rent_at_large"]

_ENOUGH = 1e-2
# Parts of machines planned for; what is left makes up for the walls between them.
_FILLS = (1 - 1e-6, 0.99, 0.96, 0.9)
_SAME = 1e-9


def rent_at_large(
    market: Market,
    solution: Solution,
    decision: Decision,
    write: Callable[[Sequence[Placed]], Decision],
    *,
    seed: int,
) -> Decision:
    """The decision, or a cheaper one of its goodput on fewer machines; with a bound on cost.

    Args:
        market: Classes.
        solution: Of the relaxation.
        decision: What was decided on all machines.
        write: Makes a decision of what was placed.
        seed: Of the order in which equals are placed.
    """
    scenario = market.catalogue.scenario
    if not rented(scenario) or decision.goodput_rps <= 0:
        return decision
    wanted = decision.goodput_rps * (1 - _SAME)
    rental = solve(market, solution, wanted, decision.deployment.total, enough=_ENOUGH)
    columns, units, best = rental.columns, solution.units, decision
    for fill in _FILLS:
        chosen = machines(rental, wanted * (1 + 1e-6), fill)
        if chosen is None or chosen.usd_hour >= best.deployment.total:
            continue
        used = dict.fromkeys(best.open_devices, 1.0)
        closed = set(rented(scenario)) - open_devices(columns, chosen.share, chosen.opened, used)
        rate = chosen.share * units.rate[columns.pool.unit]
        mixed = dataclasses.replace(
            solution, pool=columns.pool, mixture=Mixture(rate, solution.prices, 0.0), refused=set()
        )
        found = write(round_off(_without(market, closed), mixed, seed=seed))
        least = best.goodput_rps * (1 - _SAME)
        if found.goodput_rps >= least and found.deployment.total < best.deployment.total:
            best = found
            break
    return with_cost_bound(best, Renting(rental))


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
