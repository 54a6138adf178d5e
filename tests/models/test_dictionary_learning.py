"""DictionaryLearning: the objective, scikit-learn's path, interruption and resumption."""

from __future__ import annotations

import copy
import signal
from typing import Any

import numpy as np
import pytest
from scipy.sparse import coo_matrix, csr_array, csr_matrix, issparse
from sklearn import decomposition
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from thalweg import DictionaryLearning
from thalweg.inference.lasso import LassoSolver


def samples(n_samples: int = 120, n_features: int = 10, seed: int = 0) -> Any:
    """Sparse combinations of a planted dictionary, and noise."""
    rng = np.random.default_rng(seed)
    planted = rng.normal(size=(14, n_features))
    planted /= np.linalg.norm(planted, axis=1, keepdims=True)
    codes = rng.normal(size=(n_samples, 14)) * (rng.random((n_samples, 14)) < 0.2)
    return codes @ planted + 0.02 * rng.normal(size=(n_samples, n_features))


def start(X: Any, n_components: int, seed: int = 1) -> dict[str, Any]:
    dictionary = np.random.default_rng(seed).normal(size=(n_components, X.shape[1]))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    return {"dict_init": dictionary, "code_init": np.zeros((len(X), n_components))}


def objective(X: Any, codes: Any, dictionary: Any, alpha: float) -> float:
    return float(0.5 * ((X - codes @ dictionary) ** 2).sum() + alpha * np.abs(codes).sum())


@pytest.mark.parametrize("fit_algorithm", ["lars", "cd"])
@pytest.mark.parametrize("given", [False, True])
def test_follows_scikit_learns_path(fit_algorithm: str, given: bool) -> None:
    X = samples()
    arguments: dict[str, Any] = {
        "n_components": 9,
        "alpha": 0.1,
        "max_iter": 15,
        **(start(X, 9) if given else {}),
    }
    theirs = decomposition.DictionaryLearning(fit_algorithm="cd", **arguments)
    codes_of_theirs = theirs.fit_transform(X)
    ours = DictionaryLearning(fit_algorithm=fit_algorithm, coding_tol=1e-12, **arguments)
    codes = ours.fit_transform(X)
    np.testing.assert_allclose(ours.error_, theirs.error_, rtol=1e-5)
    np.testing.assert_allclose(ours.components_, theirs.components_, atol=2e-3)
    np.testing.assert_allclose(codes, codes_of_theirs, atol=2e-2)
    assert ours.n_iter_ == theirs.n_iter_
    assert objective(X, codes, ours.components_, 0.1) == pytest.approx(ours.error_[-1])


