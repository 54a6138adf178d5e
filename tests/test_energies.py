"""Energies for decisions: their formulas, and every gradient that they declare, by finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thalweg.energies import (
    AbsoluteDistance,
    ClassifierEnergy,
    CosineDistance,
    DenseNetwork,
    HuberDistance,
    LatentRegressorEnergy,
    LocationEnergy,
    MatcherEnergy,
    OutputCodeEnergy,
    PerceptronEnergy,
    PoseEnergy,
    RegressorEnergy,
    SquaredDistance,
)

RNG = np.random.default_rng(0)


def network(n_inputs: int, n_outputs: int, seed: int = 0) -> DenseNetwork:
    return DenseNetwork.random(n_inputs, (6,), n_outputs, "tanh", seed)


def turns(n: int) -> np.ndarray:
    """Cyclic shifts of n features, as matrices."""
    return np.stack([np.roll(np.eye(n), shift, axis=0) for shift in range(n)])


ANSWER_ENERGIES: dict[str, tuple[Any, int]] = {
    "classifier": (ClassifierEnergy(network(5, 3)), 5),
    "perceptron": (PerceptronEnergy(network(5, 1), 0.7), 5),
    "codes": (OutputCodeEnergy(network(5, 2), RNG.normal(size=(4, 2)), HuberDistance(0.5)), 5),
    "location": (LocationEnergy(network(6, 3), image=(4, 5), window=(2, 3), stride=2), 20),
    "location, every pixel": (LocationEnergy(network(6, 3), image=(3, 4), window=(2, 3)), 12),
    "pose": (PoseEnergy(RNG.normal(size=(3, 4)), turns(4), SquaredDistance()), 4),
}
PAIR_ENERGIES: dict[str, tuple[Any, int, int]] = {
    "regressor": (RegressorEnergy(network(5, 3), SquaredDistance()), 5, 3),
    "regressor, huber": (RegressorEnergy(network(5, 3), HuberDistance(0.3)), 5, 3),
    "matcher, shared": (MatcherEnergy(network(4, 3), distance=SquaredDistance()), 4, 4),
    "matcher, two": (MatcherEnergy(network(4, 3), network(2, 3, 1), distance=CosineDistance()), 4, 2),
    "matcher, absolute": (MatcherEnergy(network(4, 3), network(2, 3, 1), distance=AbsoluteDistance()), 4, 2),
    "latent": (LatentRegressorEnergy(network(5, 3), 2, SquaredDistance(), 0.4), 3, 3),
}


def difference(function: Any, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences of a scalar function of an array."""
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        high, low = x.copy(), x.copy()
        high[i] += step
        low[i] -= step
        gradient[i] = (function(high) - function(low)) / (2 * step)
    return gradient


def assert_close(gradient: np.ndarray, estimate: np.ndarray) -> None:
    assert gradient.shape == estimate.shape
    assert np.linalg.norm(gradient - estimate) <= 1e-6 * max(np.linalg.norm(estimate), 1e-3)


@pytest.mark.parametrize("name", ANSWER_ENERGIES)
def test_gradients_of_answer_energies(name: str) -> None:
    energy, n_features = ANSWER_ENERGIES[name]
    X = RNG.normal(size=(3, n_features))
    table, tape = energy.energies(X)
    weight = RNG.normal(size=table.shape)
    parameters, inputs = energy.pullback(tape, weight, inputs=True)
    assert set(parameters) == set(energy.parameters)
    for key, value in energy.parameters.items():

        def of_parameter(p: np.ndarray, key: str = key) -> float:
            moved = energy.with_parameters(energy.parameters | {key: p})
            return float((weight * moved.energies(X)[0]).sum())

        assert_close(parameters[key], difference(of_parameter, value))
    assert_close(inputs, difference(lambda x: float((weight * energy.energies(x)[0]).sum()), X))
    assert energy.pullback(tape, weight)[1] is None


@pytest.mark.parametrize("name", PAIR_ENERGIES)
def test_gradients_of_pair_energies(name: str) -> None:
    energy, n_inputs, n_outputs = PAIR_ENERGIES[name]
    X, Y = RNG.normal(size=(4, n_inputs)), RNG.normal(size=(4, n_outputs))
    Z = RNG.normal(size=(4, energy.n_latents)) if energy.n_latents else None
    value, tape = energy.value(X, Y, Z)
    weight = RNG.normal(size=value.shape)
    found = energy.pullback(tape, weight, ("parameters", *energy.gradients))

    def total(x: Any = X, y: Any = Y, z: Any = Z, parameters: Any = None) -> float:
        used = energy if parameters is None else energy.with_parameters(parameters)
        return float((weight * used.value(x, y, z)[0]).sum())

    for key, p in energy.parameters.items():
        estimate = difference(lambda p, key=key: total(parameters=energy.parameters | {key: p}), p)
        assert_close(found["parameters"][key], estimate)
    assert_close(found["inputs"], difference(lambda x: total(x=x), X))
    assert_close(found["answers"], difference(lambda y: total(y=y), Y))
    if Z is not None:
        assert_close(found["latents"], difference(lambda z: total(z=z), Z))


