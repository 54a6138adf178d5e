"""Estimators of energies for decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from thalweg import EnergyClassifier, EnergyMatcher, EnergyRegressor
from thalweg.energies import (
    DenseNetwork,
    LatentRegressorEnergy,
    LocationEnergy,
    PerceptronEnergy,
    SquaredDistance,
)
from thalweg.models._energy_learning import LOSSES
from thalweg.persistence import load_model, save_model


@pytest.fixture(scope="module")
def iris() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X / 16, y


@pytest.fixture(scope="module")
def cancer() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


# --- the optimum of others


def logistic_objective(W: np.ndarray, b: np.ndarray, X: np.ndarray, y: np.ndarray, C: float) -> float:
    scores = X @ W.T + b
    log_sum = np.logaddexp.reduce(scores, axis=1)
    return float(C * (log_sum - scores[np.arange(len(y)), y]).sum() + 0.5 * (W**2).sum())


@pytest.mark.parametrize("C", [0.1, 10.0])
def test_the_likelihood_loss_reaches_logistic_regression(digits: Any, C: float) -> None:
    X, y = digits
    peer = LogisticRegression(C=C, tol=1e-6, max_iter=10_000, solver="newton-cg").fit(X, y)
    ours = EnergyClassifier(random_state=0, l2=1 / (C * len(X)), tol=3e-6, max_iter=10_000).fit(X, y)
    energy = ours.energy_.parameters
    reached = logistic_objective(-energy["weights_0"], -energy["bias_0"], X, y, C)
    best = logistic_objective(peer.coef_, peer.intercept_, X, y, C)
    assert reached <= best * (1 + 1e-4)


def test_two_classes_reach_logistic_regression(cancer: Any) -> None:
    X, y = cancer
    peer = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(X, y)
    ours = EnergyClassifier("perceptron", l2=1 / len(X), tol=1e-8).fit(X, y)
    w, b = ours.energy_.parameters["weights_0"], ours.energy_.parameters["bias_0"]

    def objective(w: np.ndarray, b: np.ndarray) -> float:
        margins = (2 * y - 1) * (X @ w.ravel() + b)
        return float(np.logaddexp(0, -margins).sum() + 0.5 * (w**2).sum())

    assert objective(w, b) <= objective(peer.coef_, peer.intercept_) * (1 + 1e-4)


def test_hinge_reaches_the_support_vector_machine(cancer: Any) -> None:
    X, y = cancer
    X = np.hstack([X, np.ones((len(X), 1))])  # so that the intercept is penalised, as LinearSVC's is
    peer = LinearSVC(loss="hinge", C=1.0, fit_intercept=False, tol=1e-8, max_iter=1_000_000, random_state=0)
    peer.fit(X, y)
    ours = EnergyClassifier(
        "perceptron", loss="hinge", fit_intercept=False, l2=1 / len(X), tol=1e-7, max_iter=5000
    ).fit(X, y)

    def objective(w: np.ndarray) -> float:
        margins = (2 * y - 1) * (X @ w.ravel())
        return float(np.maximum(0, 1 - margins).sum() + 0.5 * (w**2).sum())

    assert objective(ours.energy_.parameters["weights_0"]) <= objective(peer.coef_) * (1 + 1e-4)


def test_the_energy_loss_is_least_squares() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    Y = X @ rng.normal(size=(4, 2)) + 0.3 * rng.normal(size=(60, 2)) + [1.0, -2.0]
    peer = LinearRegression().fit(X, Y)
    ours = EnergyRegressor(tol=1e-9).fit(X, Y)
    np.testing.assert_allclose(ours.predict(X), peer.predict(X), atol=1e-6)


def test_the_perceptron_learns_as_in_the_lecture() -> None:
    """One step on all samples: W + eta mean (Y - sign R) X."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(20, 3)), rng.integers(2, size=20)
    y[:2] = 0, 1
    network = DenseNetwork([np.zeros((1, 3))], [None], ["identity"])
    with pytest.warns(UserWarning, match="margin of zero"):
        model = EnergyClassifier(
            PerceptronEnergy(network),
            loss="perceptron",
            optimizer="sgd",
            learning_rate=0.5,
            momentum=0.0,
            batch_size=20,
            max_iter=1,
            tol=0.0,
        ).fit(X, y)
    Y = 2 * y - 1
    # At the start R = 0, and its sign is -1.
    expected = 0.5 * ((Y + 1)[:, None] * X).mean(axis=0)
    np.testing.assert_allclose(model.energy_.parameters["weights_0"][0], expected, rtol=1e-12)


