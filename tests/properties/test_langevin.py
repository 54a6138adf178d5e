"""Laws of deep densities that need no reference: derivatives, rows, units, trajectories that turn back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from deep_densities import SMOOTH, empty_gradient, flat, random_density, random_rows
from thalweg import _native, _rng

SEED, STREAM, STEP = 5, 30, 7

backends = pytest.mark.parametrize("backend_name", ["cpu", "cuda"])
few = settings(max_examples=12)
sizes = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)
problems = st.tuples(sizes, st.integers(1, 9), st.sampled_from(SMOOTH), st.integers(0, 2**16))


def kernels_of(backend_name: str) -> Any:
    try:
        return _native.kernels(backend_name)
    except RuntimeError as error:
        pytest.skip(f"backend {backend_name}: {error}")


def energies(kernels: Any, density: dict[str, Any], X: Any, t: float = 1.0) -> Any:
    out = np.empty(len(X))
    kernels.deep_density(**density).energy(X, out, t)
    return out


def scores(kernels: Any, density: dict[str, Any], X: Any, t: float = 1.0) -> Any:
    out = np.empty_like(X)
    kernels.deep_density(**density).score(X, out, t)
    return out


def moved(
    kernels: Any, density: dict[str, Any], X: Any, epsilon: float, n_leapfrog: int, **changes: Any
) -> tuple[Any, Any]:
    """States after, and the acceptance."""
    X, acceptance = X.copy(), np.empty(len(X))
    options: dict[str, Any] = {"is_tested": False, "n_steps": 1, "first_row": 0, "hidden_weight": 1.0}
    report = (acceptance, np.empty(len(X), np.int64), np.empty(len(X), np.int64))
    names = ("acceptance", "accepted", "diverged")
    kernels.deep_density(**density).move(
        X,
        epsilon,
        n_leapfrog,
        seed=SEED,
        stream=STREAM,
        step=STEP,
        **dict(zip(names, report)),
        **(options | changes),
    )
    return X, acceptance


def permuted(density: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The units of every layer, and those on top, in another order."""
    made, weights, bias = dict(density), list(density["weights"]), list(density["bias"])
    top = density["top_weights"]
    for i in range(len(weights)):
        order = rng.permutation(len(weights[i]))
        weights[i], bias[i] = weights[i][order], bias[i][order]
        if i + 1 < len(weights):
            weights[i + 1] = weights[i + 1][:, order]
        else:
            top = top[:, order]
    order = rng.permutation(len(top))
    made |= {"weights": [np.ascontiguousarray(w) for w in weights], "bias": bias}
    return made | {"top_weights": np.ascontiguousarray(top[order]), "top_bias": density["top_bias"][order]}


@backends
@few
@given(problem=problems, t=st.sampled_from([0.0, 0.4, 1.0]))
def test_scores_are_slopes_of_energies(backend_name: str, problem: Any, t: float) -> None:
    layers, n_top, activation, seed = problem
    kernels = kernels_of(backend_name)
    density = random_density(layers, n_top, activation, np.float64, seed=seed)
    X, V = random_rows(5, layers[0], np.float64, seed), random_rows(5, layers[0], np.float64, seed + 1)
    h = 1e-4
    slope = (energies(kernels, density, X + h * V, t) - energies(kernels, density, X - h * V, t)) / (2 * h)
    assert_allclose(-(scores(kernels, density, X, t) * V).sum(axis=1), slope, rtol=1e-6, atol=1e-6)


@backends
@few
@given(problem=problems)
def test_gradients_are_slopes_in_the_parameters(backend_name: str, problem: Any) -> None:
    layers, n_top, activation, seed = problem
    kernels, rng = kernels_of(backend_name), np.random.default_rng(seed)
    density = random_density(layers, n_top, activation, np.float64, seed=seed)
    X, weight = random_rows(6, layers[0], np.float64, seed), rng.normal(size=6)
    native, gradient = kernels.deep_density(**density), empty_gradient(density)
    of_log_sigma = native.pull(native.value(X, np.empty(6)), X, weight, **gradient)
    along = rng.normal()
    arrays = [*density["weights"], *density["bias"]]
    arrays += [density[name] for name in ("top_weights", "top_bias", "visible_bias")]
    directions = [rng.normal(size=a.shape) for a in arrays]
    slope = along * of_log_sigma + sum(float((g * v).sum()) for g, v in zip(flat(gradient), directions))

    def total(h: float) -> float:
        there = [a + h * v for a, v in zip(arrays, directions)]
        depth = len(density["weights"])
        changed = density | {"weights": there[:depth], "bias": there[depth : 2 * depth]}
        changed |= dict(zip(("top_weights", "top_bias", "visible_bias"), there[2 * depth :]))
        changed["inverse_variance"] = density["inverse_variance"] * np.exp(-2 * h * along)
        return float(weight @ energies(kernels, changed, X))

    h = 1e-5
    assert_allclose(slope, (total(h) - total(-h)) / (2 * h), rtol=1e-5, atol=1e-5)


