"""Whatever comes of a device, what is kept is what was measured; nothing becomes surer by it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from circinus.messages import ProbeSamples
from circinus_coordinator.profiling import Summary, sure

BROKEN = (math.nan, -1.0, math.inf, 1e300)


def _message(**values: object) -> ProbeSamples:
    return ProbeSamples(device="d", request_id="r", seq=0, target=0, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(40))
def test_scores_that_come_twice_late_or_broken_are_the_first_of_the_true_ones(seed: int) -> None:
    """So that the interval is that of so many inputs, each counted once."""
    rng = np.random.default_rng(seed)
    true = [float(score) for score in np.round(rng.random(60), int(rng.integers(0, 3)))]
    summary = Summary()
    sent = 0
    for _ in range(30):
        # From where an agent was told to go on, or from somewhere else, once more.
        first = int(rng.integers(0, 60)) if rng.random() < 0.4 else summary.next_input
        scores = true[first : first + int(rng.integers(0, 8))]
        if scores and rng.random() < 0.2:
            scores[int(rng.integers(len(scores)))] = float(rng.choice(BROKEN))
        summary.take(_message(scores=scores, population=60), first=first)
        sent = max(sent, first + len(scores))
    n = len(summary.scores)
    assert summary.scores == true[:n]
    assert 0 < n <= sent
    assert sum(take.samples for take in summary.takes) == n
    assert sure.accuracy(tuple(summary.scores), 60) == sure.accuracy(tuple(true[:n]), 60)


@pytest.mark.parametrize("seed", range(40))
def test_broken_samples_among_latencies_change_neither_numbers_nor_intervals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    summary, sound = Summary(), []
    for now in range(12):
        good = [float(ms) for ms in rng.lognormal(3, 0.3, int(rng.integers(0, 9)))]
        bad = [float(x) for x in rng.choice(BROKEN, int(rng.integers(0, 4)))]
        mixed = [*good, *bad]
        order = rng.permutation(len(mixed))
        mixed = [mixed[i] for i in order]
        sound += [ms for ms in mixed if ms in good]
        summary.take(_message(latency_ms=mixed), time_s=float(now))
    assert summary.latency_ms == sound
    assert sum(take.samples for take in summary.takes) == len(sound)
    assert sure.quantile(tuple(summary.latency_ms), 0.95) == sure.quantile(tuple(sound), 0.95)
