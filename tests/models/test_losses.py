"""The gradients of the losses, against enumeration, explicit sums, and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reference import rbm as reference
from thalweg import losses
from thalweg._base import Draws, Phase
from thalweg.inference.gibbs import RbmMachine, make_workspace
from thalweg.models._rbm_training import GradientModifier, RbmParameters, Workshop


def machine_of(n_hidden: int, n_visible: int, gaussian: bool, seed: int = 0) -> dict[str, Any]:
    """Parameters as the reference takes them."""
    rng = np.random.default_rng(seed)
    made = {
        "weights": 0.7 * rng.normal(size=(n_hidden, n_visible)),
        "visible_bias": 0.5 * rng.normal(size=n_visible),
        "hidden_bias": 0.5 * rng.normal(size=n_hidden),
    }
    return made | ({"sigma": np.exp(0.3 * rng.normal(size=n_visible))} if gaussian else {})


def native(machine: dict[str, Any]) -> RbmMachine:
    return RbmMachine.of(
        machine["weights"], machine["visible_bias"], machine["hidden_bias"], machine.get("sigma")
    )


def named(gradient: Any, n_hidden: int) -> dict[str, np.ndarray]:
    """A gradient with the reference's names."""
    made = {
        "weights": gradient.up[:, :n_hidden].T,
        "visible_bias": gradient.visible_bias,
        "hidden_bias": gradient.hidden_bias,
    }
    return made if gradient.log_sigma is None else made | {"log_sigma": gradient.log_sigma}


