"""Deep energy models: what every loss finds, how learning goes on and fails, samples, modes, log Z."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softplus
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from thalweg import DeepEnergyModel
from thalweg.losses import DenoisingScoreMatching, GaussianNoise
from thalweg.persistence import load_model, save_model

LOSSES = ("score_matching", "denoising", "sliced", "nce", "conditional_nce", "cd")
SMOOTH = ("score_matching", "sliced")
GRID = np.linspace(-5, 5, 1001)[:, None]
WIDTH = 0.7  # of each of two bumps, at -1.5 and 1.5


def two_bumps(n: int, seed: int = 0, dtype: Any = np.float64) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.choice([-1.5, 1.5], (n, 1)) + WIDTH * rng.normal(size=(n, 1))).astype(dtype)


def bumps_density(width: float = WIDTH) -> Any:
    each = np.exp(-0.5 * ((GRID - [-1.5, 1.5]) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    return each.mean(axis=1)


def on_grid(model: Any) -> Any:
    """The model's density, normalised by a sum."""
    p = np.exp(model.score_samples(GRID) - model.score_samples(GRID).max())
    return p / (p.sum() * (GRID[1, 0] - GRID[0, 0]))


def small(**options: Any) -> DeepEnergyModel:
    given = {"hidden_layer_sizes": (4, 3), "n_iter": 2, "batch_size": 50, "random_state": 0, **options}
    return DeepEnergyModel(5, **given)


def rows(n: int = 200, d: int = 3, dtype: Any = np.float64) -> Any:
    return np.random.default_rng(0).normal(size=(n, d)).astype(dtype)


def parameters(model: Any) -> dict[str, Any]:
    return dict(model.energy_.parameters)


def assert_same(a: Any, b: Any) -> None:
    assert parameters(a).keys() == parameters(b).keys()
    for name, value in parameters(a).items():
        assert_array_equal(value, parameters(b)[name], err_msg=name)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_finds_two_bumps(loss: str) -> None:
    options = {"noise_scale": 0.5} if loss == "denoising" else {}
    model = DeepEnergyModel(
        2,
        hidden_layer_sizes=(),
        sigma=float(np.hypot(WIDTH, 0.5)) if loss == "denoising" else WIDTH,
        loss=loss,
        noise_ratio=2,
        n_slices=2,
        n_sampler_steps=3,
        learning_rate=0.03,
        schedule="linear",
        batch_size=250,
        n_iter=30,
        random_state=0,
        **options,
    ).fit(two_bumps(4000))
    expected = bumps_density(float(np.hypot(WIDTH, 0.5)) if loss == "denoising" else WIDTH)
    assert np.abs(on_grid(model) - expected).max() < 0.2 * expected.max()
    if loss == "nce":
        assert abs(model.log_normalizer_ - model.log_partition("exact").log_z) < 0.1


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softplus"])
def test_hidden_layers_find_a_ring(activation: str) -> None:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, (1000, 1))
    ring = 2 * np.hstack([np.cos(angle), np.sin(angle)]) + 0.3 * rng.normal(size=(1000, 2))
    model = DeepEnergyModel(
        16, hidden_layer_sizes=16, activation=activation, learning_rate=0.03, n_iter=20, random_state=0
    ).fit(ring)
    on, inside, outside = (
        model.score_samples(r * np.hstack([np.cos(angle), np.sin(angle)])).mean() for r in (2.0, 0.0, 4.0)
    )
    assert on > inside + 1
    assert on > outside + 1
    assert model.loss_curve_[-1] < model.loss_curve_[0] - 0.5


def test_energies_are_those_of_the_formula(dtype: Any) -> None:
    X = rows(dtype=dtype)
    model = small(sigma=0.7).fit(X)
    p = {name: value.astype(np.float64) for name, value in parameters(model).items()}
    assert {value.dtype for value in parameters(model).values()} == {np.dtype(dtype)}
    hidden = X.astype(np.float64)
    for i in (0, 1):
        hidden = expit(hidden @ p[f"weights_{i}"].T + p[f"bias_{i}"])
    sums = hidden @ p["top_weights"].T + p["top_bias"]
    energy = (X.astype(np.float64) ** 2).sum(axis=1) / (2 * 0.7**2) - X @ p["visible_bias"]
    tol = {"rtol": 1e-10 if dtype == np.float64 else 1e-4, "atol": 1e-10 if dtype == np.float64 else 1e-4}
    assert_allclose(model.free_energy(X), energy - softplus(sums).sum(axis=1), **tol)
    assert_array_equal(model.score_samples(X), -model.free_energy(X))
    assert_allclose(model.transform(X), expit(sums), **tol)
    assert model.free_energy(X).dtype == np.float64
    assert model.transform(X).dtype == model.score_function(X).dtype == dtype
    assert_array_equal(model.filters_, parameters(model)["weights_0"])
    assert model.get_feature_names_out()[0] == "deepenergymodel0"


