import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thalweg.inference.omp import omp_encode

seeds = st.integers(0, 2**32 - 1)


def problem(seed, n_components=30, n_features=12):
    rng = np.random.default_rng(seed)
    D = rng.normal(size=(n_components, n_features))
    return rng.normal(size=(20, n_features)), D / np.linalg.norm(D, axis=1, keepdims=True)


@given(seeds, st.integers(1, 11))
def test_the_residual_is_orthogonal_to_the_chosen_and_falls(seed, count):
    X, D = problem(seed)
    codes, info = omp_encode(X, D, n_nonzero_coefs=count)
    correlation = (X - codes @ D) @ D.T
    assert np.abs(correlation[codes != 0]).max() < 1e-9
    more = omp_encode(X, D, n_nonzero_coefs=count + 1)[1]
    assert (more.residual_squared <= info.residual_squared + 1e-12).all()


@given(seeds, st.floats(1e-3, 1e3), st.integers(1, 11))
def test_scaling(seed, factor, count):
    X, D = problem(seed)
    np.testing.assert_allclose(
        omp_encode(factor * X, D, n_nonzero_coefs=count)[0],
        factor * omp_encode(X, D, n_nonzero_coefs=count)[0],
        rtol=1e-7,
        atol=1e-9 * factor,
    )


@given(seeds, st.integers(1, 11))
def test_atoms_and_rows_may_come_in_any_order(seed, count):
    X, D = problem(seed)
    rng = np.random.default_rng(seed)
    atoms, rows = rng.permutation(len(D)), rng.permutation(len(X))
    codes = omp_encode(X, D, n_nonzero_coefs=count)[0]
    np.testing.assert_allclose(
        omp_encode(X[rows], D[atoms], n_nonzero_coefs=count)[0], codes[rows][:, atoms], atol=1e-9
    )


@given(seeds, st.integers(1, 11))
def test_float32_finds_codes_as_good(seed, count):
    X, D = problem(seed)
    double = omp_encode(X, D, n_nonzero_coefs=count)[1].residual_squared
    single = omp_encode(X.astype(np.float32), D.astype(np.float32), n_nonzero_coefs=count)[1].residual_squared
    assert np.abs(single - double).max() <= 1e-4 * np.sum(X**2, axis=1).max()
