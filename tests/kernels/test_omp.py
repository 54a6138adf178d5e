import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import sparse_encode
from sklearn.linear_model import orthogonal_mp_gram

from reference import omp as reference
from thalweg.inference.omp import DEPENDENT, EXHAUSTED, REACHED, omp_encode


def problem(rng, dtype=np.float64, n_samples=60, n_components=50, n_features=20, unit=True):
    D = rng.normal(size=(n_components, n_features))
    if unit:
        D /= np.linalg.norm(D, axis=1, keepdims=True)
    return rng.normal(size=(n_samples, n_features)).astype(dtype), D.astype(dtype)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("count", [1, 3, 10])
def test_number_of_nonzeros(rng, dtype, rtol, unit, count):
    X, D = problem(rng, dtype, unit=unit)
    codes, info = omp_encode(X, D, n_nonzero_coefs=count)
    wanted, residual = reference.encode(X, D, n_nonzero=count)
    assert codes.dtype == dtype
    np.testing.assert_array_equal(codes != 0, wanted != 0)
    np.testing.assert_allclose(codes, wanted, atol=500 * rtol)
    np.testing.assert_allclose(info.residual_squared, residual, atol=1e-5 if dtype == np.float32 else 1e-10)
    np.testing.assert_array_equal(info.n_nonzero, count)
    np.testing.assert_array_equal(info.status, REACHED)


def test_as_many_atoms_as_features_explain_everything(rng, dtype):
    X, D = problem(rng, dtype)
    info = omp_encode(X, D, n_nonzero_coefs=20)[1]
    assert info.residual_squared.max() < (1e-4 if dtype == np.float32 else 1e-15)


@pytest.mark.parametrize("tol", [8.0, 1.0, 0.05])
def test_residual(rng, dtype, tol):
    X, D = problem(rng, dtype)
    codes, info = omp_encode(X, D, tol=tol)
    wanted, _ = reference.encode(X, D, tol=tol)
    np.testing.assert_array_equal(codes != 0, wanted != 0)
    assert (info.residual_squared <= tol).all()
    recomputed = np.sum((X.astype(float) - codes.astype(float) @ D.astype(float)) ** 2, axis=1)
    np.testing.assert_allclose(info.residual_squared, recomputed, rtol=1e-9, atol=1e-12)


def test_is_scikit_learns(rng):
    X, D = problem(rng)
    theirs = sparse_encode(X, D, algorithm="omp", n_nonzero_coefs=7)
    np.testing.assert_allclose(omp_encode(X, D, n_nonzero_coefs=7)[0], theirs, atol=1e-10)
    theirs = sparse_encode(X, D, algorithm="omp")
    np.testing.assert_allclose(omp_encode(X, D)[0], theirs, atol=1e-10)
    norms = np.sum(X**2, axis=1)
    theirs = orthogonal_mp_gram(D @ D.T, D @ X.T, tol=2.0, norms_squared=norms).T
    mine = omp_encode(X, D, tol=2.0)[0]
    large = norms > 2.0  # scikit-learn takes one atom even where none is needed
    np.testing.assert_allclose(mine[large], theirs[large], atol=1e-10)


def test_same_bits_for_any_number_of_threads(rng, dtype):
    X, D = problem(rng, dtype, n_samples=300)
    results = [omp_encode(X, D, n_nonzero_coefs=9, n_jobs=n)[0] for n in (1, 2, 3)]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_zero_rows_empty_batches_and_zero_atoms(rng, dtype):
    X, D = problem(rng, dtype)
    X[3] = 0
    D[7] = 0
    codes, info = omp_encode(X, D, n_nonzero_coefs=5)
    assert not codes[3].any()
    assert info.status[3] == EXHAUSTED
    assert not codes[:, 7].any()
    assert omp_encode(X[:0], D)[0].shape == (0, 50)


def test_dependent_atoms_stop_the_row(rng, dtype):
    D = np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]], dtype)
    codes, info = omp_encode(np.array([[2.0, 1.0, 5.0]], dtype), D, n_nonzero_coefs=3)
    np.testing.assert_allclose(codes, [[2.0, 0.0, 1.0]])
    assert info.status[0] in (DEPENDENT, EXHAUSTED)
    assert info.n_nonzero[0] == 2


def test_odd_arrays(rng):
    X, D = problem(rng)
    wanted = omp_encode(X, D)[0]
    strided = np.zeros((X.shape[0] * 2, X.shape[1] * 2))
    strided[::2, ::2] = X
    np.testing.assert_array_equal(omp_encode(strided[::2, ::2], D)[0], wanted)
    assert omp_encode((X * 10).astype(int), D)[0].dtype == np.float64
    assert omp_encode(X.astype(np.float16), D)[0].dtype == np.float64
    assert omp_encode(X > 0, D)[0].dtype == np.float64


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"X": np.zeros((3, 19))}, ValueError, "X: expected 20 features"),
        ({"X": np.zeros(20)}, ValueError, "X: expected 2 dim"),
        ({"X": np.full((1, 20), np.nan)}, ValueError, "X: every element must be finite"),
        ({"X": np.zeros((2, 20), complex)}, ValueError, "X: Complex"),
        ({"X": sp.csr_matrix(np.eye(20))}, TypeError, "X: a dense array is required"),
        ({"dictionary": np.zeros((0, 20))}, ValueError, "dictionary: expected at least one atom"),
        ({"n_nonzero_coefs": 0}, ValueError, "n_nonzero_coefs"),
        ({"n_nonzero_coefs": 51}, ValueError, "n_nonzero_coefs: expected at most 50"),
        ({"n_nonzero_coefs": 2.5}, TypeError, "n_nonzero_coefs"),
        ({"tol": -1.0}, ValueError, "tol"),
        ({"n_jobs": 0}, ValueError, "n_jobs"),
    ],
)
def test_bad_arguments_are_named(rng, change, error, message):
    X, D = problem(rng)
    arguments = {"X": X, "dictionary": D, **change}
    with pytest.raises(error, match=message):
        omp_encode(**arguments)


def test_nearly_dependent_atoms_do_not_spoil_float32():
    rng = np.random.default_rng(0)
    U, _, V = np.linalg.svd(rng.normal(size=(64, 64)))
    D = (U * np.geomspace(1, 2e-3, 64)) @ V
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    X, tol = rng.normal(size=(400, 64)), 0.05 * 64
    _, info = omp_encode(X.astype(np.float32), D.astype(np.float32), tol=tol)
    assert (info.residual_squared[info.status == 0] <= 1.01 * tol).all()
    assert (info.residual_squared <= 1.01 * (X**2).sum(axis=1)).all()
