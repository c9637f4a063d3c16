"""One world, all schemes: what each promised, what was true, and what it spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks._profiler import baselines
from benchmarks._profiler.baselines import Runs
from benchmarks._profiler.generated import generated
from benchmarks._profiler.measured import measured
from benchmarks._profiler.schemes import Lab, factored
from benchmarks._profiler.table import DATA, load
from benchmarks._profiler.world import World, asks
from circinus_coordinator.profiling.seeking import Ask, Rules

__all__ = ["OURS", "SCHEMES", "WORLDS", "Row", "trial"]

OURS = "circinus"
RULES = Rules()
_PLAIN = replace(RULES, zone=0.0)
_DEARER = 1.05

Search = Callable[[Runs, Ask], int | None]
SCHEMES: Mapping[str, Search] = {
    "full plans, 100 runs": lambda runs, ask: baselines.fixed(runs, ask, 100),
    "full plans, 300 runs": lambda runs, ask: baselines.fixed(runs, ask, 300),
    "full plans, 1000 runs": lambda runs, ask: baselines.fixed(runs, ask, 1000),
    "sequential": lambda runs, ask: baselines.sequential(runs, ask, RULES),
    "sequential, no zone": lambda runs, ask: baselines.sequential(runs, ask, _PLAIN),
    "successive halving": lambda runs, ask: baselines.halving(runs, ask, 300),
    "Bayesian optimisation": baselines.bayesian,
}
WORLDS: Mapping[str, Callable[[int], World]] = {
    "generated": generated,
    "read-signs": lambda seed: measured(seed, load(DATA / "read-signs")),
    "find-documents": lambda seed: measured(seed, load(DATA / "find-documents")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One scheme in one world.

    Attributes:
        worlds: Name of the family of worlds.
        queries: How many were asked.
        wrong: Got a plan that violates an objective by more than a point.
        dearer: Got a plan more than 5 % dearer than the cheapest that meets all, or none at all.
        none: Got no plan where there is one.
        device_s: Seconds of devices, samples shared by the queries.
        alone_s: The same where they are not.
        cpu_s: Of the scheme itself, drawing of samples included.
    """

    worlds: str
    scheme: str
    seed: int
    pipeline: str
    plans: int
    queries: int
    wrong: int
    dearer: int
    none: int
    device_s: float
    alone_s: float
    cpu_s: float


def trial(worlds: str, seed: int, queries: int, schemes: Sequence[str]) -> list[Row]:
    """Rows of ours and of these others, in the world of a seed."""
    here = WORLDS[worlds](seed)
    wanted = asks(here, queries, 0)
    truth = _Truth(worlds, here, wanted)
    rows = []
    began = time.process_time()
    lab = Lab(here, 0)
    found = factored(lab, wanted, replace(RULES, most_scores=here.labelled))
    rows.append(truth.row(OURS, found, lab.device_s, lab.device_s, time.process_time() - began))
    for name in schemes:
        began = time.process_time()
        runs = Runs(here, 0)
        found = []
        for ask in wanted:
            runs.next_query()
            found.append(SCHEMES[name](runs, ask))
        spent = time.process_time() - began
        rows.append(truth.row(name, found, runs.device_s, runs.alone_s, spent))
    return rows


class _Truth:
    def __init__(self, worlds: str, here: World, wanted: Sequence[Ask]) -> None:
        self._worlds, self._world, self._wanted = worlds, here, wanted
        self._accuracy = here.accuracy[here.menu.vector]
        self._in_time: dict[tuple[int, int], float] = {}
        order = np.argsort(here.plan_usd, kind="stable").tolist()
        self._best = [
            next((plan for plan in order if self._short(k, plan) <= 0), None)
            for k in range(len(wanted))
        ]

    def row(
        self, scheme: str, found: Sequence[int | None], shared: float, alone: float, cpu_s: float
    ) -> Row:
        here = self._world
        wrong = dearer = none = 0
        for k, plan in enumerate(found):
            best = self._best[k]
            if plan is None:
                none += best is not None
            else:
                wrong += self._short(k, plan) > RULES.zone
                if best is not None:
                    dearer += here.plan_usd[plan] > _DEARER * here.plan_usd[best]
        return Row(
            worlds=self._worlds,
            scheme=scheme,
            seed=here.seed,
            pipeline=here.name,
            plans=len(here.plan_usd),
            queries=len(found),
            wrong=int(wrong),
            dearer=int(dearer + none),
            none=int(none),
            device_s=shared,
            alone_s=alone,
            cpu_s=cpu_s,
        )

    def _short(self, query: int, plan: int) -> float:
        """By how much the plan misses what it misses most; not above 0 where it meets all."""
        ask = self._wanted[query]
        assert ask.latency_ms is not None
        assert ask.accuracy is not None
        short = ask.accuracy - float(self._accuracy[plan])
        if short > RULES.zone:
            return short
        if (query, plan) not in self._in_time:
            self._in_time[query, plan] = self._world.in_time(plan, ask.latency_ms)
        return max(short, ask.within - self._in_time[query, plan])
