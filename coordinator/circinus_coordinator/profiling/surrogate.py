"""What may be expected of config vectors nobody has scored, and of parts nobody has measured.

Used to decide what to score next and for nothing else: a value from here is marked
`interpolated`, and no promise rests on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Losses", "speeds"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Of the effect of one config on the log of accuracy, before anything is known: pipelines lose
# between nothing and half of their accuracy by one knob. And of what no sum of effects explains:
# 0.053 over all vectors of examples/read-signs, 0.138 of find-documents (benchmarks/data).
_PRIOR_SD = 0.3
_MISFIT_SD = 0.05
# A mean of few scores is at least so uncertain, however alike they are.
_LEAST_VARIANCE = 0.25


class Losses:
    """Log accuracy as a sum of one effect per operator's config: Bayesian linear regression.

    Independent operators lose independent parts of what arrives, so that logarithms add up.

    Args:
        configs: `(vectors, operators)` config number of each operator in each vector.
    """

    def __init__(self, configs: Ints) -> None:
        counts = [int(column.max()) + 1 for column in configs.T]
        starts = np.concatenate([[0], np.cumsum(counts)])
        self._design = np.zeros((len(configs), 1 + int(starts[-1])))
        self._design[:, 0] = 1.0
        for k, start in enumerate(starts[:-1]):
            self._design[np.arange(len(configs)), 1 + start + configs[:, k]] = 1.0
        prior = np.full(self._design.shape[1], _PRIOR_SD**-2)
        prior[0] = 1e-2  # the level itself is free
        self._prior = np.diag(prior)

    def predict(self, mean: Floats, samples: Ints) -> tuple[Floats, Floats]:
        """Accuracy of every vector and its standard deviation.

        Args:
            mean: `(vectors,)` mean score; anything where there are no samples.
            samples: `(vectors,)`.
        """
        seen = samples > 0
        x, n = self._design[seen], samples[seen]
        y = np.clip(mean[seen], 0.5 / (n + 1), 1.0)
        spread = np.maximum(y * (1 - y), _LEAST_VARIANCE / (n + 1)) / n / y**2 + _MISFIT_SD**2
        precision = self._prior + (x.T / spread) @ x
        effects = np.linalg.solve(precision, (x.T / spread) @ np.log(y))
        log = self._design @ effects
        solved = np.linalg.solve(precision, self._design.T)
        variance = np.einsum("ij,ji->i", self._design, solved) + _MISFIT_SD**2
        accuracy = np.exp(log)
        return accuracy, accuracy * np.sqrt(variance)


def speeds(known: Floats) -> Floats:
    """Of one operator, by config and class, what is not known from what is.

    A machine that takes twice as long for one config takes twice as long for another, nearly:
    times are a product of one factor per config and one per class. Each gap is the median, over all
    rectangles that it closes, of the product of two corners over the third.

    Args:
        known: `(configs, classes)` of any positive quantity; nan where it is not known.

    Returns:
        The same, filled in where a rectangle allows it.
    """
    found = known.copy()
    for config, where in np.argwhere(np.isnan(known)).tolist():
        rows = known[:, where, None] * known[config][None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            guesses = rows / known
        guesses = guesses[np.isfinite(guesses)]
        if len(guesses):
            found[config, where] = float(np.median(guesses))
    return found
