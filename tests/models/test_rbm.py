"""Both restricted Boltzmann machines as estimators: learning, its continuation, its faults, and their use."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from thalweg import BernoulliRBM, GaussianBernoulliRBM
from thalweg.inference.annealing import LogPartition
from thalweg.persistence import load_model, save_model

MODELS = {"bernoulli": BernoulliRBM, "gaussian": GaussianBernoulliRBM}
CASES = [(name, loss) for name, cls in MODELS.items() for loss in cls._LOSSES]


def binary_data(n: int = 200, seed: int = 0) -> np.ndarray:
    """Rows of 12 bits in two groups that go together: far from independent."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, (n, 1))
    clean = np.repeat(np.concatenate([kind, 1 - kind], axis=1), 6, axis=1)
    return np.where(rng.random(clean.shape) < 0.08, 1 - clean, clean).astype(float)


def real_data(n: int = 200, seed: int = 0) -> np.ndarray:
    """Two clusters in five dimensions."""
    rng = np.random.default_rng(seed)
    centres = np.array([[1.5, -1.5, 0, 1, 0], [-1.5, 1.5, 0, -1, 1.0]])
    return centres[rng.integers(0, 2, n)] + 0.7 * rng.normal(size=(n, 5))


def data(name: str, n: int = 200) -> np.ndarray:
    return binary_data(n) if name == "bernoulli" else real_data(n)


def make(name: str, **more: Any) -> Any:
    rate = 0.05 if name == "bernoulli" else 0.02
    options = {"n_components": 6, "learning_rate": rate, "batch_size": 25, "n_iter": 3, "random_state": 0}
    return MODELS[name](**{**options, **more})


def state(model: Any) -> dict[str, np.ndarray]:
    return {k: v for k, v in model._get_state()[0].items()}


def assert_same_bits(a: Any, b: Any) -> None:
    first, second = state(a), state(b)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.mark.parametrize(("name", "loss"), CASES)
def test_every_loss_learns(name: str, loss: str) -> None:
    X = data(name, 400)
    before = make(name, n_iter=0, loss=loss).fit(X).log_likelihood(X).mean()
    # Chains that change between modes make a noisy gradient: many of them, and small steps.
    after = make(name, loss=loss, n_iter=100, n_chains=100).fit(X)
    independent = make(name, n_components=1, init_std=0.0, init_visible="base_rates", n_iter=0).fit(X)
    gained = after.log_likelihood(X).mean() - before
    assert gained > 0.5
    if name == "bernoulli":
        assert after.log_likelihood(X).mean() > independent.log_likelihood(X).mean() + 0.5


@pytest.mark.parametrize(("name", "loss"), CASES)
def test_resumes_bit_for_bit_after_an_interrupt(name: str, loss: str, tmp_path: Any) -> None:
    X = data(name)
    options: dict[str, Any] = {"loss": loss, "momentum": 0.5, "centering": loss != "score_matching"}
    if loss != "score_matching":
        options |= {"sparsity_target": 0.2, "sparsity_cost": 0.1}
    whole = make(name, **options).fit(X)

    def interrupt(progress: dict[str, Any]) -> None:
        if progress["i"] == 10:
            raise KeyboardInterrupt

    broken = make(name, callback=interrupt, **options)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(X)
    assert broken.n_steps_ == 11
    save_model(broken, tmp_path / "m.safetensors")
    resumed = load_model(tmp_path / "m.safetensors").set_params(callback=None).resume(X)
    assert resumed.n_steps_ == whole.n_steps_ == 24
    assert_same_bits(whole, resumed)
    assert_same_bits(whole, broken.set_params(callback=None).resume(X))


def test_a_callback_may_save_the_step(tmp_path: Any) -> None:
    X = binary_data()
    path = tmp_path / "m.safetensors"

    def save(progress: dict[str, Any]) -> None:
        if progress["i"] == 5:
            save_model(progress["self"], path)

    whole = make("bernoulli", momentum=0.9, callback=save).fit(X)
    resumed = load_model(path)
    assert resumed.n_steps_ == 6
    assert_same_bits(whole, resumed.resume(X))


