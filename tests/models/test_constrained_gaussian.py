"""The Gaussian with a structured precision: structures, the cone, whitening, and what it refuses."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from thalweg import ConstrainedGaussian
from thalweg._base import Draws
from thalweg.energies import GaussianEnergy
from thalweg.losses import DensityNoiseContrastiveEstimation, GaussianNoise
from thalweg.persistence import load_model, save_model

SHAPE = (4, 5)
STRUCTURES: dict[str, dict[str, Any]] = {
    "full": {},
    "banded": {"structure": "banded", "image_shape": SHAPE, "radius": 1.5},
    "toeplitz": {"structure": "toeplitz", "image_shape": SHAPE, "radius": 1},
}


def pattern(structure: str) -> Any:
    options = STRUCTURES[structure]
    return GaussianEnergy.diagonal(20, **options).structure


def true_precision(structure: str) -> Any:
    """One that has the structure, with interactions where that has some."""
    made = pattern(structure)
    first = np.unique(made.entries[made.rows == made.columns])
    values = np.full(made.n_entries, -0.1 if structure != "full" else -0.03)
    values[first] = 1.0
    return made.matrix(values)


def samples(precision: Any, n: int, seed: int = 0) -> Any:
    factor = np.linalg.cholesky(np.linalg.inv(precision))
    return 0.5 + np.random.default_rng(seed).normal(size=(n, len(precision))) @ factor.T


def objective(precision: Any, S: Any) -> float:
    return float(0.5 * np.trace(precision @ S @ precision) - np.trace(precision))


@pytest.mark.parametrize("estimator", ["score_matching", "maximum_likelihood"])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_structures_are_found(structure: str, estimator: str) -> None:
    precision = true_precision(structure)
    model = ConstrainedGaussian(**STRUCTURES[structure], estimator=estimator, random_state=0)
    model.fit(samples(precision, 20_000))
    assert np.linalg.norm(model.precision_ - precision) < 0.06 * np.linalg.norm(precision)
    assert_array_equal(model.precision_[precision == 0], 0.0)
    assert not model.is_constraint_active_


@pytest.mark.parametrize("estimator", ["nce", "conditional_nce"])
@pytest.mark.parametrize("structure", ["banded", "toeplitz"])
def test_contrastive_estimation_finds_structures(structure: str, estimator: str) -> None:
    precision = true_precision(structure)
    model = ConstrainedGaussian(
        **STRUCTURES[structure], estimator=estimator, noise_ratio=2, tol=1e-4, random_state=0
    ).fit(samples(precision, 10_000))
    assert np.linalg.norm(model.precision_ - precision) < 0.25 * np.linalg.norm(precision)
    assert_array_equal(model.precision_[precision == 0], 0.0)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_score_matching_is_at_its_minimum(structure: str) -> None:
    X = samples(true_precision(structure), 300)
    S = np.cov(X, rowvar=False, bias=True)
    model = ConstrainedGaussian(**STRUCTURES[structure]).fit(X)
    slope = 0.5 * (S @ model.precision_ + model.precision_ @ S) - np.eye(20)
    assert_allclose(pattern(structure).pulled(slope), 0, atol=1e-7)
    if structure == "full":
        assert_allclose(model.precision_, np.linalg.inv(S), rtol=1e-8)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_likelihood_is_at_its_maximum(structure: str) -> None:
    X = samples(true_precision(structure), 300)
    S = np.cov(X, rowvar=False, bias=True)
    model = ConstrainedGaussian(**STRUCTURES[structure], estimator="maximum_likelihood").fit(X)
    slope = np.linalg.inv(model.precision_) - S
    assert_allclose(pattern(structure).pulled(slope), 0, atol=1e-4)


@pytest.mark.parametrize("structure", ["banded", "toeplitz"])
def test_the_cone_is_kept_and_told(structure: str) -> None:
    options = {"image_shape": (1, 20), "radius": 0 if structure == "toeplitz" else 1}
    X = smooth_rows()
    if structure == "toeplitz":
        options = {"image_shape": (4, 5), "radius": 1}
    with pytest.warns(UserWarning, match="estimator: 'score_matching' alone gives a precision that is not"):
        model = ConstrainedGaussian(structure, **options).fit(X)
    assert model.is_constraint_active_
    S = np.cov(X, rowvar=False, bias=True)
    floor = 0.01 / np.linalg.eigvalsh(S)[-1]
    least = np.linalg.eigvalsh(model.precision_)[0]
    assert least >= floor * (1 - 1e-6)
    assert np.isfinite(model.log_likelihood(X)).all()
    best = objective(in_the_cone(model.energy_.structure, S, floor), S)
    assert 0 <= objective(model.precision_, S) - best < 1.1e-4 * abs(best)


def in_the_cone(structure: Any, S: Any, floor: float) -> Any:
    """The minimum over Lambda >= floor, by Newton's method along a barrier."""
    basis = np.array([structure.matrix(e) for e in np.eye(structure.n_entries)])
    bend = np.einsum("aij,jk,bki->ab", basis, S, basis, optimize=True)
    trace = np.einsum("aii->a", basis)
    theta = structure.values(np.eye(len(S)))

    def value(theta: Any, mu: float) -> float:
        values = np.linalg.eigvalsh(structure.matrix(theta)) - floor
        if values[0] <= 0:
            return np.inf
        return float(0.5 * theta @ bend @ theta - trace @ theta - mu * np.log(values).sum())

    for mu in 10.0 ** -np.arange(0, 9, 0.5):
        for _ in range(100):
            inverse = np.linalg.inv(structure.matrix(theta) - floor * np.eye(len(S)))
            seen = inverse @ basis
            slope = bend @ theta - trace - mu * np.einsum("aii->a", seen)
            move = np.linalg.solve(bend + mu * np.einsum("aij,bji->ab", seen, seen, optimize=True), slope)
            if slope @ move < 1e-3 * mu:
                break
            length = 1.0
            while value(theta - length * move, mu) > value(theta, mu) - 1e-4 * length * slope @ move:
                length /= 2
            theta = theta - length * move
    return structure.matrix(theta)


