"""What others do: whole plans are run, from end to end, and each sample is one of that plan.

All of these are told the plans' true costs for nothing. What was run for one query is seen by the
others of the pipeline, or is not: systems differ in that, so both are counted.
A run of a plan gives a latency and, where its input is labelled, a score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks._profiler.world import World
from circinus_coordinator.planning.baselines.surrogate import Surrogate
from circinus_coordinator.profiling.seeking import Ask, Rules
from circinus_coordinator.profiling.verdicts import Target, Verdict, verdict

__all__ = ["Runs", "bayesian", "fixed", "halving", "sequential"]

Floats = NDArray[np.float64]
_HALVED = 128  # plans that successive halving begins with
_EVALUATIONS = 50
_PER_EVALUATION = 100


@dataclass(slots=True)
class Runs:
    """Runs whole plans, keeps what came of it, and counts what it cost.

    Attributes:
        device_s: Where all queries of the pipeline see all runs.
        alone_s: Where each query has its own.
    """

    world: World
    seed: int
    device_s: float = 0.0
    alone_s: float = 0.0
    _latency_ms: dict[int, Floats] = field(default_factory=dict)
    _spent_s: dict[int, Floats] = field(default_factory=dict)  # up to each run
    _own: dict[int, int] = field(default_factory=dict)
    _order: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.world.seed, self.seed, 3])
        self._order = rng.permutation(self.world.labelled)

    def next_query(self) -> None:
        """Whoever asks from now on has seen nothing yet; what was run need not run again."""
        self._own = {}

    def run(self, plan: int, upto: int) -> tuple[Floats, Floats]:
        """The first runs of a plan, as many as asked for: latencies in ms, and scores."""
        had = self._latency_ms.get(plan, np.zeros(0))
        if upto > len(had):
            self._more(plan, had, upto)
        spent, own = self._spent_s[plan], self._own.get(plan, 0)
        if upto > own:
            self.alone_s += float(spent[upto - 1] - (spent[own - 1] if own else 0.0))
            self._own[plan] = upto
        scored = self._order[: min(upto, self.world.labelled)]
        return self._latency_ms[plan][:upto], self.world.right[self.world.menu.vector[plan], scored]

    def _more(self, plan: int, had: Floats, upto: int) -> None:
        world = self.world
        service = world.plan_ms(self.seed, plan, len(had), upto)
        seconds = service.sum(axis=0) / 1e3
        self.device_s += float(seconds.sum())
        before = self._spent_s.get(plan, np.zeros(0))
        start = before[-1] if len(before) else 0.0
        self._spent_s[plan] = np.concatenate([before, start + np.cumsum(seconds)])
        self._latency_ms[plan] = np.concatenate([had, world.menu.latency_ms(plan, service)])


def margins(latency_ms: Floats, scores: Floats, ask: Ask) -> tuple[float, float]:
    """How far a plan seems within its latency limit, relative, and above its accuracy floor."""
    assert ask.latency_ms is not None
    assert ask.accuracy is not None
    late = float(np.quantile(latency_ms, ask.within, method="higher"))
    return 1 - late / ask.latency_ms, float(scores.mean()) - ask.accuracy


def fixed(runs: Runs, ask: Ask, samples: int) -> int | None:
    """The cheapest plan that seems to meet all after so many runs; each is run that often."""
    for plan in np.argsort(runs.world.plan_usd, kind="stable").tolist():
        if min(margins(*runs.run(plan, samples), ask)) >= 0:
            return int(plan)
    return None


def sequential(runs: Runs, ask: Ask, rules: Rules) -> int | None:
    """The cheapest plan that is certain to meet all; each is run until that is settled."""
    assert ask.latency_ms is not None
    assert ask.accuracy is not None
    in_time = Target(least=ask.within, zone=rules.zone)
    accurate = Target(least=ask.accuracy, zone=rules.zone)
    tested = 0
    # Plans with the same vector are scored on the same inputs and miss the floor at the same look.
    missed: dict[int, int] = {}
    for plan in np.argsort(runs.world.plan_usd, kind="stable").tolist():
        n, tested, vector = 2, tested + 1, int(runs.world.menu.vector[plan])
        accept = rules.delta / 2 / (tested * (tested + 1))
        while True:
            latency_ms, scores = runs.run(plan, n)
            hits = (latency_ms <= ask.latency_ms).astype(float)
            said = Verdict.OPEN
            if _telling(hits, in_time, accept, rules.delta):
                said = verdict(hits, in_time, accept=accept, reject=rules.delta)
            if vector in missed:
                said = (
                    Verdict.MISSED
                    if n >= missed[vector] or said is Verdict.MISSED
                    else Verdict.OPEN
                )
            elif said is not Verdict.MISSED:
                also = verdict(
                    scores,
                    accurate,
                    accept=accept,
                    reject=rules.delta,
                    population=runs.world.labelled,
                )
                if also is Verdict.MISSED:
                    missed[vector] = n
                said = also if also is Verdict.MISSED or said is Verdict.MET else said
            if said is Verdict.MET:
                return int(plan)
            if said is Verdict.MISSED or n >= rules.most_samples:
                break
            n = min(2 * n, rules.most_samples)
    return None


def _telling(hits: Floats, target: Target, accept: float, reject: float) -> bool:
    """Whether so many hits can settle anything: saves looking closely at samples that cannot.

    No mixture of bets wins more than the one bet that knew the mean of the samples beforehand,
    whose gain per sample is the relative entropy.
    """
    n = len(hits)
    mean = float(hits.sum()) / n
    floor = target.least - target.zone
    gains = (
        (mean * math.log(mean / m) if mean > 0 else 0.0)
        + ((1 - mean) * math.log((1 - mean) / (1 - m)) if mean < 1 else 0.0)
        for m in (floor, target.least)
    )
    above, below = (n * gain + 1e-9 for gain in gains)
    return above >= math.log(1 / accept) or below >= math.log(1 / reject)


def halving(runs: Runs, ask: Ask, samples: int) -> int | None:
    """Successive halving (Jamieson and Talwalkar, AISTATS 2016) over plans drawn at random.

    Those that seem to miss least stay, of those that miss nothing the cheapest; runs double until
    the last few have had `samples`.
    """
    world = runs.world
    rng = np.random.default_rng([world.seed, runs.seed, 7])
    count = min(_HALVED, len(world.plan_usd))
    left = rng.choice(len(world.plan_usd), count, replace=False).tolist()
    n = 4
    while True:
        seen = {plan: margins(*runs.run(plan, n), ask) for plan in left}
        left.sort(key=lambda p: (-min(0.0, *seen[p]), world.plan_usd[p]))
        if n >= samples:
            break
        left = left[: max(len(left) // 2, 2)]
        n = min(2 * n, samples)
    return int(left[0]) if min(seen[left[0]]) >= 0 else None


def bayesian(runs: Runs, ask: Ask) -> int | None:
    """Gaussian processes of margins and cost; the next plan has the most expected improvement."""
    world = runs.world
    rng = np.random.default_rng([world.seed, runs.seed, 8])
    plans = len(world.plan_usd)
    features = np.concatenate(
        [
            _one_hot(world.menu.configs[world.menu.vector]),
            _one_hot(np.searchsorted(np.unique(world.menu.parts), world.menu.parts) % 3),
        ],
        axis=1,
    )
    surrogate = Surrogate(features, 3)
    tried: set[int] = set()
    best: int | None = None
    for k in range(min(_EVALUATIONS, plans)):
        if k < 8:
            plan = int(rng.integers(plans))
        else:
            mean, sd = surrogate.predict()
            sd = np.maximum(sd, 1e-9)
            able = np.prod(norm.cdf(mean[:, 1:] / sd[:, 1:]), axis=1)
            value = able
            if best is not None:
                gain = np.log(world.plan_usd[best]) - mean[:, 0]
                z = gain / sd[:, 0]
                value = able * (gain * norm.cdf(z) + sd[:, 0] * norm.pdf(z))
            value[list(tried)] = -np.inf
            plan = int(np.argmax(value))
        if plan in tried:
            continue
        tried.add(plan)
        seems = margins(*runs.run(plan, _PER_EVALUATION), ask)
        surrogate.tell(plan, np.array([np.log(world.plan_usd[plan]), *seems]))
        if min(seems) >= 0 and (best is None or world.plan_usd[plan] < world.plan_usd[best]):
            best = plan
    return best


def _one_hot(columns: NDArray[np.int64]) -> Floats:
    return np.concatenate(
        [(column[:, None] == np.unique(column)).astype(float) for column in columns.T], axis=1
    )