# --- every loss, architecture and optimiser


@pytest.mark.filterwarnings("ignore:loss. .* has a margin of zero:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("optimizer", ["lbfgs", "sgd", "adam"])
@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "energy"])
def test_every_loss_classifies(iris: Any, loss: str, optimizer: str) -> None:
    X, y = iris
    model = EnergyClassifier(
        loss=loss,
        optimizer=optimizer,
        l2=1e-3,
        learning_rate=0.05,
        max_iter=200,
        batch_size=30,
        random_state=0,
    ).fit(X, y)
    assert model.score(X, y) > 0.85
    assert len(model.loss_curve_) == model.n_iter_


@pytest.mark.parametrize("loss", ["energy", "hinge", "nll", "square_square"])
def test_fixed_codes_allow_every_loss(iris: Any, loss: str) -> None:
    X, y = iris
    model = EnergyClassifier(
        "codes", hidden_layer_sizes=(8,), loss=loss, max_iter=300, tol=1e-2, random_state=0
    )
    assert model.fit(X, y).score(X, y) > 0.9


def test_a_hidden_layer_separates_what_a_line_cannot() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (400, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    assert EnergyClassifier(random_state=0, l2=1e-3).fit(X, y).score(X, y) < 0.7
    dense = EnergyClassifier("dense", hidden_layer_sizes=(16,), l2=1e-4, tol=1e-4, random_state=0)
    assert dense.fit(X, y).score(X, y) > 0.95


@pytest.mark.parametrize(
    ("energy", "loss", "error"),
    [("linear", "energy", "fall without end"), ("dense", "energy", "fall without end")],
)
def test_collapsing_losses_are_refused(iris: Any, energy: str, loss: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        EnergyClassifier(energy, loss=loss).fit(*iris)


@pytest.mark.parametrize("loss", ["energy", "perceptron", "lvq2"])
def test_a_matcher_refuses_what_makes_it_flat(loss: str) -> None:
    X = np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(ValueError, match=r"loss: .*equal"):
        EnergyMatcher(2, loss=loss).fit(X, X)


def test_a_matcher_collapses_where_it_is_allowed() -> None:
    X = np.random.default_rng(0).normal(size=(100, 3))
    flat = EnergyMatcher(
        2, loss="energy", allow_collapse=True, max_iter=300, learning_rate=0.01, tol=0.0, random_state=0
    ).fit(X, X + 0.1 * np.random.default_rng(1).normal(size=X.shape))
    kept = EnergyMatcher(2, loss="nll", max_iter=100, learning_rate=0.01, tol=0.0, random_state=0).fit(X, X)
    assert flat.energies(X).std() < 0.05 * kept.energies(X).std()


# --- the six questions


def test_the_six_questions_of_a_classifier(iris: Any) -> None:
    X, y = iris
    model = EnergyClassifier(random_state=0, l2=1e-2).fit(X, y)
    energies = model.energies(X)
    np.testing.assert_array_equal(model.predict(X), model.classes_[energies.argmin(axis=1)])
    np.testing.assert_array_equal(model.rank(X)[:, 0], model.predict(X))
    for beta in (0.5, 1.0, 20.0):
        P = model.predict_proba(X, beta=beta)
        expected = np.exp(-beta * (energies - energies.min(axis=1, keepdims=True)))
        np.testing.assert_allclose(P, expected / expected.sum(axis=1, keepdims=True))
    ranked = model.rank_inputs(X, 2)
    assert (np.diff(energies[ranked, 2]) >= 0).all()
    best = model.best_input(2, (-3.0, 3.0))
    w = model.energy_.parameters["weights_0"][2]
    np.testing.assert_allclose(best, np.where(w > 0, -3.0, 3.0))  # a linear energy is least in a corner
    P = model.input_distribution(X, 1, beta=2.0)
    expected = np.exp(-2.0 * (energies[:, 1] - energies[:, 1].min()))
    np.testing.assert_allclose(P, expected / expected.sum())
    samples = model.sample_inputs(2, 200, (-3.0, 3.0), n_steps=300, step=0.05, beta=5.0, random_state=0)
    assert samples.shape == (200, 4)
    assert np.abs(samples).max() <= 3
    assert (samples @ w).mean() < 0


def test_a_linear_energy_has_no_best_input_without_bounds(iris: Any) -> None:
    model = EnergyClassifier().fit(*iris)
    with pytest.raises(ValueError, match="bounds"):
        model.best_input(0, None, max_iter=20)


def test_the_six_questions_of_a_regressor() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    y = X @ [1.0, -2.0]
    model = EnergyRegressor(tol=1e-9).fit(X, y)
    grid = np.linspace(-3, 3, 13)
    energies = model.energies(X[:5], grid)
    np.testing.assert_allclose(energies, 0.5 * (y[:5, None] - grid) ** 2, atol=1e-5)
    np.testing.assert_array_equal(model.rank(X[:5], grid)[:, 0], energies.argmin(axis=1))
    P = model.answer_distribution(X[:5], grid, beta=4.0)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    assert model.rank_inputs(X, 1.0)[0] == np.abs(y - 1.0).argmin()
    best = model.best_input(2.5, (-1.0, 1.0))
    np.testing.assert_allclose(best @ [1.0, -2.0], 2.5, atol=1e-4)
    assert model.input_distribution(X, 1.0, beta=50.0).argmax() == np.abs(y - 1.0).argmin()


def test_a_margin_loss_of_continuous_answers() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3))
    y = X @ [1.0, 2.0, -1.0]
    model = EnergyRegressor(loss="hinge", margin=0.1, radius=0.5, optimizer="adam", max_iter=300, tol=0.0)
    assert model.set_params(random_state=0).fit(X, y).score(X, y) > 0.98


