"""Plans mended by what a rehearsal shows, before they are promised.

The model of waiting leads the search. What it found is then tried out; where a plan turns out to
be late the model is corrected for it, and for its machines, and those who no longer fit are put
elsewhere; where requests wait less than the model says, others find room. The same for every
planner.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from circinus.advice import Relaxation
from circinus.decision import Assignment, Decision, Estimate, Plan, Rehearsed, Rejection
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.corrections import Corrections, Rehearse, Shown, Way, way
from circinus_coordinator.planning.evaluate import Evaluation, evaluate
from circinus_coordinator.planning.labels import TOLERANCE
from circinus_coordinator.planning.learning import learn, learnt_from
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, place
from circinus_coordinator.planning.relaxation import round_up, worded
from circinus_coordinator.planning.selection import Selection, rounded, splittable

__all__ = ["Fill", "as_shown", "mended"]

Assigned = Sequence[tuple[PlacedPlan, float]]
Fill = Callable[[Catalogue, Assigned], Assigned]
"""What to serve in place of this, by the catalogue's corrections, so that more is served."""

# Rehearsals after the first one: see docs/percentiles.md.
_MENDINGS = 3
# Parts of its share that a plan is tried with that was late.
_PARTS = (1.0, 0.9, 0.8, 0.65, 0.5, 0.3)
_WHOLE = 1 - 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    """What was rehearsed.

    Attributes:
        ways: All of its plans and shares.
        good: Those that were in time.
        late: The others.
        goodput_rps: Weighted rate of those in time.
        corrections: With which the model says what was shown.
    """

    ways: Sequence[tuple[Way, float]]
    good: Assigned
    late: Assigned
    goodput_rps: float
    corrections: Corrections


def mended(
    catalogue: Catalogue, assigned: Assigned, rehearse: Rehearse, fill: Fill
) -> tuple[Catalogue, Assigned]:
    """What serves most by rehearsal, and the catalogue with the corrections that were learnt.

    As long as somebody is late, shares are cut; once nobody is, others are let in, once.

    Args:
        catalogue: Compiled queries.
        assigned: Plans and shares to begin with.
        rehearse: Tries a decision out.
        fill: Serves more.
    """
    now = _looked(catalogue, assigned, rehearse)
    if now is None:
        return catalogue, assigned
    best, filled = now, False
    for _ in range(_MENDINGS):
        corrected = catalogue.corrected(now.corrections)
        if now.late:
            assigned = _trimmed(corrected, now)
        elif not filled and _wanting(catalogue.scenario, now.good):
            assigned, filled = fill(corrected, _placed(corrected, now.good)), True
        else:
            break
        found = _looked(corrected, assigned, rehearse)
        if found is None or found.ways == now.ways:
            break
        now = found
        if now.goodput_rps > best.goodput_rps:
            best = now
    corrected = catalogue.corrected(best.corrections)
    return corrected, _placed(corrected, best.good)


def _trimmed(catalogue: Catalogue, now: _Try) -> Assigned:
    """Who was in time, and of who was late as much as still is, by the corrections."""
    chosen = Selection(catalogue, Ledger(catalogue.scenario))
    by_worth = sorted(_placed(catalogue, now.good), key=_worth, reverse=True)
    again = sorted(_placed(catalogue, now.late), key=_worth, reverse=True)
    for placed, share in (*by_worth, *again):
        unit = 0.0 if splittable(catalogue, placed.query) else 1.0 / placed.query.count
        parts = [rounded(share * part, unit) for part in _PARTS]
        for part in dict.fromkeys(part for part in parts if part <= share * (1 + TOLERANCE)):
            if chosen.judge(placed, part) is None:
                chosen.admit(placed, part)
                break
    return chosen.assigned


def _worth(pair: tuple[PlacedPlan, float]) -> float:
    return pair[0].query.demand_rps * pair[1]


def _placed(catalogue: Catalogue, assigned: Assigned) -> Assigned:
    """The same by the catalogue's corrections."""
    return [(place(catalogue, one.query, one.plan), share) for one, share in assigned]


def _looked(catalogue: Catalogue, assigned: Assigned, rehearse: Rehearse) -> _Try | None:
    """Rehearse; None where nothing was steady."""
    shown = _tried(catalogue, assigned, rehearse)
    if not any(seen is not None and seen.steady for seen in shown):
        return None
    late = [_late(placed, seen) for (placed, _), seen in zip(assigned, shown, strict=True)]
    good = [pair for pair, out in zip(assigned, late, strict=True) if not out]
    return _Try(
        ways=[(way(placed.query, placed.plan), share) for placed, share in assigned],
        good=good,
        late=[pair for pair, out in zip(assigned, late, strict=True) if out],
        goodput_rps=_goodput(good),
        corrections=catalogue.corrections.then(learn(catalogue, assigned, shown)),
    )


def _tried(catalogue: Catalogue, assigned: Assigned, rehearse: Rehearse) -> Sequence[Shown | None]:
    judged = evaluate(catalogue, assigned)
    return rehearse(
        catalogue.scenario,
        Decision(planner="", assignments=tuple(_assignments(assigned, judged))),
    )


