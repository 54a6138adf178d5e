"""What estimators of energies refuse, and say when they refuse it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import QuantileRegressor

from thalweg import ChainCRF, EnergyClassifier, EnergyMatcher, EnergyRegressor, GridCRF
from thalweg.energies import (
    ClassifierEnergy,
    DenseNetwork,
    LatentRegressorEnergy,
    OutputCodeEnergy,
    RegressorEnergy,
    SquaredDistance,
)
from thalweg.losses import HingeLoss, NegativeLogLikelihoodLoss
from thalweg.models.grid_crf import Grid, GridAnswers


class OwnLoss:
    """Keeps the protocol of losses, and no more."""

    def __init__(self, needs: str) -> None:
        self.guarantee, self.needs = "positive", needs

    def value_and_gradient(self, energies: Any, right: Any) -> Any:
        inner: Any = HingeLoss(1.0) if self.needs == "pair" else NegativeLogLikelihoodLoss(1.0)
        return inner.value_and_gradient(energies, right)


@pytest.fixture(scope="module")
def iris() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_iris(return_X_y=True)
    return X, y


@pytest.fixture(scope="module")
def line() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    return X, X @ [1.0, -2.0] + 0.1 * rng.normal(size=60)


def sequences(seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    y = [rng.integers(2, size=6) for _ in range(12)]
    return [labels[:, None] + 0.5 * rng.normal(size=(6, 2)) for labels in y], y


@pytest.mark.filterwarnings("ignore:loss. .* has a margin of zero:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("candidates", [None, np.linspace(-6, 6, 41)])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("loss", ["energy", "hinge", "perceptron", "log", "lvq2", "mce", "square_square"])
def test_every_loss_regresses(line: Any, loss: str, optimizer: str, candidates: Any) -> None:
    X, y = line
    model = EnergyRegressor(
        loss=loss,
        optimizer=optimizer,
        candidates=candidates,
        radius=0.3,
        max_iter=60,
        tol=1e-3,
        random_state=0,
    )
    before = EnergyRegressor(candidates=candidates, max_iter=0, random_state=0).fit(X, y)
    assert model.fit(X, y).score(X, y) > before.score(X, y)


def test_a_latent_regressor_learns_over_candidates(line: Any) -> None:
    X, y = line[0][:20], np.sign(line[1][:20])

    def energy(n_features: int, n_outputs: int, dtype: Any, seed: int) -> LatentRegressorEnergy:
        network = DenseNetwork.random(n_features + 1, (), n_outputs, "tanh", seed, dtype)
        return LatentRegressorEnergy(network, 1, SquaredDistance())

    model = EnergyRegressor(
        energy, loss="log", candidates=[-1.0, 1.0], optimizer="adam", max_iter=10, tol=0.0, random_state=0
    )
    model.fit(X, y)
    assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_loss_of_ones_own(iris: Any, line: Any) -> None:
    own: Any = {"loss": OwnLoss("pair"), "max_iter": 3, "random_state": 0}
    assert EnergyClassifier(**own).fit(*iris).loss_curve_.size
    assert EnergyRegressor(**own).fit(*line).loss_curve_.size
    assert ChainCRF(**own).fit(*sequences()).loss_curve_.size
    assert EnergyClassifier(loss=OwnLoss("all"), max_iter=3, random_state=0).fit(*iris).loss_curve_.size
    with pytest.raises(TypeError, match="loss: expected to have a `beta`"):
        ChainCRF(loss=OwnLoss("all")).fit(*sequences())
    with pytest.raises(TypeError, match="loss: expected one of energy"):
        EnergyClassifier(loss=HingeLoss).fit(*iris)
    with pytest.raises(ValueError, match=r"loss\.needs"):
        EnergyClassifier(loss=OwnLoss("some")).fit(*iris)


@pytest.mark.parametrize("energy", [5, None, ClassifierEnergy])
def test_what_is_no_energy(iris: Any, line: Any, energy: Any) -> None:
    with pytest.raises(TypeError, match="energy: expected the members of AnswerEnergy"):
        EnergyClassifier(energy).fit(*iris)
    if energy is not ClassifierEnergy:
        with pytest.raises(TypeError, match="energy: expected the members of PairEnergy"):
            EnergyRegressor(energy).fit(*line)


def test_an_energy_without_a_gradient_in_x(line: Any) -> None:
    class Closed(RegressorEnergy):
        gradients = frozenset({"answers"})

        def with_parameters(self, parameters: Any) -> Closed:
            return Closed(self.network.with_parameters(parameters), self.distance)

    network = DenseNetwork.random(2, (), 1, "tanh", 0, np.float64)
    model = EnergyRegressor(Closed(network, SquaredDistance()), random_state=0).fit(*line)
    with pytest.raises(ValueError, match='energy: expected "inputs" among its gradients'):
        model.best_input(1.0, (0.0, 1.0))


@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (0.0, np.inf)])
def test_open_boxes_need_a_minimum(iris: Any, bounds: Any) -> None:
    model = EnergyClassifier(l2=1e-2, random_state=0).fit(*iris)
    with pytest.raises(ValueError, match="bounds: expected finite ones, as no minimum"):
        model.best_input(1, bounds)
    with pytest.raises(ValueError, match="bounds: expected finite ones"):
        model.sample_inputs(1, 2, bounds)


def test_boxes(iris: Any, line: Any) -> None:
    classifier = EnergyClassifier(l2=1e-2, random_state=0).fit(*iris)
    regressor = EnergyRegressor(random_state=0).fit(*line)
    np.testing.assert_array_equal(classifier.best_input(1, ([0, 1, 2, 3], [0, 1, 2, 3])), [0, 1, 2, 3])
    np.testing.assert_array_equal(regressor.best_input(1.0, ([0, 1], [0, 1])), [0, 1])
    for bad in [(0, 1, 2), 3, ([0, 1], [0, 1, 2]), (1, 0), (np.nan, 1)]:
        with pytest.raises(ValueError, match="bounds: expected"):
            classifier.best_input(1, bad)
    with pytest.raises(ValueError, match=r"start: expected shape \(4,\)"):
        classifier.best_input(1, (0, 1), start=[1.0, 2.0])
    with pytest.raises(ValueError, match="n_samples: expected an integer >= 1"):
        classifier.sample_inputs(1, -1, (0, 1))
    with pytest.raises(TypeError, match="n_samples"):
        regressor.sample_inputs(1.0, 2.5, (0, 1))


def test_samples_of_inputs(line: Any) -> None:
    regressor = EnergyRegressor(random_state=0).fit(*line)
    x = regressor.sample_inputs(1.0, 400, (-3.0, 3.0), beta=20.0, n_steps=2000, random_state=0)
    assert x.shape == (400, 2)
    assert (np.abs(x) <= 3).all()
    np.testing.assert_allclose(regressor.predict(x).std(), 1 / np.sqrt(20), rtol=0.15)
    X, Y = np.random.default_rng(0).normal(size=(2, 50, 3))
    matcher = EnergyMatcher(2, max_iter=2, tol=0.0, random_state=0).fit(X, Y)
    assert matcher.sample_inputs(Y[0], 5, (-1.0, 1.0), n_steps=5, random_state=0).shape == (5, 3)
    chain = ChainCRF(l2=1e-2, random_state=0).fit(*sequences())
    assert chain.sample_inputs([0, 1, 1], 4, (-1.0, 1.0), n_steps=5, random_state=0).shape == (4, 3, 2)


@pytest.mark.parametrize("loss", ["perceptron", "lvq2"])
def test_codes_can_be_left_level(iris: Any, loss: str) -> None:
    network = DenseNetwork([np.zeros((3, 4))], [np.zeros(3)], ["identity"])
    flat = OutputCodeEnergy(network, np.eye(3), SquaredDistance())
    with pytest.warns(UserWarning, match="margin of zero"):
        EnergyClassifier(flat, loss=loss, max_iter=2, optimizer="sgd", tol=0.0, random_state=0).fit(*iris)


def test_bethe_above_the_right_energy_still_learns() -> None:
    grid, table = Grid((8, 8), 2), 0.7 * np.array([[-1.0, 1.0], [1.0, -1.0]])
    options = {"damping": 0.3, "max_iter": 200, "tol": 1e-4, "n_jobs": 1}
    answers = GridAnswers(grid, np.zeros((1, 128)), (table, table), np.zeros((1, 64), int), options)
    value, of_labels, of_pairs = answers.loss_and_gradient(NegativeLogLikelihoodLoss(1.0))
    np.testing.assert_allclose(value, answers.energy() - answers.free_energy(1.0))
    assert np.abs(of_labels).max() > 0.1
    assert np.abs(of_pairs).max() > 0.1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_temperatures_of_fields() -> None:
    rng = np.random.default_rng(0)
    y = [np.full((6, 6), i % 2) for i in range(4)]
    X = [rng.normal(size=(6, 6, 1)) for _ in y]
    model = GridCRF(max_iter=30, random_state=0).fit(X, y)
    for ask in (
        lambda: model.predict_marginals(X, beta=np.inf),
        lambda: model.log_likelihood(X, y, beta=np.inf),
        lambda: model.predict_proba(X[0], y[:1], beta=0.0),
    ):
        with pytest.raises(ValueError, match="beta: expected a"):
            ask()
    model.across_ = model.down_ = 0.7 * np.array([[-1.0, 1.0], [1.0, -1.0]])
    zeros = {name: np.zeros_like(p) for name, p in model.network_.parameters.items()}
    model.network_ = model.network_.with_parameters(zeros)
    with pytest.warns(UserWarning, match="lies above the energy of a labelling"):
        model.log_likelihood([np.zeros((8, 8, 1))], [np.zeros((8, 8), int)])
    with pytest.raises(ValueError, match="damping"):
        GridCRF(damping=1.5).fit(X, y)
    unfitted = GridCRF(damping=1.5)
    with pytest.raises(ValueError, match="damping"):
        unfitted.fit(X, y)
    assert not hasattr(unfitted, "network_")


def test_labels_of_sequences() -> None:
    X, y = sequences()
    with pytest.raises(ValueError, match="y: expected labels of one kind"):
        ChainCRF().fit(X, [y[0].astype(str), *y[1:]])
    with pytest.raises(TypeError, match=r"y\[0\]: expected numbers or strings, got object"):
        ChainCRF().fit(X, [np.array(["a", 1, "a", "a", 1, 1], object), *y[1:]])
    with pytest.raises(TypeError, match=r"y\[0\]: expected numbers or strings, got complex"):
        ChainCRF().fit(X, [labels + 0j for labels in y])
    with pytest.raises(ValueError, match=r"y\[0\]: expected labels, got NaN"):
        ChainCRF().fit(X, [labels * np.nan for labels in y])
    model = ChainCRF(l2=1e-2, random_state=0).fit(X, y)
    with pytest.raises(TypeError, match="y: expected the labels of 12 samples, got 3"):
        model.score(X, 3)


def test_labels_and_candidates_of_matchers() -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(ValueError, match="labels: expected two different ones"):
        EnergyMatcher(2, max_iter=3).fit(X, X, labels=np.zeros(40))
    matcher = EnergyMatcher(2, max_iter=2, tol=0.0, random_state=0).fit(X, X)
    with pytest.raises(ValueError, match="candidates contains NaN"):
        matcher.predict(X, [[np.nan, 1.0]])


def test_large_answers_in_float32(line: Any) -> None:
    X, y = line
    with pytest.raises(ValueError, match="y: overflows float32"):
        EnergyRegressor().fit(X.astype(np.float32), y * 1e300)


def test_a_kink_is_told(line: Any) -> None:
    X, y = line
    y = y + np.random.default_rng(1).standard_t(2, size=60)
    with pytest.warns(Warning, match="stands at a kink"):
        model = EnergyRegressor(distance="absolute", random_state=0).fit(X, y)
    best = QuantileRegressor(quantile=0.5, alpha=0).fit(X, y)
    errors = [np.abs(m.predict(X) - y).mean() for m in (model, best)]
    assert errors[0] < 1.01 * errors[1]


def test_all_classes_forbidden(iris: Any) -> None:
    class Forbidding(ClassifierEnergy):
        def energies(self, X: np.ndarray) -> Any:
            table, tape = super().energies(X)
            return np.where(X[:, :1] > 100, np.inf, table), tape

        def with_parameters(self, parameters: Any) -> Forbidding:
            return Forbidding(self.network.with_parameters(parameters))

    network = DenseNetwork.random(4, (), 3, "tanh", 0, np.float64)
    model = EnergyClassifier(Forbidding(network), l2=1e-2, random_state=0).fit(*iris)
    with pytest.raises(ValueError, match="X: row 1: every class is forbidden"):
        model.predict([[1.0, 1.0, 1.0, 1.0], [200.0, 1.0, 1.0, 1.0]])


@pytest.mark.parametrize("energies", [[[1j, 2.0]], [["a", "b"]]])
def test_energies_of_losses_are_real(energies: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="energies"):
        HingeLoss().value_and_gradient(energies, [0])
