"""Gaussian processes over a growing set of points, brought up to date point by point.

Rasmussen and Williams, "Gaussian Processes for Machine Learning", MIT Press 2006: prediction by
Cholesky factors (algorithm 2.1), an unknown constant mean (section 2.7), the marginal likelihood
(section 5.4.1). scikit-learn's processes give the same figures (tests), but factorise anew for
every point and fit by gradients: 16 ms for a point where this takes a tenth of one.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular

__all__ = ["Surrogate", "one_thread"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# The kernel's parameters are fitted again whenever there are so many times more points: to the
# likeliest of these lengths, times the root of the number of features, and parts of noise.
_AGAIN = 1.6
_LENGTHS = (0.15, 0.3, 0.6, 1.2, 2.4, 4.8)
_NOISES = (1e-6, 1e-4, 1e-2)
_LEAST = 1e-12


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, linear algebra runs on one thread: several are slower on matrices this small."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(limits=1):
        yield


def _matern(a: FloatArray, b: FloatArray, length: float) -> FloatArray:
    """`(len(a), len(b))` Matérn kernel of smoothness 5/2 (equation 4.17)."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    r = np.sqrt(5 * np.maximum(squares, 0.0)) / length
    return np.asarray((1 + r + r**2 / 3) * np.exp(-r))


class Surrogate:
    """One process per output, with the same kernel up to its scale.

    Args:
        features: `(points, features)` of the points known of so far.
        outputs: Values per point.

    Attributes:
        known: Positions of the points whose values were told.
    """

    def __init__(self, features: FloatArray, outputs: int) -> None:
        self.features = features
        self.known: list[int] = []
        self._values: FloatArray = np.zeros((0, outputs))
        self._length, self._noise, self._fitted_at = _LENGTHS[2], _NOISES[1], 0
        # L, L⁻¹ K(known, all) and L⁻¹ (1, values), a row for each value; with room for more.
        self._factor: FloatArray = np.zeros((0, 0))
        self._rows: FloatArray = np.zeros((0, len(features)))
        self._white: FloatArray = np.zeros((0, 1 + outputs))

    def extend(self, features: FloatArray) -> None:
        """Add points."""
        self.features = np.concatenate([self.features, features])
        n, known = len(self.known), self.features[self.known]
        kernel = _matern(known, features, self._scaled())
        new = np.zeros((self._rows.shape[0], len(features)))
        if n:
            new[:n] = solve_triangular(self._factor[:n, :n], kernel, lower=True)
        self._rows = np.concatenate([self._rows, new], axis=1)

    def tell(self, point: int, values: FloatArray) -> None:
        """The `(outputs,)` values of a point."""
        self.known.append(point)
        self._values = np.concatenate([self._values, values[None]])
        if len(self.known) >= max(2, self._fitted_at * _AGAIN):
            self._fit()
        else:
            self._append()

    def predict(self) -> tuple[FloatArray, FloatArray]:
        """Means and standard deviations `(points, outputs)`; at least two values must be known."""
        n = len(self.known)
        rows, (ones, values) = self._rows[:n], (self._white[:n, :1], self._white[:n, 1:])
        mean = (ones * values).sum(axis=0) / (ones**2).sum()
        rest = values - ones * mean
        variance = np.maximum(1 - (rows**2).sum(axis=0), _LEAST)
        scale = np.maximum((rest**2).sum(axis=0) / n, _LEAST)
        return mean + rows.T @ rest, np.sqrt(variance[:, None] * scale)

    def _scaled(self) -> float:
        return self._length * float(np.sqrt(max(1, self.features.shape[1])))

    def _append(self) -> None:
        """One more row of each."""
        n, point = len(self.known) - 1, self.known[-1]
        if n == len(self._factor):
            self._refactor()
            return
        across = self._rows[:n, point]
        kernel = _matern(self.features[[point]], self.features, self._scaled())[0]
        left = math.sqrt(max(1 + self._noise - float(across @ across), _LEAST))
        self._factor[n, :n], self._factor[n, n] = across, left
        self._rows[n] = (kernel - across @ self._rows[:n]) / left
        told = np.concatenate([[1.0], self._values[n]])
        self._white[n] = (told - across @ self._white[:n]) / left

    def _refactor(self) -> None:
        """All rows anew, with room for more."""
        n, known = len(self.known), self.features[self.known]
        kernel = _matern(known, self.features, self._scaled())
        self._factor = np.zeros((2 * n, 2 * n))
        self._rows = np.zeros((2 * n, len(self.features)))
        self._white = np.zeros((2 * n, 1 + self._values.shape[1]))
        factor = np.linalg.cholesky(kernel[:, self.known] + self._noise * np.eye(n))
        told = np.concatenate([np.ones((n, 1)), self._values], axis=1)
        self._factor[:n, :n] = factor
        self._rows[:n] = solve_triangular(factor, kernel, lower=True)
        self._white[:n] = solve_triangular(factor, told, lower=True)

    def _fit(self) -> None:
        """Take the likeliest parameters, all outputs together, and begin anew with them."""
        best = -np.inf
        for length, noise in itertools.product(_LENGTHS, _NOISES):
            found = self.likelihood(length, noise)
            if found > best:
                best, self._length, self._noise = found, length, noise
        self._fitted_at = len(self.known)
        self._refactor()

    def likelihood(self, length: float, noise: float) -> float:
        """Logarithm of the values' likelihood, with the likeliest mean and scale of each output."""
        known = self.features[self.known]
        n, scaled = len(known), length * float(np.sqrt(max(1, known.shape[1])))
        factor = np.linalg.cholesky(_matern(known, known, scaled) + noise * np.eye(n))
        told = np.concatenate([np.ones((n, 1)), self._values], axis=1)
        white = solve_triangular(factor, told, lower=True)
        ones, values = white[:, :1], white[:, 1:]
        rest = values - ones * ((ones * values).sum(axis=0) / (ones**2).sum())
        scale = np.maximum((rest**2).sum(axis=0) / n, _LEAST)
        parts = n * np.log(2 * np.pi * scale) + 2 * np.log(np.diag(factor)).sum() + n
        return float(-parts.sum() / 2)
