"""What a request pays for the resources it takes."""

from __future__ import annotations

from collections.abc import Sequence

from circinus.decision import ResourcePrice
from circinus.scenario import Scenario
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.relaxation import Charge
from circinus_coordinator.planning.uses import LINK, UPLINK, Resource

__all__ = ["charges"]

Looks = tuple[object, ...]


def charges(
    scenario: Scenario, prices: Sequence[ResourcePrice], plans: Sequence[tuple[PlacedPlan, float]]
) -> tuple[Charge, ...]:
    """The resources that plans of a query take and that have a price, dearest first.

    Args:
        scenario: Where they run.
        prices: Of a decision.
        plans: Plans of one query with their shares; charges are averages over them.
    """
    special = {end for row in scenario.links for end in row.between}
    whole = sum(share for _, share in plans)
    found: dict[ResourcePrice, float] = {}
    for placed, share in plans:
        for resource, amount in placed.use.linear.items():
            price = _price(scenario, prices, resource, special)
            if price is not None:
                found[price] = found.get(price, 0.0) + amount * share / whole
    usable = scenario.max_utilisation
    paid = [
        Charge(
            resource=price,
            amount=amount,
            value=price.weighted_rps_per_unit
            * amount
            / (1.0 if price.resource == UPLINK else usable),
        )
        for price, amount in found.items()
    ]
    return tuple(sorted(paid, key=lambda c: -c.value))


def _price(
    scenario: Scenario, prices: Sequence[ResourcePrice], resource: Resource, special: set[str]
) -> ResourcePrice | None:
    """The price of exactly this machine or link, else of the machines like it."""
    ends = resource[1:]
    best: tuple[int, ResourcePrice] | None = None
    for price in prices:
        if price.resource != resource[0]:
            continue
        pairs = [tuple(ends), tuple(reversed(ends))] if price.resource == LINK else [tuple(ends)]
        for pair in pairs:
            if len(pair) == len(price.devices) and all(
                device == named or (count > 1 and _alike(scenario, device, named, special))
                for device, named, count in zip(pair, price.devices, price.machines, strict=True)
            ):
                pooled = sum(count > 1 for count in price.machines)
                if best is None or pooled < best[0]:
                    best = pooled, price
    return best[1] if best else None


def _alike(scenario: Scenario, one: str, two: str, special: set[str]) -> bool:
    """Whether nothing but their names tells two machines apart."""
    return not {one, two} & special and _looks(scenario, one) == _looks(scenario, two)


def _looks(scenario: Scenario, device: str) -> Looks:
    found = scenario.device[device]
    return found.tier, found.device_class, found.uplink_mbps
