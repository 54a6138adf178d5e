import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference import dictionary as reference
from thalweg.optim import update_dictionary

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 40)


def problem(seed, n_components, n_features):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(80, n_components)) * (rng.random((80, n_components)) < 0.3)
    X = rng.normal(size=(80, n_features))
    D = rng.normal(size=(n_components, n_features))
    return Z.T @ Z, Z.T @ X, D / np.maximum(1.0, np.linalg.norm(D, axis=1, keepdims=True))


@given(seeds, sizes, sizes, st.booleans())
def test_a_sweep_never_raises_the_objective_nor_leaves_the_ball(seed, k, n, positive):
    A, B, D = problem(seed, k, n)
    if positive:
        D = np.abs(D)
    before = reference.objective(D, A, B)
    update_dictionary(D, A, B, positive=positive)
    assert reference.objective(D, A, B) <= before + 1e-9 * (1 + abs(before))
    assert np.linalg.norm(D, axis=1).max() <= 1 + 1e-12
    assert not positive or D.min() >= 0


@given(seeds, sizes, sizes)
def test_atoms_are_optimal_at_convergence(seed, k, n):
    A, B, D = problem(seed, k, n)
    dead = update_dictionary(D, A, B, n_sweeps=3000)
    gradient = (A @ D - B)[~dead]
    atoms = D[~dead]
    inside = np.linalg.norm(atoms, axis=1) < 1 - 1e-9
    scale = 1e-4 * (1 + np.abs(B).max())
    assert np.abs(gradient[inside]).max(initial=0) <= scale
    # On the sphere the gradient points inwards, along the atom.
    multiplier = -np.sum(gradient * atoms, axis=1)
    assert multiplier[~inside].min(initial=0) >= -scale
    assert np.abs(gradient + multiplier[:, None] * atoms)[~inside].max(initial=0) <= scale


@given(seeds, sizes, sizes)
def test_features_may_come_in_any_order(seed, k, n):
    A, B, D = problem(seed, k, n)
    order = np.random.default_rng(seed).permutation(n)
    shuffled = np.ascontiguousarray(D[:, order])
    update_dictionary(D, A, B)
    update_dictionary(shuffled, A, np.ascontiguousarray(B[:, order]))
    np.testing.assert_allclose(shuffled, D[:, order], atol=1e-9)


@given(seeds, sizes, sizes, st.floats(0.01, 100))
def test_statistics_have_no_scale(seed, k, n, factor):
    A, B, D = problem(seed, k, n)
    scaled = D.copy()
    update_dictionary(D, A, B)
    update_dictionary(scaled, factor * A, factor * B)
    np.testing.assert_allclose(scaled, D, atol=1e-8)
