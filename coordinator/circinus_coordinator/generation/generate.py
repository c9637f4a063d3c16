"""The generator's front: one call, one scenario."""

from __future__ import annotations

from collections.abc import Sequence

from circinus.fleet import Billing
from circinus.scenario import Scenario
from circinus_coordinator.generation.families import FAMILIES

__all__ = ["generate"]


def generate(
    *,
    queries: int,
    devices: int,
    seed: int = 0,
    families: Sequence[str] = tuple(FAMILIES),
    tiers: int = 3,
    contention: float = 0.5,
    tightness: float = 0.5,
    splittable: float = 1.0,
    billing: Billing = Billing.USAGE,
    queueing: bool = True,
    arrivals: Sequence[float] | None = None,
    bandwidth_mbps: Sequence[float] | None = None,
) -> Scenario:
    """Make up a scenario; the same arguments give the same scenario on every machine.

    Args:
        queries: Number of queries, at least 1.
        devices: Number of machines over all tiers, at least as many as there are tiers.
        seed: At least 0; another seed gives other figures, sites and queries.
        families: Whose pipelines are used; names in `FAMILIES`.
        tiers: 2 (device, cloud), 3 (device, edge, cloud) or 4 (device, edge, region, cloud).
        contention: The fraction, above 0 and at most 1, of the weighted demand that can be met
            alone which also fits together, by the pooled estimate of `contention.fraction`.
            Reached by scaling all rates.
        tightness: 0 (twice the usual slack in every SLO) to 1 (none).
        splittable: The fraction of queries whose traffic may be split.
        billing: How machines beyond the device tier are paid for.
        queueing: The scenario's own flag.
        arrivals: Relative intensities a query's rate is multiplied with, drawn by query
            (`read_arrivals`); None for a log-normal spread.
        bandwidth_mbps: Quantiles of mobile uplinks, worst first (`read_bandwidth`); None for
            assumed ones.

    Raises:
        InvalidInput: An argument is out of range; `key` names it.
    """
    raise NotImplementedError