def test_a_splitting_that_does_not_converge_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.models._precision_fit._SPLITTING_STEPS", 20)
    with (
        pytest.warns(ConvergenceWarning, match="the objective may lie .* above its minimum over positive"),
        pytest.warns(UserWarning, match="alone gives a precision that is not positive definite"),
    ):
        model = ConstrainedGaussian("banded", image_shape=(1, 20), radius=1).fit(smooth_rows())
    assert np.linalg.eigvalsh(model.precision_)[0] > 0


def test_nce_outside_of_the_cone_learns_log_z_of_the_precision_it_moves() -> None:
    X = smooth_rows(500) + np.random.default_rng(1).normal(size=(500, 20))
    noise = GaussianNoise.of_data(X)
    options = {"image_shape": (4, 5), "radius": 1, "estimator": "nce", "noise": noise, "tol": 1e-3}
    with pytest.warns(UserWarning, match="estimator: 'nce' alone gives a precision that is not positive"):
        model = ConstrainedGaussian("toeplitz", **options, random_state=0).fit(X)
    assert model.is_constraint_active_
    loss = DensityNoiseContrastiveEstimation(noise)
    own = {"log_normalizer": np.array([model.log_normalizer_])}
    _, _, slope = loss.value_and_gradient(model.energy_, own, X, Draws(0, 0))
    assert abs(slope["log_normalizer"][0]) < 1e-3


def smooth_rows(n: int = 3000) -> Any:
    rng = np.random.default_rng(0)
    place = np.arange(20)
    kernel = np.exp(-0.5 * ((place[:, None] - place) / 3.0) ** 2)
    return rng.normal(size=(n, 20)) @ kernel + 0.1 * rng.normal(size=(n, 20))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_densities_are_those_of_scipy(structure: str, dtype: Any) -> None:
    X = samples(true_precision(structure), 500).astype(dtype)
    model = ConstrainedGaussian(**STRUCTURES[structure]).fit(X)
    assert model.precision_.dtype == model.mean_.dtype == dtype
    wide = model.precision_.astype(np.float64)
    expected = multivariate_normal(model.mean_.astype(np.float64), np.linalg.inv(wide)).logpdf(X[:10])
    close = {"rtol": 1e-9 if dtype == np.float64 else 1e-4}
    assert_allclose(model.log_likelihood(X[:10]), expected, **close)
    assert_allclose(model.score_samples(X[:10]), expected + model.log_partition().log_z, **close)
    assert_array_equal(model.free_energy(X[:10]), -model.score_samples(X[:10]))
    psi = -(X[:10] - model.mean_).astype(np.float64) @ wide
    assert_allclose(model.score_function(X[:10]), psi, atol=1e-9 if dtype == np.float64 else 1e-3)
    assert model.score_function(X[:10]).dtype == dtype


