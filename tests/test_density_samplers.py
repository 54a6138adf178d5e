"""Samplers of densities: what they leave invariant, what they are biased by, how they adapt and fail."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from thalweg import _rng
from thalweg._base import Draws
from thalweg.energies import DeepEnergy
from thalweg.inference.annealing import annealing_schedule
from thalweg.inference.density_annealing import anneal_density
from thalweg.inference.langevin import (
    DualAveraging,
    HamiltonianMonteCarlo,
    Langevin,
    MetropolisAdjustedLangevin,
)

DRAWS = Draws(seed=11, stream=_rng.STREAM_DENSITY_CHAINS, first_row=5, step=3)
DEVIATIONS = np.array([0.5, 1.0, 2.0])


class Normal:
    """N(0, diag(DEVIATIONS^2)), or of the deviations given."""

    def __init__(self, deviations: Any = DEVIATIONS) -> None:
        self.precision = 1 / np.asarray(deviations, np.float64) ** 2

    def value(self, X: Any) -> tuple[Any, None]:
        return 0.5 * (X.astype(np.float64) ** 2 @ self.precision), None

    def score_function(self, X: Any) -> Any:
        return (-X * self.precision).astype(X.dtype)


class Refusing(Normal):
    """Does not take numbers that are large, as energies may that overflow."""

    def value(self, X: Any) -> tuple[Any, None]:
        if np.abs(X).max() > 100:
            raise FloatingPointError("too large")
        return super().value(X)


class ByNumpy:
    """An energy without its native form."""

    def __init__(self, energy: Any) -> None:
        self.value, self.score_function = energy.value, energy.score_function


def exact_samples(n: int) -> Any:
    return _rng.normal_rows(0, 999, 0, (n, 3)) * DEVIATIONS


def deep(dtype: Any = np.float64, sizes: Any = (6,), d: int = 8, sigma: float = 1.0) -> DeepEnergy:
    energy = DeepEnergy.random(d, sizes, 5, "sigmoid", sigma, random_state=0, dtype=dtype)
    rng = np.random.default_rng(1)
    own = {name: (p + 0.5 * rng.normal(size=p.shape)).astype(dtype) for name, p in energy.parameters.items()}
    return energy.with_parameters(own)


SAMPLERS = {
    "mala": MetropolisAdjustedLangevin(0.3),
    "hmc": HamiltonianMonteCarlo(0.4, 4),
    "hmc of few": HamiltonianMonteCarlo(0.8, 2),
}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_known_densities_are_invariant(sampler: Any) -> None:
    chains = sampler.run(Normal(), exact_samples(20_000), 10, DRAWS)
    assert 0.3 < chains.acceptance < 0.999
    X = chains.X / DEVIATIONS
    for j in range(3):
        assert stats.kstest(X[:, j], "norm").pvalue > 0.001
    assert_allclose(np.cov(X.T), np.eye(3), atol=0.04)
    assert_allclose(X.mean(axis=0), 0, atol=0.04)


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_known_densities_are_found(sampler: Any) -> None:
    chains = sampler.run(Normal(), np.full((4000, 3), 2.0), 60, DRAWS, warm_up=60)
    X = chains.X / DEVIATIONS
    assert_allclose(X.var(axis=0), 1, atol=0.15)


def test_native_chains_of_a_mixture_of_normals_are_invariant() -> None:
    """The deep energy of no layers is a Gaussian-Bernoulli RBM: exact samples by its 2^5 components."""
    energy = deep(sizes=(), d=3)
    rbm = energy.gaussian_rbm()
    H = (np.arange(32)[:, None] >> np.arange(5) & 1).astype(float)
    means = rbm.visible_mean(H)
    logits = H @ rbm.hidden_bias + 0.5 * (means**2).sum(axis=1)
    share = np.exp(logits - logits.max())
    pick = np.random.default_rng(0).choice(32, size=20_000, p=share / share.sum())
    start = means[pick] + _rng.normal_rows(1, 999, 0, (20_000, 3))
    mean, covariance = start.mean(axis=0), np.cov(start.T)
    for sampler in (MetropolisAdjustedLangevin(0.8), HamiltonianMonteCarlo(0.7, 4)):
        chains = sampler.run(energy, start, 10, DRAWS)
        assert chains.acceptance < 0.99
        assert_allclose(chains.X.mean(axis=0), mean, atol=0.05)
        assert_allclose(np.cov(chains.X.T), covariance, atol=0.15)
        for j in range(3):
            assert stats.ks_2samp(chains.X[:, j], start[:, j]).pvalue > 0.001


def test_the_bias_of_langevin_falls_with_the_step() -> None:
    """Of a normal of variance v it is v / (1 - step / (4 v)) at the end."""
    biases = []
    for step in (1.6, 0.8, 0.1):
        chains = Langevin(step).run(Normal([1.0]), np.zeros((10_000, 1)), 60, DRAWS)
        assert chains.acceptance == 1
        assert_allclose(chains.X.var(), 1 / (1 - step / 4), rtol=0.06)
        biases.append(abs(chains.X.var() - 1))
    assert biases[0] > 1.5 * biases[1] > 2 * biases[2]


@pytest.mark.parametrize("sampler", [Langevin(0.2), *SAMPLERS.values()], ids=["langevin", *SAMPLERS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_native_and_numpy_agree(sampler: Any, dtype: Any) -> None:
    energy = deep(dtype)
    X = _rng.normal_rows(0, 999, 0, (30, 8), dtype)
    kept = X.copy()
    native = sampler.run(energy, X, 3, DRAWS)
    plain = sampler.run(ByNumpy(energy), X, 3, DRAWS)
    assert native.X.dtype == plain.X.dtype == dtype
    tolerance = 1e-4 if dtype == np.float32 else 1e-10
    assert_allclose(native.X, plain.X, atol=tolerance)
    assert_allclose(native.chain_acceptance, plain.chain_acceptance, atol=10 * tolerance)
    assert_array_equal(X, kept)
    assert_array_equal(sampler.run(energy, X, 3, DRAWS, n_jobs=2).X, native.X)


def test_steps_are_runs_of_some_moves() -> None:
    energy, X = deep(), _rng.normal_rows(0, 999, 0, (5, 8))
    sampler = HamiltonianMonteCarlo(0.3, 2, n_moves=4)
    assert sampler.needs == {"value", "score"}
    found = sampler.step(energy, X, DRAWS)
    assert_array_equal(found, sampler.run(energy, X, 4, replace(DRAWS, step=12)).X)
    assert_array_equal(sampler.run(energy, X, 0, DRAWS).X, X)


# --- on a device


@pytest.mark.parametrize("sampler", [Langevin(0.2), *SAMPLERS.values()], ids=["langevin", *SAMPLERS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chains_on_the_device_are_those_of_the_host(sampler: Any, dtype: Any, cuda: Any) -> None:
    energy = deep(dtype)
    X = _rng.normal_rows(0, 999, 0, (30, 8), dtype)
    there = replace(sampler, device="cuda")
    host, found = (each.run(energy, X, 3, DRAWS) for each in (sampler, there))
    tolerance = 1e-4 if dtype == np.float32 else 1e-10
    assert found.X.dtype == dtype
    assert_allclose(found.X, host.X, atol=tolerance)
    assert_allclose(found.chain_acceptance, host.chain_acceptance, atol=10 * tolerance)
    x = cuda.to_device(X)
    stayed = there.run(energy, x, 3, DRAWS)
    assert isinstance(stayed.X, cuda.DeviceArray)
    assert isinstance(stayed.chain_acceptance, np.ndarray)
    assert_array_equal(stayed.X.numpy(), found.X)
    assert_array_equal(x.numpy(), X)
    with pytest.raises(TypeError, match="X: an array on a CUDA device"):
        sampler.run(energy, x, 3, DRAWS)
    with pytest.raises(
        ValueError, match="device: 'cuda' moves chains of energies with compiled kernels only"
    ):
        there.run(ByNumpy(energy), X, 3, DRAWS)
    with pytest.raises(ValueError, match="X: every element must be finite"):
        there.run(energy, cuda.to_device(np.full_like(X, np.nan)), 1, DRAWS)


def test_chains_on_the_device_leave_a_mixture_invariant(cuda: Any) -> None:
    """Moments of exact samples, from the Gaussian-Bernoulli RBM, stay as they are."""
    energy = deep(sizes=(), d=2)
    rbm = energy.gaussian_rbm()
    H = (np.arange(32)[:, None] >> np.arange(5) & 1).astype(float)
    means = rbm.visible_mean(H)
    logits = H @ rbm.hidden_bias + 0.5 * (means**2).sum(axis=1)
    share = np.exp(logits - logits.max())
    pick = np.random.default_rng(0).choice(32, size=1200, p=share / share.sum())
    start = means[pick] + _rng.normal_rows(1, 999, 0, (1200, 2))
    for sampler in (
        MetropolisAdjustedLangevin(0.8, device="cuda"),
        HamiltonianMonteCarlo(0.9, 3, device="cuda"),
    ):
        chains = sampler.run(energy, start, 3, DRAWS)
        assert 0.5 < chains.acceptance < 0.99
        assert not np.array_equal(chains.X, start)
        assert_allclose(chains.X.mean(axis=0), start.mean(axis=0), atol=0.25)
        assert_allclose(np.cov(chains.X.T), np.cov(start.T), atol=0.8)
        for j in range(2):
            assert stats.ks_2samp(chains.X[:, j], start[:, j]).pvalue > 0.001


def test_chains_that_diverge_on_the_device_halve_the_step(cuda: Any) -> None:
    energy, X = deep(d=3, sigma=0.5), exact_samples(6)
    for sampler in (Langevin(4000.0), HamiltonianMonteCarlo(1e6, 30)):
        with pytest.warns(RuntimeWarning, match="a chain diverged; step_size was halved"):
            host = sampler.run(energy, X, 4, DRAWS)
        with pytest.warns(RuntimeWarning, match="a chain diverged; step_size was halved"):
            found = replace(sampler, device="cuda").run(energy, X, 4, DRAWS)
        assert (found.n_halvings, found.step_size) == (host.n_halvings, host.step_size)
        assert_allclose(found.X, host.X, atol=1e-6)


def test_annealing_on_the_device(cuda: Any) -> None:
    energy = deep(d=2)
    mean = energy.sigma**2 * energy.parameters["visible_bias"]
    t = annealing_schedule(20)
    host, found = (
        anneal_density(energy, mean, energy.sigma, t, 30, 3, n_leapfrog=3, n_pilots=5, device=device)
        for device in ("cpu", "cuda")
    )
    assert_allclose(found.log_weights, host.log_weights, rtol=1e-7, atol=1e-7)
    with pytest.raises(ValueError, match="device: 'cuda' moves chains"):
        anneal_density(Normal(), np.zeros(3), 1.0, t, 4, 0, device="cuda")


# --- adaptation


def test_the_step_adapts_to_the_target_and_only_in_the_warm_up() -> None:
    X = exact_samples(500)
    for sampler, target in (
        (MetropolisAdjustedLangevin(1e-4), 0.574),
        (HamiltonianMonteCarlo(20.0, 3), 0.65),
    ):
        chains = sampler.run(Normal(), X, 50, DRAWS, warm_up=200)
        assert abs(chains.acceptance - target) < 0.13  # of HMC no monotone function of the step
        again = replace(sampler, step_size=chains.step_size).run(Normal(), X, 50, DRAWS)
        assert again.step_size == chains.step_size
    fixed = Langevin(0.1).run(Normal(), X, 5, DRAWS, warm_up=20)
    assert fixed.step_size == 0.1
    assert_array_equal(fixed.X, Langevin(0.1).run(Normal(), X, 25, DRAWS).X)


def test_dual_averaging_finds_a_root() -> None:
    adaptation = DualAveraging(1.0, 0.6)
    for _ in range(500):
        adaptation.update(float(np.exp(-adaptation.step)))
    assert_allclose(adaptation.final, -np.log(0.6), rtol=0.05)


# --- divergence


@pytest.mark.parametrize(
    "energy", [Normal(), Refusing(), deep(d=3, sigma=0.5)], ids=["numpy", "refusing", "native"]
)
def test_chains_that_diverge_halve_the_step(energy: Any) -> None:
    for sampler in (Langevin(4000.0), HamiltonianMonteCarlo(1e5, 60)):
        with pytest.warns(RuntimeWarning, match="a chain diverged; step_size was halved"):
            chains = sampler.run(energy, exact_samples(20), 30, DRAWS)
        assert chains.n_halvings > 0
        assert chains.step_size == sampler.step_size / 2**chains.n_halvings
        assert np.isfinite(chains.X).all()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = replace(sampler, step_size=chains.step_size).run(energy, exact_samples(20), 30, DRAWS)
        assert_array_equal(again.X, chains.X)


@pytest.mark.parametrize("sampler", [MetropolisAdjustedLangevin(1e6), HamiltonianMonteCarlo(1e3, 10)])
@pytest.mark.parametrize("is_native", [True, False])
def test_a_step_far_too_large_is_told_in_either_precision(sampler: Any, is_native: bool) -> None:
    """Whether H overflows, or is but finite and huge."""
    found = []
    for dtype in (np.float32, np.float64):
        energy = deep(dtype)
        X = _rng.normal_rows(0, 999, 0, (30, 8), dtype)
        with pytest.warns(RuntimeWarning, match="a chain diverged; step_size was halved"):
            found.append(sampler.run(energy if is_native else ByNumpy(energy), X, 5, DRAWS))
    assert found[0].n_halvings == found[1].n_halvings > 5
    assert found[0].acceptance > 0
    assert_allclose(found[0].acceptance, found[1].acceptance, atol=1e-3)


def test_halvings_are_bounded() -> None:
    with pytest.raises(
        FloatingPointError, match="HamiltonianMonteCarlo: chain 0 diverges even at step_size="
    ):
        HamiltonianMonteCarlo(1e60, 30).run(Normal(), exact_samples(2), 2, DRAWS)
    with pytest.raises(FloatingPointError, match="after 20 halvings"):
        Langevin(1e60).run(deep(), np.zeros((2, 8)), 2, DRAWS)


def test_bad_arguments() -> None:
    for make in (Langevin, MetropolisAdjustedLangevin, HamiltonianMonteCarlo):
        for bad in (0.0, -1.0, np.nan, np.inf):
            with pytest.raises(ValueError, match="step_size: expected a"):
                make(bad)
        with pytest.raises(TypeError, match="step_size: expected a real number"):
            make("0.1")
        with pytest.raises(ValueError, match="n_moves"):
            make(0.1, n_moves=0)
        with pytest.raises(ValueError, match="device: expected 'cpu' or 'cuda', got 'gpu'"):
            make(0.1, device="gpu")
    with pytest.raises(ValueError, match="n_leapfrog: expected an integer >= 1"):
        HamiltonianMonteCarlo(0.1, 0)
    with pytest.raises(ValueError, match="X: every element must be finite"):
        Langevin(0.1).run(Normal(), [[np.nan, 0, 0]], 1, DRAWS)
    with pytest.raises(ValueError, match=r"X: expected 2 dimension"):
        Langevin(0.1).run(Normal(), np.zeros(3), 1, DRAWS)
    with pytest.raises(ValueError, match="n_steps"):
        Langevin(0.1).run(Normal(), np.zeros((1, 3)), -1, DRAWS)


# --- annealing


def test_annealing_finds_the_normaliser_of_a_normal() -> None:
    exact = 1.5 * np.log(2 * np.pi) + np.log(DEVIATIONS).sum()
    made = anneal_density(Normal(), np.zeros(3), 1.0, np.linspace(0, 1, 101), 400, seed=0)
    assert made.method == "ais"
    assert abs(made.log_z - exact) < 4 * made.std_error < 0.2


@pytest.mark.parametrize("is_native", [True, False])
def test_annealing_finds_the_normaliser_of_a_mixture(is_native: bool) -> None:
    energy = deep(sizes=(), d=6, sigma=0.8)
    mean = energy.sigma**2 * energy.parameters["visible_bias"]
    t = annealing_schedule(200)
    made = anneal_density(energy if is_native else ByNumpy(energy), mean, energy.sigma, t, 300, seed=1)
    assert abs(made.log_z - energy.log_partition()) < 4 * made.std_error < 0.6


def test_annealing_of_a_deep_energy_in_either_precision() -> None:
    """Against the integral over a grid in two dimensions."""
    energy = deep(d=2)
    axis = np.linspace(-9, 9, 361)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    exact = float(np.log(np.exp(-energy.value(grid)[0]).sum() * (axis[1] - axis[0]) ** 2))
    mean = energy.sigma**2 * energy.parameters["visible_bias"]
    for dtype in (np.float32, np.float64):
        made = anneal_density(energy, mean, energy.sigma, annealing_schedule(100), 400, 3, dtype=dtype)
        assert abs(made.log_z - exact) < 4 * made.std_error < 0.2
