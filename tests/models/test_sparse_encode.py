"""sparse_encode: the optima of scikit-learn's function, certificates, blocks, and odd input."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix, issparse
from sklearn import decomposition
from sklearn.exceptions import ConvergenceWarning

from thalweg import MiniBatchDictionaryLearning, SparseCoder, sparse_encode
from thalweg.inference import sparse_encode as module_of_blocks

ALGORITHMS = ("lasso_lars", "lasso_cd", "lars", "omp", "threshold")
LASSO = ("lasso_lars", "lasso_cd")


def problem(n_samples: int = 40, n_features: int = 12, n_components: int = 20, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    dictionary = rng.normal(size=(n_components, n_features))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    return rng.normal(size=(n_samples, n_features)), dictionary


def objective(X: Any, D: Any, Z: Any, alpha: Any) -> Any:
    return 0.5 * ((X - Z @ D) ** 2).sum(axis=1) + (alpha * np.abs(Z)).sum(axis=1)


# ------------------------------------------------------------------------------- as scikit-learn's function


def test_arguments_are_scikit_learns_and_more() -> None:
    theirs = inspect.signature(decomposition.sparse_encode).parameters
    ours = inspect.signature(sparse_encode).parameters
    assert {name: ours[name].default for name in theirs} == {name: p.default for name, p in theirs.items()}
    assert set(ours) - set(theirs) == {
        *("solver", "penalty", "l2", "tol", "sparse_output", "return_info", "device")
    }


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("algorithm", LASSO)
@pytest.mark.parametrize("alpha", [0.05, 0.5])
def test_lasso_reaches_scikit_learns_optimum(algorithm: str, positive: bool, alpha: float) -> None:
    X, D = problem()
    theirs = decomposition.sparse_encode(
        X, D, algorithm="lasso_cd", alpha=alpha, positive=positive, max_iter=100_000
    )
    ours = sparse_encode(X, D, algorithm=algorithm, alpha=alpha, positive=positive, tol=1e-12)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert (objective(X, D, ours, alpha) <= objective(X, D, theirs, alpha) + 1e-9).all()


@pytest.mark.parametrize("arguments", [{}, {"n_nonzero_coefs": 3}])
@pytest.mark.parametrize("algorithm", ["omp", "lars"])
def test_pursuits_are_scikit_learns(algorithm: str, arguments: dict[str, Any]) -> None:
    X, D = problem()
    theirs = decomposition.sparse_encode(X, D, algorithm=algorithm, **arguments)
    np.testing.assert_allclose(sparse_encode(X, D, algorithm=algorithm, **arguments), theirs, atol=1e-9)


@pytest.mark.parametrize("positive", [False, True])
def test_threshold_is_scikit_learns(positive: bool) -> None:
    X, D = problem()
    theirs = decomposition.sparse_encode(X, D, algorithm="threshold", alpha=0.3, positive=positive)
    ours = sparse_encode(X, D, algorithm="threshold", alpha=0.3, positive=positive)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_alpha_is_1_where_none_is_given() -> None:
    X, D = problem()
    np.testing.assert_array_equal(sparse_encode(X, D), sparse_encode(X, D, alpha=1.0))


def test_precomputed_products_and_the_other_old_arguments_change_nothing(capsys: Any) -> None:
    X, D = problem()
    plain = sparse_encode(X, D, alpha=0.2)
    cov = D @ X.T
    kept = cov.copy()
    told = sparse_encode(
        X, D, gram=D @ D.T, cov=cov, copy_cov=False, check_input=False, alpha=0.2, n_jobs=1, verbose=1
    )
    np.testing.assert_array_equal(told, plain)
    np.testing.assert_array_equal(cov, kept)
    assert "40 rows" in capsys.readouterr().out
    with pytest.raises(ValueError, match="gram: expected shape"):
        sparse_encode(X, D, gram=np.eye(3))
    with pytest.raises(ValueError, match="cov: expected shape"):
        sparse_encode(X, D, cov=D)


# ------------------------------------------------------------------------------- what is new


@pytest.mark.parametrize("solver", ["auto", "active_set", "cd", "fista", "ista"])
def test_every_solver_reaches_its_tolerance_and_says_so(solver: str) -> None:
    X, D = problem()
    codes, info = sparse_encode(X, D, alpha=0.2, solver=solver, tol=1e-6, max_iter=100_000, return_info=True)
    exact = sparse_encode(X, D, alpha=0.2, tol=1e-13)
    excess = objective(X, D, codes, 0.2) - objective(X, D, exact, 0.2)
    assert info.criterion == "duality gap"
    assert info.gap.shape == info.n_iter.shape == info.status.shape == (40,)
    assert (info.gap <= 1e-6).all()
    assert (info.status == 0).all()
    assert (excess <= 0.5 * (X**2).sum(axis=1) * info.gap + 1e-12).all()


def test_running_out_of_iterations_warns_with_the_gap() -> None:
    X, D = problem()
    with pytest.warns(ConvergenceWarning, match=r"of 40 rows did not reach tol=1e-12.*duality gap is \d"):
        _, info = sparse_encode(X, D, alpha=0.01, solver="ista", max_iter=2, tol=1e-12, return_info=True)
    assert (info.status == 1).any()


def test_tol_0_runs_a_fixed_number_of_iterations() -> None:
    X, D = problem()
    _, info = sparse_encode(X, D, alpha=0.1, solver="ista", max_iter=7, tol=0, return_info=True)
    assert (info.n_iter == 7).all()
    assert (info.status == 2).all()


@pytest.mark.parametrize("shape", [(20,), (40, 1), (40, 20)])
def test_alpha_per_atom_per_sample_and_both(shape: tuple[int, ...], monkeypatch: Any) -> None:
    X, D = problem()
    alpha = np.random.default_rng(1).uniform(0.1, 0.5, size=shape)
    codes = sparse_encode(X, D, alpha=alpha, tol=1e-12)
    rows = np.broadcast_to(alpha, (40, 20))
    alone = np.concatenate([sparse_encode(X[i : i + 1], D, alpha=rows[i], tol=1e-12) for i in range(40)])
    np.testing.assert_allclose(codes, alone, atol=1e-6)


@pytest.mark.parametrize("penalty", ["l0", "l1/2", "l2/3"])
def test_other_penalties_stop_at_a_fixed_point(penalty: str) -> None:
    X, D = problem()
    codes, info = sparse_encode(X, D, alpha=0.1, penalty=penalty, return_info=True)
    assert info.criterion == "fixed-point residual"
    assert (info.gap <= 1e-4).all()
    assert 0 < np.count_nonzero(codes) < codes.size


def test_l2_shrinks_as_the_elastic_net() -> None:
    X, D = problem()
    wide = np.hstack([X, np.zeros((40, 20))])
    augmented = np.hstack([D, np.sqrt(0.7) * np.eye(20)])
    net = sparse_encode(X, D, alpha=0.1, l2=0.7, tol=1e-12)
    np.testing.assert_allclose(net, sparse_encode(wide, augmented, alpha=0.1, tol=1e-12), atol=1e-5)


def test_starting_at_the_answer_takes_no_more_iterations() -> None:
    X, D = problem()
    codes, cold = sparse_encode(X, D, alpha=0.1, solver="fista", tol=1e-8, return_info=True)
    _, warm = sparse_encode(X, D, alpha=0.1, solver="fista", tol=1e-8, init=codes, return_info=True)
    assert warm.n_iter.max() < cold.n_iter.max()
    with pytest.raises(ValueError, match="init: expected shape"):
        sparse_encode(X, D, init=codes[:3])


@pytest.mark.parametrize("algorithm", ["lars", "omp", "threshold"])
def test_info_without_a_gap_is_the_relative_residual(algorithm: str) -> None:
    X, D = problem()
    X[3] = 0.0
    codes, info = sparse_encode(X, D, algorithm=algorithm, alpha=0.3, return_info=True)
    residual = ((X - codes @ D) ** 2).sum(axis=1)
    assert info.criterion == "relative residual"
    np.testing.assert_allclose(info.gap * (X**2).sum(axis=1), residual, atol=1e-12)
    np.testing.assert_array_equal(info.n_iter, np.count_nonzero(codes, axis=1))
    assert (info.status == 2).all()
    assert info.gap[3] == 0


# ------------------------------------------------------------------------------- blocks and memory


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_and_sparse_output_give_the_same_codes(algorithm: str, dtype: Any, monkeypatch: Any) -> None:
    X, D = problem(n_samples=700)
    X = X.astype(dtype)
    arguments: dict[str, Any] = {"algorithm": algorithm, "alpha": 0.3, "tol": 1e-6, "return_info": True}
    whole, info = sparse_encode(X, D, **arguments)
    monkeypatch.setattr(module_of_blocks, "_BLOCK_BYTES", 1)
    parts, info_of_parts = sparse_encode(X, D, **arguments)
    sparse, _ = sparse_encode(X, D, sparse_output=True, **arguments)
    assert whole.dtype == sparse.dtype == dtype
    np.testing.assert_allclose(parts, whole, atol=1e-6 if dtype == np.float64 else 3e-3)
    assert info.criterion == info_of_parts.criterion
    assert isinstance(sparse, csr_matrix)
    assert sparse.has_canonical_format
    np.testing.assert_array_equal(sparse.toarray(), parts)


def half_wide_map(tmp_path: Any) -> Any:
    """60,000 rows of float16 on disk: 31 MB as float64."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60_000, 64)).astype(np.float16))
    return np.load(tmp_path / "x.npy", mmap_mode="r")