@pytest.mark.parametrize("structure", STRUCTURES)
def test_samples_have_the_moments(structure: str) -> None:
    model = ConstrainedGaussian(**STRUCTURES[structure], random_state=0)
    model.fit(samples(true_precision(structure), 2000))
    drawn = model.sample(50_000, random_state=0)
    assert_allclose(np.cov(drawn, rowvar=False), np.linalg.inv(model.precision_), atol=0.05)
    assert_allclose(drawn.mean(axis=0), model.mean_, atol=0.02)
    assert_array_equal(drawn, model.sample(50_000, random_state=0))
    assert not np.array_equal(model.sample(2), model.sample(2))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_whitening_and_filters(structure: str, dtype: Any) -> None:
    X = samples(true_precision(structure), 3000).astype(dtype)
    model = ConstrainedGaussian(**STRUCTURES[structure]).fit(X)
    white = model.transform(X)
    assert white.dtype == dtype
    tol = 1e-10 if dtype == np.float64 else 1e-4
    assert_allclose(model.inverse_transform(white), X, atol=tol)
    root = model.analysis_filters(np.eye(20))
    assert_allclose(root, root.T, atol=1e-5)
    assert_allclose(root @ root, model.precision_, atol=1e-5)
    V = np.random.default_rng(0).normal(size=(3, 20)).astype(dtype)
    assert_allclose(white @ V.T, (X - model.mean_) @ model.analysis_filters(V).T, atol=100 * tol)
    assert_allclose(model.transform(model.synthesis_filters(V) + model.mean_), V, atol=100 * tol)
    if structure == "full":
        assert_allclose(np.cov(white, rowvar=False, bias=True), np.eye(20), atol=1e-3)