def test_resume_goes_on_to_more_passes_and_refuses_other_rows() -> None:
    X = binary_data()
    model = make("bernoulli", n_iter=1)
    with pytest.raises(NotFittedError):
        model.resume(X)
    model.fit(X).set_params(n_iter=3).resume(X)
    assert_same_bits(model, make("bernoulli").fit(X))
    with pytest.raises(ValueError, match="expected the 200 rows of fit"):
        model.resume(X[:100])
    with pytest.raises(NotFittedError, match="partial_fit"):
        model.partial_fit(X).resume(X)


@pytest.mark.parametrize("name", MODELS)
def test_bits_do_not_depend_on_the_number_of_threads(name: str, dtype: np.dtype) -> None:
    rng = np.random.default_rng(0)
    X = (rng.random((300, 300)) < 0.3).astype(dtype)
    options = {"n_components": 200, "batch_size": 150, "n_iter": 2, "momentum": 0.5, "centering": True}
    one, three = (make(name, n_jobs=n, learning_rate=0.001, **options).fit(X) for n in (1, 3))
    assert one.components_.dtype == dtype
    assert_same_bits(one, three)
    np.testing.assert_array_equal(one.transform(X), three.transform(X))
    np.testing.assert_array_equal(one.sample(20, 5), three.sample(20, 5))


def test_sparse_rows_give_the_bits_of_dense_ones() -> None:
    X = binary_data()
    csr = scipy.sparse.csr_matrix(X)
    dense, sparse = make("bernoulli").fit(X), make("bernoulli").fit(csr)
    np.testing.assert_allclose(sparse._mean, dense._mean, rtol=1e-12)
    assert_same_bits(make("bernoulli").partial_fit(X), make("bernoulli").partial_fit(csr))
    np.testing.assert_array_equal(dense.components_, sparse.components_)
    for method in ("transform", "free_energy", "score_samples", "reconstruct"):
        np.testing.assert_allclose(getattr(dense, method)(X), getattr(dense, method)(csr), rtol=1e-12)
    with pytest.raises(TypeError, match="Sparse"):
        make("gaussian").fit(csr)


def test_partial_fit_goes_through_its_rows_in_batches() -> None:
    X = binary_data(100)
    whole = make("bernoulli").partial_fit(X)
    pieces = make("bernoulli")
    for first in range(0, 100, 25):
        pieces.partial_fit(X[first : first + 25])
    assert whole.n_steps_ == pieces.n_steps_ == 4
    pieces._mean, pieces._deviation = whole._mean, whole._deviation  # of the first rows seen
    pieces._n_rows = whole._n_rows
    assert_same_bits(whole, pieces)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_not_finite_stops_learning_with_the_last_good_parameters(name: str) -> None:
    X = data(name).astype(np.float32)
    model = make(name, n_iter=1).fit(X)
    with pytest.raises(FloatingPointError, match=r"step 9: .*learning_rate"):
        model.set_params(n_iter=5, learning_rate=1e39).resume(X)
    assert model.n_steps_ == 8
    assert np.isfinite(model.components_).all()
    assert np.isfinite(model.intercept_visible_).all()


