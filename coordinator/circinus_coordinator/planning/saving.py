"""Moving what is served to cheaper plans, at the loads there are in the end.

Admission takes plans by the prices of what is scarce, in which dollars count for next to nothing.
Once everybody who is served is known, a query may well have room on something cheaper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from circinus_coordinator.planning.certificate import Alone
from circinus_coordinator.planning.guide import Guide
from circinus_coordinator.planning.guided import Admission
from circinus_coordinator.planning.placed import PlacedPlan
from circinus_coordinator.planning.selection import Selection
from circinus_coordinator.planning.tenants import Tenant

__all__ = ["save"]

# Cheaper plans tried in place of one, the cheapest first.
_TRIED = 24
# What is not cheaper by this part is left where it is.
_CHEAPER = 1 - 1e-6


def save(guide: Guide, chosen: Selection, solo: Mapping[str, Alone]) -> None:
    """Replace plans by cheaper ones that carry as much and hurt nobody, the dearest first.

    Args:
        guide: Knows plans.
        chosen: The selection; changed.
        solo: What each query would take alone.
    """
    for tenant in sorted(chosen.tenants, key=_usd_per_second, reverse=True):
        if tenant not in chosen.tenants:  # one with another plan of the query by now
            continue
        chosen.begin()
        chosen.withdraw(tenant)
        for placed in _cheaper(guide, chosen, solo, tenant):
            if chosen.judge(placed, tenant.share) is None:
                chosen.admit(placed, tenant.share)
                chosen.keep()
                break
        else:
            chosen.take_back()


def _cheaper(
    guide: Guide, chosen: Selection, solo: Mapping[str, Alone], tenant: Tenant
) -> Iterator[PlacedPlan]:
    """Plans of the same query for less, the cheapest first."""
    query, most = tenant.placed.query, tenant.placed.usd * _CHEAPER
    best = solo[query.id].best if query.id in solo else None
    if best is not None and best.usd < most:
        yield best
    admission = Admission(guide, chosen)
    for advice in guide.cheapest(guide.position[query.id], _TRIED):
        for devices in admission.bindings(advice):
            placed = guide.binder.placed(
                guide.position[query.id], advice.kind, advice.template, devices
            )
            if placed.usd < most:
                yield placed


def _usd_per_second(tenant: Tenant) -> float:
    query = tenant.placed.query
    return tenant.placed.usd * query.rate_rps * query.count * tenant.share
