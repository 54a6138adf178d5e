import numpy as np
import pytest

from reference import dictionary as reference
from thalweg.optim import accumulate_statistics, revive_dead_atoms, update_dictionary


def problem(rng, dtype, n_samples=300, n_components=70, n_features=37):
    Z = rng.normal(size=(n_samples, n_components)) * (rng.random((n_samples, n_components)) < 0.1)
    X = rng.normal(size=(n_samples, n_features))
    D = rng.normal(size=(n_components, n_features))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    return Z.astype(dtype), X.astype(dtype), D.astype(dtype)


def statistics(Z, X):
    A = np.zeros((Z.shape[1], Z.shape[1]))
    B = np.zeros((Z.shape[1], X.shape[1]))
    accumulate_statistics(Z, X, A, B)
    return A, B


@pytest.mark.parametrize("decay", [1.0, 0.5, 0.0])
def test_statistics_are_those_of_the_reference(rng, dtype, decay):
    Z, X, _ = problem(rng, dtype)
    A, B = statistics(Z[:100], X[:100])
    wanted = reference.statistics(Z, X, A, B, decay)
    accumulate_statistics(Z, X, A, B, decay=decay)
    np.testing.assert_allclose(A, wanted[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(B, wanted[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(70, 37), (1, 1), (33, 64), (64, 5), (130, 200)])
@pytest.mark.parametrize("options", [{}, {"positive": True}, {"unit_norm": True}, {"n_sweeps": 3}])
def test_step_is_that_of_the_reference(rng, dtype, rtol, shape, options):
    Z, X, D = problem(rng, dtype, n_components=shape[0], n_features=shape[1])
    A, B = statistics(Z, X)
    wanted, wanted_dead = reference.step(D, A, B, **options)
    dead = update_dictionary(D, A, B, **options)
    np.testing.assert_array_equal(dead, wanted_dead)
    np.testing.assert_allclose(D, wanted, rtol=0, atol=10 * rtol)


def test_same_bits_for_any_number_of_threads(rng, dtype):
    Z, X, D = problem(rng, dtype, n_components=200, n_features=144)
    results = []
    for n_jobs in (1, 2, 3):
        A, B, atoms = np.zeros((200, 200)), np.zeros((200, 144)), D.copy()
        accumulate_statistics(Z, X, A, B, n_jobs=n_jobs)
        update_dictionary(atoms, A, B, n_jobs=n_jobs)
        results.append((A, B, atoms))
    for other in results[1:]:
        for mine, theirs in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_unused_atoms_are_dead_and_stay(rng, dtype):
    Z, X, D = problem(rng, dtype)
    Z[:, [3, 40]] = 0
    A, B = statistics(Z, X)
    before = D.copy()
    dead = update_dictionary(D, A, B)
    assert np.flatnonzero(dead).tolist() == [3, 40]
    np.testing.assert_array_equal(D[dead], before[dead])


def test_the_dead_are_reborn_from_the_worst_explained(rng, dtype):
    Z, X, D = problem(rng, dtype)
    Z[:, [3, 40]] = 0
    X[17] *= 100
    X[5] *= 50
    A, B = statistics(Z, X)
    dead = update_dictionary(D, A, B)
    assert revive_dead_atoms(D, dead, A, B, X, Z) == 2
    np.testing.assert_allclose(D[3], X[17] / np.linalg.norm(X[17]), rtol=1e-5)
    np.testing.assert_allclose(D[40], X[5] / np.linalg.norm(X[5]), rtol=1e-5)
    assert not A[3].any()
    assert not A[:, 3].any()
    assert not B[3].any()


def test_nothing_is_reborn_without_an_error(rng, dtype):
    D = np.eye(3, dtype=dtype)
    X = np.eye(3, dtype=dtype)
    A, B = np.zeros((3, 3)), np.zeros((3, 3))
    assert revive_dead_atoms(D, np.array([True, False, False]), A, B, X, np.eye(3, dtype=dtype)) == 0


def test_bad_shapes_are_named(rng, dtype):
    Z, X, D = problem(rng, dtype)
    A, B = statistics(Z, X)
    with pytest.raises(ValueError, match="A: expected shape"):
        update_dictionary(D, A[:-1], B)
    with pytest.raises(ValueError, match="B: expected shape"):
        update_dictionary(D, A, B[:, :-1].copy())
    with pytest.raises(ValueError, match="X: expected 300 rows"):
        accumulate_statistics(Z, X[:-1], A, B)
    with pytest.raises(ValueError, match="dictionary"):
        update_dictionary(D[:, ::2], A, B[:, ::2].copy())
    with pytest.raises(TypeError, match="dictionary"):
        update_dictionary(D.tolist(), A, B)
    with pytest.raises(ValueError, match="decay"):
        accumulate_statistics(Z, X, A, B, decay=-1.0)


def test_statistics_of_another_kind_are_named(rng, dtype):
    Z, X, D = problem(rng, dtype)
    A, B = statistics(Z, X)
    for bad_A, bad_B, error, message in (
        (A.astype(np.float32), B, TypeError, r"^A: expected a float64 ndarray.*, got float32$"),
        (A, B.astype(np.float32), TypeError, r"^B: expected a float64 ndarray.*, got float32$"),
        (A.tolist(), B, TypeError, r"^A: expected a float64 ndarray.*, got list$"),
        (A, np.asfortranarray(B), ValueError, r"^B: expected a C-contiguous array"),
    ):
        with pytest.raises(error, match=message):
            update_dictionary(D, bad_A, bad_B)
        with pytest.raises(error, match=message):
            accumulate_statistics(Z, X, bad_A, bad_B)
