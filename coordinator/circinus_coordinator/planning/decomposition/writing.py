"""A rounded solution written down as a decision."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from circinus.decision import Assignment, Decision, Deployment, Estimate, Plan, Step
from circinus.fleet import SECONDS_PER_HOUR, Billing
from circinus.query import Query
from circinus_coordinator.planning.certificate import above
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.decomposition.placement import Placed
from circinus_coordinator.planning.decomposition.refusing import Refusing
from circinus_coordinator.planning.decomposition.solve import Solution
from circinus_coordinator.planning.decomposition.worth import resource_prices
from circinus_coordinator.planning.placed import PlacedPlan, place, snapped

__all__ = ["Book", "write"]

_WHOLE = 1 - 1e-6


def write(
    market: Market,
    solution: Solution,
    placed: Sequence[Placed],
    *,
    planner: str,
    seed: int,
    seconds: Mapping[str, float],
    give: bool = True,
) -> Decision:
    """Assignments, costs, and for whoever is turned away what stood in the way.

    Args:
        give: Whoever fits after all is served, where nobody else was to have the room.
    """
    book, queries = Book(market), market.catalogue.scenario.queries
    left = market.rate.copy()
    for p in placed:
        left[p.query] -= p.rate
    left[left <= (1 - _WHOLE) * market.rate] = 0.0
    refusing = Refusing(market, solution, placed)
    placed = [*placed, *refusing.spare(left, give=give)]
    merged: dict[tuple[int, int, int, tuple[str, ...]], float] = defaultdict(float)
    for p in placed:
        merged[p.query, p.kind, p.template, p.devices] += p.rate
    assignments = []
    shares: dict[int, float] = defaultdict(float)
    for (query, kind, template, devices), rate in sorted(
        merged.items(), key=lambda item: (item[0][0], -item[1])
    ):
        share = min(1.0, rate / float(market.rate[query]))
        shares[query] += share
        asked = queries[query]
        assignments.append(book.assignment(asked, kind, template, devices, share))
        book.charge(asked, kind, template, devices, rate)
    goodput = math.fsum(
        float(market.weight[q] * market.rate[q]) * min(1.0, share) for q, share in shares.items()
    )
    return Decision(
        planner=planner,
        seed=seed,
        goodput_rps=goodput,
        bound_rps=above(solution.bound_rps, goodput),
        certified=True,
        deployment=book.deployment(),
        open_devices=tuple(sorted(book.devices)),
        seconds=dict(seconds),
        assignments=tuple(assignments),
        rejected=tuple(refusing.rejections(left)),
        prices=resource_prices(market, solution.prices),
    )


class Book:
    """Writes assignments, sharing what is alike, and adds up what they cost."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._placed: dict[tuple[int, int], PlacedPlan] = {}
        self._plans: dict[tuple[int, int, tuple[str, ...]], Plan] = {}
        self._estimates: dict[tuple[int, int, object], Estimate] = {}
        self.devices: set[str] = set()
        self._usage: list[float] = []
        self._network: list[float] = []

    def assignment(
        self,
        asked: Query,
        kind: int,
        template: int,
        devices: tuple[str, ...],
        share: float,
    ) -> Assignment:
        """One line of the decision."""
        told = (kind, template, asked.slo)
        if told not in self._estimates:
            known = self._market.classes[kind].templates
            accuracy = float(known.accuracy[template])
            self._estimates[told] = Estimate(
                latency_ms=snapped(float(known.latency_ms[template]), asked.slo.latency_ms),
                accuracy=accuracy if accuracy >= 0 else None,
                cost_usd_per_1000=snapped(
                    float(known.usd[template]) * 1000, asked.slo.cost_usd_per_1000
                ),
            )
        plan = self._plan(kind, template, devices)
        return Assignment(query=asked.id, share=share, plan=plan, estimate=self._estimates[told])

    def charge(
        self, asked: Query, kind: int, template: int, devices: tuple[str, ...], rate: float
    ) -> None:
        """Count what so many requests per second cost."""
        key = (kind, template)
        if key not in self._placed:
            plan = self._plan(kind, template, devices)
            self._placed[key] = place(self._market.catalogue, asked, plan)
        placed = self._placed[key]
        self._usage.append(placed.usage_usd * rate * SECONDS_PER_HOUR)
        self._network.append(placed.network_usd * rate * SECONDS_PER_HOUR)

    def _plan(self, kind: int, template: int, devices: tuple[str, ...]) -> Plan:
        key = (kind, template, devices)
        if key not in self._plans:
            programme = self._market.classes[kind].programme
            options = self._market.classes[kind].templates.found[template].options
            steps = {
                step.name: Step(
                    device=devices[step.slot[option]],
                    config=step.rows[option].config,
                    batch=step.rows[option].batch,
                )
                for step, option in zip(programme.steps, options, strict=True)
            }
            self._plans[key] = {name: steps[name] for name in programme.pipeline.operators}
            self.devices.update(step.device for step in steps.values())
        return self._plans[key]

    def deployment(self) -> Deployment:
        """US dollars per hour of everything that runs."""
        scenario = self._market.catalogue.scenario
        kinds = [scenario.class_of(device) for device in self.devices]
        return Deployment(
            usage=math.fsum(self._usage),
            machines=math.fsum(k.price_usd_hour for k in kinds if k.billing is Billing.MACHINE),
            network=math.fsum(self._network),
        )