@pytest.mark.parametrize("loss", ["nll", "mee"])
def test_losses_of_all_answers_are_not_for_continuous_ones(loss: str) -> None:
    with pytest.raises(ValueError, match="sums over all answers"):
        EnergyRegressor(loss=loss).fit(np.eye(3), np.arange(3.0))


# --- latent variables


def test_a_latent_location_is_found() -> None:
    """Bars across and down at any place of a 6x6 frame."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=300)
    images = 0.1 * rng.normal(size=(300, 6, 6))
    for image, label in zip(images, y, strict=True):
        i, j = rng.integers(4, size=2)
        if label:
            image[i + 1, j : j + 3] += 1
        else:
            image[i : i + 3, j + 1] += 1
    X = images.reshape(300, -1)

    def location(n_features: int, n_classes: int, dtype: Any, seed: int) -> LocationEnergy:
        network = DenseNetwork.random(9, (8,), n_classes, "tanh", seed, dtype)
        return LocationEnergy(network, image=(6, 6), window=(3, 3))

    arguments: dict[str, Any] = {"optimizer": "adam", "learning_rate": 0.02, "max_iter": 40, "tol": 0.0}
    latent = EnergyClassifier(location, latent_beta=5.0, random_state=0, **arguments).fit(X[:200], y[:200])
    plain = EnergyClassifier("linear", random_state=0, **arguments).fit(X[:200], y[:200])
    error = 1 - latent.score(X[200:], y[200:])
    assert error <= 0.5 * (1 - plain.score(X[200:], y[200:]))


def test_a_continuous_latent_explains_two_answers() -> None:
    """y is x + 1 or x - 1, which nothing in x tells: E is low at both, and high between."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (200, 1))
    y = X.ravel() + rng.choice([-1.0, 1.0], 200)

    def latent(n_features: int, n_outputs: int, dtype: Any, seed: int) -> LatentRegressorEnergy:
        network = DenseNetwork.random(n_features + 1, (12,), n_outputs, "tanh", seed, dtype)
        return LatentRegressorEnergy(network, 1, SquaredDistance(), latent_weight=0.05)

    model = EnergyRegressor(
        latent,
        loss="energy",
        allow_collapse=True,
        l2=1e-3,
        optimizer="adam",
        learning_rate=0.02,
        max_iter=60,
        tol=0.0,
        random_state=0,
    ).fit(X, y)
    energies = model.energies([[0.0]], [-1.0, 1.0])
    plain = EnergyRegressor(tol=1e-8).fit(X, y).energies([[0.0]], [-1.0, 1.0])
    assert energies.max() < 0.25 * plain.min()


