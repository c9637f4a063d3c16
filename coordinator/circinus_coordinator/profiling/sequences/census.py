"""Evidence about the mean of a finite set, from drawing its members without putting them back.

A labelled data set is such a set: once every input was scored the accuracy on it is known, and
half-way there is less left that could be different than for an endless stream. Waudby-Smith and
Ramdas, "Confidence sequences for sampling without replacement", NeurIPS 2020.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["census_evidence"]

Floats = NDArray[np.float64]

_BOLDEST = 0.5
_EPSILON = 1e-9  # of a member: sums of scores are not exact


def census_evidence(
    samples: Floats, population: int, mean: float, delta: float, *, weight: float = 4.0
) -> float:
    """Log wealth, after the last sample, of who bets that the mean of the set is above `mean`.

    Args:
        samples: Shape (n,), in [0, 1], drawn in random order, n at most `population`.
        population: Members of the set.
        mean: In [0, 1].
        delta: Level the bets are tuned for.
        weight: Of the prior for zeros and ones, in samples.

    Returns:
        inf where the mean is above for certain.
    """
    n, right = len(samples), float(np.sum(samples))
    if right > population * mean + _EPSILON:
        return math.inf
    if n == 0 or right + (population - n) <= population * mean + _EPSILON:
        return -math.inf if n else 0.0  # it cannot be above any more
    if ((samples == 0) | (samples == 1)).all():
        return _binary(n, right, population, mean, weight)
    return _scores(samples, population, mean, delta)


def _binary(n: int, right: float, population: int, mean: float, weight: float) -> float:
    """Sets with more ones than `mean`, mixed by a beta-binomial density, against one with just so.

    The likelihood of an order of drawing from a set with k ones is C(N - n, k - right) / C(N, k).
    """
    just = int(np.floor(population * mean + _EPSILON))
    a, b = max(weight * mean, 1e-3), max(weight * (1 - mean), 1e-3)
    k = np.arange(just + 1, population + 1, dtype=np.float64)
    prior = _log_choose(population, k) + special.betaln(a + k, b + population - k)
    prior = prior - np.logaddexp.reduce(prior)
    seen = _log_choose(population - n, k - right) - _log_choose(population, k)
    mixed = float(np.logaddexp.reduce(prior + seen))
    against = float(_log_choose(population - n, just - right) - _log_choose(population, just))
    return mixed - against


def _scores(samples: Floats, population: int, mean: float, delta: float) -> float:
    """Predictable bets against what the rest would have to be like."""
    n = np.arange(1, len(samples) + 1)
    before = np.concatenate(([0.0], np.cumsum(samples)[:-1]))
    rest = np.clip((population * mean - before) / (population - n + 1), 0.0, 1.0)
    means = (0.5 + np.cumsum(samples)) / (n + 1)
    variances = (0.25 + np.cumsum((samples - means) ** 2)) / (n + 1)
    spread = np.concatenate(([0.25], variances[:-1]))
    bets = np.sqrt(2 * np.log(1 / delta) / (spread * n * np.log1p(n)))
    bets = np.minimum(bets, _BOLDEST / np.maximum(rest, 1e-12))
    return float(np.sum(np.log1p(bets * (samples - rest))))


def _log_choose(n: int, of: Floats | float) -> Floats:
    k = np.asarray(of, dtype=np.float64)
    inside = (k >= 0) & (k <= n)
    safe = np.clip(k, 0, n)
    log: Floats = np.where(
        inside,
        special.gammaln(n + 1.0) - special.gammaln(safe + 1) - special.gammaln(n - safe + 1),
        -np.inf,
    )
    return log