def test_scores_are_derivatives() -> None:
    X = rows(20)
    model = small().fit(X)
    step = 1e-5
    for j in range(3):
        e = step * np.eye(3)[j]
        slope = (model.score_samples(X + e) - model.score_samples(X - e)) / (2 * step)
        assert_allclose(model.score_function(X)[:, j], slope, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_same_seed_gives_the_same_bits_for_any_threads(loss: str) -> None:
    X = rows(120, 40, np.float32)
    a, b = (small(loss=loss, n_jobs=n).fit(X) for n in (1, 2))
    assert_same(a, b)
    assert not np.array_equal(a.filters_, small(loss=loss, random_state=1).fit(X).filters_)


class Stopped(Exception):
    pass


def stop_at(number: int) -> Any:
    def callback(state: dict[str, Any]) -> None:
        assert state["n_steps"] >= state["i"] + 1
        if state["i"] == number:
            raise Stopped

    return callback


@pytest.mark.parametrize("layerwise", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_interrupted_saved_and_resumed(loss: str, layerwise: bool, tmp_path: Any) -> None:
    X = rows(160)
    options = {"loss": loss, "layerwise": layerwise, "sigma": "learn"}
    whole = small(**options).fit(X)
    part = small(**options, callback=stop_at(6 if not layerwise else 13))
    with pytest.raises(Stopped):
        part.fit(X)
    save_model(part, tmp_path / "part.safetensors")
    loaded = load_model(tmp_path / "part.safetensors").resume(X)
    assert_same(loaded, whole)
    assert_array_equal(loaded.loss_curve_, whole.loss_curve_)
    assert (loaded.n_iter_, loaded.n_steps_) == (whole.n_iter_, whole.n_steps_)
    assert_array_equal(loaded.sample(2, 5, warm_up=3), whole.sample(2, 5, warm_up=3))


def test_more_passes_go_on() -> None:
    X = rows()
    model = small().fit(X)
    assert_same(model.set_params(n_iter=4).resume(X), small(n_iter=4).fit(X))
    assert len(model.loss_curve_) == 4


def test_partial_fit_goes_once_over_the_rows() -> None:
    X = rows()
    model = small().partial_fit(X).partial_fit(X.astype(np.float32))
    assert model.n_steps_ == 8
    assert len(model.loss_curve_) == 2
    with pytest.raises(NotFittedError, match="the last step was one of `partial_fit`"):
        model.resume(X)
    with pytest.raises(
        ValueError, match="layerwise: expected False where learning begins with `partial_fit`"
    ):
        small(layerwise=True).partial_fit(X)


def test_layers_are_learnt_one_after_the_other() -> None:
    seen: list[dict[str, Any]] = []
    small(layerwise=True, callback=lambda s: seen.append(parameters(s["self"]))).fit(rows())
    per_stage = len(seen) // 4
    assert len(seen) == 4 * 2 * 4
    stages = [seen[i * per_stage : (i + 1) * per_stage] for i in range(4)]
    assert [s[0]["top_weights"].shape for s in stages] == [(4, 3), (3, 4), (5, 3), (5, 3)]
    assert [sum(n.startswith("weights") for n in s[0]) for s in stages] == [0, 1, 2, 2]
    # What was on top is the uppermost layer of the next stage, and held.
    for before, after in pairwise(stages[:3]):
        depth = sum(n.startswith("weights") for n in before[0])
        for stage in after:
            assert_array_equal(stage[f"weights_{depth}"], before[-1]["top_weights"])
            assert_array_equal(stage[f"bias_{depth}"], before[-1]["top_bias"])
    assert not np.array_equal(stages[3][-1]["weights_0"], stages[2][-1]["weights_0"])


def test_without_hidden_biases() -> None:
    model = small(hidden_bias=False, layerwise=True).fit(rows())
    names = set(parameters(model))
    assert names == {"weights_0", "weights_1", "top_weights", "top_bias", "visible_bias"}


def test_sigma_is_learnt() -> None:
    X = 0.5 * rows(2000)
    model = DeepEnergyModel(
        2, hidden_layer_sizes=(), sigma="learn", learning_rate=0.02, n_iter=10, random_state=0
    ).fit(X)
    assert 0.4 < model.sigma_ < 0.52
    assert small(sigma=0.3).fit(X).sigma_ == pytest.approx(0.3)


def test_momentum_decay_and_schedules() -> None:
    X = rows()
    plain = small(optimizer="sgd", learning_rate=0.01).fit(X)
    for options in ({"l2": 0.5}, {"schedule": "linear"}, {"schedule": "inverse"}, {"momentum": 0.0}):
        other = small(optimizer="sgd", learning_rate=0.01, **options).fit(X)
        assert not np.array_equal(other.filters_, plain.filters_)
        if "l2" in options:
            assert np.linalg.norm(other.filters_) < np.linalg.norm(plain.filters_)


# --- samples, modes, log Z


@pytest.fixture(scope="module")
def bumps() -> Any:
    return DeepEnergyModel(
        2, hidden_layer_sizes=(), sigma=WIDTH, learning_rate=0.03, batch_size=500, n_iter=40, random_state=0
    ).fit(two_bumps(5000))


@pytest.mark.parametrize("sampler", ["hmc", "mala", "langevin"])
def test_samples_have_the_density(bumps: Any, sampler: str) -> None:
    drawn = bumps.sample(2000, 30, init=two_bumps(2000, 1), sampler=sampler, random_state=0)
    counts, edges = np.histogram(drawn, 20, (-4, 4), density=True)
    middle = 0.5 * (edges[1:] + edges[:-1])
    assert np.abs(counts - np.interp(middle, GRID[:, 0], on_grid(bumps))).max() < 0.06
    again = bumps.sample(2000, 30, init=two_bumps(2000, 1), sampler=sampler, random_state=0)
    assert_array_equal(drawn, again)


def test_chains_tell_their_acceptance(bumps: Any) -> None:
    chains = bumps.run_chains(two_bumps(50), 20, warm_up=50, random_state=0)
    assert 0.4 < chains.acceptance <= 1
    assert chains.X.shape == (50, 1)
    assert chains.step_size > 0
    assert bumps.sample().shape == (1, 1)
    assert not np.array_equal(bumps.sample(3, 5), bumps.sample(3, 5))


def test_modes_are_where_the_score_vanishes(bumps: Any) -> None:
    modes = bumps.modes(two_bumps(30, 2))
    assert_allclose(bumps.score_function(modes), 0, atol=1e-3)
    peaks = GRID[np.flatnonzero(np.diff(np.sign(np.diff(on_grid(bumps)))) < 0) + 1]
    assert np.abs(modes - peaks.T).min(axis=1).max() < 0.02
    with pytest.warns(ConvergenceWarning, match="rows did not reach a mode within max_iter=1"):
        bumps.modes(two_bumps(30, 2), max_iter=1, tol=1e-12)


def test_log_z_is_that_of_a_sum(bumps: Any) -> None:
    step = GRID[1, 0] - GRID[0, 0]
    log_z = float(np.log(np.exp(bumps.score_samples(GRID)).sum() * step))
    assert bumps.log_partition().method == "exact"
    assert_allclose(bumps.log_partition().log_z, log_z, atol=1e-6)
    found = bumps.log_partition("ais", n_runs=200, temperatures=100, random_state=0)
    assert abs(found.log_z - log_z) < max(4 * found.std_error, 0.02)
    assert_allclose(bumps.log_likelihood(GRID[::100]), bumps.score_samples(GRID[::100]) - log_z, atol=1e-6)
    assert_allclose(bumps.log_likelihood(GRID[:3], 1.5), bumps.score_samples(GRID[:3]) - 1.5)


def test_log_z_with_hidden_layers() -> None:
    model = DeepEnergyModel(6, hidden_layer_sizes=5, n_iter=10, random_state=0).fit(rows(1000, 2))
    side = np.linspace(-7, 7, 141)
    plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    log_z = float(np.log(np.exp(model.score_samples(plane)).sum() * (side[1] - side[0]) ** 2))
    found = model.log_partition(n_runs=200, temperatures=100, random_state=0)
    assert found.method == "ais"
    assert abs(found.log_z - log_z) < max(4 * found.std_error, 0.02)
    with pytest.raises(ValueError, match='method: "exact" needs a model without hidden layers'):
        model.log_partition("exact")


# --- what is refused, and what is kept


@pytest.mark.parametrize("loss", SMOOTH)
def test_losses_with_second_derivatives_refuse_relu(loss: str) -> None:
    with pytest.raises(
        ValueError, match=f"activation: \"relu\" and loss='{loss}' do not go together: the sc"
    ):
        small(activation="relu", loss=loss).fit(rows())
    assert small(activation="relu", hidden_layer_sizes=(), loss=loss).fit(rows()).n_steps_ == 8


@pytest.mark.parametrize("loss", [name for name in LOSSES if name not in SMOOTH])
def test_other_losses_take_relu(loss: str) -> None:
    assert np.isfinite(small(activation="relu", loss=loss).fit(rows()).loss_curve_).all()


def test_divergence_keeps_the_last_good_parameters() -> None:
    X = rows(dtype=np.float32)
    model = small(optimizer="sgd", learning_rate=1e300)
    with pytest.raises(FloatingPointError, match="step 1: the loss or a parameter is not finite"):
        model.fit(X)
    assert all(np.isfinite(p).all() for p in parameters(model).values())
    assert np.isfinite(model.free_energy(X)).all()
    model.set_params(learning_rate=1e-6).resume(X)
    assert model.n_steps_ == 8


def test_noise_that_cannot_be_where_the_data_are_is_refused() -> None:
    class Box:
        """Uniform in the cube [0, 1]^3."""

        def sample(self, n: int, draws: Any, dtype: Any) -> Any:
            return np.random.default_rng(draws.step).random((n, 3)).astype(dtype)

        def log_density(self, X: Any) -> Any:
            with np.errstate(divide="ignore"):
                return np.log(((X >= 0) & (X <= 1)).all(axis=1).astype(np.float64))

    X = np.random.default_rng(0).random((200, 3))
    assert np.isfinite(small(loss="nce", noise=Box()).fit(X).loss_curve_).all()
    X[7, 1] = 2.0
    with pytest.raises(ValueError, match=r"row 7 of X"):
        small(loss="nce", noise=Box()).fit(X)
    # Beyond the rows that the first log Z is taken from, and shuffled: still the row of X.
    X = np.random.default_rng(0).random((3000, 3))
    X[1777, 1] = 2.0
    with pytest.raises(ValueError, match=r"row 1777 of X"):
        small(loss="nce", noise=Box(), n_iter=1).fit(X)


def test_losses_and_noise_of_ones_own() -> None:
    X = rows()
    a = small(loss=DenoisingScoreMatching(0.3)).fit(X)
    assert_same(a, small(loss="denoising", noise_scale=0.3).fit(X))
    noise = GaussianNoise(np.zeros(3), np.full(3, 2.0))
    assert np.isfinite(small(loss="nce", noise=noise).fit(X).log_normalizer_)
    with pytest.raises(AttributeError, match="log_normalizer_: loss='score_matching' has learnt none"):
        _ = small().fit(X).log_normalizer_
    with pytest.raises(TypeError, match="cannot save a DenoisingScoreMatching"):
        save_model(a, "unused")


class Hungry:
    """A loss that needs what no deep energy has."""

    needs = frozenset({"log_joint"})

    def first_parameters(self, energy: Any, X: Any) -> Any:
        raise AssertionError("refused before")

    value_and_gradient = first_parameters


def test_what_a_loss_needs_is_asked_at_the_door() -> None:
    model = small(loss=Hungry())
    with pytest.raises(ValueError, match="loss: Hungry needs 'log_joint' of the energy, which DeepEnergy"):
        model.fit(rows())
    assert not hasattr(model, "energy_")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, "n_components: expected an integer >= 1, got 0"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes: expected an integer >= 1, got 0"),
        ({"activation": "identity"}, "activation: expected one of"),
        ({"sigma": 0.0}, "sigma: expected a number > 0, got 0"),
        ({"sigma": -1.0}, "sigma: expected a number > 0, got -1"),
        ({"sigma": "free"}, "sigma: expected one of 'learn', got 'free'"),
        ({"hidden_bias": 2}, "hidden_bias: expected one of False, True"),
        ({"loss": "ml"}, "loss: expected one of"),
        ({"noise": "pink"}, "noise: expected one of 'full', 'diagonal'"),
        ({"noise_ratio": 0}, "noise_ratio: expected an integer >= 1"),
        ({"noise_scale": 0.0}, "noise_scale: expected a number > 0"),
        ({"n_slices": 0}, "n_slices: expected an integer >= 1"),
        ({"sampler": "gibbs"}, "sampler: expected one of"),
        ({"sampler_step": 0.0}, "sampler_step: expected a number > 0"),
        ({"n_sampler_steps": 0}, "n_sampler_steps: expected an integer >= 1"),
        ({"n_leapfrog": 0}, "n_leapfrog: expected an integer >= 1"),
        ({"layerwise": 2}, "layerwise: expected one of False, True"),
        ({"optimizer": "lbfgs"}, "optimizer: expected one of 'adam', 'sgd'"),
        ({"learning_rate": -1.0}, "learning_rate: expected a number >= 0"),
        ({"momentum": 1.0}, r"momentum: expected a number in \[0, 1\), got 1"),
        ({"l2": -1.0}, "l2: expected a number >= 0"),
        ({"schedule": "step"}, "schedule: expected one of"),
        ({"batch_size": 0}, "batch_size: expected an integer >= 1"),
        ({"n_iter": -1}, "n_iter: expected an integer >= 0"),
        ({"n_jobs": 0}, "n_jobs: expected a non-zero integer"),
        ({"random_state": -1}, "random_state: expected a non-negative integer"),
    ],
)
def test_bad_parameters_are_refused(options: Any, message: str) -> None:
    model = small()
    model.set_params(**options)
    with pytest.raises(ValueError, match=f"^{message}"):
        model.fit(rows())
    assert not hasattr(model, "energy_")


