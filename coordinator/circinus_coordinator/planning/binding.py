"""Plans of the relaxation bound to actual machines, each looked up once for all who share it."""

from __future__ import annotations

import dataclasses

from circinus.decision import Plan, Step
from circinus_coordinator.planning.decomposition.classes import Market
from circinus_coordinator.planning.placed import PlacedPlan, arrival_scv, place

__all__ = ["Binder"]

# Plans kept at a time, some kilobytes each.
_KEPT = 50_000


class Binder:
    """Places templates of a market's classes on machines."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self._placed: dict[tuple[object, ...], PlacedPlan] = {}

    def placed(self, query: int, kind: int, template: int, devices: tuple[str, ...]) -> PlacedPlan:
        """A query's plan.

        Args:
            query: Position in the scenario.
            kind: Number of its class.
            template: Plan of the class.
            devices: One for each position of the class's layout, sources first.

        Raises:
            NoData: Where a step has no profile row, or a hop no link.
        """
        asked = self.market.catalogue.scenario.queries[query]
        # Of a class, pipeline, percentile and the roles of the sources are the same; but the most
        # urgent are served first.
        shared = (kind, template, devices, arrival_scv(asked), asked.slo.latency_ms)
        found = self._placed.get(shared)
        if found is None:
            if len(self._placed) >= _KEPT:
                self._placed.clear()
            found = place(self.market.catalogue, asked, self._plan(kind, template, devices))
            self._placed[shared] = found
        return found if found.query is asked else dataclasses.replace(found, query=asked)

    def _plan(self, kind: int, template: int, devices: tuple[str, ...]) -> Plan:
        programme = self.market.classes[kind].programme
        options = self.market.classes[kind].templates.found[template].options
        steps = {
            step.name: Step(
                device=devices[step.slot[option]],
                config=step.rows[option].config,
                batch=step.rows[option].batch,
            )
            for step, option in zip(programme.steps, options, strict=True)
        }
        return {name: steps[name] for name in programme.pipeline.operators}