# --- learning


@pytest.mark.parametrize("optimizer", ["lbfgs", "sgd", "adam"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_same_seed_same_bits(iris: Any, optimizer: str) -> None:
    X, y = iris
    fits = [
        EnergyClassifier(
            "dense", hidden_layer_sizes=(5,), optimizer=optimizer, max_iter=5, random_state=3
        ).fit(X, y)
        for _ in range(2)
    ]
    for name, p in fits[0].energy_.parameters.items():
        np.testing.assert_array_equal(p, fits[1].energy_.parameters[name])


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_float32_is_learnt_in_float32(iris: Any, optimizer: str) -> None:
    X, y = iris
    narrow, wide = (
        EnergyClassifier(optimizer=optimizer, l2=1e-2, tol=1e-3, random_state=0).fit(X.astype(dtype), y)
        for dtype in (np.float32, np.float64)
    )
    assert {p.dtype for p in narrow.energy_.parameters.values()} == {np.dtype(np.float32)}
    assert narrow.energies(X).dtype == np.float32
    np.testing.assert_allclose(narrow.predict_proba(X), wide.predict_proba(X), atol=0.02)


def test_l1_makes_weights_zero(digits: Any) -> None:
    X, y = digits
    sparse = EnergyClassifier(random_state=0, l1=5e-3, max_iter=300, tol=1e-4).fit(X, y)
    weights = sparse.energy_.parameters["weights_0"]
    assert 0.3 < (weights == 0).mean() < 0.99
    assert sparse.score(X, y) > 0.85
    with pytest.raises(ValueError, match="l1"):
        EnergyClassifier(l1=0.1, optimizer="sgd").fit(X, y)


@pytest.mark.parametrize("schedule", ["constant", "linear", "inverse"])
def test_schedules_lower_the_loss(iris: Any, schedule: str) -> None:
    X, y = iris
    model = EnergyClassifier(optimizer="sgd", schedule=schedule, max_iter=30, tol=0.0, random_state=0).fit(
        X, y
    )
    assert model.loss_curve_[-1] < 0.5 * np.log(3)


def test_divergence_keeps_the_last_good_parameters(iris: Any) -> None:
    X, y = iris
    model = EnergyClassifier(
        loss="square_square", optimizer="sgd", learning_rate=1e8, max_iter=200, tol=0.0, random_state=0
    )
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(FloatingPointError, match="not finite"),
    ):
        model.fit(X, y)
    assert np.isfinite(model.energies(X)).all()


def test_too_few_iterations_warn(digits: Any) -> None:
    with pytest.warns(ConvergenceWarning, match="max_iter=3"):
        EnergyClassifier(random_state=0, max_iter=3).fit(*digits)


def test_a_callback_sees_every_pass(iris: Any) -> None:
    seen: list[int] = []

    def stop(progress: dict[str, Any]) -> None:
        seen.append(progress["n_iter"])
        if len(seen) == 3:
            raise KeyboardInterrupt

    model = EnergyClassifier(optimizer="adam", callback=stop, max_iter=10, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*iris)
    assert seen == [1, 2, 3]
    assert model.n_iter_ == 3
    assert model.score(*iris) > 0.5  # what was learnt is there


# --- as scikit-learn's estimators


def test_pipelines_and_clones(iris: Any) -> None:
    X, y = iris
    pipeline = make_pipeline(StandardScaler(), EnergyClassifier(loss="log", l2=1e-2, random_state=0))
    assert pipeline.fit(X, y).score(X, y) > 0.9
    names = np.array(["a", "b", "c"])
    assert set(clone(pipeline).fit(X, names[y]).predict(X)) == set(names)


def test_matchers_are_estimators_too() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    Y = X[:, ::-1] + 0.05 * rng.normal(size=X.shape)
    matcher = clone(EnergyMatcher(3, shared=False, hidden_layer_sizes=(20,), learning_rate=0.01, tol=0.0))
    matcher.set_params(max_iter=40, random_state=0)
    with pytest.raises(NotFittedError):
        matcher.predict(X)
    matcher.fit(X[:250], Y[:250])
    assert matcher.score(X[250:], Y[250:]) > 0.7
    np.testing.assert_array_equal(matcher.rank(X[:4])[:, 0], matcher.predict(X[:4]))
    np.testing.assert_allclose(matcher.predict_proba(X[:4]).sum(axis=1), 1)
    pipeline = make_pipeline(StandardScaler(), clone(matcher)).fit(X[:250], Y[:250])
    assert pipeline.score(X[250:], Y[250:]) > 0.6


def test_questions_about_the_inputs_of_a_matcher() -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(200, 3))
    Y = X[:, ::-1].copy()
    matcher = EnergyMatcher(3, shared=False, learning_rate=0.01, max_iter=30, tol=0.0, random_state=0)
    energies = matcher.fit(X, Y).energies(X[:20], Y[7:8])[:, 0]
    np.testing.assert_array_equal(matcher.rank_inputs(X[:20], Y[7]), np.argsort(energies, kind="stable"))
    P = matcher.input_distribution(X[:20], Y[7], beta=0.5)
    np.testing.assert_allclose(P, np.exp(-0.5 * energies) / np.exp(-0.5 * energies).sum())
    best = matcher.best_input(Y[7], (-1.0, 1.0))
    assert (np.abs(best) <= 1).all()
    assert matcher.energies(best[None], Y[7:8])[0, 0] <= matcher.energies(X, Y[7:8]).min()
    with pytest.raises(ValueError, match=r"y: expected one answer of shape \(3,\), got shape \(1, 3\)"):
        matcher.best_input(Y[7:8], (-1.0, 1.0))


