"""MiniBatchDictionaryLearning: what it learns, its stopping rules, interruption and resumption."""

from __future__ import annotations

import copy
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sklearn import decomposition
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from threadpoolctl import threadpool_info

from thalweg import MiniBatchDictionaryLearning, sparse_encode
from thalweg.inference.lasso import LassoSolver


def planted(n_components: int = 24, n_features: int = 16) -> Any:
    dictionary = np.random.default_rng(7).normal(size=(n_components, n_features))
    return dictionary / np.linalg.norm(dictionary, axis=1, keepdims=True)


def samples(n_samples: int = 2000, seed: int = 0) -> Any:
    """Sparse combinations of a planted dictionary, and noise."""
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(n_samples, 24)) * (rng.random((n_samples, 24)) < 0.12)
    return codes @ planted() + 0.02 * rng.normal(size=(n_samples, 16))


def held_out(dictionary: Any, alpha: float = 0.1) -> float:
    """Mean objective of rows that were not learnt from, over atoms of unit norm."""
    X = samples(500, seed=99)
    dictionary = np.asarray(dictionary, np.float64)
    dictionary = dictionary / np.maximum(np.linalg.norm(dictionary, axis=1, keepdims=True), 1e-12)
    codes = sparse_encode(X, dictionary, alpha=alpha, tol=1e-8)
    return float(
        (0.5 * ((X - codes @ dictionary) ** 2).sum(axis=1) + alpha * np.abs(codes).sum(axis=1)).mean()
    )


def learner(**arguments: Any) -> MiniBatchDictionaryLearning:
    given: dict[str, Any] = {
        "n_components": 24,
        "alpha": 0.1,
        "batch_size": 100,
        "max_iter": 3,
        "random_state": 0,
    }
    return MiniBatchDictionaryLearning(**{**given, "tol": 0, "max_no_improvement": None, **arguments})


def same(a: Any, b: Any) -> bool:
    return bool(a.components_.tobytes() == b.components_.tobytes())


# ------------------------------------------------------------------------------- what is learnt


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit_algorithm", ["lars", "cd"])
def test_finds_what_was_planted(dtype: Any, fit_algorithm: str) -> None:
    start = samples(24, seed=5).astype(dtype)
    model = learner(max_iter=8, fit_algorithm=fit_algorithm, dict_init=start).fit(samples().astype(dtype))
    assert model.components_.dtype == dtype
    assert (np.linalg.norm(model.components_, axis=1) <= 1 + 1e-5).all()
    assert held_out(model.components_) <= 1.1 * held_out(planted())


def test_is_no_worse_than_scikit_learns() -> None:
    X, start = samples(1000), samples(24, seed=5)
    arguments: dict[str, Any] = {"alpha": 0.1, "batch_size": 100, "max_iter": 2, "dict_init": start}
    theirs = decomposition.MiniBatchDictionaryLearning(
        24, tol=0, max_no_improvement=None, random_state=0, **arguments
    ).fit(X)
    ours = learner(**arguments).fit(X)
    assert ours.n_steps_ == theirs.n_steps_ == 20
    assert ours.n_iter_ == theirs.n_iter_ == 2
    assert held_out(ours.components_) <= held_out(theirs.components_)


def test_first_dictionary_is_made_up_for_where_samples_have_too_few_directions() -> None:
    model = learner(n_components=40).fit(samples())
    assert model.components_.shape == (40, 16)
    assert (np.linalg.norm(model.components_, axis=1) > 0.1).all()
    assert held_out(model.components_) <= 1.3 * held_out(planted())


def test_first_step_is_scikit_learns() -> None:
    X = samples(300)
    start = samples(16, seed=5)
    arguments: dict[str, Any] = {"alpha": 0.1, "dict_init": start}
    theirs = decomposition.MiniBatchDictionaryLearning(16, fit_algorithm="cd", **arguments).partial_fit(X)
    ours = MiniBatchDictionaryLearning(16, coding_tol=1e-12, **arguments).partial_fit(X)
    np.testing.assert_allclose(ours.components_, theirs.components_, atol=1e-4)
    assert ours.n_steps_ == theirs.n_steps_ == 1


def test_atoms_and_codes_are_positive_where_asked() -> None:
    model = learner(positive_dict=True, positive_code=True, transform_algorithm="lasso_cd").fit(
        np.abs(samples())
    )
    assert model.components_.min() >= 0
    assert model.transform(np.abs(samples(20))).min() >= 0


