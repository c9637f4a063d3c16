"""What is rented whole: groups of machines, their prices, and what each of them offers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from circinus.fleet import Billing
from circinus.scenario import Scenario
from circinus_coordinator.planning.decomposition.classes import Market

__all__ = ["Bill", "bill", "rented"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Groups of machines that nothing tells apart and that are paid for by the hour.

    A source that has its like is a node of its own in a market; its machine counts in its group
    all the same.

    Attributes:
        members: Devices of each group.
        price: `(groups,)` US dollars per hour of one machine.
        of_node: `(nodes,)` group of each node of the market; -1 where it is not rented.
        row_of: `(rows,)` rented row that a row of the market loads as well; -1 for none.
        group: `(rented rows,)`.
        offered: `(rented rows,)` what one machine offers.
        fixed: `(rows,)` capacity of what does not depend on renting; infinite for the others.
    """

    members: tuple[tuple[str, ...], ...]
    price: FloatArray
    of_node: IntArray
    row_of: IntArray
    group: IntArray
    offered: FloatArray
    fixed: FloatArray

    @property
    def count(self) -> IntArray:
        """`(groups,)` machines there are."""
        return np.array([len(some) for some in self.members], dtype=np.int64)

    def opened(self, devices: Collection[str]) -> IntArray:
        """`(groups,)` machines of each group among `devices`."""
        return np.array([sum(d in devices for d in some) for some in self.members], dtype=np.int64)


def rented(scenario: Scenario) -> tuple[str, ...]:
    """Devices billed by the machine, in the scenario's order; free ones decide nothing."""
    classes = {
        name
        for name, kind in scenario.device_classes.items()
        if kind.billing is Billing.MACHINE and kind.price_usd_hour > 0
    }
    return tuple(d.id for d in scenario.devices if d.device_class in classes)


def bill(market: Market) -> Bill:
    """Groups and rows of a market."""
    scenario, members = market.catalogue.scenario, market.sites.members
    paid = set(rented(scenario))
    groups: list[tuple[str, ...]] = []
    group_of: dict[str, int] = {}
    of_node = np.full(len(members), -1, dtype=np.int64)
    for node, some in enumerate(members):
        if some[0] not in paid:
            continue
        if some[0] not in group_of:  # groups come before the single nodes of their members
            group_of.update(dict.fromkeys(some, len(groups)))
            groups.append(some)
        of_node[node] = group_of[some[0]]
    fixed = market.capacity.copy()
    row_of = np.full(len(fixed), -1, dtype=np.int64)
    rows: dict[tuple[int, str], int] = {}
    offered: dict[tuple[int, str], float] = {}
    for number, (name, one, two) in enumerate(market.sites.resources.keys):
        if one == two and name != "uplink" and of_node[one] >= 0:
            key = (int(of_node[one]), name)
            row_of[number] = rows.setdefault(key, len(rows))
            offered[key] = float(market.capacity[number]) / len(members[one])
            if members[one] == groups[of_node[one]]:
                fixed[number] = np.inf
    kinds = [scenario.class_of(some[0]) for some in groups]
    return Bill(
        members=tuple(groups),
        price=np.array([kind.price_usd_hour for kind in kinds], dtype=np.float64),
        of_node=of_node,
        row_of=row_of,
        group=np.array([g for g, _ in rows], dtype=np.int64),
        offered=np.array([offered[key] for key in rows], dtype=np.float64),
        fixed=fixed,
    )
