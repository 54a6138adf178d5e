"""Laws of the closed form of score matching: what its objective and gradient are derivatives of."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from deep_densities import SMOOTH, empty_gradient, flat, random_density, random_rows
from thalweg._native import cpu

few = settings(max_examples=25)
shapes = st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(1, 9))
problems = st.tuples(shapes, st.sampled_from(SMOOTH), st.integers(0, 2**16))


def score_matching(density: dict[str, Any], X: Any) -> tuple[Any, Any, float]:
    """Objectives of the rows, the gradient of their sum, and that in log sigma."""
    objective, gradient = np.empty(len(X)), empty_gradient(density)
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
        1,
    )
    return objective, gradient, of_log_sigma


def made(problem: Any) -> tuple[dict[str, Any], Any]:
    (d, n_hidden, n_top), activation, seed = problem
    density = random_density((d, n_hidden), n_top, activation, np.float64, seed=seed)
    return density, random_rows(4, d, np.float64, seed)


@few
@given(problem=problems)
def test_the_objective_is_of_the_score(problem: Any) -> None:
    """1/2 ||psi||^2 + div psi, psi by the kernel that chains use, its divergence by differences."""
    density, X = made(problem)
    native = cpu.deep_density(**density)

    def score(rows: Any) -> Any:
        out = np.empty_like(rows)
        native.score(np.ascontiguousarray(rows), out)
        return out

    h, divergence = 1e-5, np.zeros(len(X))
    for j in range(X.shape[1]):
        step = np.zeros(X.shape[1])
        step[j] = h
        divergence += (score(X + step) - score(X - step))[:, j] / (2 * h)
    expected = 0.5 * (score(X) ** 2).sum(axis=1) + divergence
    assert_allclose(score_matching(density, X)[0], expected, rtol=1e-7, atol=1e-6)


@few
@given(problem=problems)
def test_the_gradient_is_the_slope(problem: Any) -> None:
    density, X = made(problem)
    rng = np.random.default_rng(problem[2])
    _, gradient, of_log_sigma = score_matching(density, X)
    arrays = [density["weights"][0], density["bias"][0]]
    arrays += [density[name] for name in ("top_weights", "top_bias", "visible_bias")]
    directions, along = [rng.normal(size=a.shape) for a in arrays], rng.normal()
    slope = along * of_log_sigma + sum(float((g * v).sum()) for g, v in zip(flat(gradient), directions))

    def total(h: float) -> float:
        there = [a + h * v for a, v in zip(arrays, directions)]
        changed = density | {"weights": there[:1], "bias": there[1:2]}
        changed |= dict(zip(("top_weights", "top_bias", "visible_bias"), there[2:]))
        changed["inverse_variance"] = density["inverse_variance"] * np.exp(-2 * h * along)
        return float(score_matching(changed, X)[0].sum())

    h = 1e-5
    size = max(1.0, *(float(np.abs(g).max()) for g in flat(gradient)))
    assert_allclose(slope, (total(h) - total(-h)) / (2 * h), rtol=1e-5, atol=1e-5 * size)


@few
@given(problem=problems, first=st.integers(0, 3))
def test_rows_do_not_depend_on_their_neighbours(problem: Any, first: int) -> None:
    density, X = made(problem)
    whole = score_matching(density, X)[0]
    assert_allclose(score_matching(density, X[first : first + 1])[0], whole[first : first + 1], rtol=1e-12)
    order = np.random.default_rng(problem[2]).permutation(len(X))
    again, gradient, of_log_sigma = score_matching(density, X[order])
    assert_allclose(again, whole[order], rtol=1e-12)
    _, expected, expected_of_log_sigma = score_matching(density, X)
    assert_allclose(of_log_sigma, expected_of_log_sigma, rtol=1e-10)
    for a, b in zip(flat(gradient), flat(expected), strict=True):
        assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@few
@given(problem=problems)
def test_the_order_of_units_changes_nothing(problem: Any) -> None:
    density, X = made(problem)
    rng = np.random.default_rng(problem[2])
    hidden = rng.permutation(len(density["weights"][0]))
    top = rng.permutation(len(density["top_weights"]))
    other = density | {
        "weights": [density["weights"][0][hidden]],
        "bias": [density["bias"][0][hidden]],
        "top_weights": np.ascontiguousarray(density["top_weights"][top][:, hidden]),
        "top_bias": density["top_bias"][top],
    }
    found, expected = score_matching(other, X), score_matching(density, X)
    assert_allclose(found[0], expected[0], rtol=1e-10, atol=1e-10)
    assert_allclose(found[1]["weights"][0], expected[1]["weights"][0][hidden], rtol=1e-8, atol=1e-8)
    assert_allclose(found[1]["top_weights"], expected[1]["top_weights"][top][:, hidden], rtol=1e-8, atol=1e-8)
    assert_allclose(found[2], expected[2], rtol=1e-9)
