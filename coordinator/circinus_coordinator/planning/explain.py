"""Why a query is not served, or not in full, and the least that would change it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from circinus.decision import Decision, Estimate, Rejection
from circinus.errors import InvalidInput
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.alike import shape_of
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.charges import charges
from circinus_coordinator.planning.evaluate import evaluate
from circinus_coordinator.planning.learning import learnt_from
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, place
from circinus_coordinator.planning.relaxation import USD, Explanation
from circinus_coordinator.planning.remedies import Refusals
from circinus_coordinator.planning.scene import Scene

__all__ = ["WHOLE", "Explanation", "explain", "refused_of", "rejections", "thorough"]

WHOLE = 1 - 1e-6
"""A share that is all of it, but for rounding."""
# Up to this many queries turned away, the cheapest change is sought among more plans.
_THOROUGH = 16


def explain(scenario: Scenario, decision: Decision, query_id: str) -> Explanation:
    """Explain what a decision does with a query.

    Raises:
        InvalidInput: If the scenario has no such query.
        NoData: If the decision does not fit the scenario.
    """
    catalogue = Catalogue(scenario)
    catalogue = catalogue.corrected(learnt_from(catalogue, decision))
    queries = {query.id: query for query in scenario.queries}
    if query_id not in queries:
        raise InvalidInput(f"no query {query_id!r}", remedy=f"known: {', '.join(queries)}")
    query = queries[query_id]
    assigned = [
        (place(catalogue, queries[a.query], a.plan), a.share)
        for a in decision.assignments
        if a.query in queries
    ]
    scene = Scene(catalogue, evaluate(catalogue, assigned).ledger, assigned)
    mine = [(placed, share) for placed, share in assigned if placed.query.id == query_id]
    share = sum(s for _, s in mine)
    if share >= WHOLE:
        found = _served(query, [placed for placed, _ in mine], scene.ledger)
    else:
        found, wanted = Refusals(scene).explain(query, share, thorough=True)
        mine = [*mine, *([(wanted, 1 - share)] if wanted is not None else [])]
    if decision.prices:
        paid = charges(scenario, decision.prices, mine)
        price = sum(charge.value for charge in paid)
        found = dataclasses.replace(found, charges=paid, price=price)
    return dataclasses.replace(found, weight=query.weight)


def rejections(
    scene: Scene,
    shares: Mapping[str, float],
    within: Mapping[str, Sequence[PlacedPlan | None]],
) -> tuple[list[Rejection], list[tuple[PlacedPlan, float]]]:
    """The decision's entry for each query that is not served in full, in their order.

    Also plans, with the shares they would carry, of those that lack nothing: each of them may be
    taken in beside all that is served.

    Args:
        scene: Who is served.
        shares: Share of each query's traffic that is served.
        within: Of queries, what `within_objectives` found at the loads of the scene.
    """
    refused = refused_of(scene.scenario, shares)
    reasons, fully = Refusals(scene, within), thorough(refused)
    told: dict[tuple[object, ...], tuple[Explanation, PlacedPlan | None]] = {}
    found: list[Rejection] = []
    spare: list[tuple[PlacedPlan, float]] = []
    for query in refused:
        share = shares.get(query.id, 0.0)
        key = (*shape_of(query), query.count, share)
        if key not in told:  # who is the same lacks the same
            told[key] = reasons.explain(query, share, thorough=fully)
            why, wanted = told[key]
            if wanted is not None and not why.relaxations:
                spare.append((wanted, 1 - share))
        why, _ = told[key]
        found.append(
            Rejection(
                query=query.id,
                reason=why.reason,
                binding=why.binding or "",
                relaxation=why.relaxation,
                relaxations=why.relaxations,
            )
        )
    return found, spare


def refused_of(scenario: Scenario, shares: Mapping[str, float]) -> list[Query]:
    """Queries that are not served in full, in their order."""
    return [q for q in scenario.queries if shares.get(q.id, 0.0) < WHOLE]


def thorough(refused: Sequence[Query]) -> bool:
    """Whether so few are refused that the cheapest change is sought among more plans."""
    return len(refused) <= _THOROUGH


def _served(query: Query, plans: list[PlacedPlan], ledger: Ledger) -> Explanation:
    slack = [tight for placed in plans for tight in _slack(query, placed.estimate(ledger))]
    if not slack:
        return Explanation(
            query=query.id,
            share=1.0,
            binding=None,
            reason="served in full; it has no objective to come close to",
        )
    _, binding, text = min(slack)
    return Explanation(
        query=query.id,
        share=1.0,
        binding=binding,
        reason=f"served in full; its tightest objective is {binding}: {text}",
    )


def _slack(query: Query, estimate: Estimate) -> list[tuple[float, str, str]]:
    """(relative slack, objective, in words) of each objective."""
    slo, found = query.slo, []
    if slo.latency_ms is not None:
        ms, limit = estimate.latency_ms, slo.latency_ms
        found.append((1 - ms / limit, "latency", f"{ms:.4g} ms promised, {limit:g} ms are allowed"))
    if slo.accuracy and estimate.accuracy is not None:
        mean, floor = estimate.accuracy, slo.accuracy
        found.append(
            (mean / floor - 1, "accuracy", f"{mean:.4g} promised, at least {floor:g} is asked for")
        )
    if slo.cost_usd_per_1000:
        usd, limit = estimate.cost_usd_per_1000, slo.cost_usd_per_1000
        found.append((1 - usd / limit, "cost", f"{usd:.4g} {USD} promised, {limit:g} are allowed"))
    return found