READERS: dict[str, Any] = {
    "sparse_encode": lambda X, D: sparse_encode(X, D, algorithm="threshold", alpha=0.2),
    "SparseCoder.transform": lambda X, D: SparseCoder(D, transform_algorithm="threshold").transform(X),
    "MiniBatchDictionaryLearning.fit": lambda X, D: MiniBatchDictionaryLearning(
        2, max_iter=1, batch_size=1024, random_state=0
    ).fit(X),
}


@pytest.mark.parametrize("reader", READERS)
def test_memory_map_is_never_held_whole(reader: str, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(module_of_blocks, "_BLOCK_BYTES", 1 << 20)
    mapped = half_wide_map(tmp_path)
    read, D = READERS[reader], problem(n_features=64, n_components=2)[1]
    read(mapped[:600], D)  # what is imported and cached at the first call is not counted
    tracemalloc.start()
    read(mapped, D)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * mapped.size * 8


def test_memory_map_is_coded_as_the_array(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(module_of_blocks, "_BLOCK_BYTES", 1 << 20)
    mapped = half_wide_map(tmp_path)[:5000]
    D = problem(n_features=64)[1]
    expected = sparse_encode(mapped.astype(np.float64), D, alpha=1.0)
    np.testing.assert_allclose(sparse_encode(mapped, D, alpha=1.0), expected, atol=1e-12)


MEMORY = """
import resource, sys
import numpy as np
from thalweg import sparse_encode
rng = np.random.default_rng(0)
D = rng.normal(size=(256, 64)).astype(np.float32)
D /= np.linalg.norm(D, axis=1, keepdims=True)
X = rng.integers(-9, 9, size=(300_000, 64), dtype=np.int8)  # 154 MB as float64, dense codes 307
sparse_encode(X[:2000], D, alpha=14.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
codes = sparse_encode(X, D, alpha=14.0, sparse_output=True)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(grown - (codes.data.nbytes + codes.indices.nbytes + codes.indptr.nbytes) / 2**20, codes.nnz)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is kilobytes on Linux")
def test_many_rows_take_little_more_memory_than_their_codes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=300
    )
    extra, nonzeros = map(float, done.stdout.split())
    assert nonzeros > 0
    assert extra < 140


@pytest.mark.parametrize("algorithm", LASSO)
def test_same_bits_for_any_number_of_threads(algorithm: str) -> None:
    X, D = problem(n_samples=600)
    one, two, three = (sparse_encode(X, D, algorithm=algorithm, alpha=0.1, n_jobs=n) for n in (1, 2, 3))
    assert one.tobytes() == two.tobytes() == three.tobytes()


# ------------------------------------------------------------------------------- odd and bad input


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "float16", ">f8", "longdouble"])
def test_real_kinds_are_coded_in_float64(algorithm: str, dtype: str) -> None:
    X, D = problem()
    X = (4 * np.abs(X)).astype(dtype)
    codes = sparse_encode(X, D, algorithm=algorithm, alpha=0.3)
    assert codes.dtype == np.float64
    np.testing.assert_array_equal(
        codes, sparse_encode(X.astype(np.float64), D, algorithm=algorithm, alpha=0.3)
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_layout_does_not_matter_and_nothing_is_written_to(algorithm: str) -> None:
    X, D = problem()
    expected = sparse_encode(X, D, algorithm=algorithm, alpha=0.3)
    wide = np.repeat(X, 2, axis=1)[:, ::2]
    for rows in (X, wide, np.asfortranarray(X)):
        rows.setflags(write=False)
        kept = rows.copy()
        np.testing.assert_allclose(
            sparse_encode(rows, np.asfortranarray(D), algorithm=algorithm, alpha=0.3), expected, atol=1e-12
        )
        np.testing.assert_array_equal(rows, kept)
    assert sparse_encode(X.tolist(), D.tolist(), algorithm=algorithm, alpha=0.3).shape == expected.shape


def bad_input() -> dict[str, tuple[dict[str, Any], type[Exception], str]]:
    X, D = problem()
    spoilt = X.copy()
    spoilt[2, 3] = np.nan
    infinite = X.copy()
    infinite[0, 0] = -np.inf
    return {
        "one sample": ({"X": X[0]}, ValueError, "X: expected 2 dimensions"),
        "three dimensions": ({"X": X[None]}, ValueError, "X: expected 2 dimensions"),
        "no rows": ({"X": X[:0]}, ValueError, "X: expected at least one row"),
        "no columns": ({"X": X[:, :0]}, ValueError, "X: expected at least one row"),
        "other width": ({"X": X[:, 1:]}, ValueError, "Dictionary and X have different numbers of features"),
        "nan": ({"X": spoilt}, ValueError, "X: .*NaN"),
        "inf": ({"X": infinite}, ValueError, "X: .*infinity"),
        "complex": ({"X": X + 0j}, ValueError, "X: Complex data not supported"),
        "text": ({"X": X.astype(str)}, ValueError, "X: expected real numbers"),
        "text in objects": (
            {"X": np.array([["a"] * 12], object)},
            ValueError,
            "X: expected real numbers, got an object array .*'a'",
        ),
        "no numbers in objects": (
            {"X": np.array([[{}, *range(11)]], object)},
            TypeError,
            "X: expected real numbers, got an object array",
        ),
        "ragged": ({"X": [[1.0, 2.0], [3.0]]}, ValueError, "X: expected an array of numbers.*inhomogeneous"),
        "masked": (
            {"X": np.ma.masked_less(X, 0)},
            ValueError,
            "X: expected no masked elements; fill or drop the masked elements first",
        ),
        "too large for float32": (
            {"X": X.astype(np.float32), "dictionary": 1e300 * D},
            ValueError,
            "dictionary: overflows float32",
        ),
        "masked atoms": (
            {"dictionary": np.ma.masked_less(D, 0)},
            ValueError,
            "dictionary: expected no masked",
        ),
        "sparse": ({"X": csr_matrix(X)}, TypeError, "X: a dense array is required"),
        "no atoms": ({"dictionary": D[:0]}, ValueError, "dictionary: expected"),
        "sparse atoms": ({"dictionary": csr_matrix(D)}, TypeError, "dictionary: a dense array"),
        "nan in an atom": ({"dictionary": D * np.nan}, ValueError, "dictionary: .*NaN"),
        "negative alpha": ({"alpha": -0.1}, ValueError, "alpha: expected .*>= 0"),
        "one negative alpha": ({"alpha": np.linspace(-1, 1, 20)}, ValueError, "alpha: expected .*>= 0"),
        "alpha of a wrong width": ({"alpha": np.ones(7)}, ValueError, "alpha: expected a scalar"),
        "alpha for other rows": ({"alpha": np.ones((7, 1))}, ValueError, "alpha: expected 40 rows"),
        "alpha nan": ({"alpha": np.nan}, ValueError, "alpha: "),
        "algorithm": ({"algorithm": "lasso"}, ValueError, "algorithm: expected one of"),
        "solver": ({"solver": "lars"}, ValueError, "solver: expected one of"),
        "penalty": ({"penalty": "l2"}, ValueError, "penalty: expected one of"),
        "penalty of omp": (
            {"algorithm": "omp", "penalty": "l0"},
            ValueError,
            "penalty, l2: algorithm='omp' has none",
        ),
        "l2 of lars": (
            {"algorithm": "lars", "l2": 1.0},
            ValueError,
            "penalty, l2: algorithm='lars' has none",
        ),
        "positive omp": (
            {"algorithm": "omp", "positive": True},
            ValueError,
            "Positive constraint not supported",
        ),
        "positive lars": (
            {"algorithm": "lars", "positive": True},
            ValueError,
            "Positive constraint not supported",
        ),
        "no coefficients": (
            {"algorithm": "omp", "n_nonzero_coefs": 0},
            ValueError,
            "n_nonzero_coefs: expected",
        ),
        "too many": (
            {"algorithm": "omp", "n_nonzero_coefs": 21},
            ValueError,
            "n_nonzero_coefs: expected at most",
        ),
        "tol": ({"tol": -1.0}, ValueError, "tol: expected"),
        "max_iter": ({"max_iter": 0}, ValueError, "max_iter: expected"),
        "max_iter a text": ({"max_iter": "many"}, TypeError, "max_iter: expected an integer"),
        "n_jobs": ({"n_jobs": 0}, ValueError, "n_jobs: expected"),
        "threads beyond number": ({"n_jobs": 2**31}, ValueError, "n_jobs: expected at most 32768"),
        "threads of a pursuit": (
            {"algorithm": "omp", "n_jobs": 2**31},
            ValueError,
            "n_jobs: expected at most 32768",
        ),
    }


@pytest.mark.parametrize("case", bad_input())
def test_bad_input_is_named(case: str) -> None:
    change, error, message = bad_input()[case]
    X, D = problem()
    arguments = {"X": X, "dictionary": D, "alpha": 0.3, **change}
    with pytest.raises(error, match=f"^{message}"):
        sparse_encode(**arguments)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rows_whose_squares_overflow_are_refused(algorithm: str) -> None:
    X, D = problem()
    X[3] *= 1e200
    with pytest.raises(ValueError, match=r"^X: the squares of its elements overflow float64"):
        sparse_encode(X, D, algorithm=algorithm, return_info=True)


@pytest.mark.parametrize("algorithm", ["lasso_lars", "omp"])
def test_rows_whose_squares_overflow_are_refused_without_info_too(algorithm: str) -> None:
    X, D = problem()
    coder = SparseCoder(D, transform_algorithm=algorithm)
    with pytest.raises(ValueError, match=r"^X: the squares of its elements overflow float64"):
        coder.transform(1e200 * X)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_squares_beyond_float32_are_no_overflow(algorithm: str) -> None:
    X, D = problem()
    X, D = X.astype(np.float32), D.astype(np.float32)
    scale = np.float32(2.0**80)
    codes, info = sparse_encode(scale * X, D, algorithm=algorithm, alpha=scale, return_info=True)
    expected = sparse_encode(X, D, algorithm=algorithm)
    np.testing.assert_allclose(codes / scale, expected, atol=1e-5)
    assert np.isfinite(info.gap).all()


@pytest.mark.parametrize("algorithm", ["lars", "threshold"])
def test_codes_that_overflow_are_refused(algorithm: str) -> None:
    X, D = (np.float32(3e38) * np.sign(a).astype(np.float32) for a in problem())
    with pytest.raises(ValueError, match=r"^(X, )?dictionary: the (codes|squares of its elements) overflow"):
        sparse_encode(X, D, algorithm=algorithm)


def test_a_certificate_that_overflows_is_refused() -> None:
    X, D = problem()
    with pytest.raises(ValueError, match=r"^X, dictionary: the relative residual of a row overflows float64"):
        sparse_encode(X, 1e150 * D, algorithm="threshold", return_info=True)


def test_threshold_needs_no_squares() -> None:
    X, D = problem()
    codes = sparse_encode(1e200 * X, D, algorithm="threshold", alpha=1e200)
    np.testing.assert_allclose(1e-200 * codes, sparse_encode(X, D, algorithm="threshold"), atol=1e-12)


@pytest.mark.parametrize("algorithm", ["lasso_lars", "omp"])
def test_dictionary_is_prepared_once_for_all_blocks(algorithm: str, monkeypatch: Any) -> None:
    prepared = []
    native = module_of_blocks._cpu.CodingDictionary64
    monkeypatch.setattr(module_of_blocks, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(
        module_of_blocks._cpu, "CodingDictionary64", lambda *given: prepared.append(0) or native(*given)
    )
    X, D = problem(n_samples=700)
    sparse_encode(X, D, algorithm=algorithm)
    assert len(prepared) == 1


@pytest.mark.parametrize("algorithm", ["lasso_lars", "omp", "threshold"])
def test_an_atom_of_zeros_is_not_used(algorithm: str) -> None:
    X, D = problem()
    D[4] = 0.0
    codes = sparse_encode(X, D, algorithm=algorithm, alpha=0.1, n_nonzero_coefs=2)
    assert not codes[:, 4].any()
    assert codes.any()


def test_a_row_of_zeros_has_a_code_of_zeros() -> None:
    X, D = problem()
    X[5] = 0.0
    codes, info = sparse_encode(X, D, alpha=0.1, return_info=True)
    assert not codes[5].any()
    assert info.gap[5] == 0
    assert not issparse(codes)
