"""Energies of real rows without a normaliser, against the reference and against differences."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from reference import density as reference
from thalweg._base import DensityEnergy
from thalweg.energies import (
    AutoencoderDensityEnergy,
    DeepEnergy,
    DenseNetwork,
    GaussianEnergy,
    GaussianMixtureEnergy,
    GaussianRBMEnergy,
)

SMOOTH = ["sigmoid", "tanh", "softplus"]
DEPTHS = [(), (4,), (7,), (4, 3), (6, 5, 4)]  # hidden layers over 5 features


def filled(energy: Any, seed: int = 0, scale: float = 0.7) -> Any:
    """The energy with every parameter random, log sigma near 0 and a precision near the identity."""
    rng = np.random.default_rng(seed)
    made = {name: scale * rng.normal(size=p.shape).astype(p.dtype) for name, p in energy.parameters.items()}
    if "precision" in made:
        made["precision"] = energy.parameters["precision"] + 0.1 * made["precision"]
    return energy.with_parameters(made)


def deep(hidden: Any = (4,), activation: str = "sigmoid", **options: Any) -> DeepEnergy:
    options = {"sigma": 0.8, "learn_sigma": True, "random_state": 0, **options}
    return filled(DeepEnergy.random(5, hidden, 3, activation, **options))


def rows(n: int = 6, d: int = 5, dtype: Any = np.float64) -> Any:
    return np.random.default_rng(1).normal(size=(n, d)).astype(dtype)


DENSITIES = {
    **{f"deep {h} {a}": deep(h, a) for h in DEPTHS for a in (SMOOTH if h else SMOOTH[:1])},
    "deep bare": deep((4,), "tanh", hidden_bias=False, learn_sigma=False),
    "deep identity": filled(
        DeepEnergy(DenseNetwork.random(5, (), 4), np.ones((3, 4)), np.ones(3), np.ones(5), learn_sigma=True)
    ),
    "deep identity layers": filled(
        DeepEnergy(DenseNetwork.random(5, (3, 4), 4, "identity"), np.ones((3, 4)), None, np.ones(5))
    ),
    "auto-encoder": filled(AutoencoderDensityEnergy(np.ones((7, 5)))),
    "gaussian full": filled(GaussianEnergy.diagonal(5)),
    "gaussian banded": filled(GaussianEnergy.diagonal(6, "banded", image_shape=(2, 3), radius=1.5)),
    "gaussian toeplitz": filled(GaussianEnergy.diagonal(6, "toeplitz", image_shape=(2, 3), radius=1)),
}
RELU = deep((4, 3), "relu")
density = pytest.mark.parametrize("energy", DENSITIES.values(), ids=DENSITIES)
any_density = pytest.mark.parametrize("energy", [*DENSITIES.values(), RELU], ids=[*DENSITIES, "relu"])


def relative(found: Any, expected: Any) -> float:
    """The norm of the difference over the norm, of all parameters together."""
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        assert all(found[name].shape == expected[name].shape for name in expected)
        found, expected = (np.concatenate([p[name].ravel() for name in expected]) for p in (found, expected))
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-8))


def by_differences(energy: Any, value: Any) -> Any:
    """Gradient of value(energy with other parameters)."""
    return reference.gradient_by_differences(lambda p: value(energy.with_parameters(p)), energy.parameters)


def energy_of_row(energy: Any) -> Any:
    return lambda x: float(energy.value(x[None])[0][0])


# --- energies, scores and curvatures


@pytest.mark.parametrize("hidden", DEPTHS, ids=str)
@pytest.mark.parametrize("activation", [*SMOOTH, "relu"])
def test_deep_energies_are_the_reference(hidden: Any, activation: str, dtype: Any) -> None:
    energy = deep(hidden, activation, dtype=dtype)
    p, X = energy.parameters, rows(dtype=dtype)
    layers = [(p[f"weights_{i}"], p[f"bias_{i}"], activation) for i in range(len(hidden))]
    expected = [
        reference.deep_energy(x, layers, p["top_weights"], p["top_bias"], p["visible_bias"], energy.sigma)
        for x in X
    ]
    E, _ = energy.value(X)
    assert E.dtype == dtype
    assert_allclose(E, expected, rtol=1e-12 if dtype == np.float64 else 2e-5)


def test_gaussian_energies_are_the_reference() -> None:
    for name in ("full", "banded", "toeplitz"):
        energy = DENSITIES[f"gaussian {name}"]
        X, Lambda = rows(d=energy.n_features), energy.precision_matrix()
        expected = [reference.gaussian_energy(x, energy.parameters["mean"], Lambda) for x in X]
        assert_allclose(energy.value(X)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("radius", [0, 1, 1.5, 2.3, 10])
def test_banded_precisions_have_pixels_within_the_radius(radius: float) -> None:
    energy = filled(GaussianEnergy.diagonal(12, "banded", image_shape=(3, 4), radius=radius))
    Lambda = energy.precision_matrix()
    assert_array_equal(Lambda, reference.banded(lambda i, j: Lambda[i, j], 3, 4, radius))
    assert_array_equal(Lambda, Lambda.T)
    upper = Lambda[np.triu_indices(12)]
    assert_array_equal(upper[upper != 0], energy.parameters["precision"])


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_toeplitz_precisions_are_convolutions(radius: int) -> None:
    energy = filled(GaussianEnergy.diagonal(12, "toeplitz", image_shape=(3, 4), radius=radius))
    half = energy.parameters["precision"]
    taps = np.concatenate([half[:0:-1], half]).reshape(2 * radius + 1, 2 * radius + 1)
    assert_array_equal(energy.precision_matrix(), reference.toeplitz(taps, 3, 4))


@pytest.mark.parametrize("name", ["full", "banded", "toeplitz"])
def test_patterns_say_where_free_entries_stand(name: str) -> None:
    energy = DENSITIES[f"gaussian {name}"]
    i, j, entries = energy.pattern
    made = np.zeros((energy.n_features,) * 2)
    np.add.at(made, (i, j), energy.parameters["precision"][entries])
    assert_array_equal(made, energy.precision_matrix())
    options = {} if name == "full" else {"image_shape": (2, 3), "radius": 1.5 if name == "banded" else 1}
    again = GaussianEnergy(energy.parameters["mean"], made, name, **options)
    assert_array_equal(again.parameters["precision"], energy.parameters["precision"])


@any_density
def test_scores_are_minus_the_gradient(energy: Any) -> None:
    X = rows(d=energy.n_features)
    psi = energy.score_function(X)
    expected = np.array([reference.score(energy_of_row(energy), x) for x in X])
    assert relative(psi, expected) < 1e-8
    assert_allclose(energy.score(X)[0], psi, rtol=1e-12, atol=1e-12)


@density
def test_curvatures_are_second_differences(energy: Any) -> None:
    X, V = rows(d=energy.n_features), rows(12, energy.n_features)[6:]
    curved, psi, _ = energy.curvature(X, V)
    expected = [reference.second_difference(energy_of_row(energy), x, v) for x, v in zip(X, V)]
    assert relative(curved, expected) < 1e-5
    assert_allclose(psi, energy.score_function(X))


@density
def test_score_matching_is_half_the_squared_score_and_brute_force_divergence(energy: Any) -> None:
    X = rows(d=energy.n_features)
    objective, _ = energy.score_matching(X)
    psi = energy.score_function(X)
    expected = [0.5 * p @ p + reference.divergence(energy_of_row(energy), x) for p, x in zip(psi, X)]
    assert relative(objective, expected) < 1e-5


@density
def test_laplacians_are_curvatures_along_all_axes(energy: Any) -> None:
    X = rows(d=energy.n_features)
    axes = [np.broadcast_to(e, X.shape) for e in np.eye(energy.n_features)]
    psi = energy.score_function(X)
    expected = 0.5 * (psi**2).sum(axis=1) + sum(energy.curvature(X, v)[0] for v in axes)
    assert_allclose(energy.score_matching(X)[0], expected, rtol=1e-10, atol=1e-10)


# --- gradients in the parameters


@any_density
def test_gradients_of_energies(energy: Any) -> None:
    X, g = rows(d=energy.n_features), rows(d=6)[0]
    found = energy.pullback(energy.value(X)[1], g)
    assert relative(found, by_differences(energy, lambda e: float(g @ e.value(X)[0]))) < 1e-8


@any_density
def test_gradients_of_scores(energy: Any) -> None:
    X, V = rows(d=energy.n_features), rows(12, energy.n_features)[6:]
    found = energy.pull_score(energy.score(X)[1], V)
    assert relative(found, by_differences(energy, lambda e: float((V * e.score_function(X)).sum()))) < 1e-8


@density
def test_gradients_of_curvatures(energy: Any) -> None:
    d = energy.n_features
    X, V, U, w = rows(d=d), rows(12, d)[6:], rows(18, d)[12:], rows(d=6)[0]

    def value(e: Any) -> float:
        curved, psi, _ = e.curvature(X, V)
        return float(w @ curved + (U * psi).sum())

    found = energy.pull_curvature(energy.curvature(X, V)[2], w, U)
    assert relative(found, by_differences(energy, value)) < 1e-8


@density
def test_gradients_of_score_matching(energy: Any) -> None:
    X = rows(d=energy.n_features)
    found = energy.score_matching(X)[1]
    assert relative(found, by_differences(energy, lambda e: float(e.score_matching(X)[0].sum()))) < 1e-8


def test_score_matching_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    energy, X = deep((4, 3)), rows(20)
    objective, gradient = energy.score_matching(X)
    monkeypatch.setattr("thalweg.energies.deep._TANGENTS", 50)
    again, of_blocks = energy.score_matching(X)
    assert_allclose(again, objective, rtol=1e-12)
    assert relative(of_blocks, gradient) < 1e-12


# --- what the energies are


def rbm(seed: int, n_features: int, n_units: int, sigma: float) -> GaussianRBMEnergy:
    rng = np.random.default_rng(seed)
    return GaussianRBMEnergy(
        rng.normal(size=(n_units, n_features)),
        rng.normal(size=n_features),
        rng.normal(size=n_units),
        np.full(n_features, sigma),
    )


rbms = st.builds(rbm, st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 5), st.floats(0.1, 10.0))


@given(rbms, st.integers(0, 2**32 - 1))
def test_without_layers_it_is_the_gaussian_rbm(rbm: GaussianRBMEnergy, seed: int) -> None:
    energy = DeepEnergy.from_gaussian_rbm(rbm)
    X = np.random.default_rng(seed).normal(size=(4, rbm.n_features)) * rbm.sigma
    constant = 0.5 * np.sum((rbm.visible_bias / rbm.sigma) ** 2)
    F = rbm.free_energy(X)
    assert_allclose(energy.value(X)[0] + constant, F, rtol=1e-9, atol=1e-9 * max(1.0, constant))
    assert relative(energy.score_function(X), rbm.score_function(X)) < 1e-9
    assert_allclose(energy.log_partition() - constant, rbm.log_partition(), rtol=1e-9, atol=1e-9 * constant)
    assert_allclose(energy.gaussian_rbm().weights, rbm.weights)


@given(rbms, st.integers(0, 2**32 - 1))
def test_the_gradients_are_the_rbms(rbm: GaussianRBMEnergy, seed: int) -> None:
    energy = DeepEnergy.from_gaussian_rbm(rbm)
    rng = np.random.default_rng(seed)
    X, g = rng.normal(size=(4, rbm.n_features)) * rbm.sigma, rng.normal(size=4)
    found = energy.pullback(energy.value(X)[1], g)
    theirs = rbm.dlog_density(X, -g)  # dF
    beta = 1 / rbm.sigma[0] ** 2
    assert relative(found["top_weights"] * beta, theirs["weights"]) < 1e-9
    assert_allclose(found["top_bias"], theirs["hidden_bias"], rtol=1e-9, atol=1e-9)
    # F has the constant ||a||^2 / (2 sigma^2) besides.
    moved = found["visible_bias"] * beta + beta * rbm.visible_bias * g.sum()
    assert_allclose(moved, theirs["visible_bias"], rtol=1e-9, atol=1e-9 * beta * (1 + rbm.sigma[0]))


@given(rbms, st.integers(0, 2**32 - 1))
def test_score_matching_is_the_rbms(rbm: GaussianRBMEnergy, seed: int) -> None:
    X = np.random.default_rng(seed).normal(size=(4, rbm.n_features)) * rbm.sigma
    objective, gradient = DeepEnergy.from_gaussian_rbm(rbm).score_matching(X)
    expected, theirs = rbm.score_matching(X)
    beta = 1 / rbm.sigma[0] ** 2
    scale = 1 + beta * rbm.n_features * (1 + float(np.sum((rbm.weights / rbm.sigma[0]) ** 2)))
    assert_allclose(objective.mean(), expected, rtol=1e-9, atol=1e-9 * scale)
    assert relative(gradient["top_bias"] / 4, theirs["hidden_bias"]) < 1e-7
    assert relative(gradient["visible_bias"] * beta / 4, theirs["visible_bias"]) < 1e-7


def test_the_lectures_objective_of_the_autoencoder() -> None:
    energy, X = DENSITIES["auto-encoder"], rows()
    W, s = energy.parameters["top_weights"].T, 1 / (1 + np.exp(-X @ energy.parameters["top_weights"].T))
    expected = 0.5 * ((X - s @ W.T) ** 2).sum(axis=1) + (s * (1 - s)) @ (W**2).sum(axis=0)
    assert_allclose(energy.score_matching(X)[0] + 5, expected)
    assert_allclose(energy.reconstruct(X), s @ W.T)


def test_without_hidden_biases_low_contrast_is_not_preferred() -> None:
    energy = filled(DeepEnergy.random(5, (4,), 3, "tanh", hidden_bias=False, random_state=0))
    X = rows(50)
    softplus = 0.5 * (X**2).sum(axis=1) - X @ energy.parameters["visible_bias"] - energy.value(X)[0]
    mirrored = 0.5 * (X**2).sum(axis=1) + X @ energy.parameters["visible_bias"] - energy.value(-X)[0]
    assert np.all(softplus + mirrored >= 2 * 3 * np.log(2) - 1e-12)


@pytest.mark.parametrize("name", ["gaussian full", "gaussian banded", "deep ()"])
def test_log_partitions_are_integrals(name: str) -> None:
    if name == "deep ()":
        energy: Any = filled(DeepEnergy.random(2, (), 3, sigma=0.8, learn_sigma=True))
    elif name == "gaussian full":
        energy = GaussianEnergy([0.3, -0.2], [[2.0, 0.5], [0.5, 1.0]])
    else:
        energy = GaussianEnergy([0.3, -0.2], [2.0, 0.5, 1.0], "banded", image_shape=(1, 2), radius=1)
    x = np.linspace(-10, 10, 401)
    grid = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
    total = np.exp(-energy.value(grid)[0]).sum() * 0.05**2
    assert_allclose(energy.log_partition(), np.log(total), rtol=1e-9)


def test_mixtures_are_sums_over_their_components() -> None:
    energy = GaussianMixtureEnergy([0.2, -0.3, 0.1], rows(3, 2), [0.1, -0.4, 0.3])
    X = rows(5, 2)
    joints = np.stack([energy.log_joint(X, np.full((5, 1), k))[0] for k in range(3)], axis=1)
    assert_allclose(energy.value(X)[0], -np.log(np.exp(joints).sum(axis=1)))
    assert_allclose(energy.log_posterior(X), joints + energy.value(X)[0][:, None])
    expected = np.array([reference.score(energy_of_row(energy), x) for x in X])
    assert relative(energy.score_function(X), expected) < 1e-8
    g, Z = rows(1, 5)[0], np.array([[0], [2], [1], [1], [0]])
    found = energy.pullback(energy.value(X)[1], g)
    assert relative(found, by_differences(energy, lambda e: float(g @ e.value(X)[0]))) < 1e-8
    found, of_Z = energy.pull_log_joint(energy.log_joint(X, Z)[1], g)
    assert of_Z is None
    assert relative(found, by_differences(energy, lambda e: float(g @ e.log_joint(X, Z)[0]))) < 1e-8
    x = np.linspace(-12, 12, 481)
    grid = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
    assert_allclose(energy.log_partition(), np.log(np.exp(-energy.value(grid)[0]).sum() * 0.05**2))


# --- the protocol and the door


@any_density
def test_densities_keep_the_protocol(energy: Any) -> None:
    assert isinstance(energy, DensityEnergy)
    again = energy.with_parameters(dict(energy.parameters))
    assert type(again) is type(energy)
    assert all(again.parameters[name] is p for name, p in energy.parameters.items())
    X = rows(d=energy.n_features)
    assert_array_equal(pickle.loads(pickle.dumps(energy)).value(X)[0], energy.value(X)[0])


@any_density
def test_results_are_of_the_dtype_of_the_rows(energy: Any) -> None:
    X = rows(d=energy.n_features, dtype=np.float32)
    E, tape = energy.value(X)
    assert E.dtype == energy.score_function(X).dtype == np.float32
    assert all(g.dtype == np.float32 for g in energy.pullback(tape, np.ones(len(X))).values())
    if "score_matching" in energy.offers:
        objective, gradient = energy.score_matching(X)
        assert objective.dtype == np.float32
        assert all(g.dtype == np.float32 for g in gradient.values())
        assert relative(gradient, energy.score_matching(X.astype(np.float64))[1]) < 1e-5


def test_relu_has_no_curvature() -> None:
    assert RELU.offers == {"value", "score", "pull_score"}
    for call in (lambda: RELU.score_matching(rows()), lambda: RELU.curvature(rows(), rows())):
        with pytest.raises(ValueError, match=r"second derivative.*'relu'.*integration by parts"):
            call()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: deep(sigma=0.0), ValueError, "sigma: expected a number > 0"),
        (lambda: deep(sigma=-1.0), ValueError, "sigma"),
        (lambda: DeepEnergy([[1.0]], [[1.0]]), TypeError, "layers"),
        (lambda: DeepEnergy(None, [1.0]), ValueError, "weights"),
        (lambda: DeepEnergy(DenseNetwork.random(3, (), 2), np.ones((2, 3))), ValueError, "weights"),
        (lambda: DeepEnergy(None, [[1.0]], bias=[1.0, 2.0]), ValueError, "bias"),
        (lambda: DeepEnergy(None, [[1.0]], visible_bias=[1.0, 2.0]), ValueError, "visible_bias"),
        (lambda: deep().value(rows(d=4)), ValueError, "X: expected shape"),
        (lambda: deep().value([[np.nan] * 5]), ValueError, "X.*NaN"),
        (lambda: deep().pullback(None, [1.0]), TypeError, "tape"),
        (lambda: deep().pullback(deep().value(rows())[1], [1.0]), ValueError, "gradient"),
        (lambda: deep().pull_score(deep().score(rows())[1], rows(3)), ValueError, "V"),
        (lambda: deep().pull_curvature(deep().value(rows())[1], rows(1, 6)[0], rows()), TypeError, "tape"),
        (lambda: deep().gaussian_rbm(), ValueError, "hidden layers"),
        (lambda: deep((), activation="swish"), ValueError, "activation"),
        (lambda: GaussianEnergy([0.0], [1.0, 2.0]), ValueError, "precision: expected 1 free"),
        (lambda: GaussianEnergy([0.0, 0.0], [[1.0, 2.0], [0.0, 1.0]]), ValueError, "precision.*off by up to"),
        (lambda: GaussianEnergy([0.0] * 2, np.ones(3), "banded", radius=1), ValueError, "image_shape"),
        (lambda: GaussianEnergy.diagonal(4, "banded", image_shape=(2, 2), radius=-1), ValueError, "radius"),
        (lambda: GaussianEnergy.diagonal(4, "toeplitz", image_shape=(2, 2), radius=2), ValueError, "radius"),
        (
            lambda: GaussianEnergy.diagonal(4, "toeplitz", image_shape=(2, 3), radius=1),
            ValueError,
            "image_sh",
        ),
        (lambda: GaussianEnergy.diagonal(4, "sparse"), ValueError, "structure"),
        (lambda: GaussianEnergy([0.0], [-1.0]).log_partition(), ValueError, "not positive definite"),
        (lambda: GaussianMixtureEnergy([0.0], [[1.0]], [0.0]).log_joint([[0.0]], [[1]]), ValueError, "Z"),
    ],
)
def test_bad_input_is_named(make: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_an_rbm_of_several_sigmas_is_no_deep_energy() -> None:
    rbm = GaussianRBMEnergy([[1.0, 1.0]], [0.0, 0.0], [0.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="rbm: expected one sigma"):
        DeepEnergy.from_gaussian_rbm(rbm)


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 6), min_size=0, max_size=3),
    st.sampled_from(SMOOTH),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
)
def test_score_matching_of_any_architecture(hidden: Any, activation: str, d: int, seed: int) -> None:
    energy = filled(DeepEnergy.random(d, hidden, 3, activation, 0.9, learn_sigma=True, random_state=seed))
    X = np.random.default_rng(seed).normal(size=(3, d))
    axes = [np.broadcast_to(e, X.shape) for e in np.eye(d)]
    curvatures = [energy.curvature(X, v) for v in axes]
    psi = energy.score_function(X)
    expected = 0.5 * (psi**2).sum(axis=1) + sum(c for c, _, _ in curvatures)
    objective, gradient = energy.score_matching(X)
    assert_allclose(objective, expected, rtol=1e-9, atol=1e-9)
    parts = [energy.pull_curvature(tape, np.ones(3), psi / d) for _, _, tape in curvatures]
    assert relative(gradient, {name: sum(p[name] for p in parts) for name in gradient}) < 1e-9