@backends
@few
@given(problem=problems, n_leapfrog=st.integers(2, 6), epsilon=st.floats(0.01, 0.5))
def test_trajectories_turn_back(backend_name: str, problem: Any, n_leapfrog: int, epsilon: float) -> None:
    """From the end, with the momentum turned round, leapfrog steps lead to where they began."""
    layers, n_top, activation, seed = problem
    kernels = kernels_of(backend_name)
    density = random_density(layers, n_top, activation, np.float64, seed=seed)
    X = random_rows(4, layers[0], np.float64, seed)
    x = moved(kernels, density, X, epsilon, n_leapfrog)[0]
    one_before = moved(kernels, density, X, epsilon, n_leapfrog - 1)[0]
    p = -((x - one_before) / epsilon + 0.5 * epsilon * scores(kernels, density, x))
    for _ in range(n_leapfrog):
        p = p + 0.5 * epsilon * scores(kernels, density, x)
        x = x + epsilon * p
        p = p + 0.5 * epsilon * scores(kernels, density, x)
    assert_allclose(x, X, rtol=1e-7, atol=1e-7)
    first = _rng.normal_rows(SEED, STREAM, STEP, X.shape)
    assert_allclose(-p, first, rtol=1e-6, atol=1e-6)


@backends
@few
@given(problem=problems, first=st.integers(0, 8), count=st.integers(1, 8))
def test_rows_do_not_depend_on_their_neighbours(
    backend_name: str, problem: Any, first: int, count: int
) -> None:
    layers, n_top, activation, seed = problem
    kernels = kernels_of(backend_name)
    density = random_density(layers, n_top, activation, np.float64, seed=seed)
    X = random_rows(16, layers[0], np.float64, seed)
    part = slice(first, first + count)
    tolerance = {"rtol": 1e-11, "atol": 1e-11}
    for f in (energies, scores):
        assert_allclose(f(kernels, density, X[part]), f(kernels, density, X)[part], **tolerance)
    alone = moved(kernels, density, X[part], 0.3, 3, is_tested=True, first_row=first)
    for a, b in zip(alone, moved(kernels, density, X, 0.3, 3, is_tested=True)):
        assert_allclose(a, b[part], **tolerance)


@backends
@few
@given(problem=problems)
def test_the_order_of_units_changes_nothing(backend_name: str, problem: Any) -> None:
    layers, n_top, activation, seed = problem
    kernels = kernels_of(backend_name)
    density = random_density(layers, n_top, activation, np.float64, seed=seed)
    other = permuted(density, np.random.default_rng(seed))
    X = random_rows(6, layers[0], np.float64, seed)
    for f in (energies, scores):
        assert_allclose(f(kernels, other, X), f(kernels, density, X), rtol=1e-11, atol=1e-11)
    for is_tested in (False, True):
        for a, b in zip(
            moved(kernels, other, X, 0.3, 3, is_tested=is_tested),
            moved(kernels, density, X, 0.3, 3, is_tested=is_tested),
        ):
            assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@backends
@few
@given(problem=problems, epsilon=st.floats(0.05, 0.5), n_leapfrog=st.integers(1, 5))
def test_no_hidden_part_leaves_a_normal(
    backend_name: str, problem: Any, epsilon: float, n_leapfrog: int
) -> None:
    """At t = 0 leapfrog steps are those of a harmonic oscillator about sigma^2 b, whatever the layers."""
    layers, n_top, activation, seed = problem
    kernels = kernels_of(backend_name)
    density = random_density(layers, n_top, activation, np.float64, seed=seed)
    X = random_rows(3, layers[0], np.float64, seed)
    beta, b = density["inverse_variance"], density["visible_bias"]
    x, p = X, _rng.normal_rows(SEED, STREAM, STEP, X.shape)
    for _ in range(n_leapfrog):
        p = p + 0.5 * epsilon * (b - beta * x)
        x = x + epsilon * p
        p = p + 0.5 * epsilon * (b - beta * x)
    found = moved(kernels, density, X, epsilon, n_leapfrog, hidden_weight=0.0)[0]
    assert_allclose(found, x, rtol=1e-10, atol=1e-10)
