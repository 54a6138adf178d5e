"""The auto-encoder that score matching trains: its objective, its density, its files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softplus

from thalweg import DeepEnergyModel, ScoreMatchingAutoencoder
from thalweg.persistence import load_model, save_model


def sparse_rows(n: int = 1000, dtype: Any = np.float64) -> Any:
    """Mixtures of independent sources with heavy tails, wider than the energy of W = 0."""
    rng = np.random.default_rng(0)
    mixing = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    return (rng.laplace(scale=1.0, size=(n, 4)) @ mixing).astype(dtype), mixing


def model(**options: Any) -> ScoreMatchingAutoencoder:
    return ScoreMatchingAutoencoder(6, **{"n_iter": 3, "random_state": 0, **options})


def objective(W: Any, X: Any) -> float:
    """As the lecture has it, with the factor 1, less the number of features."""
    sums = X @ W.T
    error = 0.5 * ((X - expit(sums) @ W) ** 2).sum(axis=1)
    penalty = (W**2).sum(axis=1) * expit(sums) * expit(-sums)
    return float((error + penalty.sum(axis=1)).mean()) - X.shape[1]


def test_what_falls_is_the_objective(dtype: Any) -> None:
    X, _ = sparse_rows(dtype=dtype)
    found = model(n_iter=40, learning_rate=0.03, schedule="linear").fit(X)
    first = model(n_iter=0).fit(X)
    wide = X.astype(np.float64)
    before, after = (objective(m.components_.astype(np.float64), wide) for m in (first, found))
    assert after < before - 0.02
    assert_allclose(found.loss_curve_[-1], after, atol=0.1)
    # And it ends where the objective is flat.
    W, rng = found.components_.astype(np.float64), np.random.default_rng(0)
    for _ in range(20):
        move = rng.normal(size=W.shape)
        assert objective(W + 0.3 * move, wide) > after


def test_density_codes_and_reconstructions(dtype: Any) -> None:
    X, _ = sparse_rows(200, dtype)
    found = model().fit(X)
    W, wide = found.components_.astype(np.float64), X.astype(np.float64)
    tol = {"rtol": 1e-9, "atol": 1e-9} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-4}
    assert_allclose(found.transform(X), expit(wide @ W.T), **tol)
    assert_allclose(found.reconstruct(X), expit(wide @ W.T) @ W, **tol)
    assert_allclose(found.reconstruct(X), found.inverse_transform(found.transform(X)), **tol)
    assert_allclose(found.score_function(X), found.reconstruct(X) - X, atol=1e-4)
    expected = 0.5 * (wide**2).sum(axis=1) - softplus(wide @ W.T).sum(axis=1)
    assert_allclose(found.free_energy(X), expected, **tol)
    assert found.reconstruct(X).dtype == found.transform(X).dtype == dtype
    assert found.sigma_ == 1.0


def test_it_is_a_deep_energy_model_without_layers_and_biases() -> None:
    X, _ = sparse_rows(500)
    found = model().fit(X)
    deep = DeepEnergyModel(6, hidden_layer_sizes=(), n_iter=0, random_state=0).fit(X)
    assert not deep.energy_.parameters["top_bias"].any()
    deep.energy_ = deep.energy_.with_parameters({**deep.energy_.parameters, "top_weights": found.components_})
    assert_allclose(deep.free_energy(X), found.free_energy(X), rtol=1e-12)
    assert_allclose(deep.log_partition("exact").log_z, found.log_partition("exact").log_z, rtol=1e-12)


def test_saved_loaded_resumed(tmp_path: Any) -> None:
    X, _ = sparse_rows(300)
    found = model().fit(X)
    save_model(found, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert_array_equal(loaded.reconstruct(X), found.reconstruct(X))
    more = loaded.set_params(n_iter=5).resume(X)
    assert_array_equal(more.components_, model(n_iter=5).fit(X).components_)


def test_bad_arguments_are_refused() -> None:
    X, _ = sparse_rows(50)
    with pytest.raises(ValueError, match="init_std: expected a number >= 0"):
        model(init_std=-1.0).fit(X)
    with pytest.raises(ValueError, match="init_std: the first weights overflow float32"):
        model(init_std=1e300).fit(X.astype(np.float32))
    with pytest.raises(ValueError, match=r"codes: expected 6 columns, got shape \(2, 4\)"):
        model().fit(X).inverse_transform(np.ones((2, 4)))