@pytest.mark.parametrize("name", MODELS)
def test_small_and_strange_data(name: str) -> None:
    X = data(name, 7)
    model = make(name, batch_size=1000, n_chains=50).fit(X)
    assert model.h_samples_.shape == (50, 6)
    X[:, 2] = 0.25
    fitted = make(name, n_iter=20).fit(X)
    assert np.isfinite(fitted.free_energy(X)).all()
    assert np.isfinite(make(name, n_iter=3).fit(X[:1]).components_).all()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"n_components": 0}, ValueError, "n_components: expected an integer >= 1, got 0"),
        ({"loss": "ml"}, ValueError, "loss: expected one of 'cd'"),
        ({"n_gibbs_steps": 0}, ValueError, "n_gibbs_steps: expected an integer >= 1, got 0"),
        ({"n_chains": 0}, ValueError, "n_chains: expected an integer >= 1, got 0"),
        ({"n_temperatures": 1}, ValueError, "n_temperatures: expected an integer >= 2"),
        ({"momentum": 1.0}, ValueError, r"momentum: expected a number in \[0, 1\), got 1"),
        ({"l2": -1.0}, ValueError, "l2: expected a number >= 0"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate: expected a real number"),
        ({"learning_rate": np.nan}, ValueError, "learning_rate: expected a finite number"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"n_iter": -1}, ValueError, "n_iter"),
        ({"schedule": "cosine"}, ValueError, "schedule: expected one of 'constant'"),
        ({"sparsity_cost": 1.0}, ValueError, "sparsity_target: expected a number in"),
        ({"sparsity_cost": 1.0, "sparsity_target": 1.5}, ValueError, "sparsity_target"),
        ({"max_grad_norm": 0.0}, ValueError, "max_grad_norm"),
        ({"init_visible": "ones"}, ValueError, "init_visible"),
        ({"n_jobs": 0}, ValueError, "n_jobs"),
        ({"n_gibbs_steps": 2**70}, ValueError, "n_gibbs_steps: expected an integer <= 2147483647"),
        ({"n_components": 2**62}, ValueError, "n_components: expected an integer <="),
        ({"callback": 3}, TypeError, "callback: expected a callable or None, got 3"),
        ({"random_state": -1}, ValueError, "random_state"),
    ],
)
def test_wrong_parameters_are_named(name: str, wrong: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make(name, **wrong).fit(data(name))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"init_sigma": -1.0}, "init_sigma: expected a number > 0"),
        ({"init_sigma": "a"}, "init_sigma: expected real numbers"),
        ({"loss": "score_matching", "centering": True}, "centering: loss="),
        ({"loss": "score_matching", "sample_hidden": True}, "sample_hidden: loss="),
        ({"init_sigma": [1.0, 2.0]}, "init_sigma: expected a number > 0 or one for each of 5 features"),
        ({"init_sigma": np.ones(5), "sigma_type": "scalar"}, "init_sigma: expected one number"),
        ({"sigma_type": "full"}, "sigma_type: expected one of 'diagonal', 'scalar'"),
        ({"loss": "score_matching", "sparsity_cost": 1.0, "sparsity_target": 0.1}, "sparsity_cost"),
    ],
)
def test_wrong_parameters_of_the_gaussian_machine(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("gaussian", **wrong).fit(real_data())


def test_wrong_data_are_named_and_change_nothing() -> None:
    model = make("bernoulli").fit(binary_data())
    before = state(model)
    for wrong in (np.ones((3, 4)), np.full((3, 12), np.nan), np.ones((3, 12)) * 1j):
        for call in (model.partial_fit, model.transform, model.free_energy, model.gibbs):
            with pytest.raises(ValueError):  # noqa: PT011 (scikit-learn's messages)
                call(wrong)
    with pytest.raises(ValueError, match="h: expected 6 columns"):
        model.sample_v(np.ones((2, 5)))
    with pytest.raises(ValueError, match="h: expected 3 rows, as v has"):
        model.energy(np.ones((3, 12)), np.ones((2, 6)))
    with pytest.raises(ValueError, match="n_steps"):
        model.gibbs(binary_data(), n_steps=0)
    with pytest.raises(ValueError, match=r"init: expected shape \(3, 12\)"):
        model.sample(3, init=np.zeros((2, 12)))
    for name, value in state(model).items():
        np.testing.assert_array_equal(value, before[name])


def test_constant_and_extreme_data_of_the_gaussian_machine() -> None:
    constant = make("gaussian", n_iter=5).fit(np.full((100, 3), 0.1))
    assert (constant.sigma_ > 0.01).all()
    assert (constant.sigma_ < 100).all()
    for X in (real_data().astype(np.float32) * 1e-25, real_data() * 1e200):
        with pytest.raises(ValueError, match="X: "):
            make("gaussian").fit(X)
    with pytest.raises(ValueError, match="init_sigma: deviations"):
        make("gaussian", init_sigma=1e-30).fit(real_data().astype(np.float32))
    with pytest.raises(ValueError, match="init_std: the first weights overflow float32"):
        make("gaussian", init_std=1e300).fit(real_data().astype(np.float32))
    with pytest.raises(FloatingPointError):
        make("gaussian", sigma_learning_rate=1e5).fit(real_data().astype(np.float32))
    single = make("bernoulli").fit(binary_data().astype(np.float32))
    with (
        pytest.warns(UserWarning, match="this data lies in"),
        pytest.raises(ValueError, match="X: overflows float32"),
    ):
        single.partial_fit(1e300 * binary_data())


def test_what_cannot_change_on_the_way_is_refused() -> None:
    X = binary_data()
    model = make("bernoulli").fit(X)
    with pytest.raises(ValueError, match="batch_size: `fit` was begun with 25"):
        model.set_params(batch_size=50, n_iter=5).resume(X)
    with pytest.raises(ValueError, match="n_components: learning was begun with 6"):
        model.set_params(batch_size=25, n_components=7).resume(X)
    with pytest.raises(ValueError, match="n_components: learning was begun with 6"):
        model.partial_fit(X)


def test_chains_begin_anew_where_their_number_changes() -> None:
    X = binary_data()
    model = make("bernoulli", loss="pt", n_chains=10, n_temperatures=4, n_iter=1).fit(X)
    for n_chains, n_temperatures in ((8, 5), (20, 2)):
        model.set_params(n_chains=n_chains, n_temperatures=n_temperatures).partial_fit(X)
        assert model.swap_rates_.shape == (n_temperatures - 1,)
        assert model.h_samples_.shape == (n_chains * n_temperatures, 6)
    model.set_params(loss="pcd", n_gibbs_steps=5, n_chains=40).partial_fit(X)
    assert model._loss_state["n_sweeps"][0] == 5 * 8


def test_what_a_callback_holds_stays_as_it_is() -> None:
    import pickle

    held: list[np.ndarray] = []
    pickled: list[bytes] = []

    def keep(progress: dict[str, Any]) -> None:
        held.append(progress["self"].components_)
        if progress["i"] == 3:
            pickled.append(pickle.dumps(progress["self"].set_params(callback=None)))

    X = binary_data()
    whole = make("bernoulli", momentum=0.5, callback=keep).fit(X)
    assert len(np.unique([array[0, 0] for array in held])) == len(held)
    assert_same_bits(pickle.loads(pickled[0]).resume(X), whole)


def test_an_interrupt_within_the_end_of_training_loses_no_velocity(monkeypatch: pytest.MonkeyPatch) -> None:
    X = binary_data()
    whole, broken = make("bernoulli", momentum=0.9).fit(X), make("bernoulli", momentum=0.9, n_iter=1)
    original = np.ascontiguousarray

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and broken.n_steps_ == 8:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(np, "ascontiguousarray", interrupted)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(X)
    monkeypatch.undo()
    assert_same_bits(broken.set_params(n_iter=3).resume(X), whole)


def test_data_outside_the_unit_interval_warn() -> None:
    X = binary_data()
    X[0, 0] = -3.0
    with pytest.warns(UserWarning, match=r"in \[0, 1\]; this data lies in \[-3, 1\]"):
        make("bernoulli", n_iter=1).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make("gaussian", n_iter=1).fit(X)


def test_data_outside_the_unit_interval_warn_on_the_device_too(cuda: Any) -> None:
    model = make("bernoulli", n_iter=1, device="cuda").fit(binary_data())
    X = binary_data()
    model.transform(cuda.to_device(X))
    X[0, 0] = -3.0
    with pytest.warns(UserWarning, match=r"in \[0, 1\]; this data lies in \[-3, 1\]"):
        model.transform(cuda.to_device(X))


# --- options of training


def test_sparsity_pulls_the_activity_to_its_target() -> None:
    X = binary_data(400)
    options = {"n_iter": 60, "loss": "cd", "n_components": 10}
    free = make("bernoulli", **options).fit(X).transform(X).mean()
    pulled = make("bernoulli", sparsity_target=0.1, sparsity_cost=3.0, **options).fit(X).transform(X).mean()
    assert abs(pulled - 0.1) < 0.5 * abs(free - 0.1)
    assert abs(pulled - 0.1) < 0.05


def test_centering_makes_learning_indifferent_to_what_is_called_one() -> None:
    X = binary_data(400) * (np.random.default_rng(1).random((400, 12)) < 0.35)
    options = {"n_iter": 30, "learning_rate": 0.1, "init_visible": "base_rates", "centering": True}
    for seed in range(3):
        a = make("bernoulli", **options | {"random_state": seed}).fit(X).log_likelihood(X).mean()
        b = make("bernoulli", **options | {"random_state": seed}).fit(1 - X).log_likelihood(1 - X).mean()
        assert abs(a - b) < 0.02


def test_l2_and_the_bound_of_the_gradient_keep_weights_small() -> None:
    X = binary_data()
    norm = lambda **more: np.linalg.norm(make("bernoulli", n_iter=20, **more).fit(X).components_)  # noqa: E731
    assert norm(l2=0.5) < 0.7 * norm()
    assert norm(max_grad_norm=0.01) <= 0.01 * 0.05 * 160 + np.linalg.norm(
        make("bernoulli", n_iter=0).fit(X).components_
    )


def test_schedules() -> None:
    model = make("bernoulli", learning_rate=0.2)
    assert [model._share(i, 10, 0) for i in (0, 5)] == [1, 1]
    assert model.set_params(schedule="linear")._share(5, 10, 1) == pytest.approx(0.5)
    assert model.set_params(schedule="inverse")._share(5, 10, 3) == pytest.approx(0.25)


def test_the_visible_biases_have_a_rate_of_their_own() -> None:
    X = binary_data()
    model = make("bernoulli", learning_rate=0.0, visible_learning_rate=0.5).fit(X)
    np.testing.assert_array_equal(model.components_, make("bernoulli", n_iter=0).fit(X).components_)
    assert np.abs(model.intercept_visible_).max() > 0.1


def test_samples_in_place_of_probabilities_change_the_gradient_only_in_its_draws() -> None:
    X = binary_data(400)
    a, b = (make("bernoulli", n_iter=40, sample_hidden=s).fit(X) for s in (False, True))
    assert not np.array_equal(a.components_, b.components_)
    assert abs(a.log_likelihood(X).mean() - b.log_likelihood(X).mean()) < 0.5


def test_swap_rates() -> None:
    model = make("bernoulli", loss="pt", n_temperatures=5).fit(binary_data())
    assert model.swap_rates_.shape == (4,)
    assert (model.swap_rates_ > 0.2).all()
    assert (model.swap_rates_ <= 1).all()
    with pytest.raises(AttributeError, match="no temperatures"):
        _ = make("bernoulli").fit(binary_data()).swap_rates_
    assert np.isfinite(make("bernoulli", loss="nce").fit(binary_data()).log_normalizer_)
    with pytest.raises(AttributeError, match="learns none"):
        _ = model.log_normalizer_
    with pytest.raises(AttributeError, match="keeps no chains"):
        _ = make("bernoulli", loss="cd").fit(binary_data()).h_samples_


def test_sigma_is_one_number_or_fixed_where_asked() -> None:
    X = real_data()
    one = make("gaussian", sigma_type="scalar", n_iter=10).fit(X).sigma_
    assert np.ptp(one) == 0
    assert one[0] != make("gaussian", sigma_type="scalar", n_iter=0).fit(X).sigma_[0]
    fixed = make("gaussian", init_sigma=[0.5, 1, 1.5, 2, 2.5], learn_sigma=False).fit(X).sigma_
    np.testing.assert_allclose(fixed, [0.5, 1, 1.5, 2, 2.5])


# --- scikit-learn


def test_stands_in_for_scikit_learns() -> None:
    peer = sklearn.neural_network.BernoulliRBM(n_components=32, learning_rate=0.05, n_iter=8, random_state=0)
    X = load_digits().data / 16.0
    ours = BernoulliRBM(**peer.get_params()).fit(X)
    peer.fit(X)
    for name in (n for n in vars(peer) if n.endswith("_") and not n.startswith("_") and n != "random_state_"):
        assert np.shape(getattr(ours, name)) == np.shape(getattr(peer, name)), name
    for name in ("fit", "fit_transform", "partial_fit", "transform", "gibbs", "score_samples"):
        assert callable(getattr(ours, name))
    score = np.mean([peer.score_samples(X).mean() for _ in range(20)])
    assert abs(ours.score_samples(X).mean() - score) < 1.0
    assert ours.get_feature_names_out()[0] == "bernoullirbm0"
    peer.components_, peer.intercept_hidden_, peer.intercept_visible_ = (
        ours.components_,
        ours.intercept_hidden_,
        ours.intercept_visible_,
    )
    np.testing.assert_allclose(ours.transform(X), peer.transform(X), rtol=1e-9)
    np.testing.assert_allclose(ours.free_energy(X), peer._free_energy(X), rtol=1e-9)


def test_pipelines_and_clones() -> None:
    X = load_digits().data[:300] / 16.0
    features = make_pipeline(BernoulliRBM(8, n_iter=2, random_state=0)).fit_transform(X)
    assert features.shape == (300, 8)
    assert clone(make("gaussian", init_sigma=2.0)).init_sigma == 2.0


# --- samples and likelihoods


@pytest.mark.parametrize("name", MODELS)
def test_samples_come_from_the_machine(name: str) -> None:
    X = data(name, 400)
    model = make(name, n_iter=10).fit(X)
    samples = model.sample(4000, 200, random_state=1)
    assert samples.shape == (4000, X.shape[1])
    if name == "bernoulli":
        states = ((np.arange(4096)[:, None] >> np.arange(12)) & 1).astype(float)
        p = np.exp(model.log_likelihood(states))
        assert p.sum() == pytest.approx(1, abs=1e-9)
        mean, spread = p @ states, np.sqrt(p @ states * (1 - p @ states) / 4000)
        assert (np.abs(samples.mean(axis=0) - mean) < 5 * spread).all()
    else:
        # The score's mean over the machine's own samples is zero.
        score = model.score_function(samples)
        error = score.std(axis=0) / np.sqrt(4000)
        assert (np.abs(score.mean(axis=0)) < 5 * error).all()


@pytest.mark.parametrize("name", MODELS)
def test_draws_are_the_seeds_or_go_on(name: str) -> None:
    X = data(name, 50)
    model = make(name).fit(X)
    h = model.sample_h(X, random_state=3)
    assert set(np.unique(h)) <= {0.0, 1.0}
    for call in (model.gibbs, model.sample_h):
        np.testing.assert_array_equal(call(X, random_state=3), call(X, random_state=3))
        assert not np.array_equal(call(X), call(X))
    v = model.sample_v(h, random_state=3)
    np.testing.assert_array_equal(v, model.sample_v(h, random_state=3))
    part = model.gibbs(X[:20], n_steps=4, random_state=5)
    np.testing.assert_array_equal(part, model.gibbs(X, n_steps=4, random_state=5)[:20])
    chains = model.sample(5, 10, random_state=0)
    assert not np.array_equal(model.sample(n_steps=10, init=chains), chains)
    assert np.isfinite(model.reconstruct(X)).all()


@pytest.mark.parametrize("name", MODELS)
def test_the_three_log_partitions_agree(name: str, dtype: np.dtype) -> None:
    X = data(name, 300).astype(dtype)
    model = make(name, n_iter=20).fit(X)
    exact = model.log_partition("exact")
    assert isinstance(exact, LogPartition)
    assert exact.std_error == 0
    for method in ("ais", "reverse_ais"):
        estimate = model.log_partition(method, temperatures=1000, X=X, random_state=0)
        assert estimate.log_weights.shape == (100,)
        assert abs(estimate.log_z - exact.log_z) < 4 * estimate.std_error + 1e-3
        again = model.log_partition(method, temperatures=1000, X=X, random_state=0)
        np.testing.assert_array_equal(again.log_weights, estimate.log_weights)
    np.testing.assert_allclose(model.log_likelihood(X), -model.free_energy(X) - exact.log_z)
    np.testing.assert_allclose(model.log_likelihood(X, 1.5), -model.free_energy(X) - 1.5)


def test_exact_says_how_many_states_it_would_take() -> None:
    model = BernoulliRBM(30, n_iter=0).fit(np.zeros((4, 40)))
    with pytest.raises(ValueError, match=r"2\*\*30 = 1,073,741,824 states.*ais"):
        model.log_partition("exact")
    with pytest.raises(ValueError, match="method: expected one of 'exact', 'ais', 'reverse_ais'"):
        model.log_partition("bridge")
    with pytest.raises(ValueError, match="temperatures: expected"):
        model.log_partition("ais", temperatures=[0.0, 0.5])
    with pytest.raises(ValueError, match="temperatures: expected"):
        model.log_partition("ais", temperatures="abc")
    with pytest.raises(ValueError, match='X: "reverse_ais" needs rows'):
        model.log_partition("reverse_ais")
    with pytest.raises(ValueError, match="X: runs that begin at its rows, with burn_in=0"):
        model.log_partition("reverse_ais", X=np.full((3, 40), 0.5), burn_in=0, temperatures=5)
    with pytest.raises(TypeError, match="log_partition: expected a real number"):
        model.log_likelihood(np.zeros((1, 40)), "abc")
    with pytest.raises(ValueError, match="n_runs"):
        model.log_partition("ais", n_runs=1)


@pytest.mark.parametrize("name", MODELS)
def test_free_energy_is_finite_at_great_activations(name: str) -> None:
    X = data(name).astype(np.float32)
    model = make(name, n_iter=1).fit(X)
    for bias in (-1e4, 1e4):
        model.intercept_hidden_ = np.full(6, bias, np.float32)
        model.intercept_visible_ = np.full(X.shape[1], bias, np.float32)
        for values in (
            model.free_energy(X),
            model.score_samples(X),
            model.transform(X),
            model.reconstruct(X),
        ):
            assert np.isfinite(values).all()


def test_scores_are_the_pseudo_likelihood_or_minus_the_free_energy() -> None:
    X, Y = binary_data(20), real_data(20)
    bernoulli, gaussian = make("bernoulli").fit(X), make("gaussian").fit(Y)
    np.testing.assert_array_equal(bernoulli.score_samples(X), bernoulli.pseudo_likelihood(X))
    np.testing.assert_array_equal(gaussian.score_samples(Y), -gaussian.free_energy(Y))
    assert gaussian.pseudo_likelihood(Y).shape == (20,)
    h = bernoulli.sample_h(X, random_state=0)
    expected = -np.einsum("nk,kj,nj->n", h, bernoulli.components_, X)
    expected -= X @ bernoulli.intercept_visible_ + h @ bernoulli.intercept_hidden_
    np.testing.assert_allclose(bernoulli.energy(X, h), expected)
    step = 1e-5 * np.eye(5)[0]
    numeric = (gaussian.score_samples(Y + step) - gaussian.score_samples(Y - step)) / 2e-5
    np.testing.assert_allclose(gaussian.score_function(Y)[:, 0], numeric, rtol=1e-5, atol=1e-8)
