"""Accuracy and cost of a plan: properties of the plan, read off the scenario's tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from circinus.decision import Plan
from circinus.pipeline import Config
from circinus.profile import OperatorProfile
from circinus.query import Query
from circinus.scenario import Scenario

__all__ = ["Judge"]

# Limits are often set to what a plan costs, worked out in another order.
TOLERANCE = 1e-9

Vector = frozenset[tuple[str, Config]]


class Judge:
    """Says whether plans keep the SLOs that do not depend on load."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._exact: dict[tuple[str, Vector], float] = {}
        self._alike: dict[tuple[str, Vector], float] = {}
        for row in scenario.accuracy:
            self._exact[row.pipeline, row.key] = row.mean
            self._alike.setdefault((row.pipeline, self._core(row.pipeline, row.config)), row.mean)

    def _core(self, pipeline: str, configs: Mapping[str, Config]) -> Vector:
        """The config vector without knobs that cannot change outputs."""
        operators = self._scenario.pipelines[pipeline].operators
        cores = {
            name: Config({k: v for k, v in c.items() if k not in operators[name].neutral_knobs})
            for name, c in configs.items()
        }
        return frozenset((name, core) for name, core in cores.items() if len(core))

    def accuracy(self, pipeline: str, plan: Plan) -> float | None:
        """Mean accuracy; None where it was not measured.

        A row holds for every value of a neutral knob, unless the very vector has its own row.
        """
        configs = {name: step.config for name, step in plan.items()}
        vector = frozenset((name, config) for name, config in configs.items() if len(config))
        exact = self._exact.get((pipeline, vector))
        return (
            self._alike.get((pipeline, self._core(pipeline, configs))) if exact is None else exact
        )

    def cost_usd(
        self,
        plan: Plan,
        rows: Mapping[str, OperatorProfile],
        moves: Iterable[tuple[str, str, float]],
    ) -> float:
        """US dollars per request: computation pro rata, calls, and every edge's bytes.

        Args:
            moves: (from, to, bytes) of each edge of the DAG, input and delivery included.
        """
        scenario = self._scenario
        parts = [row.price_usd_per_call for row in rows.values()]
        parts += [
            scenario.class_of(plan[name].device).usage_cost_usd(row.compute_s)
            for name, row in rows.items()
        ]
        for a, b, size in moves:
            link = scenario.network.between(a, b)
            parts.append(link.cost_usd(size) if link is not None else 0.0)
        return math.fsum(parts)

    def keeps(self, query: Query, plan: Plan, cost_usd: float) -> bool:
        """Whether the plan meets the query's accuracy and cost SLOs."""
        slo = query.slo
        if slo.accuracy is not None:
            accuracy = self.accuracy(query.pipeline, plan)
            if accuracy is None or accuracy < slo.accuracy - TOLERANCE:
                return False
        cap = slo.cost_usd_per_1000
        return cap is None or cost_usd * 1000 <= cap * (1 + TOLERANCE)
