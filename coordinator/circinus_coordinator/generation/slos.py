"""SLOs from templates: what is asked for, as slack over what the reference fleet can do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from circinus.query import Slo
from circinus_coordinator.generation.dice import figure
from circinus_coordinator.generation.reference import Plans

__all__ = ["TEMPLATES", "SloTemplate", "draw_slo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SloTemplate:
    """A kind of customer; slacks are those at tightness 0.5.

    Attributes:
        bound: What binds: latency, cost or accuracy.
        percentile: Of latency.
        accuracy: How far the floor lies below the best reachable, relative to it.
        latency: Limit over the fastest with that accuracy.
        cost: Cap over the cheapest with that accuracy and latency; None for no cap.
        weight: Worth of a request.
        share: Of the queries.
        tenant: A label.
    """

    bound: str
    percentile: float = 95.0
    accuracy: float
    latency: float
    cost: float | None
    weight: float
    share: float
    tenant: str


def _kind(bound: str, tenant: str, *rows: tuple[float, float, float, float | None, float, float]
          ) -> tuple[SloTemplate, ...]:  # fmt: skip
    return tuple(
        SloTemplate(bound=bound, percentile=p, accuracy=a, latency=lat, cost=c, weight=w,
                    share=share, tenant=tenant)
        for p, a, lat, c, w, share in rows
    )  # fmt: skip


# All assumed. Limits of a few times the idle latency are what serving systems are judged at ("SLO
# scale": Li et al., AlpaServe, OSDI 2023, section 6). Whoever pays for speed asks for percentiles
# further out and is worth more; whoever pays little can wait. Columns: percentile, accuracy,
# latency, cost, weight, share.
TEMPLATES: tuple[SloTemplate, ...] = (
    *_kind(
        "latency", "interactive",
        (99.0, 0.20, 2.5, None, 10.0, 0.04),
        (95.0, 0.15, 2.5, None, 8.0, 0.08),
        (95.0, 0.12, 3.0, 8.0, 6.0, 0.12),
        (95.0, 0.25, 2.0, 6.0, 5.0, 0.10),
    ),
    *_kind(
        "cost", "bulk",
        (95.0, 0.25, 15.0, 1.4, 1.0, 0.10),
        (95.0, 0.18, 12.0, 1.6, 1.0, 0.12),
        (95.0, 0.12, 10.0, 2.0, 2.0, 0.10),
        (95.0, 0.08, 8.0, 2.5, 3.0, 0.06),
    ),
    *_kind(
        "accuracy", "expert",
        (95.0, 0.02, 4.0, None, 8.0, 0.04),
        (95.0, 0.04, 5.0, 6.0, 5.0, 0.08),
        (95.0, 0.06, 6.0, 4.0, 4.0, 0.10),
        (99.0, 0.08, 5.0, 5.0, 6.0, 0.06),
    ),
)  # fmt: skip


def draw_slo(template: SloTemplate, plans: Plans, tightness: float) -> Slo:
    """The SLO of a template, given the plans from the usual source.

    With slack ``z = 2 (1 - tightness)``: the floor is ``best x (1 - accuracy z)``, the latency
    limit ``fastest x (1 + (latency - 1) z)`` over plans of that accuracy, the cap
    ``cheapest x (1 + (cost - 1) z)`` over plans of that accuracy and latency. So from the usual
    source at least one plan meets all three, waiting as long as `reference` allows for.
    """
    slack = 2 * (1 - tightness)
    latency = plans.latency_ms[template.percentile]
    reachable = np.isfinite(latency)
    best = float(plans.accuracy[reachable.any(axis=0)].max())
    floor = _down(best * (1 - min(template.accuracy * slack, 0.9)))
    good = plans.feasible(template.percentile, None, floor, None)
    limit = _up(float(latency[good].min()) * (1 + (template.latency - 1) * slack))
    cap = None
    if template.cost is not None:
        quick = plans.feasible(template.percentile, limit, floor, None)
        cap = _up(1000 * float(plans.usd[quick].min()) * (1 + (template.cost - 1) * slack))
    return Slo(
        latency_ms=limit, percentile=template.percentile, accuracy=floor, cost_usd_per_1000=cap
    )


def _up(value: float) -> float:
    """To 4 digits, a little above, so that the plan it was drawn from stays within."""
    return figure(value * 1.0005)


def _down(value: float) -> float:
    return figure(value * 0.9995)
