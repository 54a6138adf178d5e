"""Minima, samples and alternation of energies of continuous and discrete variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from thalweg.inference.alternation import alternate
from thalweg.inference.continuous import langevin, minimise_continuous
from thalweg.inference.discrete import gibbs_states, simulated_annealing
from thalweg.inference.free_energy import free_energy

RNG = np.random.default_rng(0)
CURVATURES = np.stack([np.eye(4) + (a := RNG.normal(size=(4, 4))) @ a.T for _ in range(5)])
TARGETS = RNG.normal(size=(5, 4))


def quadratic(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    away = x - TARGETS[rows]
    gradient = np.einsum("nij,nj->ni", CURVATURES[rows], away)
    return 0.5 * (away * gradient).sum(axis=1), gradient


def double_well(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minima near -1 and 1; the one near -1 is the lower."""
    return ((x**2 - 1) ** 2 + 0.3 * x).sum(axis=1), 4 * x * (x**2 - 1) + 0.3


@pytest.mark.parametrize("method", ["lbfgs", "projected-gradient"])
def test_minima_of_quadratics(method: str) -> None:
    found = minimise_continuous(quadratic, np.zeros((5, 4)), method=method, max_iter=1000, tol=1e-8)
    np.testing.assert_allclose(found.x, TARGETS, atol=1e-6)
    np.testing.assert_allclose(found.energy, 0, atol=1e-12)
    assert found.converged.all()


@pytest.mark.parametrize("method", ["lbfgs", "projected-gradient"])
def test_minima_in_a_box_are_stationary(method: str) -> None:
    low, high = np.full(4, -0.2), np.array([0.1, 0.3, np.inf, 0.0])
    found = minimise_continuous(
        quadratic, np.zeros((5, 4)), bounds=(low, high), method=method, max_iter=1000, tol=1e-7
    )
    assert ((low <= found.x) & (found.x <= high)).all()
    _, gradient = quadratic(found.x, np.arange(5))
    np.testing.assert_allclose(np.clip(found.x - gradient, low, high), found.x, atol=1e-6)
    assert found.converged.all()


@pytest.mark.parametrize("method", ["lbfgs", "projected-gradient"])
def test_restarts_find_the_lower_well(method: str) -> None:
    start = np.ones((3, 1))
    alone = minimise_continuous(double_well, start, method=method)
    assert (alone.x > 0).all()
    best = minimise_continuous(double_well, start, method=method, bounds=(-2, 2), n_restarts=10)
    assert (best.x < 0).all()
    assert (best.energy < alone.energy).all()
    again = minimise_continuous(double_well, start, method=method, bounds=(-2, 2), n_restarts=10)
    np.testing.assert_array_equal(best.x, again.x)


def test_a_search_that_ends_early_says_so() -> None:
    found = minimise_continuous(quadratic, 5 * np.ones((5, 4)), method="projected-gradient", max_iter=1)
    assert not found.converged.any()


@pytest.mark.parametrize(("bounds", "error"), [((1, 0), ValueError), ((np.nan, 1), ValueError)])
def test_bad_bounds(bounds: Any, error: type) -> None:
    with pytest.raises(error, match="bounds"):
        minimise_continuous(quadratic, np.zeros((5, 4)), bounds=bounds)


