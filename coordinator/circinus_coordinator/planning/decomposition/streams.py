"""A mixture whose parts may go any way, put on real machines."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.filling import Filling
from circinus_coordinator.planning.decomposition.pouring import Links, Part, Vessel, joined, pour
from circinus_coordinator.planning.decomposition.recipes import Recipe
from circinus_coordinator.planning.decomposition.solve import Solution

__all__ = ["Column", "Stream", "streams"]

Column = tuple[int, int, float]
"""(unit, template, requests per second)."""
_LEAST_SHARE = 1e-9


@dataclass(frozen=True, slots=True)
class Stream:
    """A part of a unit's traffic and where it goes; `devices` of each position of the layout."""

    unit: int
    template: int
    devices: tuple[str, ...]
    rate: float


def streams(
    market: Market, solution: Solution, filling: Filling, columns: Sequence[Column]
) -> list[Stream]:
    """Place the columns as far as there is room.

    Args:
        market: Classes.
        solution: Whose units.
        filling: What is left of machines; the streams are taken from it.
        columns: In an order that decides between equals.
    """
    members = market.sites.members
    steps: list[Recipe] = []
    where: list[tuple[int, ...]] = []
    parts: list[dict[int, Part] | None] = []
    groups: dict[int, list[Part]] = defaultdict(list)
    for unit, template, rate in columns:
        number = int(solution.units.kind[unit])
        kind = market.classes[number]
        nodes = kind.sites[int(solution.units.site[unit])].nodes
        steps.append(filling.recipe(number, kind.templates.found[template].options))
        where.append(nodes)
        parts.append(_parts(market, filling, steps[-1], nodes, rate))
        for at, part in (parts[-1] or {}).items():
            groups[nodes[at]].append(part)
    links = Links(filling.on_link)
    for node in sorted(groups):
        pour(groups[node], [_vessel(filling, device) for device in members[node]], links)
    found: list[Stream] = []
    rest: list[tuple[int, float]] = []
    for k, (unit, template, rate) in enumerate(columns):
        mine = parts[k]
        if mine is None:
            rest.append((k, rate))
            continue
        first = [members[node][0] for node in where[k]]
        left = rate
        for machines, amount in joined([part.put for part in mine.values()], rate):
            for at, machine in zip(mine, machines, strict=True):
                first[at] = machine
            devices = tuple(first)
            most = min(amount, filling.limit(steps[k], devices))
            if most > rate * _LEAST_SHARE:
                filling.put(steps[k], devices, most)
                found.append(Stream(unit, template, devices, most))
                left -= most
        if left > rate * _LEAST_SHARE:
            rest.append((k, left))
    for k, left in rest:
        unit, template, _ = columns[k]
        pieces, _ = filling.place(steps[k], where[k], left, whole=False)
        found += [Stream(unit, template, devices, most) for devices, most in pieces]
    return found


def _parts(
    market: Market, filling: Filling, steps: Recipe, nodes: Sequence[int], rate: float
) -> dict[int, Part] | None:
    """By position of a group: what it is to take; None where a source may be of the group."""
    members = market.sites.members
    many = [at for at in steps.instances if len(members[nodes[at]]) > 1]
    ends = {a for a, b, _ in steps.moves} | {b for _, b, _ in steps.moves} | set(steps.instances)
    single = {at: members[nodes[at]][0] for at in ends if len(members[nodes[at]]) == 1}
    # A plan that is at the source and at a machine of its group has to tell the two apart.
    if any(device in _set(members[nodes[at]]) for at in many for device in single.values()):
        return None
    found: dict[int, Part] = {}
    for at in many:
        links: dict[str, float] = defaultdict(float)
        for a, b, megabits in steps.moves:
            if at in (a, b):
                links[single.get(b if a == at else a, "")] += megabits
        moved = sum(links.values())
        links.pop("", None)
        use = list(steps.compute.get(at, ()))
        if any(filling.uplink(device) < float("inf") for device in members[nodes[at]][:1]):
            use.append((filling.resources, moved))
        found[at] = Part(
            rate, [u for u in use if u[1] > 0], steps.instances[at], list(links.items())
        )
    return found


@functools.lru_cache(maxsize=1024)
def _set(members: tuple[str, ...]) -> frozenset[str]:
    return frozenset(members)


def _vessel(filling: Filling, device: str) -> Vessel:
    return Vessel(
        name=device,
        free=[*filling.free(device), filling.uplink(device)],
        memory_mb=filling.memory_mb(device),
        held=set(filling.holding(device)),
    )
