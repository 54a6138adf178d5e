"""Losses of unnormalised densities: gradients against differences, definitions, and what they find."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from reference import density as reference
from thalweg import _rng, losses
from thalweg._base import Draws
from thalweg.energies import (
    AutoencoderDensityEnergy,
    CategoricalPosterior,
    DeepEnergy,
    DenseNetwork,
    GaussianEnergy,
    GaussianMixtureEnergy,
    GaussianPosterior,
)
from thalweg.losses import (
    ConditionalNoiseContrastiveEstimation,
    DenoisingScoreMatching,
    DensityContrastiveDivergence,
    DensityNoiseContrastiveEstimation,
    ExactScoreMatching,
    GaussianNoise,
    SlicedScoreMatching,
    VariationalNoiseContrastiveEstimation,
)

D = 4
DRAWS = Draws(3, 0, 10, 2)


class Drift:
    """Moves by half a step of Langevin's, without noise of its own but of the row's."""

    needs = frozenset({"score"})

    def step(self, energy: Any, X: Any, draws: Draws) -> Any:
        normal = _rng.normal_rows(
            draws.seed, draws.stream, draws.step, X.shape, X.dtype, first_row=draws.first_row
        )
        return X + 0.1 * energy.score_function(X) + 0.4 * normal


def noise(d: int = D) -> GaussianNoise:
    factor = np.random.default_rng(5).normal(size=(d, d))
    return GaussianNoise(np.linspace(-0.5, 0.5, d), factor @ factor.T + np.eye(d))


LOSSES = {
    "exact": ExactScoreMatching(),
    "denoising": DenoisingScoreMatching(0.3),
    "sliced": SlicedScoreMatching(2),
    "sliced, normal": SlicedScoreMatching(3, "normal", variance_reduced=False),
    "nce": DensityNoiseContrastiveEstimation(noise()),
    "nce, 3 of diagonal noise": DensityNoiseContrastiveEstimation(GaussianNoise(np.zeros(D), np.ones(D)), 3),
    "conditional nce": ConditionalNoiseContrastiveEstimation(0.4),
    "conditional nce, 3": ConditionalNoiseContrastiveEstimation(0.4, 3),
}


def filled(energy: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    made = {name: p + 0.5 * rng.normal(size=p.shape).astype(p.dtype) for name, p in energy.parameters.items()}
    return energy.with_parameters(made)


ENERGIES = {
    "deep": filled(DeepEnergy.random(D, (3,), 5, sigma=0.9, learn_sigma=True, random_state=0)),
    "deeper": filled(DeepEnergy.random(D, (6, 3), 4, "tanh", hidden_bias=False, random_state=0)),
    "rbm": filled(DeepEnergy.random(D, (), 3, sigma=0.9, learn_sigma=True, random_state=0)),
    "relu": filled(DeepEnergy.random(D, (5,), 3, "relu", learn_sigma=True, random_state=0)),
    "auto-encoder": filled(AutoencoderDensityEnergy(np.zeros((3, D)))),
    "gaussian": filled(GaussianEnergy.diagonal(D)),
    "toeplitz": filled(GaussianEnergy.diagonal(D, "toeplitz", image_shape=(2, 2), radius=1)),
    "mixture": filled(GaussianMixtureEnergy([0.0, 0.0], np.zeros((2, D)), [0.0, 0.0])),
}
PAIRS = [
    pytest.param(loss, energy, id=f"{loss_name} of {name}")
    for loss_name, loss in LOSSES.items()
    for name, energy in ENERGIES.items()
    if loss.needs <= energy.offers
]


def rows(n: int = 5, d: int = D, seed: int = 1, dtype: Any = np.float64) -> Any:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)


def relative(found: Any, expected: Any) -> float:
    assert found.keys() == expected.keys()
    assert all(found[name].shape == expected[name].shape for name in expected)
    a, b = (
        np.concatenate([p[name].ravel() for name in expected] or [np.zeros(1)]) for p in (found, expected)
    )
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-8))


def check_gradients(loss: Any, energy: Any, X: Any, first: Any = None) -> None:
    """Of the energy's parameters, and of the loss's own, against central differences."""
    own = loss.first_parameters(energy, X) if first is None else first
    own = {name: p + 0.3 for name, p in own.items()}

    def value(parameters: Any, beside: Any) -> float:
        return float(loss.value_and_gradient(energy.with_parameters(parameters), beside, X, DRAWS)[0])

    _, of_energy, of_own = loss.value_and_gradient(energy, own, X, DRAWS)
    by_energy = reference.gradient_by_differences(lambda p: value(p, own), energy.parameters)
    by_own = reference.gradient_by_differences(lambda p: value(energy.parameters, p), own)
    assert relative(of_energy, by_energy) < 1e-6
    assert relative(of_own, by_own) < 1e-6


@pytest.mark.parametrize(("loss", "energy"), PAIRS)
def test_gradients_are_those_of_the_loss(loss: Any, energy: Any) -> None:
    check_gradients(loss, energy, rows())


@pytest.mark.parametrize("energy", ENERGIES.values(), ids=ENERGIES)
def test_contrastive_divergence_with_its_negatives_held(energy: Any) -> None:
    X = rows()
    key = Draws(DRAWS.seed, _rng.STREAM_DENSITY_CHAINS, DRAWS.first_row, DRAWS.step)
    held = Drift().step(energy, X, key)
    loss = DensityContrastiveDivergence(Drift())
    value, gradient, own = loss.value_and_gradient(energy, {}, X, DRAWS)
    assert own == {}
    assert_allclose(value, energy.value(X)[0].mean() - energy.value(held)[0].mean())

    def drop(parameters: Any) -> float:
        moved = energy.with_parameters(parameters)
        return float(moved.value(X)[0].mean() - moved.value(held)[0].mean())

    assert relative(gradient, reference.gradient_by_differences(drop, energy.parameters)) < 1e-6


def test_every_loss_of_densities_is_tested() -> None:
    tested = {type(loss).__name__ for loss in LOSSES.values()}
    tested |= {"DensityContrastiveDivergence", "VariationalNoiseContrastiveEstimation"}
    of_densities = {name for name in losses.__all__ if hasattr(getattr(losses, name), "first_parameters")}
    assert of_densities == tested


def test_contrastive_divergence_needs_what_its_sampler_does() -> None:
    class Still:
        def step(self, energy: Any, X: Any, draws: Draws) -> Any:
            return X[:1]

    assert DensityContrastiveDivergence(Drift()).needs == {"value", "score"}
    loss = DensityContrastiveDivergence(Still())
    assert loss.needs == {"value", "score"}
    with pytest.raises(ValueError, match="sampler"):
        loss.value_and_gradient(ENERGIES["deep"], {}, rows(), DRAWS)


# --- definitions


@pytest.mark.parametrize("name", ["exact", "sliced", "sliced, normal"])
def test_relu_is_refused_where_integration_by_parts_is(name: str) -> None:
    assert not LOSSES[name].needs <= ENERGIES["relu"].offers
    with pytest.raises(ValueError, match="relu"):
        LOSSES[name].value_and_gradient(ENERGIES["relu"], {}, rows(), DRAWS)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_loss_of_a_batch_is_the_mean_of_its_parts(loss: Any) -> None:
    energy, X = ENERGIES["deep"], rows(6)
    own = loss.first_parameters(energy, X)
    whole = loss.value_and_gradient(energy, own, X, DRAWS)
    later = Draws(DRAWS.seed, DRAWS.stream, DRAWS.first_row + 2, DRAWS.step)
    parts = [loss.value_and_gradient(energy, own, x, key) for x, key in ((X[:2], DRAWS), (X[2:], later))]
    assert_allclose(whole[0], (parts[0][0] + 2 * parts[1][0]) / 3)
    joined = {name: (g + 2 * parts[1][1][name]) / 3 for name, g in parts[0][1].items()}
    assert relative(whole[1], joined) < 1e-12


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_losses_keep_the_dtype(loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    of_any = _rng.normal_rows  # single precision has draws of its own: here it takes the others, rounded

    def rounded(*of: Any, **first: int) -> Any:
        return of_any(*of[:4], np.float64, **first).astype(of[4])

    monkeypatch.setattr(_rng, "normal_rows", rounded)
    energy, X = ENERGIES["deep"], rows()
    own = loss.first_parameters(energy, X)
    value, gradient, _ = loss.value_and_gradient(energy, own, X.astype(np.float32), DRAWS)
    assert type(value) is float
    assert all(g.dtype == np.float32 for g in gradient.values())
    assert_allclose(value, loss.value_and_gradient(energy, own, X, DRAWS)[0], rtol=1e-4)


def test_sliced_score_matching_is_exact_in_the_mean() -> None:
    X = np.repeat(rows(), 4000, axis=0)
    for energy in (ENERGIES["deep"], ENERGIES["gaussian"]):
        exact = ExactScoreMatching().value_and_gradient(energy, {}, rows(), DRAWS)[0]
        for directions in ("rademacher", "normal"):
            for variance_reduced in (True, False):
                loss = SlicedScoreMatching(1, directions, variance_reduced)
                assert abs(loss.value_and_gradient(energy, {}, X, DRAWS)[0] - exact) < 0.1


def test_denoising_score_matching_by_its_definition() -> None:
    energy, X = ENERGIES["relu"], rows()
    normal = _rng.normal_rows(
        DRAWS.seed, _rng.STREAM_DENOISING, DRAWS.step, X.shape, float, first_row=DRAWS.first_row
    )
    noisy = X + 0.3 * normal
    expected = 0.5 * ((energy.score_function(noisy) - (X - noisy) / 0.09) ** 2).sum(axis=1).mean()
    assert_allclose(LOSSES["denoising"].value_and_gradient(energy, {}, X, DRAWS)[0], expected)


@pytest.mark.parametrize("nu", [1, 4])
def test_noise_contrastive_estimation_by_its_definition(nu: int) -> None:
    energy, X, c = ENERGIES["deep"], rows(), np.array([0.7])
    loss = DensityNoiseContrastiveEstimation(noise(), nu)
    key = Draws(DRAWS.seed, _rng.STREAM_NOISE, nu * DRAWS.first_row, DRAWS.step)
    Y = noise().sample(nu * len(X), key, np.float64)
    log_p = stats.multivariate_normal(noise().mean, noise().covariance).logpdf
    of_model = [-energy.value(x)[0] - c[0] for x in (X, Y)]
    expected = reference.noise_contrastive(of_model[0], log_p(X), of_model[1], log_p(Y), nu)
    assert_allclose(loss.value_and_gradient(energy, {"log_normalizer": c}, X, DRAWS)[0], expected)


def test_conditional_noise_contrastive_estimation_by_its_definition() -> None:
    energy, X = ENERGIES["deep"], rows()
    key = (DRAWS.seed, _rng.STREAM_CONDITIONAL_NOISE, DRAWS.step, (5, 3 * D), float)
    normal = _rng.normal_rows(*key, first_row=DRAWS.first_row)
    copies = X[:, None] + 0.4 * normal.reshape(5, 3, D)
    total = 0.0
    for x, noisy in zip(X, copies):
        for y in noisy:
            total += math.log1p(math.exp(energy.value(x[None])[0][0] - energy.value(y[None])[0][0]))
    found = LOSSES["conditional nce, 3"].value_and_gradient(energy, {}, X, DRAWS)[0]
    assert_allclose(found, 2 * total / 15)


def test_any_noise_will_do() -> None:
    class Bare:
        def sample(self, n: int, draws: Draws, dtype: Any) -> Any:
            return noise().sample(n, draws, dtype)

        def log_density(self, X: Any) -> Any:
            return noise().log_density(X)

    energy, own = ENERGIES["deep"], {"log_normalizer": np.ones(1)}
    values = [
        DensityNoiseContrastiveEstimation(n, 2).value_and_gradient(energy, own, rows(), DRAWS)[0]
        for n in (Bare(), noise())
    ]
    assert_allclose(*values)


def test_noise_of_no_density_says_where() -> None:
    class Box:
        def sample(self, n: int, draws: Draws, dtype: Any) -> Any:
            return np.zeros((n, D), dtype)

        def log_density(self, X: Any) -> Any:
            return np.where(np.abs(X).max(axis=1) < 1, -D * np.log(2), -np.inf)

    X = np.zeros((5, D))
    X[[2, 4]] = 3.0
    loss = DensityNoiseContrastiveEstimation(Box())
    with pytest.raises(ValueError, match=r"noise: .*-inf at row 2 of X, the first of 2"):
        loss.value_and_gradient(ENERGIES["deep"], {"log_normalizer": np.zeros(1)}, X, DRAWS)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_no_rows_are_refused(loss: Any) -> None:
    with pytest.raises(ValueError, match="X: expected at least one row"):
        loss.value_and_gradient(ENERGIES["deep"], {"log_normalizer": np.zeros(1)}, rows()[:0], DRAWS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DenoisingScoreMatching(0.0), "noise_scale"),
        (lambda: ConditionalNoiseContrastiveEstimation(-1.0), "noise_scale"),
        (lambda: ConditionalNoiseContrastiveEstimation(noise_ratio=0), "noise_ratio"),
        (lambda: DensityNoiseContrastiveEstimation(noise(), 0), "noise_ratio"),
        (lambda: SlicedScoreMatching(0), "n_slices"),
        (lambda: SlicedScoreMatching(directions="axes"), "directions"),
        (lambda: GaussianNoise([0.0], [[1.0, 0.0]]), "covariance"),
        (lambda: GaussianNoise([0.0], [0.0]), "covariance: expected variances > 0, got 0 of feature 0"),
        (lambda: GaussianNoise([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "positive definite"),
        (lambda: GaussianNoise([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (lambda: GaussianNoise.of_data([[1.0, 2.0]]), "X: expected at least two rows"),
        (lambda: noise().log_density(rows(d=3)), "X"),
    ],
)
def test_bad_input_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# --- noise


@pytest.mark.parametrize("diagonal", [False, True])
def test_gaussian_noise_is_the_normal_distribution(diagonal: bool, dtype: Any) -> None:
    covariance = noise().covariance
    made = GaussianNoise(noise().mean, np.diag(covariance) if diagonal else covariance)
    full = np.diag(np.diag(covariance)) if diagonal else covariance
    X = made.sample(20_000, Draws(0, 5), dtype)
    assert X.dtype == dtype
    assert_allclose(X.mean(axis=0), made.mean, atol=0.1)
    assert_allclose(np.cov(X.T), full, atol=0.1 * full.max())
    assert_allclose(
        made.log_density(X[:9]), stats.multivariate_normal(made.mean, full).logpdf(X[:9]), rtol=1e-6
    )
    again, log_density = made.sample_with_log_density(100, Draws(0, 5, 50), dtype)
    assert_allclose(log_density, made.log_density(again), rtol=1e-5)
    assert_allclose(again, X[50:150], rtol=1e-5)


def test_noise_of_data_has_their_moments() -> None:
    X = rows(50) @ rows(D, seed=7) + 2
    made = GaussianNoise.of_data(X)
    assert_allclose(made.mean, X.mean(axis=0))
    assert_allclose(made.covariance, np.cov(X.T, bias=True))
    with pytest.raises(ValueError, match="positive definite"):
        GaussianNoise.of_data(X[:3])
    regular = GaussianNoise.of_data(X[:3], regularization=0.01).covariance
    extra = regular - np.cov(X[:3].T, bias=True)
    assert_allclose(extra, 0.01 * X[:3].var(axis=0).mean() * np.eye(D), atol=1e-12)


# --- what they find


def test_denoising_finds_the_blurred_precision() -> None:
    """The loss is quadratic in the precision: its minimum follows from gradients at as many points."""
    factor = np.array([[1.0, 0.0], [0.8, 0.7]])
    X = np.random.default_rng(0).normal(size=(40_000, 2)) @ factor.T
    loss, energy = DenoisingScoreMatching(0.5), GaussianEnergy.diagonal(2)

    def gradient(entries: Any) -> Any:
        at = energy.with_parameters({"mean": np.zeros(2), "precision": entries})
        return loss.value_and_gradient(at, {}, X, Draws(0, 0))[1]["precision"]

    start = gradient(np.zeros(3))
    curvature = np.stack([gradient(e) - start for e in np.eye(3)], axis=1)
    found = GaussianEnergy(np.zeros(2), np.linalg.solve(curvature, -start)).precision_matrix()
    blurred = np.linalg.inv(factor @ factor.T + 0.25 * np.eye(2))
    assert np.linalg.norm(found - blurred) < 0.02 * np.linalg.norm(blurred)
    assert np.linalg.norm(found - np.linalg.inv(factor @ factor.T)) > 0.5 * np.linalg.norm(blurred)


def test_score_matching_finds_the_inverse_of_the_samples_covariance() -> None:
    X = rows(500) @ rows(D, seed=3)
    covariance = np.cov(X.T, bias=True)
    energy = GaussianEnergy(X.mean(axis=0), np.linalg.inv(covariance))
    _, gradient, _ = ExactScoreMatching().value_and_gradient(energy, {}, X, DRAWS)
    assert_allclose(gradient["mean"], 0, atol=1e-9)
    assert_allclose(gradient["precision"], 0, atol=1e-9)


def test_nce_is_level_at_the_truth() -> None:
    """With exact data both gradients vanish in the mean; here to within their sampling error."""
    truth = GaussianNoise([0.2, -0.1], [[1.0, 0.3], [0.3, 0.5]])
    X = truth.sample(20_000, Draws(9, 1), np.float64)
    energy = GaussianEnergy(truth.mean, np.linalg.inv(truth.covariance))
    own = {"log_normalizer": np.array([energy.log_partition()])}
    loss = DensityNoiseContrastiveEstimation(GaussianNoise([0.0, 0.0], [1.5, 1.0]), 2)
    _, gradient, of_own = loss.value_and_gradient(energy, own, X, DRAWS)
    assert max(np.abs(g).max() for g in (*gradient.values(), *of_own.values())) < 0.02


# --- variational


class MixturePosterior:
    """The mixture's own posterior; it has no parameters."""

    is_enumerated = True

    def __init__(self, energy: GaussianMixtureEnergy) -> None:
        self.energy, self.parameters = energy, {}

    def with_parameters(self, parameters: Any) -> Any:
        return self

    def latents(self, X: Any, n_latents: int, draws: Draws) -> Any:
        log_q = self.energy.log_posterior(X)
        return np.broadcast_to(np.arange(log_q.shape[1])[:, None], (*log_q.shape, 1)), log_q, None

    def pullback(self, tape: Any, of_log_q: Any, of_Z: Any) -> Any:
        return {}


