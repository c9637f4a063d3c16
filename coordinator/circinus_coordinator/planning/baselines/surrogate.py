"""A Gaussian process over plans, and the plan it expects most of."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from circinus.errors import InvalidInput

__all__ = ["Surrogate"]

FloatArray = npt.NDArray[np.float64]
# The kernel's parameters are fitted again whenever there are so many times more points.
_AGAIN = 1.6


class Surrogate:
    """Chooses the next plan by expected improvement.

    Jones, Schonlau and Welch, "Efficient Global Optimization of Expensive Black-Box Functions",
    Journal of Global Optimization 13, 1998, section 4.1.

    Args:
        features: `(points, features)` of every point there is.
        seed: Of the fits.

    Raises:
        InvalidInput: Where scikit-learn is not installed.
    """

    def __init__(self, features: FloatArray, seed: int) -> None:
        try:
            from sklearn.gaussian_process import GaussianProcessRegressor, kernels
            from threadpoolctl import ThreadpoolController
        except ImportError:
            raise InvalidInput(
                "this planner needs scikit-learn", remedy="pip install 'circinus[bench]'"
            ) from None
        self._make = GaussianProcessRegressor
        # Several threads on matrices this small are ten times slower than one.
        self._threads = ThreadpoolController()
        self._features, self._seed, self._fitted_at = features, seed, 0
        self._kernel = kernels.ConstantKernel(1.0, (1e-2, 1e2)) * kernels.Matern(
            1.0, (5e-2, 2e1), nu=2.5
        ) + kernels.WhiteKernel(1e-3, (1e-6, 1e-1))

    def next(self, known: Mapping[int, float]) -> int:
        """The point not yet known of most expected improvement; larger values are better."""
        with self._threads.limit(limits=1):
            return self._next(known)

    def _next(self, known: Mapping[int, float]) -> int:
        at = np.fromiter(known, dtype=np.int64)
        y = np.fromiter(known.values(), dtype=np.float64)
        fit = len(known) >= self._fitted_at * _AGAIN
        process = self._make(
            kernel=self._kernel,
            optimizer="fmin_l_bfgs_b" if fit else None,
            normalize_y=True,
            random_state=self._seed % 2**32,
        )
        with warnings.catch_warnings():
            # Parameters at their bounds, and fits that stop early, are no less deterministic.
            warnings.simplefilter("ignore")
            process.fit(self._features[at], y)
        if fit:
            self._kernel, self._fitted_at = process.kernel_, len(known)
        rest = np.setdiff1d(np.arange(len(self._features)), at)
        mean, deviation = process.predict(self._features[rest], return_std=True)
        return int(rest[np.argmax(_improvement(mean, deviation, float(y.max())))])


def _improvement(mean: FloatArray, deviation: FloatArray, best: float) -> FloatArray:
    deviation = np.maximum(deviation, 1e-12)
    z = (mean - best) / deviation
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray((mean - best) * ndtr(z) + deviation * density)
