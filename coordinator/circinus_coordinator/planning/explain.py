"""Why a query is not served, or not in full, and the least that would change it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from circinus.decision import Decision, Rejection
from circinus.errors import InvalidInput
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.candidates import candidate_placements
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.certificate import Alone, alone
from circinus_coordinator.planning.evaluate import (
    PlacedPlan,
    arrival_scv,
    evaluate,
    meets,
    place,
    plan_of,
    streams,
)
from circinus_coordinator.planning.labels import Aim, Found, Limits, solve
from circinus_coordinator.planning.loads import (
    LINK,
    MEMORY,
    UPLINK,
    WORKER,
    Ledger,
    Resource,
    describe,
)
from circinus_coordinator.planning.offers import Pricing, offers
from circinus_coordinator.planning.search import limits_of

__all__ = ["Explanation", "explain", "rejection"]

NO_PROFILE = "no profile"
NOT_CONNECTED = "not connected"
_USD = "USD per 1,000 requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What became of a query, and why.

    Attributes:
        query: Its id.
        share: Share of its traffic that is served.
        binding: The constraint in the way: ``latency``, ``accuracy``, ``cost``,
            ``no profile``, ``not connected``, or a resource (``cores of edge-1``). For a query
            served in full the SLO with the least slack, None without SLOs.
        reason: A sentence for people.
        relaxation: The cheapest change found that would admit the rest, if any.
    """

    query: str
    share: float
    binding: str | None
    reason: str
    relaxation: str | None = None


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
    whole = not query.splittable
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
    slack: list[tuple[float, str, str]] = []
    for placed in plans:
        estimate, slo = placed.estimate(ledger), query.slo
        if slo.latency_ms is not None:
            slack.append(
                (
                    1 - estimate.latency_ms / slo.latency_ms,
                    "latency",
                    f"{estimate.latency_ms:.4g} of {slo.latency_ms:g} ms",
                )
            )
        if slo.accuracy and estimate.accuracy is not None:
            slack.append(
                (
                    estimate.accuracy / slo.accuracy - 1,
                    "accuracy",
                    f"{estimate.accuracy:.4g} for at least {slo.accuracy:g}",
                )
            )
        if slo.cost_usd_per_1000:
            slack.append(
                (
                    1 - estimate.cost_usd_per_1000 / slo.cost_usd_per_1000,
                    "cost",
                    f"{estimate.cost_usd_per_1000:.4g} of {slo.cost_usd_per_1000:g} {_USD}",
                )
            )
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
        reason=f"served in full; {binding} is the tightest objective: {text}",
    )


def _turned_away(catalogue: Catalogue, ledger: Ledger, solo: Alone, share: float) -> Explanation:
    if solo.best is None:
        return _Impossible(catalogue, solo.query).explain()
    return _crowded_out(catalogue, ledger, solo, share)