class LinearGaussian:
    """log phi(x, z) = -1/2 exp(-2 l) (x - w z)^2 - 1/2 z^2, one feature and one latent."""

    offers = frozenset({"log_joint"})

    def __init__(self, w: float = 0.8, log_sigma: float = -0.2) -> None:
        self.parameters = {"w": np.array([w]), "log_sigma": np.array([log_sigma])}

    def with_parameters(self, parameters: Any) -> Any:
        return LinearGaussian(parameters["w"][0], parameters["log_sigma"][0])

    def log_joint(self, X: Any, Z: Any) -> Any:
        beta = np.exp(-2 * self.parameters["log_sigma"])
        error = X - Z * self.parameters["w"]
        return (-0.5 * beta * error**2 - 0.5 * Z**2)[:, 0], (Z, error, beta)

    def pull_log_joint(self, tape: Any, gradient: Any) -> Any:
        Z, error, beta = tape
        g = gradient[:, None]
        of_w, of_log_sigma = (g * beta * error * Z).sum(axis=0), (g * beta * error**2).sum(axis=0)
        return {"w": of_w, "log_sigma": of_log_sigma}, g * (beta * error * self.parameters["w"] - Z)

    def log_marginal(self, X: Any) -> Any:
        """log of the integral of phi over z."""
        (w,), (variance,) = self.parameters["w"], np.exp(2 * self.parameters["log_sigma"])
        return 0.5 * np.log(2 * np.pi * variance / (variance + w**2)) - 0.5 * X[:, 0] ** 2 / (variance + w**2)