def test_bad_kinds_are_refused() -> None:
    for options, message in (
        ({"loss": 3}, "loss: expected one of score_matching"),
        ({"noise": 3}, 'noise: expected "full", "diagonal" or a density'),
        ({"callback": 3}, "callback: expected a callable or None"),
    ):
        with pytest.raises(TypeError, match=message):
            small(**options).fit(rows())
    model = small().fit(rows())
    with pytest.raises(ValueError, match=r"init: expected 3 features"):
        model.run_chains(np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"init: expected shape \(2, 3\)"):
        model.sample(2, init=np.ones((3, 3)))
    with pytest.raises(ValueError, match="step_size: expected a number > 0"):
        model.sample(2, step_size=0.0)
    with pytest.raises(ValueError, match="X: expected the 200 rows of fit"):
        model.resume(rows(100))
    with pytest.raises(ValueError, match="batch_size: `fit` was begun with 50"):
        small().fit(rows()).set_params(batch_size=20).resume(rows())
    with pytest.raises(ValueError, match="squares of its elements overflow"):
        small().fit(np.full((5, 2), 1e200) * [[1.0], [-1.0], [1.0], [1.0], [1.0]])
    for method in ("sample", "log_partition"):
        with pytest.raises(NotFittedError):
            getattr(small(), method)()