def test_ends_where_scikit_learns_ends() -> None:
    X = samples()
    arguments: dict[str, Any] = {
        "n_components": 14,
        "alpha": 0.1,
        "max_iter": 200,
        "tol": 1e-5,
        **start(X, 14),
    }
    theirs = decomposition.DictionaryLearning(
        fit_algorithm="cd", transform_max_iter=100_000, **arguments
    ).fit(X)
    ours = DictionaryLearning(**arguments).fit(X)
    assert ours.error_[-1] == pytest.approx(theirs.error_[-1], rel=2e-2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("positive", [False, True])
def test_atoms_stay_in_the_unit_ball_and_attributes_fit(dtype: Any, positive: bool) -> None:
    X = samples().astype(dtype)
    model = DictionaryLearning(16, alpha=0.1, max_iter=10, positive_dict=positive, coding_tol=1e-5).fit(X)
    assert model.components_.dtype == dtype
    assert model.components_.shape == (16, 10)
    assert (np.linalg.norm(model.components_, axis=1) <= 1 + 1e-5).all()
    assert not positive or model.components_.min() >= 0
    assert model.error_.shape == (model.n_iter_,)
    assert model.gap_.shape == (len(X),)
    assert model.gap_.max() <= 1e-5


def test_atoms_that_no_sample_uses_are_born_again() -> None:
    X = samples()
    dictionary = np.zeros((12, 10))
    dictionary[:4] = start(X, 4)["dict_init"]
    model = DictionaryLearning(12, alpha=0.1, max_iter=20, dict_init=dictionary).fit(X)
    assert (np.linalg.norm(model.components_, axis=1) > 0.1).all()
    few = DictionaryLearning(4, alpha=0.1, max_iter=20, dict_init=dictionary[:4]).fit(X)
    assert model.error_[-1] < few.error_[-1]


def test_no_iteration_leaves_the_first_dictionary() -> None:
    X = samples()
    given = start(X, 6)["dict_init"]
    model = DictionaryLearning(6, max_iter=0, dict_init=given).fit(X)
    np.testing.assert_array_equal(model.components_, given)
    assert model.n_iter_ == 0


def test_callback_and_verbose_see_every_fifth_and_every_iteration(capsys: Any) -> None:
    seen: list[tuple[int, int]] = []
    DictionaryLearning(
        6,
        alpha=0.1,
        max_iter=12,
        tol=0,
        verbose=True,
        callback=lambda p: seen.append((p["ii"], p["self"].n_iter_)),
    ).fit(samples())
    assert seen == [(0, 1), (5, 6), (10, 11)]
    assert capsys.readouterr().out.count("objective") == 12


def test_unconverged_codes_warn_with_the_gap() -> None:
    with pytest.warns(ConvergenceWarning, match=r"coding_tol=1e-10 within transform_max_iter=1 .* gap is \d"):
        DictionaryLearning(
            6, alpha=0.01, max_iter=2, solver="ista", transform_max_iter=1, coding_tol=1e-10
        ).fit(samples())


@pytest.mark.parametrize("n_jobs", [2, 3])
def test_same_bits_for_any_number_of_threads(n_jobs: int) -> None:
    X = samples(n_samples=700)
    one = DictionaryLearning(14, alpha=0.1, max_iter=6, n_jobs=1).fit(X)
    more = DictionaryLearning(14, alpha=0.1, max_iter=6, n_jobs=n_jobs).fit(X)
    assert one.components_.tobytes() == more.components_.tobytes()
    assert one.error_.tobytes() == more.error_.tobytes()


# ------------------------------------------------------------------------------- interruption and resumption


def interrupt_at(n_calls: int, monkeypatch: Any) -> None:
    """The n-th coding from now on is interrupted."""
    encode = LassoSolver.encode
    left = iter(range(n_calls - 1))

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return encode(self, *args, **kwargs)

    monkeypatch.setattr(LassoSolver, "encode", interrupted)


def restored(model: Any) -> Any:
    """The model as a file would bring it back."""
    tensors, values = model._get_state()
    fresh = type(model)(**model.get_params())
    fresh._set_state(copy.deepcopy(tensors), copy.deepcopy(values))
    return fresh


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resuming_is_never_having_stopped(dtype: Any, monkeypatch: Any) -> None:
    X = samples().astype(dtype)
    arguments: dict[str, Any] = {
        "n_components": 14,
        "alpha": 0.1,
        "max_iter": 9,
        "tol": 0,
        "coding_tol": 1e-4,
    }
    whole = DictionaryLearning(**arguments).fit(X)
    stopped = DictionaryLearning(**arguments)
    with monkeypatch.context() as patch:
        interrupt_at(5, patch)
        with pytest.raises(KeyboardInterrupt):
            stopped.fit(X)
    four = DictionaryLearning(**{**arguments, "max_iter": 4}).fit(X)
    assert stopped.n_iter_ == 4
    assert stopped.components_.tobytes() == four.components_.tobytes()
    for model in (restored(stopped), stopped):
        model.resume(X)
        assert model.n_iter_ == 9
        assert model.components_.tobytes() == whole.components_.tobytes()
        assert model.error_.tobytes() == whole.error_.tobytes()
        assert model.transform(X).tobytes() == whole.transform(X).tobytes()
    assert four.set_params(max_iter=9).resume(X).components_.tobytes() == whole.components_.tobytes()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_a_signal_in_the_middle_leaves_a_whole_step() -> None:
    X = samples(n_samples=3000, n_features=32)
    arguments: dict[str, Any] = {"n_components": 64, "alpha": 0.02, "tol": 0, "coding_tol": 1e-3}
    model = DictionaryLearning(max_iter=1000, **arguments)

    def strike(*_: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    done = model.n_iter_
    again = DictionaryLearning(max_iter=done, **arguments).fit(X)
    assert 0 < done < 1000
    assert model.components_.tobytes() == again.components_.tobytes()
    assert issparse(model._codes)


def test_resume_after_the_end_does_nothing() -> None:
    X = samples()
    model = DictionaryLearning(6, alpha=0.1, tol=1e-2).fit(X)
    kept = model.components_.copy()
    n_iter = model.n_iter_
    np.testing.assert_array_equal(model.resume(X).components_, kept)
    assert model.n_iter_ == n_iter
    with pytest.raises(ValueError, match="X: expected the 120 rows of fit"):
        model.resume(X[1:])
    with pytest.raises(NotFittedError):
        DictionaryLearning().resume(X)


def test_numbers_that_overflow_raise_and_keep_the_last_good_parameters() -> None:
    X = samples()
    model = DictionaryLearning(6, alpha=0.1, max_iter=3, dict_init=start(X, 6)["dict_init"]).fit(X)
    good = model.components_.copy()
    model.set_params(max_iter=9)
    with pytest.raises(FloatingPointError, match="step 4: the objective, a code or an atom"):
        model.resume(1e200 * X)
    np.testing.assert_array_equal(model.components_, good)
    assert model.n_iter_ == 3
    assert np.isfinite(model.transform(X)).all()
    with pytest.raises(ValueError, match="X: the squares of its elements overflow"):
        DictionaryLearning(6).fit(1e200 * X)


@pytest.mark.parametrize("shape", [(3, 6), (120, 5)])
def test_code_init_of_a_wrong_shape_is_named(shape: tuple[int, int]) -> None:
    X = samples()
    with pytest.raises(ValueError, match="code_init: expected shape"):
        DictionaryLearning(6, dict_init=start(X, 6)["dict_init"], code_init=np.zeros(shape)).fit(X)


def test_a_fit_refused_at_the_door_leaves_the_model_as_it_was() -> None:
    X = samples()
    model = DictionaryLearning(6, alpha=0.1, max_iter=2).fit(X)
    kept = model.components_.copy()
    with pytest.raises(ValueError, match="dict_init: expected 5 features"):
        model.set_params(dict_init=kept).fit(X[:, :5])
    np.testing.assert_array_equal(model.components_, kept)
    assert model.transform(X).shape == (len(X), len(kept))


def test_an_objective_of_zero_ends_learning() -> None:
    model = DictionaryLearning(4).fit(np.zeros((20, 6)))
    assert model.n_iter_ == 2
    np.testing.assert_array_equal(model.error_, 0.0)


@pytest.mark.parametrize("kind", [csr_matrix, coo_matrix, csr_array])
def test_sparse_codes_of_any_format_go_back_to_rows(kind: Any) -> None:
    X = samples()
    model = DictionaryLearning(6, alpha=0.1, max_iter=2, split_sign=True).fit(X)
    codes = model.transform(X)
    rows = model.inverse_transform(codes)
    assert isinstance(rows, np.ndarray)
    np.testing.assert_allclose(model.inverse_transform(kind(codes)), rows, rtol=1e-12, atol=1e-12)
    codes[3, 1] = np.nan
    with pytest.raises(ValueError, match="X"):
        model.inverse_transform(kind(codes))