@pytest.mark.parametrize("name", [name for name in PAIR_ENERGIES if name.startswith("matcher")])
def test_a_matcher_crosses_both_sides(name: str) -> None:
    energy, n_inputs, n_outputs = PAIR_ENERGIES[name]
    X, Y = RNG.normal(size=(3, n_inputs)), RNG.normal(size=(5, n_outputs))
    table, tape = energy.cross(X, Y)
    x, y = np.repeat(X, 5, axis=0), np.tile(Y, (3, 1))
    value, pair_tape = energy.value(x, y)
    np.testing.assert_allclose(table, value.reshape(3, 5), rtol=1e-12)
    weight = RNG.normal(size=(3, 5))
    crossed = energy.pull_cross(tape, weight, ("parameters",))["parameters"]
    paired = energy.pullback(pair_tape, weight.ravel(), ("parameters",))["parameters"]
    for key in paired:
        np.testing.assert_allclose(crossed[key], paired[key], rtol=1e-9, atol=1e-12)


def test_formulas() -> None:
    X = RNG.normal(size=(2, 5))
    net = network(5, 3)
    G, _ = net.forward(X)
    np.testing.assert_allclose(ClassifierEnergy(net).energies(X)[0], G)
    one = network(5, 1)
    R, _ = one.forward(X)
    np.testing.assert_allclose(PerceptronEnergy(one, 0.5).energies(X)[0], 0.5 * np.hstack([R, -R]))
    codes = RNG.normal(size=(4, 3))
    expected = 0.5 * ((codes - G[:, None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(OutputCodeEnergy(net, codes, SquaredDistance()).energies(X)[0], expected)


def test_location_sees_every_window() -> None:
    net = network(6, 3)
    energy = LocationEnergy(net, image=(4, 5), window=(2, 3))
    image = RNG.normal(size=(4, 5))
    table, _ = energy.energies(image.reshape(1, -1))
    assert energy.locations == (3, 3)
    for z, (i, j) in enumerate(np.ndindex(3, 3)):
        window = image[i : i + 2, j : j + 3].reshape(1, -1)
        np.testing.assert_allclose(table[0, :, z], net.forward(window)[0][0])


def test_pose_compares_every_view() -> None:
    references = RNG.normal(size=(2, 4))
    table, _ = PoseEnergy(references, turns(4), SquaredDistance()).energies(
        np.roll(references[1:], 3, axis=1)
    )
    assert table.shape == (1, 2, 4)
    assert np.unravel_index(table[0].argmin(), (2, 4)) == (1, 3)
    np.testing.assert_allclose(table.min(), 0, atol=1e-12)


def test_a_regressor_knows_its_best_and_most_offending_answers() -> None:
    energy, X = RegressorEnergy(network(5, 2), SquaredDistance()), RNG.normal(size=(6, 5))
    best = energy.best_answer(X)
    np.testing.assert_allclose(energy.value(X, best)[0], 0, atol=1e-15)
    Y = best + 0.01
    worst = energy.most_offending(X, Y, 0.5)
    assert (np.linalg.norm(worst - Y, axis=1) >= 0.5 * (1 - 1e-12)).all()
    others = Y + 0.5 * np.stack([np.cos(t := np.linspace(0, 6, 6)), np.sin(t)], axis=1)
    assert (energy.value(X, worst)[0] <= energy.value(X, others)[0] + 1e-12).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PerceptronEnergy(network(5, 2)), "network: expected one output, got 2"),
        (lambda: PerceptronEnergy(network(5, 1), 0.0), "scale"),
        (lambda: OutputCodeEnergy(network(5, 2), np.eye(3), SquaredDistance()), "codes: expected 2 elements"),
        (lambda: MatcherEnergy(network(5, 2), network(5, 3), distance=SquaredDistance()), "answer_network"),
        (lambda: LocationEnergy(network(6, 3), image=(2, 2), window=(2, 3)), "window: expected at most"),
        (
            lambda: LocationEnergy(network(6, 3), image=(2, 2), window=3),
            "window: expected \\(height, width\\)",
        ),
        (lambda: PoseEnergy(np.eye(3), turns(4), SquaredDistance()), "transformations: expected matrices"),
        (lambda: LatentRegressorEnergy(network(5, 3), 0, SquaredDistance()), "n_latents"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
