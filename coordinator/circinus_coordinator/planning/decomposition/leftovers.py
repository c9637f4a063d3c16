"""Serving what is left with what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from circinus_coordinator.planning.decomposition.choices import Choices
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.solve import Solution

__all__ = ["second_choices"]

FloatArray = npt.NDArray[np.float64]
_LEAST_SHARE = 1e-9
# Plans worse than the best one by this part of a request's worth are still looked at.
_NEARLY = 0.3


def second_choices(
    market: Market,
    solution: Solution,
    filling: Filling,
    left: FloatArray,
    put: Callable[[int, int, int, float], None],
) -> None:
    """Offer all plans that nearly pay to whoever is not served whole, dearest requests first.

    Args:
        market: Classes.
        solution: Prices.
        filling: Machines.
        left: `(queries,)` requests per second not served, which `put` counts down.
        put: Places (query, unit, template, rate) as far as there is room.
    """
    units = solution.units
    choices = Choices(market, solution, within=_NEARLY, least=-_NEARLY)
    unit_of = np.repeat(np.arange(len(units)), np.diff(units.start))
    lacking = left[units.query] > _LEAST_SHARE * market.rate[units.query]
    wanting = np.flatnonzero(lacking & np.isfinite(choices.gain[unit_of]))
    price = 1.0 - choices.gain[unit_of[wanting]] / units.weight[unit_of[wanting]]
    order = np.argsort(price, kind="stable")
    free = _free(market, filling)
    for unit, query in zip(
        unit_of[wanting[order]].tolist(), units.query[wanting[order]].tolist(), strict=True
    ):
        rest = float(left[query])
        for template in _fitting(market, solution, unit, query, rest, choices, free):
            rest = float(left[query])
            if rest <= _LEAST_SHARE * float(market.rate[query]):
                break
            put(query, unit, template, rest)


def _free(market: Market, filling: Filling) -> FloatArray:
    """`(rows,)` of all machines of a node together; links are not looked at."""
    names = {name: k for k, name in enumerate(market.catalogue.resources)}
    free = np.full(len(market.capacity), np.inf)
    for row, (name, one, two) in enumerate(market.sites.resources.keys):
        if one == two and name in names:
            free[row] = sum(filling.free(d)[names[name]] for d in market.sites.members[one])
        elif one == two:
            free[row] = sum(filling.uplink(d) for d in market.sites.members[one])
    return free


def _fitting(
    market: Market,
    solution: Solution,
    unit: int,
    query: int,
    rate: float,
    choices: Choices,
    free: FloatArray,
) -> Iterator[int]:
    """Templates that there may be room for."""
    units = solution.units
    kind = market.classes[int(units.kind[unit])]
    templates = choices.of(unit)
    left = free[kind.rows[units.site[unit]]]
    if not market.splittable[query]:
        part = float(market.rate[query]) / market.catalogue.scenario.queries[query].count
    else:
        part = 1e-3 * rate
    room = kind.templates.use[templates] * part <= left + 1e-12
    yield from templates[room.all(axis=1)].tolist()
