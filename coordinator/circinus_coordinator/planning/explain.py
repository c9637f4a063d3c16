"""Why a query is not served, or not in full, and the least that would change it."""

from __future__ import annotations

from circinus.decision import Decision, Estimate, Rejection
from circinus.errors import InvalidInput
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.certificate import Alone, alone
from circinus_coordinator.planning.evaluate import evaluate
from circinus_coordinator.planning.loads import Ledger
from circinus_coordinator.planning.placed import PlacedPlan, place
from circinus_coordinator.planning.relaxation import USD, Explanation, Impossible
from circinus_coordinator.planning.selection import splittable
from circinus_coordinator.planning.shortage import crowded_out

__all__ = ["Explanation", "explain", "rejection"]


def explain(scenario: Scenario, decision: Decision, query_id: str) -> Explanation:
    """Explain what a decision does with a query.

    Raises:
        InvalidInput: If the scenario has no such query.
        NoData: If the decision does not fit the scenario.
    """
    catalogue = Catalogue(scenario)
    queries = {query.id: query for query in scenario.queries}
    if query_id not in queries:
        raise InvalidInput(f"no query {query_id!r}", remedy=f"known: {', '.join(queries)}")
    query = queries[query_id]
    assigned = [
        (place(catalogue, queries[a.query], a.plan), a.share)
        for a in decision.assignments
        if a.query in queries
    ]
    judged = evaluate(catalogue, assigned)
    share = sum(s for placed, s in assigned if placed.query.id == query_id)
    if share >= 1 - 1e-6:
        return _served(
            query, [placed for placed, _ in assigned if placed.query.id == query_id], judged.ledger
        )
    whole = not splittable(catalogue, query)
    return _turned_away(catalogue, judged.ledger, alone(catalogue, query, whole=whole), share)


def rejection(catalogue: Catalogue, ledger: Ledger, solo: Alone, share: float) -> Rejection:
    """The decision's entry for a query served to `share` below 1."""
    found = _turned_away(catalogue, ledger, solo, share)
    return Rejection(
        query=found.query,
        reason=found.reason,
        binding=found.binding or "",
        relaxation=found.relaxation,
    )


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


def _turned_away(catalogue: Catalogue, ledger: Ledger, solo: Alone, share: float) -> Explanation:
    if solo.best is None:
        return Impossible(catalogue, solo.query).explain()
    return crowded_out(catalogue, ledger, solo, share)