def test_fewer_rows_than_features_are_regularised() -> None:
    X = np.random.default_rng(0).normal(size=(10, 20))
    with pytest.warns(UserWarning, match=r"X has no variance along some direction \(n_samples=10, n_feat"):
        model = ConstrainedGaussian().fit(X)
    assert_allclose(model.regularization_, 1e-3 * X.var(axis=0).mean())
    S = np.cov(X, rowvar=False, bias=True) + model.regularization_ * np.eye(20)
    assert_allclose(model.precision_, np.linalg.inv(S), rtol=1e-8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ConstrainedGaussian(regularization=0.1).fit(X).regularization_ == pytest.approx(0.1)
    with pytest.raises(ValueError, match="regularization: expected a number > 0 where X has no variance"):
        ConstrainedGaussian(regularization=0.0).fit(X)


@pytest.mark.parametrize("estimator", ["score_matching", "maximum_likelihood", "conditional_nce"])
def test_neighbours_without_variance_are_refused(estimator: str) -> None:
    options = {**STRUCTURES["banded"], "regularization": 0.0, "estimator": estimator}
    X = np.random.default_rng(0).normal(size=(5, 20))
    with pytest.raises(ValueError, match="regularization: expected a number > 0 where X has no variance"):
        ConstrainedGaussian(**options).fit(X)


def test_as_many_rows_as_neighbours_need_suffice() -> None:
    X = np.random.default_rng(0).normal(size=(18, 20))
    model = ConstrainedGaussian(**STRUCTURES["banded"], regularization=0.0).fit(X)
    assert np.abs(model.precision_).max() < 1e3


@pytest.mark.parametrize("structure", STRUCTURES)
def test_scales_whose_precision_overflows_are_refused(structure: str) -> None:
    X = samples(true_precision(structure), 300)
    for scale in (1e-25, 1e25):
        with pytest.raises(
            ValueError, match=r"X: the precision of rows of variance .* has no place in float32"
        ):
            ConstrainedGaussian(**STRUCTURES[structure]).fit((scale * X).astype(np.float32))
        assert np.isfinite(ConstrainedGaussian(**STRUCTURES[structure]).fit(scale * X).precision_).all()


def test_a_constant_feature_is_regularised() -> None:
    X = np.random.default_rng(0).normal(size=(100, 3))
    X[:, 1] = 7.0
    with pytest.warns(UserWarning, match="X has no variance along some direction"):
        model = ConstrainedGaussian().fit(X)
    assert np.isfinite(model.precision_).all()
    assert model.sample(3, random_state=0).shape == (3, 3)


def test_noise_of_ones_own() -> None:
    precision = np.array([[1.0, 0.4], [0.4, 2.0]])
    X = samples(precision, 20_000)
    noise = GaussianNoise([0.0, 1.0], [2.0, 1.5])
    model = ConstrainedGaussian(estimator="nce", noise=noise, noise_ratio=2, random_state=0).fit(X)
    assert_allclose(model.precision_, precision, atol=0.08)
    assert abs(model.log_normalizer_ - model.log_partition().log_z) < 0.03


def test_saved_and_loaded(tmp_path: Any) -> None:
    X = samples(true_precision("banded"), 500)
    model = ConstrainedGaussian(**STRUCTURES["banded"], estimator="nce", tol=1e-2, random_state=0).fit(X)
    before = model.sample(3)
    save_model(model, tmp_path / "gaussian.safetensors")
    loaded = load_model(tmp_path / "gaussian.safetensors")
    assert_array_equal(loaded.free_energy(X), model.free_energy(X))
    assert_array_equal(loaded.transform(X), model.transform(X))
    assert loaded.log_normalizer_ == model.log_normalizer_
    after = model.sample(3)
    assert_array_equal(loaded.sample(3), after)
    assert not np.array_equal(before, after)


class Remembering:
    """Noise that hands out an array it keeps."""

    def __init__(self, noise: Any) -> None:
        self.sample = noise.sample
        self._noise = noise
        self._kept: dict[bytes, Any] = {}

    def log_density(self, X: Any) -> Any:
        return self._kept.setdefault(X.tobytes(), self._noise.log_density(X))


def test_what_the_noise_returns_is_not_written_to() -> None:
    X = samples(np.array([[1.0, 0.4], [0.4, 2.0]]), 500)
    noise = GaussianNoise([0.0, 1.0], [2.0, 1.5])
    options = {"estimator": "nce", "tol": 1e-3, "random_state": 0}
    found = ConstrainedGaussian(**options, noise=Remembering(noise)).fit(3 * X)
    expected = ConstrainedGaussian(**options, noise=Afresh(noise)).fit(3 * X)
    assert_array_equal(found.precision_, expected.precision_)
    assert found.log_normalizer_ == expected.log_normalizer_


class Afresh:
    """The same noise, which is asked for its density likewise."""

    def __init__(self, noise: Any) -> None:
        self.sample, self.log_density = noise.sample, noise.log_density


@pytest.mark.parametrize("structure", ["banded", "toeplitz"])
def test_steps_of_the_likelihood_are_counted_and_bounded(structure: str) -> None:
    X = samples(true_precision(structure), 500)
    options = {**STRUCTURES[structure], "estimator": "maximum_likelihood"}
    model = ConstrainedGaussian(**options).fit(X)
    assert 1 < model.n_iter_ < 20
    exact = ConstrainedGaussian(**options, max_iter=model.n_iter_).fit(X)
    assert_array_equal(exact.precision_, model.precision_)
    with pytest.warns(ConvergenceWarning, match="newton made 1 iterations without reaching tol=1e-06"):
        assert ConstrainedGaussian(**options, max_iter=1).fit(X).n_iter_ == 1


def test_too_few_iterations_are_told() -> None:
    with pytest.warns(ConvergenceWarning, match="lbfgs made 1 iterations"):
        ConstrainedGaussian(estimator="nce", max_iter=1, random_state=0).fit(
            samples(true_precision("full"), 500)
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"structure": "sparse"}, "structure: expected one of 'full', 'banded', 'toeplitz', got 'sparse'"),
        ({"structure": "banded"}, r"image_shape: expected \(height, width\), got None"),
        ({"structure": "banded", "image_shape": (3, 3)}, r"image_shape: expected height \* width = 20"),
        ({"structure": "toeplitz", "image_shape": (4, 5), "radius": 9}, "radius: expected an integer <= 3"),
        ({"structure": "banded", "image_shape": (4, 5), "radius": -1}, "radius: expected a number >= 0"),
        ({"estimator": "moments"}, "estimator: expected one of"),
        ({"regularization": -1.0}, "regularization: expected a number >= 0"),
        ({"noise_scale": 0.0}, "noise_scale: expected a number > 0"),
        ({"noise": "pink"}, "noise: expected one of 'full', 'diagonal', got 'pink'"),
        ({"noise_ratio": 0}, "noise_ratio: expected an integer >= 1"),
        ({"max_iter": 0}, "max_iter: expected an integer >= 1"),
        ({"tol": 0.0}, "tol: expected a number > 0"),
        ({"random_state": -1}, "random_state: expected a non-negative integer"),
    ],
)
def test_bad_parameters_are_refused(options: Any, message: str) -> None:
    X = np.random.default_rng(0).normal(size=(50, 20))
    with pytest.raises(ValueError, match=f"^{message}"):
        ConstrainedGaussian(**options).fit(X)


def test_bad_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="X: expected two rows or more that differ, got n_samples=5"):
        ConstrainedGaussian().fit(np.ones((5, 3)))
    with pytest.raises(TypeError, match='noise: expected "full", "diagonal" or a density'):
        ConstrainedGaussian(noise=3).fit(np.eye(3))
    with pytest.raises(NotFittedError):
        ConstrainedGaussian().sample(2)
    model = ConstrainedGaussian().fit(np.random.default_rng(0).normal(size=(50, 3)))
    with pytest.raises(ValueError, match="V: expected 3 features, got shape"):
        model.analysis_filters(np.ones((2, 4)))
    with pytest.raises(ValueError, match="n: expected an integer >= 1"):
        model.sample(0)
