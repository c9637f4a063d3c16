"""The Gaussian processes of the per-query search."""

from __future__ import annotations

import numpy as np
import pytest

from circinus_coordinator.planning.baselines.surrogate import Surrogate

LENGTH, NOISE = 0.6, 1e-4  # what a surrogate begins with
POINTS = np.random.default_rng(1).random((40, 3))
VALUES = np.stack([np.sin(4 * POINTS).sum(axis=1), POINTS[:, 0] ** 2], axis=1)


def _told(known: int, features: np.ndarray = POINTS) -> Surrogate:
    made = Surrogate(features, 2)
    for k in range(known):
        made.tell(k, VALUES[k])
    return made


def test_the_likelihood_is_scikit_learns_with_its_best_mean_and_scale() -> None:
    process = pytest.importorskip("sklearn.gaussian_process")
    kernels = process.kernels
    made = _told(12)
    ours = made.likelihood(LENGTH, NOISE)
    theirs = 0.0
    for y in VALUES[:12].T:
        # The kernel of smoothness 5/2 whose length is as long in three features.
        kernel = kernels.Matern(LENGTH * np.sqrt(3), nu=2.5) + kernels.WhiteKernel(NOISE)
        inverse = np.linalg.inv(kernel(POINTS[:12]))
        rest = y - inverse.sum(axis=0) @ y / inverse.sum()
        scale = kernels.ConstantKernel(rest @ inverse @ rest / 12)
        fitted = process.GaussianProcessRegressor(scale * kernel, optimizer=None, alpha=0)
        theirs += fitted.fit(POINTS[:12], rest).log_marginal_likelihood_value_
    assert ours == pytest.approx(theirs)


def test_points_told_one_by_one_predict_as_if_told_at_once() -> None:
    made = _told(25)
    assert made._fitted_at < 25
    mean, deviation = made.predict()
    made._refactor()
    again = made.predict()
    assert mean == pytest.approx(again[0], abs=1e-6)
    assert deviation == pytest.approx(again[1], abs=1e-6)


def test_points_added_later_are_predicted_as_if_there_from_the_first() -> None:
    made = _told(20, POINTS[:30])
    made.extend(POINTS[30:])
    assert made.predict()[0] == pytest.approx(_told(20).predict()[0], abs=1e-9)


def test_it_passes_through_what_it_knows_and_is_unsure_of_the_rest() -> None:
    mean, deviation = _told(20).predict()
    assert np.abs(mean[:20] - VALUES[:20]).max() < 0.05
    assert (deviation[:20].max(axis=0) < deviation[20:].min(axis=0)).all()