def test_langevin_samples_a_normal_distribution() -> None:
    def energy(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 0.5 * (x**2).sum(axis=1), x

    samples = langevin(energy, np.zeros((20_000, 1)), n_steps=300, step=0.05, beta=4.0, seed=1)
    assert abs(samples.mean()) < 0.01
    assert abs(samples.var() - 0.25) < 0.02
    inside = langevin(energy, np.zeros((1000, 1)), n_steps=50, step=0.5, bounds=(-0.1, 0.2))
    assert inside.min() >= -0.1
    assert inside.max() <= 0.2


COUPLING = RNG.normal(size=(3, 3))


def spins(states: np.ndarray, rows: np.ndarray) -> np.ndarray:
    s = states - 0.5
    return np.einsum("ni,ij,nj->n", s, COUPLING, s) + 0.2 * states.sum(axis=1)


def test_gibbs_states_follow_the_distribution() -> None:
    grid = np.stack(np.meshgrid([0, 1], [0, 1, 2], [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)
    _, expected = free_energy(spins(grid, np.arange(12)), 1.3)
    states = gibbs_states(spins, np.zeros((20_000, 3), int), [2, 3, 2], beta=1.3, n_sweeps=20, seed=2)
    numbers = states @ np.array([6, 2, 1])
    counts = np.bincount(numbers, minlength=12)
    chi_squared = ((counts - 20_000 * expected) ** 2 / (20_000 * expected)).sum()
    assert chi_squared < 31.3  # the 0.999 quantile with 11 degrees of freedom


def test_annealing_finds_the_least_energy() -> None:
    grid = np.stack(np.meshgrid(*[[0, 1, 2]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    least = spins(grid, np.arange(27)).min()
    betas = [*np.geomspace(0.1, 30, 30), np.inf]
    states, energy = simulated_annealing(spins, np.zeros((20, 3), int), [3, 3, 3], betas=betas, seed=3)
    np.testing.assert_allclose(energy, spins(states, np.arange(20)))
    assert (np.abs(energy - least) < 1e-12).mean() > 0.8


@pytest.mark.parametrize(
    ("states", "cardinalities", "error", "message"),
    [
        (np.zeros((2, 3)), [2, 2, 2], TypeError, "states: expected integers"),
        (np.zeros((2, 2), int), [2, 2, 2], ValueError, "states: expected shape"),
        (np.full((2, 3), 2), [2, 2, 2], ValueError, "states: expected states below"),
    ],
)
def test_bad_states(states: Any, cardinalities: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        gibbs_states(spins, states, cardinalities)


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan])
def test_bad_temperatures(beta: float) -> None:
    with pytest.raises(ValueError, match="beta"):
        free_energy([1.0, 2.0], beta)
    with pytest.raises(ValueError, match="beta"):
        gibbs_states(spins, np.zeros((1, 3), int), [2, 2, 2], beta=beta)


def test_free_energies_of_forbidden_states() -> None:
    free, distribution = free_energy([[np.inf, 2.0], [np.inf, np.inf]], 3.0)
    np.testing.assert_array_equal(free, [2.0, np.inf])
    np.testing.assert_array_equal(distribution, [[0, 1], [0, 0]])
    cold, distribution = free_energy([[np.inf, np.inf]])
    assert cold[0] == np.inf
    assert not distribution.any()


def test_free_energies_of_float32_at_any_temperature() -> None:
    table = np.array([1.0, 2.0], np.float32)
    free, distribution = free_energy(table, 1e39)
    assert free.dtype == distribution.dtype == np.float32
    np.testing.assert_array_equal(free, 1.0)
    np.testing.assert_array_equal(distribution, [1.0, 0.0])
    hot, flat = free_energy(table, 1e-30)
    np.testing.assert_allclose(hot, -np.log(2) * 1e30, rtol=1e-6)
    np.testing.assert_allclose(flat, 0.5)
    with pytest.raises(ValueError, match=r"^beta: 1e-50 is so small that the free energy overflows float32$"):
        free_energy(table, 1e-50)
    far, sure = free_energy([-1e308, 1.7e308, np.inf], 2.0)
    assert (float(far), sure.tolist()) == (-1e308, [1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("energies", "axis", "error", "message"),
    [
        (np.array([1 + 1j, 2]), -1, ValueError, "^energies: Complex data not supported"),
        ([["a", "b"]], -1, ValueError, "^energies: expected real numbers"),
        ([[1.0, 2.0], [3.0]], -1, ValueError, "^energies: expected an array of numbers"),
        (sparse.eye_array(2), -1, TypeError, "^energies: a dense array is required"),
        ([1.0, 2.0], 3, ValueError, "^axis: expected a number from -1 to 0, got 3$"),
        ([1.0, 2.0], -2, ValueError, "^axis: expected a number from -1 to 0, got -2$"),
        ([1.0, 2.0], 0.5, TypeError, r"^axis: expected an integer, got 0\.5$"),
        (1.0, 0, ValueError, "^energies: expected at least one axis"),
        (np.empty((2, 0)), 1, ValueError, "^energies: expected a state at least along axis 1"),
    ],
)
def test_what_has_no_free_energy_is_named(energies: Any, axis: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        free_energy(energies, 1.0, axis)


def only_zeros(states: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.where((states == 0).all(axis=1), 0.0, np.inf)


def test_gibbs_states_that_cannot_leave_what_is_forbidden() -> None:
    # one change leads from (1, 0) to what is allowed, none from (1, 1)
    allowed = gibbs_states(only_zeros, [[1, 0], [0, 0]], [2, 2], n_sweeps=3)
    np.testing.assert_array_equal(allowed, [[0, 0], [0, 0]])
    with pytest.raises(ValueError, match=r"^states: row 1 is still forbidden .* after 20 sweep"):
        gibbs_states(only_zeros, [[0, 0], [1, 1]], [2, 3], n_sweeps=20)
    states, energy = simulated_annealing(only_zeros, [[0, 1], [1, 1]], [2, 3], betas=[1.0, np.inf])
    np.testing.assert_array_equal(energy, [0.0, np.inf])
    np.testing.assert_array_equal(states, [[0, 0], [1, 1]])


def test_alternation_refuses_what_does_not_minimise() -> None:
    def energy(a: np.ndarray) -> np.ndarray:
        return a**2

    with pytest.raises(ValueError, match="raised an energy"):
        alternate(energy, [lambda a: a + 1], (np.zeros(2),))