def test_no_passes_leave_the_first_parameters(capsys: Any) -> None:
    model = small(n_iter=0).fit(rows())
    assert model.n_steps_ == 0
    assert len(model.loss_curve_) == 0
    small(n_iter=1, verbose=1).fit(rows())
    assert "[DeepEnergyModel] Iteration 1, loss " in capsys.readouterr().out


def test_first_hidden_biases_are_uniform_and_leave_the_saddle_of_contrast() -> None:
    # Rows of varying contrast, white as the noise is: only their even part tells them from it.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 20)) * np.exp(0.7 * rng.normal(size=(4000, 1)))
    X /= X.std(axis=0)
    settings: dict[str, Any] = {"hidden_layer_sizes": (32,), "loss": "nce", "learning_rate": 0.01}
    settings |= {"n_iter": 20, "random_state": 0}
    last = {width: DeepEnergyModel(32, init_bias=width, **settings).fit(X) for width in (0.0, 2.0)}
    assert last[2.0].get_params()["init_bias"] == DeepEnergyModel().init_bias
    chance = 2 * np.log(2)
    assert last[0.0].loss_curve_[-1] > 0.9 * chance
    assert last[2.0].loss_curve_[-1] < 0.8 * chance
    first = DeepEnergyModel(16, hidden_layer_sizes=(64,), n_iter=0, random_state=0).fit(X)
    for name in ("bias_0", "top_bias"):
        biases = parameters(first)[name]
        assert np.abs(biases).max() <= 2
        assert biases.min() < -1 < 1 < biases.max()
    plain = DeepEnergyModel(16, hidden_layer_sizes=(64,), hidden_bias=False, n_iter=0, random_state=0).fit(X)
    assert "bias_0" not in parameters(plain)