MIXTURE = GaussianMixtureEnergy([0.3, -0.2, 0.0], rows(3, 2, 4), [0.1, -0.3, 0.2])


def categorical(n_states: int = 3, d: int = 2) -> CategoricalPosterior:
    return CategoricalPosterior(filled(DenseNetwork.random(d, (3,), n_states, random_state=0)))


@pytest.mark.parametrize("nu", [1, 3])
def test_gradients_of_the_variational_bound(nu: int) -> None:
    loss = VariationalNoiseContrastiveEstimation(noise(2), categorical(), nu)
    check_gradients(loss, MIXTURE, rows(4, 2))


@pytest.mark.parametrize("n_latents", [1, 5])
def test_gradients_go_through_samples_of_the_posterior(n_latents: int) -> None:
    q = GaussianPosterior(filled(DenseNetwork.random(1, (3,), 2, random_state=0)))
    loss = VariationalNoiseContrastiveEstimation(noise(1), q, 2, n_latents)
    check_gradients(loss, LinearGaussian(), rows(4, 1))


@pytest.mark.parametrize("nu", [1, 3])
def test_the_variational_bound_by_its_definition(nu: int) -> None:
    X, c, q = rows(6, 2), 0.4, categorical()
    loss = VariationalNoiseContrastiveEstimation(noise(2), q, nu)
    own = {**loss.first_parameters(MIXTURE, X), "log_normalizer": np.array([c])}
    key = Draws(DRAWS.seed, _rng.STREAM_NOISE, nu * DRAWS.first_row, DRAWS.step)
    Y = noise(2).sample(nu * len(X), key, np.float64)
    phi = [np.exp(MIXTURE.log_posterior(x) - MIXTURE.value(x)[0][:, None] - c) for x in (X, Y)]
    p = [np.exp(noise(2).log_density(x)) for x in (X, Y)]
    expected = reference.variational(phi[0], np.exp(q.latents(X, 1, key)[1]), p[0], phi[1], p[1], nu)
    assert_allclose(loss.value_and_gradient(MIXTURE, own, X, DRAWS)[0], expected)