def rows(machine: dict[str, Any], n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if "sigma" in machine:
        return rng.normal(size=(n, len(machine["visible_bias"])))
    return (rng.random((n, len(machine["visible_bias"]))) < 0.4).astype(float)


MEAN, DEVIATION = np.full(5, 0.4), np.full(5, 0.5)


@pytest.mark.parametrize("gaussian", [False, True])
def test_each_loss_finds_what_it_needs(gaussian: bool) -> None:
    machine = native(machine_of(4, 5, gaussian))
    of_machines = [name for name in losses.__all__ if hasattr(getattr(losses, name), "start")]
    assert len(of_machines) == 6
    for name in of_machines:
        for needed in getattr(losses, name).needs:
            assert hasattr(machine, needed) or needed == "score_matching", (name, needed)


@pytest.mark.parametrize("k", [1, 3])
def test_expected_contrastive_divergence(k: int) -> None:
    machine = machine_of(3, 4, False)
    X = rows(machine, 6)
    expected = reference.contrastive_divergence_gradient(X, machine, k)
    loss, many = losses.ContrastiveDivergence(k), np.repeat(X, 20_000, axis=0)
    gradient, _ = loss.gradient(native(machine), many, {}, Draws(3, 0), 0.1)
    for name, value in named(gradient, 3).items():
        # The statistics are within 1: the error of a mean over 120,000 independent chains.
        np.testing.assert_allclose(value, expected[name], atol=5 / np.sqrt(len(many)), err_msg=name)


@pytest.mark.parametrize(
    "loss",
    [
        losses.PersistentContrastiveDivergence(1, 20_000),
        losses.FastPersistentContrastiveDivergence(1, 20_000, rate=0.0),
        losses.ParallelTempering(1, 5_000, 4),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_chains_that_stay_give_the_likelihoods_gradient(loss: Any) -> None:
    machine = machine_of(3, 5, False)
    X = rows(machine, 8)
    state = loss.start(native(machine), MEAN, DEVIATION)
    total: dict[str, np.ndarray] = {}
    n_kept = 20
    for step in range(40 + n_kept):
        before = {name: value.copy() for name, value in state.items()}
        gradient, after = loss.gradient(native(machine), X, state, Draws(5, 0, 0, step), 0.1)
        for name, value in before.items():
            np.testing.assert_array_equal(value, state[name])
        state = after
        if step >= 40:
            for name, value in named(gradient, 3).items():
                total[name] = total.get(name, 0) + value / n_kept
    expected = reference.log_likelihood_gradient(X, machine)
    for name, value in total.items():
        np.testing.assert_allclose(value, expected[name], atol=6 / np.sqrt(loss.n_chains), err_msg=name)


@pytest.mark.parametrize("gaussian", [False, True])
def test_noise_contrastive_estimation(gaussian: bool) -> None:
    parameters = machine_of(3, 5, gaussian)
    machine, loss = native(parameters), losses.NoiseContrastiveEstimation(noise_ratio=2)
    X = rows(parameters, 7)
    state = loss.start(machine, MEAN, DEVIATION)
    draws = Draws(9, 0, 0, 4)
    gradient, after = loss.gradient(machine, X, state, draws, 0.25)
    base = (state["base_bias"], state["base_sigma"] if gaussian else None)

    from thalweg import _rng

    noise = machine.draw_base(14, *base, Draws(9, _rng.STREAM_NOISE, 0, 4))
    log_z = float(state["log_normalizer"][0])

    def objective(changed: dict[str, Any]) -> float:
        return objective_of(changed, log_z)

    def objective_of(changed: dict[str, Any], log_normalizer: float) -> float:
        def log_odds(x: np.ndarray) -> np.ndarray:
            log_noise = machine.log_base(x, *base, normalized=True)
            return -reference.free_energy(x, changed) - log_normalizer - log_noise - np.log(2)

        log_right = -np.logaddexp(0, -log_odds(X)).sum() - np.logaddexp(0, log_odds(noise)).sum()
        return float(log_right / len(X))

    expected = reference.numerical_gradient(objective, parameters)
    for name, value in named(gradient, 3).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-8, err_msg=name)
    slope = (objective_of(parameters, log_z + 1e-5) - objective_of(parameters, log_z - 1e-5)) / 2e-5
    assert after["log_normalizer"][0] - log_z == pytest.approx(0.25 * slope, rel=1e-6)


def test_noise_has_the_density_it_is_said_to_have() -> None:
    machine = native(machine_of(2, 3, False))
    base, _ = machine.base_model(np.array([0.0, 0.5, 1.0]), np.ones(3))
    states = reference.states(3)
    assert np.exp(machine.log_base(states, base, None, normalized=True)).sum() == pytest.approx(1)
    drawn = machine.draw_base(50_000, base, None, Draws(1, 2))
    np.testing.assert_allclose(drawn.mean(axis=0), [0.01, 0.5, 0.99], atol=0.01)
    gaussian = native(machine_of(2, 1, True))
    grid = np.linspace(-8, 8, 2001)[:, None]
    density = np.exp(gaussian.log_base(grid, np.array([0.3]), np.array([0.7]), normalized=True))
    assert density.sum() * 0.008 == pytest.approx(1)
    drawn = gaussian.draw_base(50_000, np.array([0.3]), np.array([0.7]), Draws(1, 2))
    assert drawn.mean() == pytest.approx(0.3, abs=0.02)
    assert drawn.std() == pytest.approx(0.7, abs=0.02)


def training_machine(parameters: dict[str, Any], modifier: GradientModifier, samples: Any = None) -> Any:
    sigma = parameters.get("sigma")
    made = RbmParameters.of(
        parameters["weights"],
        parameters["visible_bias"],
        parameters["hidden_bias"],
        None if sigma is None else np.log(sigma),
    )
    workshop = Workshop(losses.ScoreMatching(), make_workspace(float), 1, made, None, made, None)
    return made.machine(workshop, modifier, samples)


def test_score_matching() -> None:
    parameters = machine_of(3, 5, True)
    X = rows(parameters, 6)
    plain = GradientModifier(None, None, np.zeros(3), None, 0.0)
    gradient, _ = losses.ScoreMatching().gradient(
        training_machine(parameters, plain), X, {}, Draws(0, 0), 1.0
    )
    expected = reference.numerical_gradient(lambda m: -reference.score_matching(X, m), parameters)
    for name, value in named(gradient, 3).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("gaussian", [False, True])
def test_centred_gradient(gaussian: bool) -> None:
    """The plain gradient of a' = a + W' c and b' = b + W m, taken back to a and b."""
    parameters = machine_of(3, 5, gaussian)
    rng = np.random.default_rng(2)
    X, V = rows(parameters, 6), rows(parameters, 8, seed=7)
    P, Q = rng.random((6, 3)), rng.random((8, 3))
    m, c = rng.random(5), rng.random(3)
    phases = [Phase(X, P, np.full(6, 1 / 6)), Phase(V, Q, np.full(8, -1 / 8))]
    centred = named(
        training_machine(parameters, GradientModifier(m, c, np.zeros(3), None, 0.0)).statistics(phases), 3
    )
    plain = named(native(parameters).statistics(phases), 3)
    scale = 1 / parameters["sigma"] ** 2 if gaussian else np.ones(5)
    weights = scale * ((P - c).T @ (X - m) / 6 - (Q - c).T @ (V - m) / 8)
    np.testing.assert_allclose(centred["weights"], weights)
    np.testing.assert_allclose(centred["visible_bias"], plain["visible_bias"] - c @ weights)
    np.testing.assert_allclose(centred["hidden_bias"], plain["hidden_bias"] - weights @ (m * scale))
    if gaussian:
        np.testing.assert_allclose(centred["log_sigma"], plain["log_sigma"])


def test_the_pull_towards_a_sparse_activity() -> None:
    parameters = machine_of(3, 5, False)
    X, P = rows(parameters, 6), np.random.default_rng(2).random((6, 3))
    phases = [Phase(X, P, np.full(6, 1 / 6)), Phase(X[:2], P[:2], np.full(2, -0.5))]
    activity = np.array([0.5, 0.1, 0.3])
    machine = training_machine(parameters, GradientModifier(None, None, activity, 0.1, 2.0))
    pulled, plain = named(machine.statistics(phases), 3), named(native(parameters).statistics(phases), 3)
    pull = 2.0 * (0.1 - activity)
    np.testing.assert_allclose(pulled["hidden_bias"] - plain["hidden_bias"], pull, atol=1e-12)
    np.testing.assert_allclose(
        pulled["weights"] - plain["weights"], np.outer(pull, X.mean(axis=0)), atol=1e-12
    )
    np.testing.assert_allclose(pulled["visible_bias"], plain["visible_bias"], atol=1e-12)


def test_drawn_hidden_states_have_the_probabilities_as_their_mean() -> None:
    parameters = machine_of(3, 5, False)
    X = np.repeat(rows(parameters, 2), 30_000, axis=0)
    P = native(parameters).hidden(X)
    phases = [Phase(X, P, np.full(len(X), 1 / len(X)))]
    plain = GradientModifier(None, None, np.zeros(3), None, 0.0)
    drawn = training_machine(parameters, plain, Draws(1, 2)).statistics(phases)
    mean = training_machine(parameters, plain).statistics(phases)
    assert not np.array_equal(drawn.hidden_bias, mean.hidden_bias)
    np.testing.assert_allclose(drawn.hidden_bias, mean.hidden_bias, atol=0.02)
    np.testing.assert_allclose(drawn.up, mean.up, atol=0.02)


def test_fast_parameters_move_and_fade() -> None:
    parameters = machine_of(3, 5, True)
    machine = native(parameters)
    loss = losses.FastPersistentContrastiveDivergence(1, 20, decay=0.5)
    X = rows(parameters, 6)
    state = loss.start(machine, MEAN, DEVIATION)
    gradient, after = loss.gradient(machine, X, state, Draws(0, 0), 0.25)
    np.testing.assert_allclose(after["fast_up"], 0.25 * gradient.up)
    second, last = loss.gradient(machine, X, after, Draws(0, 0, 0, 1), 0.25)
    np.testing.assert_allclose(last["fast_hidden"], 0.5 * after["fast_hidden"] + 0.25 * second.hidden_bias)
    shifted = machine.shifted(after["fast_up"], after["fast_visible"], after["fast_hidden"])
    moved = {**parameters, "weights": parameters["weights"] + after["fast_up"][:, :3].T}
    moved["hidden_bias"] = parameters["hidden_bias"] + after["fast_hidden"]
    np.testing.assert_allclose(shifted.hidden(X), reference.hidden_probability(X, moved))
    moved["visible_bias"] = parameters["visible_bias"] + after["fast_visible"]
    np.testing.assert_allclose(
        shifted.visible_mean(np.ones((1, 3))), reference.visible_expectation(np.ones((1, 3)), moved)
    )