def test_another_loss_may_go_on_with_what_was_learnt(tmp_path: Any) -> None:
    X = rows()
    model = small(loss="score_matching").fit(X)
    with pytest.raises(AttributeError, match="log_normalizer_"):
        _ = model.log_normalizer_
    before = parameters(model)
    model.set_params(loss="nce").partial_fit(X)
    assert np.isfinite(model.log_normalizer_)
    assert any((before[name] != p).any() for name, p in parameters(model).items())
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    for each in (model, loaded):
        each.partial_fit(X)
    assert_same(model, loaded)
    assert model.log_normalizer_ == loaded.log_normalizer_
    model.set_params(loss="denoising").partial_fit(X)
    with pytest.raises(AttributeError, match="log_normalizer_"):
        _ = model.log_normalizer_


@pytest.mark.parametrize("at", range(7))
def test_interrupted_anywhere_in_a_step(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps a pass; the signal comes while a step is computed."""
    X, options = rows(150), {"loss": "cd", "n_iter": 3}
    whole, part = small(**options).fit(X), small(**options)
    step, count = DeepEnergyModel._step, iter(range(100))

    def interrupted(self: Any, *args: Any) -> Any:
        made = step(self, *args)
        if next(count) == at:
            raise KeyboardInterrupt
        return made

    monkeypatch.setattr(DeepEnergyModel, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        part.fit(X)
    monkeypatch.undo()
    part.resume(X)
    assert_same(part, whole)
    assert_array_equal(part.loss_curve_, whole.loss_curve_)


def test_what_a_pass_left_undone_is_not_counted_in_the_next() -> None:
    X = rows(150)

    class Breaks(DenoisingScoreMatching):
        def value_and_gradient(self, energy: Any, own: Any, rows: Any, draws: Any) -> Any:
            if draws.step == 1:
                raise KeyboardInterrupt
            return super().value_and_gradient(energy, own, rows, draws)

    model = small(loss=Breaks(0.3))
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X)
    model.set_params(loss=DenoisingScoreMatching(0.3)).partial_fit(X[:50])
    assert len(model.loss_curve_) == 1
    assert model.n_iter_ == 2
    assert model._pass_rows == 0


def test_noise_of_the_data_however_learning_comes_to_it() -> None:
    X = rows(200) @ np.array([[1.0, 0.9, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    model = small(loss="score_matching").fit(X)
    model.set_params(loss="nce", n_iter=3).resume(X)
    assert_allclose(model._noise().covariance, np.cov(X.T, bias=True), rtol=1e-9)
    with pytest.raises(ValueError, match=r'noise: "full" takes the covariance of the data, which is zero'):
        small(loss="nce").fit(np.ones((5, 3)))


def test_samplers_take_no_step_size_of_another() -> None:
    X = rows(200)
    model = small(loss="cd").fit(X)
    assert model._sampler().step_size != pytest.approx(0.1)
    model.set_params(sampler="langevin").partial_fit(X)
    assert model._sampler().step_size == pytest.approx(0.1)


def test_more_passes_of_a_stage_keep_its_order() -> None:
    """`n_iter` raised on the way through the first layer: its passes stay permutations of all rows."""
    X = rows(150)
    seen: list[Any] = []

    class Sees(DenoisingScoreMatching):
        def value_and_gradient(self, energy: Any, own: Any, rows: Any, draws: Any) -> Any:
            seen.append(rows[:, 0].copy())
            return super().value_and_gradient(energy, own, rows, draws)

    options: dict[str, Any] = {"loss": Sees(0.3), "layerwise": True}
    model = small(**options, callback=stop_at(8))  # the second step of the second layer
    with pytest.raises(Stopped):
        model.fit(X)
    model.set_params(n_iter=4, callback=None).resume(X)
    for first in range(0, len(seen), 3):
        assert len(np.unique(np.concatenate(seen[first : first + 3]))) == 150


def test_threads_may_change_after_learning(tmp_path: Any) -> None:
    X = rows()
    model = small(n_jobs=1).fit(X)
    save_model(model, tmp_path / "model.safetensors")
    for each in (model, load_model(tmp_path / "model.safetensors")):
        before = each.score_samples(X)
        each.set_params(n_jobs=2)
        assert each.energy_.network.n_jobs == 2
        assert_array_equal(each.score_samples(X), before)


def test_divergence_within_the_energy_says_which_step() -> None:
    with pytest.raises(FloatingPointError, match=r"^step \d+: .*smaller learning_rate may help"):
        small(loss="denoising", optimizer="sgd", learning_rate=1e30, n_iter=5).fit(rows())
