"""The exact optimum of small scenarios: all plans enumerated, one mixed-integer programme.

With `queueing: false` everything the judge looks at is linear or a matter of yes and no, so the
programme is the problem itself: weighted goodput first, then, at that goodput, deployment cost.
With `queueing: true` it leaves the waiting out and keeps the rest, replicas included. What it
then promises can be too much: its plans are put before the judge, who drops those whose SLOs do
not hold, while the programme's optimum stays a bound, since waiting only takes plans away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from circinus.decision import Decision, Step
from circinus.errors import InvalidInput, NoData
from circinus.query import Query
from circinus.scenario import Scenario
from circinus_coordinator.planning.baselines.programme import solve
from circinus_coordinator.planning.baselines.report import judged, report
from circinus_coordinator.planning.candidates import candidate_placements, edge_allowed
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.corrections import Rehearse
from circinus_coordinator.planning.decide import Clock
from circinus_coordinator.planning.placed import PlacedPlan, meets, place
from circinus_coordinator.planning.stop import Stop

__all__ = ["MOST_PLANS", "Exact"]

# HiGHS takes seconds for some thousand plans; a hundred thousand steps are enumerated in as many.
MOST_PLANS = 20_000
_MOST_STEPS = 400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """The exact mixed-integer programme over all plans, by HiGHS.

    Attributes:
        name: Name of the planner.
        most: Plans of all queries together beyond which it declines.
    """

    name: str
    most: int = MOST_PLANS

    def __call__(
        self,
        scenario: Scenario,
        *,
        effort: Stop,  # noqa: ARG002 - exact or not at all
        seed: int,
        previous: Decision | None,  # noqa: ARG002 - knows nothing of stickiness
        clock: Clock,
        rehearse: Rehearse | None = None,  # noqa: ARG002 - it would have to be exact too
    ) -> Decision:
        """Plan.

        Raises:
            InvalidInput: Where there are too many plans to enumerate.
        """
        started = clock()
        catalogue = Catalogue(scenario)
        plans = _all_plans(catalogue, self.most)
        compiled = clock()
        shares, bound = solve(catalogue, plans)
        assigned = [(placed, s) for placed, s in zip(plans, shares, strict=True) if s > 0]
        able = {placed.query.id for placed in plans}
        return report(
            catalogue,
            judged(catalogue, assigned),
            planner=self.name,
            seed=seed,
            hopeless={query.id for query in scenario.queries} - able,
            evaluations=len(plans),
            seconds={"compile": compiled - started, "select": clock() - compiled},
            bound_rps=bound,
        )


def _all_plans(catalogue: Catalogue, most: int) -> list[PlacedPlan]:
    """Every plan of every query that keeps its SLOs on the idle fleet."""
    found: list[PlacedPlan] = []
    steps = 0
    for query in catalogue.scenario.queries:
        for plan in _plans(catalogue, query):
            steps += len(plan)
            try:
                placed = place(catalogue, query, plan)
            except NoData:
                continue
            if meets(query, placed.estimate()) is None:
                found.append(placed)
            if len(found) > most or steps > _MOST_STEPS:
                raise InvalidInput(
                    f"too many plans to enumerate (more than {most})",
                    key=f"queries[{query.id}]",
                    remedy="a smaller scenario, or another planner",
                )
    return found


def _plans(catalogue: Catalogue, query: Query) -> Iterator[dict[str, Step]]:
    """Every plan that keeps the placement rules, operator by operator."""
    scenario = catalogue.scenario
    pipeline = scenario.pipelines[query.pipeline]
    ways: dict[str, list[Step]] = {name: [] for name in pipeline.operators}
    for name, device in candidate_placements(scenario, query):
        kind = scenario.class_of(device)
        for row in catalogue.profiles.rows(pipeline.name, pipeline.operators[name], kind.name):
            if row.memory_mb <= kind.memory_mb:
                ways[name].append(Step(device=device, config=row.config, batch=row.batch))

    def extend(begun: dict[str, Step], names: Sequence[str]) -> Iterator[dict[str, Step]]:
        if not names:
            yield begun
            return
        name = names[0]
        for step in ways[name]:
            if all(
                edge_allowed(scenario, pipeline, begun[need].device, step.device)
                for need in pipeline.operators[name].needs
            ):
                yield from extend({**begun, name: step}, names[1:])

    yield from extend({}, list(pipeline.operators))
