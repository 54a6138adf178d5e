"""SparseCoder: scikit-learn's class with certificates; and what all three models share in coding."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix, issparse
from sklearn import decomposition
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import thalweg
from test_device import ForeignArray
from thalweg import DictionaryLearning, MiniBatchDictionaryLearning, SparseCoder, sparse_encode

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 8))
D = RNG.normal(size=(12, 8))
D /= np.linalg.norm(D, axis=1, keepdims=True)

NEW_ARGUMENTS = {
    "SparseCoder": {"solver", "penalty", "transform_tol", "device"},
    "DictionaryLearning": {"solver", "penalty", "transform_tol", "coding_tol", "device"},
    "MiniBatchDictionaryLearning": {"solver", "penalty", "transform_tol", "coding_tol", "rho", "device"},
}


def models(**arguments: Any) -> list[Any]:
    """One of each model, able to transform."""
    learning: dict[str, Any] = {"n_components": 12, "alpha": 0.3, "max_iter": 3, **arguments}
    learners = [DictionaryLearning(**learning), MiniBatchDictionaryLearning(random_state=0, **learning)]
    return [SparseCoder(D, **arguments), *(learner.fit(X) for learner in learners)]


each_model = pytest.mark.parametrize("place", range(3), ids=["coder", "batch", "online"])


@pytest.mark.parametrize("name", NEW_ARGUMENTS)
def test_arguments_are_scikit_learns_and_more(name: str) -> None:
    theirs = inspect.signature(getattr(decomposition, name)).parameters
    ours = inspect.signature(getattr(thalweg, name)).parameters
    assert {n: (ours[n].default, ours[n].kind) for n in theirs} == {
        n: (p.default, p.kind) for n, p in theirs.items()
    }
    assert set(ours) - set(theirs) == NEW_ARGUMENTS[name]


@pytest.mark.parametrize("algorithm", ["lasso_lars", "lasso_cd", "lars", "omp", "threshold"])
@pytest.mark.parametrize("split_sign", [False, True])
def test_transform_is_scikit_learns(algorithm: str, split_sign: bool) -> None:
    arguments: dict[str, Any] = {
        "transform_algorithm": algorithm,
        "transform_alpha": 0.3,
        "transform_n_nonzero_coefs": 3,
        "split_sign": split_sign,
    }
    theirs = decomposition.SparseCoder(D, **arguments).transform(X)
    ours = SparseCoder(D, transform_tol=1e-12, **arguments).transform(X)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@each_model
def test_transform_changes_nothing(place: int) -> None:
    model = models(transform_algorithm="lasso_cd", transform_alpha=0.2)[place]
    before = pickle.dumps(model)
    model.transform(X)
    model.encode(X, sparse_output=True, return_info=True)
    model.inverse_transform(np.ones((2, 12)))
    assert pickle.dumps(model) == before


@each_model
def test_encode_is_transform_with_a_certificate(place: int) -> None:
    model = models(transform_algorithm="lasso_lars", transform_alpha=0.2)[place]
    codes, info = model.encode(X, return_info=True)
    np.testing.assert_array_equal(codes, model.transform(X))
    assert info.criterion == "duality gap"
    assert info.gap.shape == info.n_iter.shape == info.status.shape == (30,)
    assert (info.gap <= model.transform_tol).all()
    assert (info.status == 0).all()
    sparse = model.encode(X, sparse_output=True)
    assert issparse(sparse)
    np.testing.assert_array_equal(sparse.toarray(), codes)


@each_model
def test_out_of_iterations_warns_with_the_gap(place: int) -> None:
    model = models()[place].set_params(
        transform_algorithm="lasso_cd",
        transform_alpha=1e-3,
        solver="ista",
        transform_max_iter=1,
        transform_tol=1e-12,
    )
    with pytest.warns(ConvergenceWarning, match=r"rows did not reach tol=1e-12: the worst duality gap is \d"):
        model.transform(X)


@each_model
@pytest.mark.parametrize("split_sign", [False, True])
def test_inverse_transform_decodes(place: int, split_sign: bool) -> None:
    model = models(split_sign=split_sign, transform_algorithm="lasso_cd", transform_alpha=0.02)[place]
    codes = model.transform(X)
    assert codes.shape == (30, 24 if split_sign else 12)
    np.testing.assert_allclose(model.inverse_transform(codes), X, atol=0.2)
    np.testing.assert_allclose(model.inverse_transform(csr_matrix(codes)), X, atol=0.2)
    assert model.inverse_transform(codes.astype(np.float32)).dtype == np.float32
    with pytest.raises(ValueError, match="number of components in the code is different"):
        model.inverse_transform(codes[:, 1:])


@each_model
@pytest.mark.parametrize("split_sign", [False, True])
def test_names_of_columns_count_the_columns(place: int, split_sign: bool) -> None:
    model = models(split_sign=split_sign)[place].fit(X)
    names = model.get_feature_names_out()
    assert len(names) == model.transform(X).shape[1]
    assert names[0] == f"{type(model).__name__.lower()}0"


@each_model
def test_positive_codes(place: int) -> None:
    model = models(positive_code=True, transform_algorithm="lasso_lars")[place]
    codes = model.transform(X)
    assert codes.min() >= 0
    assert codes.max() > 0


@each_model
@pytest.mark.parametrize("penalty", ["l0", "l1/2", "l2/3"])
def test_other_penalties(place: int, penalty: str) -> None:
    model = models(penalty=penalty, transform_algorithm="lasso_cd", transform_alpha=0.2)[place]
    codes, info = model.encode(X, return_info=True)
    assert info.criterion == "fixed-point residual"
    assert 0 < np.count_nonzero(codes) < codes.size


def test_coder_needs_no_fit_and_works_in_a_pipeline() -> None:
    coder = SparseCoder(D.tolist(), transform_algorithm="threshold", transform_alpha=0.1)
    np.testing.assert_array_equal(coder.transform(X), sparse_encode(X, D, algorithm="threshold", alpha=0.1))
    assert make_pipeline(StandardScaler(), clone(coder)).fit(X).transform(X).shape == (30, 12)
    with pytest.raises(NotFittedError):
        DictionaryLearning().transform(X)
    with pytest.raises(NotFittedError):
        MiniBatchDictionaryLearning().encode(X)


@each_model
def test_float32_stays_and_other_kinds_become_float64(place: int) -> None:
    for algorithm in ("lasso_cd", "omp", "threshold"):
        model = models()[place].set_params(transform_algorithm=algorithm, transform_alpha=0.3)
        assert model.transform(X.astype(np.float32)).dtype == np.float32
        for kind in (np.float16, np.int32, bool):
            assert model.transform((4 * np.abs(X)).astype(kind)).dtype == np.float64


def bad_rows() -> dict[str, tuple[Any, type[Exception], str]]:
    spoilt = X.copy()
    spoilt[2, 3] = np.nan
    return {
        "one sample": (X[0], ValueError, "1D array"),
        "three dimensions": (X[None], ValueError, "dim 3, while dim <= 2 is required"),
        "no rows": (X[:0], ValueError, "0 sample"),
        "no columns": (X[:, :0], ValueError, "0 feature"),
        "nan": (spoilt, ValueError, "^X: .* contains NaN$"),
        "inf": (np.where(np.isnan(spoilt), np.inf, spoilt), ValueError, "^X: .* contains infinity$"),
        "complex": (X + 0j, ValueError, "Complex data not supported"),
        "text": (np.full(X.shape, "a"), ValueError, "not compatible with arrays of bytes/strings"),
        "sparse": (csr_matrix(X), TypeError, "^Sparse data was passed for X"),
    }


@each_model
@pytest.mark.parametrize("case", bad_rows())
def test_bad_rows_are_named(place: int, case: str) -> None:
    rows, error, message = bad_rows()[case]
    model = models()[place]
    with pytest.raises(error, match=message):
        model.transform(rows)
    with pytest.raises(error, match=message):
        clone(model).fit(rows)
    if hasattr(model, "partial_fit"):
        with pytest.raises(error, match=message):
            clone(model).partial_fit(rows)


@each_model
def test_other_width_is_named(place: int) -> None:
    with pytest.raises(ValueError, match="features"):
        models()[place].transform(X[:, 1:])


BAD_ARGUMENTS: dict[str, tuple[Any, type[Exception]]] = {
    "transform_algorithm": ("lasso", ValueError),
    "transform_n_nonzero_coefs": (0, ValueError),
    "transform_alpha": (-1.0, ValueError),
    "transform_max_iter": (0, ValueError),
    "transform_tol": (-1.0, ValueError),
    "split_sign": ("yes", ValueError),
    "positive_code": ("yes", ValueError),
    "solver": ("lars", ValueError),
    "penalty": ("l2", ValueError),
    "n_jobs": (0, ValueError),
    "device": ("gpu", ValueError),
    "n_components": (0, ValueError),
    "alpha": (-0.5, ValueError),
    "max_iter": (-1, ValueError),
    "tol": (-1e-3, ValueError),
    "coding_tol": (0.0, ValueError),
    "fit_algorithm": ("omp", ValueError),
    "positive_dict": (2, ValueError),
    "random_state": ("seed", ValueError),
    "dict_init": (np.ones((12, 3)), ValueError),
    "batch_size": (0, ValueError),
    "shuffle": ("no", ValueError),
    "rho": (-1.0, ValueError),
    "max_no_improvement": (2.5, TypeError),
}


UNFITTED = (SparseCoder(D), DictionaryLearning(12), MiniBatchDictionaryLearning(12))
TAKEN = [(model, name) for model in UNFITTED for name in BAD_ARGUMENTS if name in model.get_params()]


def test_every_bad_argument_is_taken_by_a_model() -> None:
    assert {name for _, name in TAKEN} == set(BAD_ARGUMENTS)


@pytest.mark.parametrize(
    ("model", "name"), TAKEN, ids=[f"{type(model).__name__}-{name}" for model, name in TAKEN]
)
def test_bad_arguments_are_named(model: Any, name: str) -> None:
    value, error = BAD_ARGUMENTS[name]
    with pytest.raises(error, match=rf"^{name}: expected "):
        clone(model).set_params(**{name: value}).fit(X)


def test_bad_dictionaries_are_named() -> None:
    for dictionary, error in (
        (D[:0], ValueError),
        (D * np.nan, ValueError),
        (csr_matrix(D), TypeError),
        (D[0], ValueError),
    ):
        with pytest.raises(error, match=r"^dictionary: "):
            SparseCoder(dictionary).transform(X)
        with pytest.raises(error, match=r"^dictionary: "):
            SparseCoder(dictionary).fit(X)


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("algorithm", ["lasso_lars", "omp", "threshold"])
def test_a_dictionary_that_overflows_the_dtype_of_the_rows_is_named(algorithm: str) -> None:
    coder = SparseCoder(1e300 * D, transform_algorithm=algorithm)
    with pytest.raises(ValueError, match=r"^dictionary: .*float32"):
        coder.transform(X.astype(np.float32))


@each_model
def test_masked_elements_are_refused(place: int) -> None:
    masked = np.ma.masked_less(X, 0)
    model = models()[place]
    for call in (model.fit, model.fit(X).transform):
        with pytest.raises(ValueError, match=r"^X: expected no masked elements"):
            call(masked)


# --- on the GPU, or its emulation

THERE: dict[str, Any] = {"device": "cuda", "transform_algorithm": "lasso_cd", "transform_alpha": 0.3}


@each_model
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_codes_on_the_device_are_the_cpus(place: int, dtype: Any, cuda: Any) -> None:
    samples = X.astype(dtype)
    here = models(**{**THERE, "device": "cpu", "transform_tol": 1e-6})[place]
    there = clone(here).set_params(device="cuda")
    there.__dict__.update({name: value for name, value in here.__dict__.items() if name.endswith("_")})
    expected = here.transform(samples)
    codes, info = there.encode(samples, return_info=True)
    assert codes.dtype == dtype
    assert info.gap.max() <= 1e-6
    np.testing.assert_allclose(codes, expected, atol=0.02)
    unit = 0.5 * (samples.astype(np.float64) ** 2).sum(axis=1)
    energies = [objective_of(here, samples, z) for z in (codes, expected)]
    assert (energies[0] <= energies[1] + 1.01e-6 * unit).all()
    sparse = there.encode(samples, sparse_output=True)
    assert issparse(sparse)
    np.testing.assert_array_equal(sparse.toarray(), codes)
    assert all(isinstance(value, np.ndarray) for value in (codes, info.gap, info.n_iter, info.status))


def objective_of(model: Any, samples: Any, codes: Any) -> Any:
    atoms, wide = np.asarray(model._dictionary(), np.float64), np.asarray(codes, np.float64)
    return 0.5 * ((samples - wide @ atoms) ** 2).sum(axis=1) + 0.3 * np.abs(wide).sum(axis=1)


@each_model
def test_learning_with_codes_from_the_device(place: int, cuda: Any) -> None:
    there, here = (models(**{**THERE, "device": device}, n_jobs=1)[place] for device in ("cuda", "cpu"))
    for name in ("components_", "error_", "gap_"):
        if hasattr(here, name):
            value = getattr(there, name)
            assert type(value) is np.ndarray
            if name != "gap_":
                np.testing.assert_allclose(value, getattr(here, name), atol=0.05)
    again = clone(there).fit(cuda.to_device(X))  # the same from an array that is there
    assert again.n_features_in_ == 8
    if place > 0:
        np.testing.assert_array_equal(again.components_, there.components_)


@each_model
@pytest.mark.parametrize("split_sign", [False, True])
def test_arrays_on_the_device_give_codes_there(place: int, split_sign: bool, cuda: Any) -> None:
    model = models(**THERE, split_sign=split_sign)[place].fit(X)
    rows = cuda.to_device(X)
    expected = model.transform(X)
    codes = model.transform(rows)
    assert isinstance(codes, cuda.DeviceArray)
    np.testing.assert_array_equal(codes.numpy(), expected)
    plain, info = model.encode(rows, return_info=True)
    assert plain.shape == (30, 12)
    assert isinstance(info.gap, np.ndarray)
    back = model.inverse_transform(codes)
    assert isinstance(back, cuda.DeviceArray)
    np.testing.assert_allclose(back.numpy(), model.inverse_transform(expected), atol=1e-12)
    np.testing.assert_array_equal(rows.numpy(), X)


def test_codes_come_back_as_the_library_of_the_rows(cuda: Any) -> None:
    codes = SparseCoder(D, **THERE).transform(ForeignArray.of(X, cuda))
    assert isinstance(codes, ForeignArray)
    coded = sparse_encode(ForeignArray.of(X, cuda), D, alpha=0.3, device="cuda")
    assert isinstance(coded, ForeignArray)


@each_model
def test_bad_arrays_on_the_device(place: int, cuda: Any) -> None:
    model = models(**THERE)[place].fit(X)
    spoilt = X.copy()
    spoilt[3, 2] = np.nan
    for rows, message in [
        (spoilt, "X: .*NaN"),
        (X[:, :5].copy(), "5 features, but .* is expecting 8 features"),
        (X[0], r"X: expected 2 dimensions.*reshape\(1, -1\)"),
        (X[:0], "X: expected at least one row"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.transform(cuda.to_device(rows))
    with pytest.raises(ValueError, match="sparse_output: expected False"):
        model.encode(cuda.to_device(X), sparse_output=True)
    with pytest.raises(ValueError, match="Expected 12, got 5"):
        model.inverse_transform(cuda.to_device(X[:, :5].copy()))
    here = models(**{**THERE, "device": "cpu"})[place]
    for call in (here.transform, here.fit, here.inverse_transform):
        with pytest.raises(TypeError, match="set device='cuda'"):
            call(cuda.to_device(X))


@each_model
@pytest.mark.parametrize("algorithm", ["omp", "lars", "threshold"])
def test_what_the_device_does_not_have(place: int, algorithm: str, cuda: Any) -> None:
    model = models(**THERE)[place].set_params(transform_algorithm=algorithm)
    for rows in (X, cuda.to_device(X)):
        with pytest.raises(ValueError, match=f"transform_algorithm: device='cuda' has .*got '{algorithm}'"):
            model.transform(rows)
    with pytest.raises(ValueError, match=f"algorithm: device='cuda' has .*got '{algorithm}'"):
        sparse_encode(X, D, algorithm=algorithm, device="cuda")
    model.set_params(transform_algorithm="lasso_cd", solver="cd")
    with pytest.raises(ValueError, match="solver: device='cuda' has"):
        model.fit(X)


def test_sparse_encode_on_the_device(cuda: Any) -> None:
    codes = sparse_encode(X, D, alpha=0.3, tol=1e-9, device="cuda", return_info=True)[0]
    np.testing.assert_allclose(codes, sparse_encode(X, D, alpha=0.3, tol=1e-9), atol=1e-3)
    arrays = {"X": X, "dictionary": D, "alpha": np.full(12, 0.3), "init": np.ones((30, 12))}
    expected = sparse_encode(**arrays, device="cuda")
    on_device = {name: cuda.to_device(value) for name, value in arrays.items()}
    np.testing.assert_array_equal(sparse_encode(**on_device, device="cuda").numpy(), expected)
    mixed = sparse_encode(**{**on_device, "X": X}, device="cuda")
    np.testing.assert_array_equal(mixed, expected)
    assert issparse(sparse_encode(X, D, alpha=0.3, device="cuda", sparse_output=True))
    for name, value in {**arrays, "X": X[:, :5].copy(), "init": np.ones((29, 12))}.items():
        if name in ("X", "init"):
            with pytest.raises(ValueError, match=r"different numbers of features|init: expected shape"):
                sparse_encode(**{**on_device, name: cuda.to_device(value)}, device="cuda")
    with pytest.raises(ValueError, match="sparse_output: expected False"):
        sparse_encode(on_device["X"], D, device="cuda", sparse_output=True)
    with pytest.raises(TypeError, match="set device='cuda'"):
        sparse_encode(on_device["X"], D)
    with pytest.raises(ValueError, match="device: expected 'cpu' or 'cuda'"):
        sparse_encode(X, D, device="gpu")