def test_rows_of_one_label_belong_together() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=300)
    centres = 3 * rng.normal(size=(4, 6))
    X, Y = (centres[labels] + rng.normal(size=(300, 6)) for _ in range(2))
    matcher = EnergyMatcher(4, learning_rate=0.01, max_iter=30, tol=0.0, random_state=0).fit(X, Y, labels)
    assert matcher.score(X, Y, labels) > 0.95


@pytest.mark.parametrize("energy", ["linear", "dense", "perceptron", "codes"])
def test_classifiers_in_files(iris: Any, energy: str, tmp_path: Path) -> None:
    X, y = iris
    y = y if energy != "perceptron" else np.where(y > 0, "yes", "no")
    model = EnergyClassifier(energy, hidden_layer_sizes=(4,), tol=1e-2).fit(X, y)
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.energies(X), model.energies(X))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_regressors_and_matchers_in_files(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    regressor = EnergyRegressor().fit(X, X[:, 0])
    save_model(regressor, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(load_model(tmp_path / "a.safetensors").predict(X), regressor.predict(X))
    matcher = EnergyMatcher(2, max_iter=2, tol=0.0, batch_size=20).fit(X, X)
    save_model(matcher, tmp_path / "b.safetensors")
    np.testing.assert_array_equal(load_model(tmp_path / "b.safetensors").energies(X), matcher.energies(X))


# --- a user's own energy


class Prototypes:
    """E(x, k) = ||x - p_k||^2, written by a user."""

    answer_side = "learned"

    def __init__(self, prototypes: np.ndarray) -> None:
        self.parameters = {"prototypes": prototypes}
        self.n_answers = len(prototypes)

    def energies(self, X: np.ndarray) -> tuple[np.ndarray, Any]:
        away = X[:, None] - self.parameters["prototypes"]
        return (away**2).sum(axis=2), away

    def pullback(self, tape: Any, gradient: np.ndarray, *, inputs: bool = False) -> Any:
        weighted = 2 * gradient[..., None] * tape
        return {"prototypes": -weighted.sum(axis=0)}, weighted.sum(axis=1) if inputs else None

    def with_parameters(self, parameters: Any) -> Prototypes:
        return Prototypes(parameters["prototypes"])


def test_an_energy_of_ones_own(iris: Any) -> None:
    X, y = iris
    first = np.random.default_rng(0).normal(size=(3, 4))
    model = EnergyClassifier(Prototypes(first), loss="nll", l2=1e-3).fit(X, y)
    assert model.score(X, y) > 0.9
    np.testing.assert_array_equal(first, np.random.default_rng(0).normal(size=(3, 4)))
    with pytest.raises(ValueError, match="loss"):
        EnergyClassifier(Prototypes(first), loss="perceptron").fit(X, y)
    with pytest.raises(TypeError, match="cannot be saved"):
        model._get_state()


def test_an_energy_is_checked_at_the_door(iris: Any) -> None:
    X, y = iris
    with pytest.raises(ValueError, match="has 2 answers, but y has 3 classes"):
        EnergyClassifier(Prototypes(np.zeros((2, 4)))).fit(X, y)
    broken = Prototypes(np.zeros((3, 4)))
    del broken.n_answers
    broken.with_parameters = lambda parameters: broken
    with pytest.raises(TypeError, match="'n_answers' is missing"):
        EnergyClassifier(broken).fit(X, y)


# --- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"energy": "quadratic"}, "energy"),
        ({"loss": "zero_one"}, "loss"),
        ({"margin": 0.0}, "margin"),
        ({"beta": 0.0}, "beta"),
        ({"beta": -1.0}, "beta"),
        ({"latent_beta": 0.0}, "latent_beta"),
        ({"l2": -1.0}, "l2"),
        ({"optimizer": "newton"}, "optimizer"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"schedule": "cosine"}, "schedule"),
        ({"batch_size": 0}, "batch_size"),
        ({"tol": -1.0}, "tol"),
        ({"allow_collapse": 2}, "allow_collapse"),
    ],
)
def test_bad_parameters(iris: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnergyClassifier(**arguments).fit(*iris)


def test_bad_answers(iris: Any) -> None:
    X, y = iris
    with pytest.raises(ValueError, match="one class"):
        EnergyClassifier().fit(X, np.zeros(len(X)))
    with pytest.raises(ValueError, match="0 sample"):
        EnergyClassifier().fit(X[:0], y[:0])
    with pytest.raises(ValueError, match="perceptron"):
        EnergyClassifier("perceptron").fit(X, y)
    model = EnergyClassifier().fit(X, y)
    with pytest.raises(ValueError, match="expected one of the classes"):
        model.rank_inputs(X, 7)
    with pytest.raises(ValueError, match="features"):
        model.predict(X[:, :2])
    with pytest.raises(ValueError, match="beta"):
        model.predict_proba(X, beta=0.0)


def test_bad_pairs() -> None:
    X = np.zeros((10, 3))
    with pytest.raises(ValueError, match="y: expected 10 rows"):
        EnergyMatcher().fit(X, X[:5])
    with pytest.raises(ValueError, match="shared=True"):
        EnergyMatcher().fit(X, X[:, :2])
    with pytest.raises(ValueError, match="labels"):
        EnergyMatcher().fit(X, X, labels=[1, 2])


def test_nothing_is_answered_before_learning() -> None:
    with pytest.raises(NotFittedError):
        EnergyClassifier().energies(np.zeros((1, 4)))
    with pytest.raises(NotFittedError):
        EnergyRegressor().predict(np.zeros((1, 4)))
