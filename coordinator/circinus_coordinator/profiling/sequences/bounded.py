"""Evidence about the mean of samples in [0, 1]: four families of bets.

Each family is a frozen value with one method, `above(samples, mean, delta)`: for every n, the log
of the wealth after n samples of one who bets that the true mean is *above* `mean`. Under any
distribution whose conditional mean is at most `mean`, the wealth is a nonnegative supermartingale
that starts at 1. Evidence below is evidence above of `1 - samples` and `1 - mean`.

`delta` tunes how boldly is bet (the sharpest at the level asked for); what is claimed holds at
every level.

Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
JRSS B 86 (2024), theorems 1 to 3 (predictable plug-in Hoeffding, empirical Bernstein, hedged
capital); Robbins 1970 and Howard et al., "Time-uniform, nonparametric, nonasymptotic confidence
sequences", Annals of Statistics 49 (2021), for the beta-binomial mixture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = ["FAMILIES", "Betting", "EmpiricalBernstein", "Evidence", "Hoeffding", "Mixture"]

Floats = NDArray[np.float64]

# No bet risks more than this part of the wealth: one wrong sample must not end the game. Half is
# what the source recommends.
_BOLDEST = 0.5


class Evidence(Protocol):
    """A family of bets."""

    def above(self, samples: Floats, mean: float, delta: float) -> Floats:
        """Log wealth after each sample of who bets on a mean above `mean`.

        Args:
            samples: Shape (n,), in [0, 1], in the order they were taken.
            mean: In [0, 1].
            delta: Level the bets are tuned for, in (0, 1).

        Returns:
            Shape (n,); decreasing in `mean` at every n.
        """
        ...


@dataclass(frozen=True, slots=True)
class Hoeffding:
    """Uses nothing but the range: the plainest, and the widest where samples vary little."""

    def above(self, samples: Floats, mean: float, delta: float) -> Floats:
        """See `Evidence.above`."""
        n = np.arange(1, len(samples) + 1)
        bets = np.minimum(np.sqrt(8 * np.log(1 / delta) / (n * np.log1p(n))), 1.0)
        return np.cumsum(bets * (samples - mean) - bets**2 / 8)


@dataclass(frozen=True, slots=True)
class EmpiricalBernstein:
    """Adapts to the variance seen so far; closed form."""

    def above(self, samples: Floats, mean: float, delta: float) -> Floats:
        """See `Evidence.above`."""
        guess, bets = _predicted(samples, delta)
        bets = np.minimum(bets, _BOLDEST)
        price = 4 * (samples - guess) ** 2 * (-np.log1p(-bets) - bets) / 4
        return np.cumsum(bets * (samples - mean) - price)


@dataclass(frozen=True, slots=True)
class Betting:
    """Adapts to the variance and multiplies wealth itself instead of a bound on it."""

    def above(self, samples: Floats, mean: float, delta: float) -> Floats:
        """See `Evidence.above`."""
        _, bets = _predicted(samples, delta)
        if mean > 0:
            bets = np.minimum(bets, _BOLDEST / mean)
        return np.cumsum(np.log1p(bets * (samples - mean)))


@dataclass(frozen=True, slots=True)
class Mixture:
    """All constant bets at once, weighted by a beta density cut off at `mean`; closed form.

    Sharpest for samples that are 0 or 1. For others in [0, 1] it holds as well: the likelihood
    ratio of a Bernoulli variable is convex in the sample, so its mean is largest for one.

    Attributes:
        weight: Of the density Beta(weight mean, weight (1 - mean)), in samples: large is sharp
            for many samples, small for few.
    """

    weight: float = 4.0

    def above(self, samples: Floats, mean: float, delta: float) -> Floats:  # noqa: ARG002
        """See `Evidence.above`."""
        n = np.arange(1, len(samples) + 1)
        return self.after(n, np.cumsum(samples), mean)

    def after(self, n: ArrayLike, right: ArrayLike, mean: float) -> Floats:
        """Log wealth after `n` samples that add up to `right`, at any shape."""
        n, right = np.broadcast_arrays(np.asarray(n, float), np.asarray(right, float))
        if mean <= 0:
            # Nobody's mean is below 0; any sample above it is proof.
            return np.where(right > 0, np.inf, 0.0)
        if mean >= 1:
            return np.zeros(n.shape)
        a, b = self.weight * mean, self.weight * (1 - mean)
        likelihood = right * np.log(mean) + (n - right) * np.log1p(-mean)
        mixed = special.betaln(a + right, b + n - right) - special.betaln(a, b)
        with np.errstate(divide="ignore"):  # no mass above the mean: no evidence at all
            beyond = np.log(special.betaincc(a + right, b + n - right, mean))
        evidence: Floats = mixed + beyond - np.log(special.betaincc(a, b, mean)) - likelihood
        return evidence


FAMILIES: Mapping[str, Evidence] = MappingProxyType(
    {
        "hoeffding": Hoeffding(),
        "empirical-bernstein": EmpiricalBernstein(),
        "betting": Betting(),
        "mixture": Mixture(),
    }
)


def _predicted(samples: Floats, delta: float) -> tuple[Floats, Floats]:
    """Before each sample: the mean expected, and the bet its expected variance calls for."""
    n = np.arange(1, len(samples) + 1)
    means = (0.5 + np.cumsum(samples)) / (n + 1)
    variances = (0.25 + np.cumsum((samples - means) ** 2)) / (n + 1)
    guess = np.concatenate(([0.5], means[:-1]))
    spread = np.concatenate(([0.25], variances[:-1]))
    return guess, np.sqrt(2 * np.log(1 / delta) / (spread * n * np.log1p(n)))
