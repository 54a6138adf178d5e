"""Native score matching against the Hessian written out and against central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from deep_densities import SMOOTH, assert_near, empty_gradient, flat, random_density, random_rows
from reference import score_matching as reference
from thalweg._native import cpu

SHAPES = [(1, 1, 1), (5, 3, 4), (4, 17, 3), (18, 8, 17), (3, 7, 2)]  # features, hidden units, top units


def score_matching(density: dict[str, Any], X: Any, n_jobs: int = 1) -> tuple[Any, Any, float]:
    objective, gradient = np.full(len(X), np.nan), empty_gradient(density)
    of_log_sigma = cpu.density_score_matching(
        density["weights"][0],
        density["bias"][0],
        density["activations"][0],
        density["top_weights"],
        density["top_bias"],
        density["visible_bias"],
        density["inverse_variance"],
        X,
        objective,
        gradient["weights"][0],
        gradient["bias"][0],
        gradient["top_weights"],
        gradient["top_bias"],
        gradient["visible_bias"],
        n_jobs,
    )
    return objective, gradient, of_log_sigma


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_objective_and_gradient(shape: tuple[int, int, int], activation: str, dtype: Any) -> None:
    d, n_hidden, n_top = shape
    density = random_density((d, n_hidden), n_top, activation, dtype)
    X = random_rows(4, d, dtype)
    objective, gradient, of_log_sigma = score_matching(density, X)
    assert_near(objective, reference.objective(density, X), dtype, 4)
    expected = reference.gradient(density, X)
    expected["weights"], expected["bias"] = [expected["weights"]], [expected["bias"]]
    for a, b in zip([of_log_sigma, *flat(gradient)], [expected["log_sigma"], *flat(expected)], strict=True):
        error = np.linalg.norm(np.asarray(a, np.float64) - b) / max(np.linalg.norm(b), 1e-9)
        assert error < (1e-5 if dtype == np.float32 else 1e-7)


def test_layers_without_bias(dtype: Any) -> None:
    X = random_rows(5, 6, dtype)
    without = random_density((6, 4), 3, "sigmoid", dtype, has_bias=False)
    zeros = dict(without, bias=[np.zeros(4, dtype)])
    for a, b in zip(score_matching(without, X), score_matching(zeros, X)):
        if isinstance(a, dict):
            for name in ("top_weights", "top_bias", "visible_bias"):
                assert_array_equal(a[name], b[name])
        else:
            assert_array_equal(a, b)


def test_rows_add_up_over_chunks(dtype: Any) -> None:
    """More rows than are in work at once, 240."""
    density = random_density((10, 8), 6, "sigmoid", dtype)
    X = random_rows(500, 10, dtype)
    objective, gradient, of_log_sigma = score_matching(density, X)
    sums: list[Any] = [0.0] * (1 + len(flat(gradient)))
    for rows in (slice(0, 100), slice(100, 137), slice(137, 500)):
        part, of_part, of_scale = score_matching(density, X[rows])
        assert_near(part, objective[rows], dtype)
        sums = [a + b.astype(np.float64) for a, b in zip(sums, [np.asarray(of_scale), *flat(of_part)])]
    for a, b in zip([of_log_sigma, *flat(gradient)], sums, strict=True):
        assert_near(a, b, dtype, 10)


def test_same_bits_for_any_number_of_threads(dtype: Any) -> None:
    density = random_density((150, 64), 40, "sigmoid", dtype)
    X = random_rows(250, 150, dtype)
    kept = X.copy()
    runs = []
    for n_jobs in (1, 2, 3):
        objective, gradient, of_log_sigma = score_matching(density, X, n_jobs)
        runs.append([objective, of_log_sigma, *flat(gradient)])
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            assert_array_equal(a, b)
    assert_array_equal(X, kept)


def test_the_score_is_small_beside_its_parts_in_single_precision() -> None:
    """Where psi nearly cancels, the error is that of the parts: about 1e-7 of ||x||^2 / sigma^4."""
    density = random_density((40, 16), 8, "sigmoid", np.float32, inverse_variance=100.0)
    X = random_rows(20, 40, np.float32) * np.float32(0.1)
    found, expected = score_matching(density, X)[0], reference.objective(density, X)
    parts = 0.5 * (100.0 * X.astype(np.float64)) ** 2
    assert (np.abs(found - expected) < 3e-6 * parts.sum(axis=1)).all()


def test_arguments_that_do_not_fit_are_refused(dtype: Any) -> None:
    density, X = random_density((5, 4), 3, "sigmoid", dtype), random_rows(2, 5, dtype)
    with pytest.raises(ValueError, match="expected one with a second derivative, got relu"):
        score_matching(dict(density, activations=["relu"]), X)
    with pytest.raises(ValueError, match="X: expected 5 columns"):
        score_matching(density, random_rows(2, 4, dtype))
    with pytest.raises(ValueError, match="X: expected at least one row"):
        score_matching(density, X[:0])
    with pytest.raises(ValueError, match="inverse_variance"):
        score_matching(dict(density, inverse_variance=-1.0), X)
    with pytest.raises(ValueError, match=r"top_weights: expected shape \(3, 4\)"):
        score_matching(dict(density, top_weights=np.zeros((3, 5), dtype)), X)