@pytest.mark.parametrize("rho", [0.0, 1.0, 5.0])
def test_statistics_weigh_batches_by_rho(rho: float, monkeypatch: Any) -> None:
    X = samples(600)
    model = learner(shuffle=False, rho=rho, max_iter=1, coding_tol=1e-6)
    scatter = []
    encode = LassoSolver.encode

    def recorded(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = encode(self, *args, **kwargs)
        scatter.append(found[0].T @ found[0])
        return found

    monkeypatch.setattr(LassoSolver, "encode", recorded)
    model.fit(X)
    weights = (np.arange(1, 7) / 6) ** rho
    np.testing.assert_allclose(model._A, np.tensordot(weights, scatter, 1), rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------------------- seeds, threads, order


def test_same_seed_same_bits_another_seed_other_bits() -> None:
    X = samples(500)
    one = learner().fit(X)
    assert same(one, learner().fit(X))
    assert same(one, learner(random_state=np.random.RandomState(3)).fit(X)) is False
    assert not same(one, learner(random_state=1).fit(X))
    assert not same(one, learner(shuffle=False).fit(X))
    assert same(learner(shuffle=False).fit(X), learner(shuffle=False, random_state=1).fit(X))


@pytest.mark.parametrize("n_jobs", [2, 3])
def test_same_bits_for_any_number_of_threads(n_jobs: int) -> None:
    X = samples()
    assert same(learner(n_jobs=1, batch_size=900).fit(X), learner(n_jobs=n_jobs, batch_size=900).fit(X))


def test_fit_in_order_is_partial_fit_by_batches() -> None:
    X = samples(450)
    start = samples(24, seed=5)
    whole = learner(shuffle=False, max_iter=2, dict_init=start).fit(X)
    parts = learner(dict_init=start)
    for _ in range(2):
        for first in range(0, 450, 100):
            parts.partial_fit(X[first : first + 100])
    assert same(whole, parts)
    assert whole.n_steps_ == parts.n_steps_ == 10


def test_memory_map_of_another_kind_is_read_by_batches(tmp_path: Any) -> None:
    X = samples().astype(np.float16)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert same(learner().fit(mapped), learner().fit(X.astype(np.float64)))


def test_certificate_of_every_row() -> None:
    X = samples()
    model = learner(coding_tol=1e-3).fit(X)
    assert model.gap_.shape == (2000,)
    assert model.gap_.max() <= 1e-3
    assert model.partial_fit(X[:7]).gap_.shape == (7,)
    with pytest.warns(ConvergenceWarning, match=r"coding_tol=1e-10 within transform_max_iter=1 .* gap is \d"):
        learner(solver="ista", transform_max_iter=1, coding_tol=1e-10).fit(X[:300])
    with pytest.warns(ConvergenceWarning, match=r"of 300 rows did not reach coding_tol=1e-10"):
        learner(solver="ista", transform_max_iter=1, coding_tol=1e-10).partial_fit(X[:300])


# ------------------------------------------------------------------------------- when it ends


def test_stops_when_the_dictionary_stands_still() -> None:
    model = learner(tol=10.0, max_iter=50).fit(samples())
    assert model.n_steps_ == 21  # the first pass is not judged
    assert model.n_iter_ == 2


def test_stops_without_improvement() -> None:
    model = learner(max_no_improvement=3, max_iter=1000).fit(samples(1000))
    assert model.n_iter_ < 1000


def test_no_pass_leaves_the_first_dictionary() -> None:
    start = samples(24, seed=5)
    model = learner(max_iter=0, dict_init=start).fit(samples())
    np.testing.assert_array_equal(model.components_, start)
    assert model.n_steps_ == model.n_iter_ == 0


def test_callback_and_verbose_see_every_step(capsys: Any) -> None:
    seen: list[tuple[int, int]] = []
    learner(max_iter=1, verbose=True, callback=lambda p: seen.append((p["i"], p["self"].n_steps_))).fit(
        samples(500)
    )
    assert seen == [(i, i + 1) for i in range(5)]
    assert capsys.readouterr().out.count("mean objective of the batch") == 5


# ------------------------------------------------------------------------------- interruption and resumption


def restored(model: Any) -> Any:
    """The model as a file would bring it back."""
    tensors, values = model._get_state()
    fresh = type(model)(**model.get_params())
    fresh._set_state(copy.deepcopy(tensors), copy.deepcopy(values))
    return fresh


class _Halt(Exception):
    pass


def halt_after(n_steps: int) -> Any:
    def callback(progress: dict[str, Any]) -> None:
        if progress["i"] + 1 == n_steps:
            raise _Halt

    return callback


@pytest.mark.parametrize("n_steps", [1, 10, 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resuming_is_never_having_stopped(n_steps: int, dtype: Any) -> None:
    X = samples(1000).astype(dtype)
    rules: dict[str, Any] = {"tol": 1e-9, "max_no_improvement": 500}
    whole = learner(**rules).fit(X)
    stopped = learner(**rules, callback=halt_after(n_steps))
    with pytest.raises(_Halt):
        stopped.fit(X)
    stopped.set_params(callback=None)
    assert stopped.n_steps_ == n_steps
    for model in (restored(stopped), stopped):
        model.resume(X)
        assert model.n_steps_ == whole.n_steps_ == 30
        assert same(model, whole)
        assert model.gap_.tobytes() == whole.gap_.tobytes()
        assert same(model.partial_fit(X[:50]), copy.deepcopy(whole).partial_fit(X[:50]))


def test_partial_fit_goes_on_exactly_after_a_restore() -> None:
    X = samples()
    straight, saved = learner().partial_fit(X[:200]), learner().partial_fit(X[:200])
    saved = restored(saved)
    for rows in (X[200:400], X[400:450]):
        straight.partial_fit(rows)
        saved.partial_fit(rows)
    assert same(straight, saved)


@pytest.mark.parametrize("n_calls", [1, 3])
def test_an_interrupted_step_leaves_the_last_whole_one(n_calls: int, monkeypatch: Any) -> None:
    X = samples(500)
    encode = LassoSolver.encode
    left = iter(range(n_calls - 1))

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return encode(self, *args, **kwargs)

    model = learner()
    with monkeypatch.context() as patch:
        patch.setattr(LassoSolver, "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
    assert model.n_steps_ == n_calls - 1
    assert same(model.resume(X), learner().fit(X))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_a_signal_in_the_middle_leaves_a_whole_step() -> None:
    X = samples()
    model = learner(max_iter=100_000)

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
    reached = model.n_steps_
    again = learner(max_iter=100_000, callback=halt_after(reached))
    with pytest.raises(_Halt):
        again.fit(X)
    assert reached > 0
    assert same(model, again)


def test_resume_after_the_end_does_nothing() -> None:
    X = samples()
    model = learner(tol=10.0, max_iter=50).fit(X)
    kept = restored(model)
    assert same(model.resume(X), kept)
    assert model.n_steps_ == kept.n_steps_
    with pytest.raises(ValueError, match="X: expected the 2000 rows of fit"):
        model.resume(X[1:])
    with pytest.raises(NotFittedError):
        learner().resume(X)


def test_numbers_that_overflow_raise_and_keep_the_last_good_parameters() -> None:
    X = samples()
    model = learner().fit(X)
    good = restored(model)
    with pytest.raises(FloatingPointError, match="step 61: the objective, a code or an atom"):
        model.partial_fit(X[:100] * 1e200)
    assert same(model, good)
    assert same(model.partial_fit(X[:100]), good.partial_fit(X[:100]))


def test_a_first_step_that_fails_leaves_an_estimator_that_has_not_begun() -> None:
    model = learner(dict_init=samples(24, seed=5))
    with pytest.raises(FloatingPointError):
        model.partial_fit(samples(50) * 1e200)
    assert not hasattr(model, "n_features_in_")
    with pytest.raises(NotFittedError):
        model.transform(samples(2))
    assert model.partial_fit(samples(50)).n_steps_ == 1


def test_a_state_that_does_not_fit_together_is_refused() -> None:
    tensors, values = learner().partial_fit(samples(50))._get_state()
    with pytest.raises(ValueError, match="do not belong to its dictionary"):
        learner()._set_state({**tensors, "_B": tensors["_B"][1:]}, values)


def test_a_fit_refused_at_the_door_leaves_the_model_as_it_was() -> None:
    X = samples()
    model = learner().fit(X)
    kept = model.components_.copy()
    with pytest.raises(ValueError, match="dict_init: expected 5 features"):
        model.set_params(dict_init=kept).fit(X[:, :5])
    np.testing.assert_array_equal(model.components_, kept)
    assert model.transform(X).shape == (len(X), len(kept))


def test_resume_needs_a_fit_to_go_on_with() -> None:
    X = samples()
    model = learner().partial_fit(X[:50])
    for rows in (X, X[:50]):
        with pytest.raises(NotFittedError, match="partial_fit"):
            model.resume(rows)


def test_concurrent_fits_give_the_same_bits_and_leave_blas_its_threads() -> None:
    X = samples()
    before = [pool["num_threads"] for pool in threadpool_info()]
    alone = learner().fit(X)
    with ThreadPoolExecutor(3) as pool:
        models = list(pool.map(lambda _: learner().fit(X), range(6)))
    assert all(same(alone, model) for model in models)
    assert [pool["num_threads"] for pool in threadpool_info()] == before
