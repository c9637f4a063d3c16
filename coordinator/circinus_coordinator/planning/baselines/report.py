"""From what a baseline admitted to its decision."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

from circinus.advice import percent
from circinus.decision import Assignment, Decision, Plan, Rejection
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.evaluate import Evaluation, evaluate
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan

__all__ = ["Standing", "judged", "report"]

Standing = tuple[list[tuple[PlacedPlan, float]], Evaluation]
"""Plans with their shares, and what they add up to."""


def judged(catalogue: Catalogue, assigned: Sequence[tuple[PlacedPlan, float]]) -> Standing:
    """What of it keeps its promises, by the judge of all planners (`evaluate`).

    Shares of one plan that were admitted one after the other are one assignment. Of those that
    break a promise together the least valuable goes, machine by machine, until none does.
    """
    merged: dict[tuple[object, ...], tuple[PlacedPlan, list[float]]] = {}
    for placed, share in assigned:
        key = (placed.query.id, *((name, step) for name, step in placed.plan.items()))
        merged.setdefault(key, (placed, []))[1].append(share)
    kept = [(placed, math.fsum(shares)) for placed, shares in merged.values()]
    while True:
        evaluation = evaluate(catalogue, kept)
        wrong = _wrong(kept, evaluation)
        if not wrong:
            return kept, evaluation
        dropped: set[int] = set()
        busy: set[str] = set()
        for k in sorted(wrong, key=lambda k: kept[k][0].query.demand_rps * kept[k][1]):
            devices = {step.device for step in kept[k][0].use.steps}
            if not devices & busy:
                busy |= devices
                dropped.add(k)
        kept = [pair for k, pair in enumerate(kept) if k not in dropped]


def _wrong(assigned: Sequence[tuple[PlacedPlan, float]], evaluation: Evaluation) -> list[int]:
    full = {resource for resource, _ in evaluation.overloads}
    return [
        k
        for k, ((placed, _), fault) in enumerate(zip(assigned, evaluation.broken, strict=True))
        if fault is not None or full & placed.touches
    ]


def report(
    catalogue: Catalogue,
    stands: Standing,
    *,
    planner: str,
    seed: int,
    hopeless: Collection[str],
    evaluations: int,
    seconds: Mapping[str, float],
    bound_rps: float | None = None,
) -> Decision:
    """Write the decision down.

    Args:
        catalogue: Compiled queries.
        stands: What was admitted.
        planner: Name of the planner.
        seed: What it ran with.
        hopeless: Queries for which it found no plan even alone.
        evaluations: Plans it evaluated.
        seconds: By phase.
        bound_rps: A proven bound, None where there is none.
    """
    assigned, evaluation = stands
    order = {query.id: k for k, query in enumerate(catalogue.scenario.queries)}
    assignments = [
        Assignment(
            query=placed.query.id,
            share=min(1.0, share),
            plan=_with_replicas(placed, evaluation.ledger),
            estimate=estimate,
        )
        for (placed, share), estimate in zip(assigned, evaluation.estimates, strict=True)
    ]
    shares: dict[str, float] = {}
    for a in assignments:
        shares[a.query] = shares.get(a.query, 0.0) + a.share
    return Decision(
        planner=planner,
        seed=seed,
        goodput_rps=evaluation.goodput_rps,
        bound_rps=bound_rps,
        certified=bound_rps is not None,
        deployment=evaluation.deployment,
        open_devices=tuple(evaluation.ledger.devices()),
        seconds=dict(seconds),
        assignments=tuple(sorted(assignments, key=lambda a: (order[a.query], -a.share))),
        rejected=tuple(
            _rejection(query.id, shares.get(query.id, 0.0), query.id in hopeless)
            for query in catalogue.scenario.queries
            if shares.get(query.id, 0.0) < 1 - 1e-6
        ),
        evaluations=evaluations,
    )


def _rejection(query: str, share: float, hopeless: bool) -> Rejection:
    if hopeless:
        return Rejection(
            query=query, reason="this planner finds no plan within the objectives", binding="plan"
        )
    part = f"only {percent(share)} of it" if share > 0 else "nothing of it"
    return Rejection(
        query=query, reason=f"{part} fits what those before it left", binding="capacity"
    )


def _with_replicas(placed: PlacedPlan, ledger: Ledger) -> Plan:
    keys = {name: use.key for name, use in zip(placed.plan, placed.use.steps, strict=True)}
    return {
        name: dataclasses.replace(step, replicas=ledger.replicas_of(keys[name]))
        for name, step in placed.plan.items()
    }
