"""When samples settle whether an objective is met."""

import math

import numpy as np
import pytest
from scipy import stats

from circinus_coordinator.profiling.sequences import census_evidence
from circinus_coordinator.profiling.verdicts import Target, Verdict, samples_to_go, verdict

P95 = Target(least=0.95, zone=0.01)
LOOKS = (8, 16, 32, 64, 128, 256, 512, 1024)


def _first(x: np.ndarray, target: Target, population: int | None = None) -> tuple[Verdict, int]:
    """The first verdict that is not open, looking at more and more samples."""
    for n in LOOKS:
        said = verdict(x[:n], target, accept=0.05, reject=0.05, population=population)
        if said is not Verdict.OPEN or n >= len(x):
            return said, min(n, len(x))
    return Verdict.OPEN, len(x)


def test_what_is_always_late_is_missed_after_a_handful() -> None:
    assert verdict(np.zeros(3), P95, accept=0.05, reject=0.05) is Verdict.MISSED


def test_what_is_never_late_is_met_but_not_after_a_few() -> None:
    # 0.94^n must fall below 0.05 even for who knows that nothing is late: 49 at the least.
    assert verdict(np.ones(48), P95, accept=0.05, reject=0.05) is Verdict.OPEN
    assert verdict(np.ones(80), P95, accept=0.05, reject=0.05) is Verdict.MET


@pytest.mark.parametrize(("mean", "wrong"), [(0.94, Verdict.MET), (0.95, Verdict.MISSED)])
def test_wrong_verdicts_are_as_rare_as_promised(mean: float, wrong: Verdict) -> None:
    rng = np.random.default_rng(1)
    streams = [(rng.random(1024) < mean).astype(float) for _ in range(300)]
    count = sum(_first(x, P95)[0] is wrong for x in streams)
    assert count <= stats.binom.ppf(0.999, 300, 0.05)


def test_near_enough_is_taken_where_both_answers_would_be_true() -> None:
    # 0.945 of a million: certainly above 0.94, certainly below 0.95.
    x = np.tile(np.r_[np.ones(189), np.zeros(11)], 2000)
    assert verdict(x, P95, accept=0.05, reject=0.05) is Verdict.MET


def test_a_data_set_is_known_once_all_of_it_was_scored() -> None:
    just = np.r_[np.ones(90), np.zeros(10)]
    target = Target(least=0.9, zone=0.0)
    almost = Target(least=0.9001, zone=0.0)
    assert verdict(just, almost, accept=1e-9, reject=1e-9, population=100) is Verdict.MISSED
    met = Target(least=0.9, zone=0.01)
    assert verdict(just, met, accept=1e-9, reject=1e-9, population=100) is Verdict.MET
    # Exactly the floor is no violation.
    assert verdict(just, target, accept=0.05, reject=0.05, population=100) is not Verdict.MISSED


@pytest.mark.parametrize("mean", [0.5, 0.9])
@pytest.mark.parametrize("scores", ["right or wrong", "between"])
def test_a_data_set_s_mean_is_hardly_ever_outside(mean: float, scores: str) -> None:
    rng = np.random.default_rng(2)
    size = 200
    if scores == "between":
        members = np.clip(rng.normal(mean, 0.08, size), 0, 1)
    else:
        members = (np.arange(size) < mean * size).astype(float)
    truth = float(members.mean())
    wrong = 0
    for _ in range(200):
        x = rng.permutation(members)
        looks = [x[:n] for n in range(5, size, 15)]
        above = max(census_evidence(s, size, truth, 0.025) for s in looks)
        below = max(census_evidence(1 - s, size, 1 - truth, 0.025) for s in looks)
        wrong += max(above, below) >= math.log(2 / 0.05)
    assert wrong <= stats.binom.ppf(0.999, 200, 0.05)


def test_a_small_data_set_is_settled_sooner_than_an_endless_stream() -> None:
    x = np.random.default_rng(3).permutation(np.r_[np.ones(465), np.zeros(35)])  # 0.93
    target = Target(least=0.9, zone=0.01)
    assert _first(x, target, population=500)[0] is Verdict.MET
    assert _first(x, target, population=500)[1] <= _first(x, target)[1]


def test_a_floor_of_nothing_needs_no_samples() -> None:
    none = Target(least=0.0, zone=0.01)
    assert verdict(np.zeros(0), none, accept=0.05, reject=0.05) is Verdict.MET
    assert verdict(np.zeros(0), P95, accept=0.05, reject=0.05) is Verdict.OPEN


def test_samples_to_go_are_about_as_many_as_it_takes() -> None:
    assert samples_to_go(np.zeros(50), P95, accept=0.05) == math.inf
    seen = np.ones(64)
    assert 1 <= samples_to_go(seen, P95, accept=0.05) < 64
    # Near the boundary it may take hundreds; less certainty is had sooner.
    near = np.tile(np.r_[np.ones(24), np.zeros(1)], 8)  # 0.96 of 200
    strict, lax = (samples_to_go(near, P95, accept=a) for a in (1e-6, 0.05))
    assert lax < strict < 5000