class _Impossible:
    """A query that has no plan even alone on the empty fleet."""

    def __init__(self, catalogue: Catalogue, query: Query) -> None:
        self.catalogue, self.query = catalogue, query
        self.limits = limits_of(query)
        self.floor = query.slo.accuracy

    def explain(self) -> Explanation:
        return self._nowhere() or self._objectives()

    def _say(self, binding: str, reason: str, relaxation: str | None = None) -> Explanation:
        return Explanation(
            query=self.query.id, share=0.0, binding=binding, reason=reason, relaxation=relaxation
        )

    def _solve(self, limits: Limits, aim: Aim, floor: float | None) -> Found | None:
        programme = self.catalogue.programme(self.query, floor=-1.0 if floor is None else floor)
        choices, moving = offers(
            programme, Ledger(self.catalogue.scenario), Pricing(), rate_rps=0.0
        )
        return solve(programme, choices, moving, limits, aim=aim)

    def _nowhere(self) -> Explanation | None:
        """No placement at all, whatever the objectives."""
        scenario, catalogue = self.catalogue.scenario, self.catalogue
        pipeline = scenario.pipelines[self.query.pipeline]
        placements = candidate_placements(scenario, self.query)
        for name, spec in pipeline.operators.items():
            devices = [device for operator, device in placements if operator == name]
            if not devices:
                return self._say(
                    NOT_CONNECTED,
                    f"no device may run {name}: its tiers, the links and the way "
                    "outwards leave none",
                    "add a link, a device in its tiers, or allow more tiers",
                )
            classes = sorted({scenario.device[device].device_class for device in devices})
            rows = [
                row
                for kind in classes
                for row in catalogue.profiles.rows(pipeline.name, spec, kind)
            ]
            if not rows:
                return self._say(
                    NO_PROFILE,
                    f"{name} is not profiled on {', '.join(classes)}",
                    f"profile {name} on one of: {', '.join(classes)}",
                )
            step = next(
                s for s in catalogue.programme(self.query, floor=-1.0).steps if s.name == name
            )
            if not step.rows:
                least = min(row.memory_mb for row in rows)
                return self._say(
                    f"memory of {', '.join(classes)}",
                    f"{name} fits on none of {', '.join(classes)}",
                    f"{name} needs {least:g} MB and every resource its profile uses",
                )
        if self._solve(Limits(), Aim.VALUE, None) is None:
            return self._say(
                NOT_CONNECTED,
                "no placement has a link for each of its hops",
                "add the missing link",
            )
        return None

    def _objectives(self) -> Explanation:
        slo, ways = self.query.slo, []
        if slo.latency_ms is not None and (fast := self._fastest(self.limits.usd)):
            need = fast.latency_ms(slo.percentile)
            ways.append(
                (
                    need / slo.latency_ms - 1,
                    "latency",
                    f"the fastest plan takes {need:.4g} ms, {slo.latency_ms:g} are allowed",
                    f"needs {_up(need - slo.latency_ms)} ms more latency",
                )
            )
        if slo.accuracy is not None and (best := self._best_accuracy(self.limits)) is not None:
            ways.append(
                (
                    1 - best / slo.accuracy if slo.accuracy else 0.0,
                    "accuracy",
                    f"{best:.4g} is the best within reach, {slo.accuracy:g} is asked for",
                    f"needs an accuracy floor of at most {best:g}",
                )
            )
        if slo.cost_usd_per_1000 is not None:
            cheap = self._solve(dataclasses.replace(self.limits, usd=np.inf), Aim.VALUE, self.floor)
            if cheap:
                need, limit = cheap.usd * 1000, slo.cost_usd_per_1000
                ways.append(
                    (
                        need / max(limit, 1e-9) - 1,
                        "cost",
                        f"the cheapest plan costs {need:.4g} {_USD}, {limit:g} are allowed",
                        f"needs {_up(need - limit)} more {_USD}",
                    )
                )
        if ways:
            _, binding, reason, relaxation = min(ways)
            return self._say(binding, reason, relaxation)
        return self._several()

    def _fastest(self, usd: float) -> Found | None:
        return self._solve(Limits(usd=usd), Aim.LATENCY, self.floor)

    def _best_accuracy(self, limits: Limits) -> float | None:
        """Highest accuracy level with a plan within the limits; feasibility is monotone."""
        levels = self.catalogue.accuracy(self.query.pipeline).levels()
        low, high = 0, len(levels)  # the answer lies in levels[low:high]
        while low < high:
            middle = (low + high) // 2
            if self._solve(limits, Aim.VALUE, levels[middle]) is None:
                low = middle + 1
            else:
                high = middle
        return levels[low] if low < len(levels) else None

    def _several(self) -> Explanation:
        """No single objective is in the way: more than one has to give."""
        slo = self.query.slo
        best = self._best_accuracy(Limits())
        if slo.accuracy is not None and best is None:
            return self._say(
                NO_PROFILE,
                f"no accuracy of {self.query.pipeline} is measured for a config "
                "vector that can be placed",
                "measure its accuracy, or drop the accuracy floor",
            )
        floor, parts, binding = self.floor, [], "latency"
        if slo.accuracy is not None and best is not None and best < slo.accuracy:
            floor, binding = best, "accuracy"
            parts.append(f"an accuracy floor of at most {best:g}")
        fast = self._solve(Limits(), Aim.LATENCY, floor)
        assert fast is not None  # the accuracy level above was found with a plan
        need = fast.latency_ms(slo.percentile)
        if slo.latency_ms is not None and need > slo.latency_ms:
            parts.append(f"{_up(need - slo.latency_ms)} ms more latency")
        cost = slo.cost_usd_per_1000
        if cost is not None and fast.usd * 1000 > cost:
            parts.append(f"{_up(fast.usd * 1000 - cost)} more {_USD}")
        return self._say(
            binding,
            "its objectives cannot be met together, whichever one gives way",
            f"needs {' and '.join(parts)}" if parts else None,
        )


