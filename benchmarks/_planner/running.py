"""Every planner on every case, one after another, each within its time."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks._planner.cases import Case, digest
from benchmarks._planner.judging import Worth, judge, play
from benchmarks._planner.options import OURS, Options
from benchmarks._planner.same import Same, same_queries
from benchmarks._planner.timebox import OutOfTime, time_box
from circinus.decision import Decision
from circinus.errors import CircinusError
from circinus.scenario import Scenario
from circinus_coordinator.generation import generate
from circinus_coordinator.planning import PLANNERS, plan
from circinus_coordinator.planning.binding import Binder
from circinus_coordinator.planning.catalogue import Catalogue
from circinus_coordinator.planning.decomposition.classes import market
from circinus_coordinator.planning.solo import all_alone
from circinus_coordinator.rehearsal import Rehearsal

__all__ = ["Bench", "Result", "Timing"]

_WARM_UP_S = 3.0
# Phases of `Decision.seconds` that depend on query classes only, and which a planner that goes on
# running does not repeat.
_CATALOGUE = ("compile", "catalogue", "discover")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one call of `plan`: on the clock, and of CPU over all threads.

    Explaining why queries were refused counts on the clock only: no baseline does it.
    """

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One planner on one case.

    Attributes:
        status: ``ok``, or ``not run: `` and why.
        too_long: Not run since the time is not enough.
        demand_rps: Weighted rate of all queries.
        cold: Planning from nothing.
        again: Planning once more with the decision known, for planners that use it.
        catalogue_s: CPU seconds of `cold` that went into query classes.
        alone_usd: By query, dollars per request of the cheapest plan within its SLOs on the empty
            fleet; without those that have none.
        same: For a planner that ours is to be cheaper than.
    """

    case: Case
    planner: str
    status: str
    demand_rps: float
    too_long: bool = False
    decision: Decision | None = field(default=None, repr=False)
    worth: Worth | None = field(default=None, repr=False)
    cold: Timing | None = None
    again: Timing | None = None
    catalogue_s: float | None = None
    alone_usd: Mapping[str, float] = field(default_factory=dict, repr=False)
    same: Same | None = None

    @property
    def ran(self) -> bool:
        """Whether there are figures."""
        return self.worth is not None

    @property
    def goodput(self) -> float:
        """By the evaluator, as a part of the demand; not a number where it was not run."""
        if self.worth is None:
            return math.nan
        return self.worth.evaluated.goodput_rps / self.demand_rps if self.demand_rps > 0 else 0.0

    @property
    def simulated(self) -> float:
        """By the simulator, as a part of what came; not a number where it was not run."""
        return math.nan if self.worth is None else self.worth.simulated.goodput

    @property
    def bound(self) -> float | None:
        """Certified upper bound as a part of the demand; None without one."""
        decision = self.decision
        if decision is None or decision.bound_rps is None or not decision.certified:
            return None
        return decision.bound_rps / self.demand_rps if self.demand_rps > 0 else 0.0


class Bench:
    """Runs cases and remembers who took too long.

    Args:
        options: What to run.
        say: Takes a line of progress.
    """

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self.options, self.say = options, say
        self.digests: dict[int, str] = {}
        self._too_long: dict[str, int] = {}

    def warm_up(self) -> None:
        """One plan by each kind of planner, so that nobody is charged with imports."""
        scenario = generate(queries=1, devices=3, seed=0)
        kinds = {type(PLANNERS[name]): name for name in reversed(self.options.planners)}
        for name in kinds.values():
            try:
                with time_box(_WARM_UP_S):
                    plan(scenario, planner=name)
            except (CircinusError, OutOfTime):
                continue

    def run(self, cases: Sequence[Case]) -> Iterator[Result]:
        """The results, case by case; within one, planners in order."""
        for number, case in enumerate(cases):
            scenario = case.scenario()
            self.digests[number] = digest(scenario)
            catalogue = Catalogue(scenario)
            alone_usd = _alone_usd(catalogue)
            for name in self.options.planners:
                self.say(
                    f"{number + 1}/{len(cases)}: {case.queries} queries, "
                    f"{case.contention:g} fits, seed {case.seed}: {name}"
                )
                found = self._one(case, scenario, catalogue, name)
                same = None
                if found.worth is not None and OURS in self.options.planners:
                    same = same_queries(
                        case,
                        scenario,
                        name,
                        found.worth.evaluated,
                        alone_usd,
                        limit_s=self.options.time_limit_s,
                    )
                yield dataclasses.replace(found, alone_usd=alone_usd, same=same)

    def _one(self, case: Case, scenario: Scenario, catalogue: Catalogue, name: str) -> Result:
        demand = math.fsum(query.demand_rps for query in scenario.queries)
        limit = self.options.time_limit_s

        def not_run(why: str, *, too_long: bool = False) -> Result:
            return Result(
                case=case,
                planner=name,
                status=f"not run: {why}",
                demand_rps=demand,
                too_long=too_long,
            )

        over = f"took over {limit:g} s of CPU with {{}} queries"
        before = self._too_long.get(name)
        if before is not None and before <= case.queries:
            return not_run(over.format(before), too_long=True)
        try:
            with time_box(limit):
                decision, cold = self._timed(scenario, name, case.seed, None)
        except OutOfTime:
            self._too_long[name] = case.queries
            return not_run(over.format(case.queries), too_long=True)
        except CircinusError as error:
            return not_run(str(error))
        return Result(
            case=case,
            planner=name,
            status="ok",
            demand_rps=demand,
            decision=decision,
            worth=Worth(
                evaluated=judge(catalogue, decision),
                simulated=play(scenario, decision, requests=self.options.requests, seed=case.seed),
            ),
            cold=cold,
            again=self._again(scenario, name, case.seed, decision),
            catalogue_s=_catalogue_s(decision.seconds),
        )

    def _again(self, scenario: Scenario, name: str, seed: int, known: Decision) -> Timing | None:
        """None for baselines, which keep nothing: it would be the first time again."""
        if name != OURS:
            return None
        try:
            with time_box(self.options.time_limit_s):
                return self._timed(scenario, name, seed, known)[1]
        except OutOfTime:
            return None

    def _timed(
        self, scenario: Scenario, name: str, seed: int, previous: Decision | None
    ) -> tuple[Decision, Timing]:
        wall, cpu = time.perf_counter(), time.process_time()
        decision = plan(
            scenario,
            planner=name,
            seed=seed,
            previous=previous,
            clock=time.process_time,
            rehearse=Rehearsal(seed=seed) if self.options.rehearse else None,
        )
        spent = time.process_time() - cpu - decision.seconds.get("explain", 0.0)
        return decision, Timing(wall_s=time.perf_counter() - wall, cpu_s=spent)


def _alone_usd(catalogue: Catalogue) -> dict[str, float]:
    """What nobody serves a request of each query for less than: load only takes plans away."""
    found = market(catalogue)
    alone = all_alone(found, Binder(found))
    return {name: one.best.usd for name, one in alone.items() if one.best is not None}


def _catalogue_s(seconds: Mapping[str, float]) -> float:
    return math.fsum(seconds.get(phase, 0.0) for phase in _CATALOGUE)
