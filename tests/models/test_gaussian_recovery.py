"""What estimators find of Gaussians that are known: the precision, its error's rate, and log Z."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from thalweg import ConstrainedGaussian, optim
from thalweg._base import Draws
from thalweg.energies import GaussianEnergy
from thalweg.losses import DenoisingScoreMatching, ExactScoreMatching, SlicedScoreMatching

ESTIMATORS = ("score_matching", "nce", "conditional_nce", "maximum_likelihood")
MEAN = np.array([1.0, -2.0, 0.5])
PRECISION = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.7]])


def samples(n: int, seed: int, mean: Any = MEAN, precision: Any = PRECISION) -> Any:
    factor = np.linalg.cholesky(np.linalg.inv(precision))
    return mean + np.random.default_rng(seed).normal(size=(n, len(mean))) @ factor.T


def error(found: Any, expected: Any = PRECISION) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def minimum(loss: Any, X: Any) -> GaussianEnergy:
    """The Gaussian energy that makes the loss small, its draws held."""
    d = X.shape[1]
    first = GaussianEnergy.diagonal(d)

    def energy_at(v: Any) -> GaussianEnergy:
        return first.with_parameters({"mean": v[:d], "precision": v[d:]})

    def objective(v: Any) -> Any:
        value, g, _ = loss.value_and_gradient(energy_at(v), {}, X, Draws(0, 0))
        return value, np.concatenate([g["mean"], g["precision"]])

    start = np.concatenate([first.parameters["mean"], first.parameters["precision"]])
    found, _, converged = optim.minimise_lbfgs(objective, start, tol=1e-7)
    assert converged
    return energy_at(found)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_precision_and_mean_are_found(estimator: str) -> None:
    model = ConstrainedGaussian(estimator=estimator, noise_ratio=2, random_state=0).fit(samples(100_000, 0))
    assert error(model.precision_) < 0.02
    assert_allclose(model.mean_, MEAN, atol=0.03)
    assert not model.is_constraint_active_


@pytest.mark.parametrize("loss", [ExactScoreMatching(), SlicedScoreMatching(1)], ids=["exact", "sliced"])
def test_losses_alone_find_it(loss: Any) -> None:
    found = minimum(loss, samples(100_000, 0))
    assert error(found.precision_matrix()) < 0.02
    assert_allclose(found.parameters["mean"], MEAN, atol=0.03)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_denoising_finds_the_blurred_gaussian(scale: float) -> None:
    blurred = np.linalg.inv(np.linalg.inv(PRECISION) + scale**2 * np.eye(3))
    found = minimum(DenoisingScoreMatching(scale), samples(100_000, 0))
    assert error(found.precision_matrix(), blurred) < 0.03
    assert error(found.precision_matrix()) > 0.1


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_error_falls_as_one_over_the_root_of_n(estimator: str) -> None:
    sizes = 400 * 4 ** np.arange(4)
    errors = [
        np.mean(
            [
                error(ConstrainedGaussian(estimator=estimator, random_state=s).fit(samples(n, s)).precision_)
                for s in range(8)
            ]
        )
        for n in sizes
    ]
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert -0.62 < slope < -0.38


@pytest.mark.parametrize("d", [1, 3, 5])
@pytest.mark.parametrize("noise", ["full", "diagonal"])
def test_contrastive_estimation_finds_log_z(d: int, noise: str) -> None:
    rng = np.random.default_rng(d)
    A = rng.normal(size=(d, d))
    precision = np.eye(d) + 0.3 * (A @ A.T)
    X = samples(100_000, 1, rng.normal(size=d), precision)
    model = ConstrainedGaussian(estimator="nce", noise=noise, random_state=0).fit(X)
    log_z = 0.5 * (d * np.log(2 * np.pi) - np.linalg.slogdet(precision)[1])
    assert abs(model.log_normalizer_ - log_z) < 0.02
    assert_allclose(model.log_partition().log_z, log_z, atol=0.02)
    assert model.log_partition().std_error == 0