def _crowded_out(catalogue: Catalogue, ledger: Ledger, solo: Alone, share: float) -> Explanation:
    """A query that would be served if others left it room, or the fleet were larger."""
    query, rest = solo.query, 1.0 - share
    attempts = [
        _attempt(query, ledger, plan, rest) for plan in _alternatives(catalogue, solo, ledger, rest)
    ]
    _, binding, reason, relaxation = min(attempts)
    if share > 0:
        reason = f"{rest:.0%} of its traffic is not served: {reason}"
    return Explanation(
        query=query.id, share=share, binding=binding, reason=reason, relaxation=relaxation
    )


def _alternatives(
    catalogue: Catalogue, solo: Alone, ledger: Ledger, rest: float
) -> Iterable[PlacedPlan]:
    """The plan it would take alone, and the one that keeps clear of what is full."""
    assert solo.best is not None
    yield solo.best
    query = solo.query
    full: dict[Resource, float] = {
        r: (load / capacity) ** 4 / capacity
        for r, load in ledger.linear.items()
        if 0 < (capacity := ledger.capacity(r)) < np.inf
    }
    memory: dict[Resource, float] = {
        (MEMORY, d): (ledger.load((MEMORY, d)) / capacity) ** 4 / capacity
        for d in ledger.devices()
        if (capacity := ledger.capacity((MEMORY, d))) > 0
    }
    programme = catalogue.programme(query, slots=2)
    rate = query.rate_rps * query.count * rest
    choices, moving = offers(
        programme,
        Ledger(catalogue.scenario),
        Pricing(usd=1e-9, of={**full, **memory}),
        rate_rps=rate,
        streams=streams(query, rest),
        scv=arrival_scv(query),
    )
    found = solve(programme, choices, moving, limits_of(query))
    if found is not None:
        yield place(catalogue, query, plan_of(programme, found))


def _attempt(
    query: Query, ledger: Ledger, placed: PlacedPlan, share: float
) -> tuple[float, str, str, str]:
    """(relative shortage, binding, reason, relaxation) of adding this plan to the loads."""
    undo = ledger.add(placed.use, query.rate_rps * query.count * share, streams(query, share))
    try:
        over = ledger.violations(placed.touches)
        if over:
            names = " and ".join(describe(resource) for resource, _ in over)
            lacking = " and ".join(_lacking(ledger, resource) for resource, _ in over)
            return (
                sum(ratio - 1 for _, ratio in over),
                describe(over[0][0]),
                f"what is left of {names} does not hold it",
                f"needs {lacking}",
            )
        if meets(query, placed.estimate(ledger)) == "latency":
            late = placed.latency_ms(ledger) - (query.slo.latency_ms or 0.0)
            return (
                late / (query.slo.latency_ms or 1.0),
                "latency",
                "at the planned load it would wait too long",
                f"needs {_up(late)} ms more latency",
            )
        device = max((s.device for s in placed.use.steps), key=lambda d: ledger.load(("cores", d)))
        return (
            0.0,
            describe(("cores", device)),
            "the waiting it causes would break the latency of queries already served",
            f"needs a less loaded machine beside {device}, or a lower rate",
        )
    finally:
        undo()


def _lacking(ledger: Ledger, resource: Resource) -> str:
    short = ledger.load(resource) - ledger.capacity(resource)
    kind = resource[0]
    if kind == MEMORY:
        return f"{_up(short)} MB more on {resource[1]}"
    if kind == UPLINK:
        return f"{_up(short)} Mbit/s more uplink on {resource[1]}"
    if kind == WORKER:
        return f"a faster {resource[2]} on {resource[1]} or a lower rate"
    # Only a part of these may be planned, so the machine or link must grow by more.
    grown = _up(short / ledger.scenario.max_utilisation)
    if kind == LINK:
        return f"{grown} Mbit/s more between {resource[1]} and {resource[2]}"
    return f"{grown} more {kind} on {resource[1]}"


def _up(amount: float) -> str:
    """Four significant digits, rounded up: the relaxation must suffice."""
    if amount <= 0:
        return "0"
    digit = 10.0 ** (np.floor(np.log10(amount)) - 3)
    return f"{np.ceil(amount / digit - 1e-9) * digit:.4g}"