def _assignments(assigned: Assigned, judged: Evaluation) -> list[Assignment]:
    """As they are, with replicas for these loads."""
    return [
        Assignment(
            query=placed.query.id,
            share=min(1.0, share),
            plan=_with_replicas(placed, judged),
            estimate=estimate,
        )
        for (placed, share), estimate in zip(assigned, judged.estimates, strict=True)
    ]


def _with_replicas(placed: PlacedPlan, judged: Evaluation) -> Plan:
    return {
        name: dataclasses.replace(step, replicas=judged.ledger.replicas_of(use.key))
        for (name, step), use in zip(placed.plan.items(), placed.use.steps, strict=True)
    }


def _late(placed: PlacedPlan, seen: Shown | None) -> bool:
    """True where it breaks its SLO beyond doubt."""
    limit = placed.query.slo.latency_ms
    if seen is None or not seen.steady or limit is None:
        return False
    return seen.within(limit) > limit * (1 + TOLERANCE)


def _goodput(assigned: Assigned) -> float:
    return math.fsum(placed.query.demand_rps * share for placed, share in assigned)


def _wanting(scenario: Scenario, assigned: Assigned) -> bool:
    """Whether anybody is not served whole."""
    shares: dict[str, float] = {}
    for placed, share in assigned:
        shares[placed.query.id] = shares.get(placed.query.id, 0.0) + share
    return any(q.demand_rps > 0 and shares.get(q.id, 0.0) < _WHOLE for q in scenario.queries)


def as_shown(scenario: Scenario, decision: Decision, rehearse: Rehearse) -> Decision:
    """The decision with the latencies that a rehearsal shows; who is late then is not promised.

    Who goes leaves room to the others, whose latencies stay those with everybody there.
    """
    shown = rehearse(scenario, decision)
    if not any(seen is not None and seen.steady for seen in shown):
        return decision
    limits = {
        query.id: query.slo.latency_ms
        for query in scenario.queries
        if query.slo.latency_ms is not None
    }
    told = [
        dataclasses.replace(a, estimate=_estimate(a.estimate, seen, limits.get(a.query, math.inf)))
        for a, seen in zip(decision.assignments, shown, strict=True)
    ]
    shown_now = dataclasses.replace(decision, assignments=tuple(told))
    late = [
        seen is not None and a.estimate.latency_ms > limits.get(a.query, math.inf) * (1 + TOLERANCE)
        for a, seen in zip(told, shown, strict=True)
    ]
    return _without(scenario, shown_now, late) if any(late) else shown_now


def _estimate(estimate: Estimate, seen: Shown | None, limit_ms: float) -> Estimate:
    if seen is None or not seen.steady:
        return estimate
    return dataclasses.replace(
        estimate,
        latency_ms=seen.within(limit_ms),
        rehearsed=Rehearsed(low_ms=seen.low_ms, high_ms=seen.high_ms, requests=seen.requests),
    )


def _without(scenario: Scenario, decision: Decision, late: Sequence[bool]) -> Decision:
    """The decision without those who are late."""
    catalogue = Catalogue(scenario)
    catalogue = catalogue.corrected(learnt_from(catalogue, decision))
    queries = {query.id: query for query in scenario.queries}
    kept = [a for a, out in zip(decision.assignments, late, strict=True) if not out]
    gone = [a for a, out in zip(decision.assignments, late, strict=True) if out]
    assigned = [(place(catalogue, queries[a.query], a.plan), a.share) for a in kept]
    judged = evaluate(catalogue, assigned)
    left = [
        dataclasses.replace(now, estimate=before.estimate)
        for now, before in zip(_assignments(assigned, judged), kept, strict=True)
    ]
    turned = {r.query: r for r in decision.rejected}
    turned.update((a.query, _rejection(a, queries[a.query])) for a in gone)
    return dataclasses.replace(
        decision,
        goodput_rps=_goodput(assigned),
        deployment=judged.deployment,
        deployment_bound_usd_hour=None,  # it was for more goodput
        open_devices=tuple(judged.ledger.devices()),
        assignments=tuple(left),
        rejected=tuple(turned[q.id] for q in scenario.queries if q.id in turned),
        tenants=tuple(
            dataclasses.replace(
                tenant,
                goodput_rps=_goodput([p for p in assigned if p[0].query.tenant == tenant.tenant]),
            )
            for tenant in decision.tenants
        ),
    )


def _rejection(late: Assignment, query: Query) -> Rejection:
    limit, ms = query.slo.latency_ms or 0.0, late.estimate.latency_ms
    change = Relaxation(what="latency", amount=round_up(ms - limit), to=round_up(ms))
    return Rejection(
        query=query.id,
        reason=f"rehearsed, {query.slo.percentile:g} % of its requests take up to {ms:.4g} ms, "
        f"{limit:g} ms are allowed",
        binding="latency",
        relaxation=worded([change]),
        relaxations=(change,),
    )