@pytest.mark.parametrize("nu", [1, 5])
def test_the_bound_holds_and_is_tight_at_the_posterior(nu: int) -> None:
    X, own = rows(20, 2), {"log_normalizer": np.array([MIXTURE.log_partition()])}
    nce = DensityNoiseContrastiveEstimation(noise(2), nu).value_and_gradient(MIXTURE, own, X, DRAWS)
    tight = VariationalNoiseContrastiveEstimation(noise(2), MixturePosterior(MIXTURE), nu)
    found = tight.value_and_gradient(MIXTURE, own, X, DRAWS)
    assert_allclose(found[0], nce[0], rtol=1e-12)
    assert relative(found[1], nce[1]) < 1e-10  # the bound touches NCE's objective there
    for seed in range(5):
        q = CategoricalPosterior(filled(DenseNetwork.random(2, (), 3, random_state=seed), seed))
        loss = VariationalNoiseContrastiveEstimation(noise(2), q, nu)
        beside = {**loss.first_parameters(MIXTURE, X), **own}
        assert loss.value_and_gradient(MIXTURE, beside, X, DRAWS)[0] > nce[0] + 1e-3


def test_few_samples_of_the_noise_term_bias_the_bound_upward() -> None:
    """Of q broader than the posterior; data so many that only the noise term's samples matter."""
    energy, X = LinearGaussian(), np.full((4000, 1), 0.5)
    q = GaussianPosterior(DenseNetwork([[[0.4], [0.0]]], [[0.0, 0.3]], ["identity"]))

    def of_noise(n_latents: int) -> float:
        loss = VariationalNoiseContrastiveEstimation(GaussianNoise([0.0], [2.0]), q, 1, n_latents)
        own = {**loss.first_parameters(energy, X), "log_normalizer": np.zeros(1)}
        seen = [loss.value_and_gradient(energy, own, X, DRAWS)[0]]
        Z, log_q, _ = q.latents(X, n_latents, Draws(3, _rng.STREAM_DATA_LATENTS, 10, 2))
        pairs = np.repeat(X, n_latents, axis=0), Z.reshape(-1, 1)
        log_ratio = energy.log_joint(*pairs)[0].reshape(log_q.shape) - log_q
        level = GaussianNoise([0.0], [2.0]).log_density(X)[:, None]
        return seen[0] - float(reference.softplus(level - log_ratio).mean(axis=1).mean())

    key = Draws(DRAWS.seed, _rng.STREAM_NOISE, DRAWS.first_row, DRAWS.step)
    Y = GaussianNoise([0.0], [2.0]).sample(len(X), key, np.float64)
    odds = energy.log_marginal(Y) - GaussianNoise([0.0], [2.0]).log_density(Y)
    exact = float(reference.softplus(odds).mean())
    few, many = of_noise(1), of_noise(50)
    assert few < many < exact + 1e-3
    assert exact - few > 10 * abs(exact - many)


def test_posteriors_are_normalised_and_named() -> None:
    X = rows(6, 2)
    Z, log_q, _ = categorical().latents(X, 1, DRAWS)
    assert Z.shape == (6, 3, 1)
    assert_allclose(np.exp(log_q).sum(axis=1), 1)
    q = GaussianPosterior(filled(DenseNetwork.random(2, (3,), 4, random_state=0)))
    Z, log_q, _ = q.latents(X, 3, DRAWS)
    mean, log_deviation = np.split(q.network.forward(X)[0], 2, axis=1)
    expected = stats.norm(mean[:, None], np.exp(log_deviation)[:, None]).logpdf(Z).sum(axis=-1)
    assert_allclose(log_q, expected)
    assert_array_equal(Z[2:4], q.latents(X[2:4], 3, Draws(3, 0, 12, 2))[0])
    for call, message in (
        (lambda: GaussianPosterior(DenseNetwork.random(2, (), 3)), "even number"),
        (lambda: CategoricalPosterior(DenseNetwork.random(2, (), 3), [[0.0]]), "states"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="network"):
        CategoricalPosterior(None)
    with pytest.raises(TypeError, match="tape"):
        categorical().pullback(None, log_q)
