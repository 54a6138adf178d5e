"""The energies of restricted Boltzmann machines against enumeration and finite differences."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, csr_matrix

from reference import rbm as reference
from thalweg.energies import BernoulliRBMEnergy, GaussianRBMEnergy, bernoulli_rbm, gaussian_rbm

KINDS = ["bernoulli", "gaussian"]
SIZES = [(1, 1), (3, 5), (7, 2), (8, 8)]  # hidden, visible


def machine_of(kind: str, n_hidden: int, n_visible: int, seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    machine = {
        "weights": scale * rng.normal(size=(n_hidden, n_visible)),
        "visible_bias": rng.normal(size=n_visible),
        "hidden_bias": rng.normal(size=n_hidden),
    }
    return machine if kind == "bernoulli" else {**machine, "sigma": rng.uniform(0.5, 2.0, n_visible)}


def energy_of(machine: dict[str, Any], dtype: Any = np.float64) -> Any:
    kind = GaussianRBMEnergy if "sigma" in machine else BernoulliRBMEnergy
    return kind(**{name: parameter.astype(dtype) for name, parameter in machine.items()})


def rows_of(kind: str, n_rows: int, n_visible: int, seed: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    if kind == "gaussian":
        return 2 * rng.normal(size=(n_rows, n_visible))
    return (rng.random((n_rows, n_visible)) < 0.4).astype(float)


def assert_same(found: dict[str, Any], expected: dict[str, Any], **tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        assert_allclose(found[name], expected[name], err_msg=name, **tolerance)


# --- energy, free energy, conditional probabilities


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_values_are_the_reference(kind: str, size: tuple[int, int], dtype: Any, rtol: float) -> None:
    machine = machine_of(kind, *size)
    X = rows_of(kind, 6, size[1]).astype(dtype)
    H = (np.random.default_rng(2).random((6, size[0])) < 0.5).astype(dtype)
    energy = energy_of(machine, dtype)
    close = {"rtol": rtol, "atol": 10 * rtol}

    value = energy.value(X, H)
    assert value.dtype == np.float64
    assert_allclose(value, [reference.energy(x, h, machine) for x, h in zip(X, H)], **close)
    free = energy.free_energy(X)
    assert free.dtype == np.float64
    assert_allclose(free, reference.free_energy(X, machine), **close)
    mean = energy.hidden_mean(X)
    assert mean.dtype == energy.hidden_logits(X).dtype == dtype
    assert_allclose(mean, reference.hidden_probability(X, machine), **close)
    assert_allclose(1 / (1 + np.exp(-energy.hidden_logits(X))), mean, rtol=10 * rtol)
    visible = energy.visible_mean(H)
    assert visible.dtype == dtype
    assert_allclose(visible, reference.visible_expectation(H, machine), **close)


@pytest.mark.parametrize("kind", KINDS)
def test_free_energy_is_finite_at_huge_activations(kind: str) -> None:
    W = np.repeat([[1e4], [-1e4]], 3, axis=0) * np.linspace(0.5, 1, 6)[:, None]
    machine = {"weights": W, "visible_bias": np.array([2.0]), "hidden_bias": np.zeros(6)}
    if kind == "gaussian":
        machine["sigma"] = np.ones(1)
    X = np.array([[0.0], [1.0], [-1.0]])
    energy = energy_of(machine, np.float32)
    found = energy.free_energy(X.astype(np.float32))
    assert np.abs(energy.hidden_logits(X.astype(np.float32))).max() == 1e4
    assert_allclose(found, reference.free_energy(X, machine), rtol=1e-6)
    assert np.isfinite(energy.score_function(X.astype(np.float32))).all()


def test_free_energy_sums_in_float64() -> None:
    # 100,000 units of log 2 each: a float32 sum would lose the fourth digit after the point.
    energy = BernoulliRBMEnergy(*(np.zeros(n, np.float32) for n in [(100_000, 2), 2, 100_000]))
    found = energy.free_energy(np.ones((3, 2), np.float32))
    assert_allclose(found, -100_000 * np.log(2), rtol=5e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_blocks_are_rows(kind: str) -> None:
    machine = machine_of(kind, 1500, 40, scale=0.1)
    energy, X = energy_of(machine), rows_of(kind, 1700, 40)
    H = (np.random.default_rng(2).random((1700, 1500)) < 0.5).astype(float)
    some = [0, 698, 699, 1398, 1699]  # on both sides of the blocks' ends
    assert_allclose(energy.free_energy(X)[some], energy.free_energy(X[some]), rtol=1e-13)
    assert_allclose(energy.value(X, H)[some], energy.value(X[some], H[some]), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_given_is_not_written_to_and_may_be_of_any_kind(kind: str) -> None:
    machine = machine_of(kind, 3, 5)
    energy = energy_of(machine)
    X = np.ones((4, 5), bool)
    for rows in (X, X.astype(np.uint8), X.tolist(), np.asfortranarray(X.astype(float))):
        assert_allclose(energy.free_energy(rows), energy.free_energy(np.ones((4, 5))))
    fixed = np.ones((4, 5))
    fixed.setflags(write=False)
    energy.pseudo_log_likelihood(fixed)
    energy.dlog_density(fixed, np.ones(4))
    assert_array_equal(energy.weights, machine["weights"])
    assert np.shares_memory(type(energy)(**machine).weights, machine["weights"])


@pytest.mark.parametrize("make", [csr_array, csr_matrix])
def test_sparse_rows_are_dense_rows(make: Any, dtype: Any, rtol: float) -> None:
    energy = energy_of(machine_of("bernoulli", 4, 7), dtype)
    X, H, w = rows_of("bernoulli", 9, 7).astype(dtype), np.full((9, 4), 0.3, dtype), np.linspace(-1, 1, 9)
    S = make(X)
    for method in (
        energy.free_energy,
        energy.hidden_logits,
        energy.hidden_mean,
        energy.score_function,
        energy.pseudo_log_likelihood,
    ):
        assert type(method(S)) is np.ndarray
        assert method(S).dtype == method(X).dtype
        assert_allclose(method(S), method(X), rtol=rtol, atol=rtol)
    assert_allclose(energy.value(S, H), energy.value(X, H), rtol=rtol)
    for found, expected in [
        (energy.gradient(S, H, w), energy.gradient(X, H, w)),
        (energy.dlog_density(S, w), energy.dlog_density(X, w)),
    ]:
        assert all(type(part) is np.ndarray and part.dtype == dtype for part in found.values())
        assert_same(found, expected, rtol=rtol, atol=10 * rtol)


# --- log Z


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [*SIZES, (12, 12), (5, 12), (12, 5)])
@pytest.mark.parametrize("block", [None, 16])
def test_log_partition_is_brute_force(
    kind: str, size: tuple[int, int], block: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if block is not None:  # small machines would be one block otherwise
        monkeypatch.setattr(bernoulli_rbm, "BLOCK", block)
        monkeypatch.setattr(gaussian_rbm, "BLOCK", block)
    machine = machine_of(kind, *size, seed=sum(size))
    assert energy_of(machine).log_partition() == pytest.approx(reference.log_partition(machine), abs=1e-10)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("kind", KINDS)
def test_log_partition_of_extreme_weights(kind: str, scale: float) -> None:
    machine = machine_of(kind, 6, 6, scale=scale)
    assert energy_of(machine).log_partition() == pytest.approx(reference.log_partition(machine), rel=1e-12)


@pytest.mark.parametrize("n_visible", [1, 2])
def test_gaussian_log_partition_is_the_integral(n_visible: int) -> None:
    machine = machine_of("gaussian", 4, n_visible, seed=3)
    # The trapezoidal rule is exact to rounding for a mixture of normals at such a step.
    axes = [np.arange(-40, 40, 0.25) for _ in range(n_visible)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, n_visible)
    total = np.exp(-reference.free_energy(grid, machine)).sum() * 0.25**n_visible
    assert energy_of(machine).log_partition() == pytest.approx(np.log(total), abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_log_partition_in_many_blocks_of_little_memory(kind: str) -> None:
    # Two halves that do not know each other: log Z is the sum of two that brute force finds.
    halves = [machine_of(kind, 9, 10, seed=s, scale=0.7) for s in (1, 2)]
    zero = np.zeros((9, 10))
    both = {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}
    both["weights"] = np.block([[halves[0]["weights"], zero], [zero, halves[1]["weights"]]])
    tracemalloc.start()
    try:
        found = energy_of(both).log_partition()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == pytest.approx(sum(map(reference.log_partition, halves)), abs=1e-9)
    assert peak < 40e6


def test_log_partition_enumerates_the_smaller_side() -> None:
    wide, tall = energy_of(machine_of("bernoulli", 3, 300)), energy_of(machine_of("bernoulli", 300, 3))
    assert np.isfinite([wide.log_partition(max_units=3), tall.log_partition(max_units=3)]).all()
    turned = BernoulliRBMEnergy(tall.weights.T, tall.hidden_bias, tall.visible_bias)
    assert turned.log_partition() == pytest.approx(tall.log_partition(), rel=1e-14)


def test_too_many_units_say_how_many_and_what_else() -> None:
    bernoulli = energy_of(machine_of("bernoulli", 26, 30))
    with pytest.raises(ValueError, match=r'26 hidden units .* 2\*\*26 = 67,108,864 states.*"ais"'):
        bernoulli.log_partition()
    turned = BernoulliRBMEnergy(bernoulli.weights.T, bernoulli.hidden_bias, bernoulli.visible_bias)
    with pytest.raises(ValueError, match="26 visible units"):
        turned.log_partition()
    gaussian = energy_of(machine_of("gaussian", 500, 2))
    with pytest.raises(ValueError, match=r"500 hidden units .* 2\*\*500 = about 1e150 states.*max_units=25"):
        gaussian.log_partition()
    with pytest.raises(ValueError, match="max_units=2 allows"):
        energy_of(machine_of("gaussian", 3, 2)).log_partition(max_units=2)
    with pytest.raises(TypeError, match="max_units: expected an integer"):
        bernoulli.log_partition(max_units=3.0)


# --- gradients


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_score_function_is_the_slope(kind: str, size: tuple[int, int], dtype: Any) -> None:
    machine, X = machine_of(kind, *size), rows_of(kind, 5, size[1])
    found = energy_of(machine, dtype).score_function(X.astype(dtype))
    assert found.dtype == dtype
    expected = reference.numerical_slope(lambda rows: -reference.free_energy(rows, machine), X)
    assert_allclose(found, expected, atol=1e-7 if dtype == np.float64 else 1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_gradients_are_the_slopes_and_the_reference(kind: str, size: tuple[int, int], dtype: Any) -> None:
    rng = np.random.default_rng(5)
    machine, X = machine_of(kind, *size), rows_of(kind, 4, size[1])
    H, w = rng.random((4, size[0])), rng.normal(size=4)  # probabilities serve as well as states
    energy, tolerance = energy_of(machine, dtype), 1e-7 if dtype == np.float64 else 5e-4

    found = energy.gradient(X.astype(dtype), H.astype(dtype), w)
    assert all(part.dtype == dtype for part in found.values())
    rows = [reference.minus_energy_gradient(x, h, machine) for x, h in zip(X, H)]
    assert_same(found, reference.combine(rows, w), atol=tolerance)
    if size != (8, 8):
        slope = reference.numerical_gradient(
            lambda m: -sum(w[i] * reference.energy(X[i], H[i], m) for i in range(4)), machine
        )
        assert_same(found, slope, atol=tolerance)

    found = energy.dlog_density(X.astype(dtype), w)
    assert all(part.dtype == dtype for part in found.values())
    assert_same(
        found, reference.combine(reference.minus_free_energy_gradients(X, machine), w), atol=tolerance
    )
    slope = reference.numerical_gradient(lambda m: -(w @ reference.free_energy(X, m)), machine)
    assert_same(found, slope, atol=tolerance)


@pytest.mark.parametrize("size", SIZES)
def test_score_matching_is_the_reference_and_its_slopes(size: tuple[int, int], dtype: Any) -> None:
    machine, X = machine_of("gaussian", *size), rows_of("gaussian", 5, size[1])
    tolerance = {"rtol": 1e-7, "atol": 1e-6} if dtype == np.float64 else {"rtol": 1e-4, "atol": 5e-3}
    objective, gradient = energy_of(machine, dtype).score_matching(X.astype(dtype))
    assert isinstance(objective, float)
    assert_allclose(
        objective, reference.score_matching(X, machine), rtol=1e-12 if dtype == np.float64 else 1e-5
    )
    assert all(part.dtype == dtype for part in gradient.values())
    slope = reference.numerical_gradient(lambda m: reference.score_matching(X, m), machine)
    assert_same(gradient, slope, **tolerance)


def test_score_matching_is_the_score_and_its_divergence() -> None:
    machine, X = machine_of("gaussian", 4, 3), rows_of("gaussian", 6, 3)
    energy = energy_of(machine)
    psi = energy.score_function(X)
    divergence = sum(
        reference.numerical_slope(lambda rows, j=j: energy.score_function(rows)[:, j], X)[:, j]
        for j in range(3)
    )
    expected = (0.5 * (psi**2).sum(axis=1) + divergence).mean()
    assert energy.score_matching(X)[0] == pytest.approx(expected, abs=1e-8)


def test_score_matching_recovers_a_normal() -> None:
    # Without weights the objective is least at the mean and the standard deviation of the data.
    X = rows_of("gaussian", 50, 3) + 1.0
    energy = GaussianRBMEnergy(np.zeros((2, 3)), X.mean(axis=0), np.zeros(2), X.std(axis=0))
    gradient = energy.score_matching(X)[1]
    for name in ("visible_bias", "log_sigma", "hidden_bias"):
        assert_allclose(gradient[name], 0, atol=1e-12)


# --- pseudo-likelihood


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
def test_pseudo_log_likelihood_is_the_loop_over_features(
    kind: str, size: tuple[int, int], scale: float
) -> None:
    machine, X = machine_of(kind, *size, scale=scale), rows_of(kind, 7, size[1])
    found = energy_of(machine).pseudo_log_likelihood(X)
    assert found.dtype == np.float64
    assert_allclose(found, reference.pseudo_log_likelihood(X, machine), rtol=1e-11, atol=1e-11)


def test_pseudo_log_likelihood_of_values_between_the_bits() -> None:
    machine, X = machine_of("bernoulli", 4, 6), np.random.default_rng(0).random((5, 6))
    found = energy_of(machine).pseudo_log_likelihood(X)
    assert_allclose(found, reference.pseudo_log_likelihood(X, machine), rtol=1e-12)


@pytest.mark.parametrize(("size", "n_rows"), [((12, 12), 4000), ((700, 500), 3)])
def test_pseudo_log_likelihood_in_blocks(size: tuple[int, int], n_rows: int) -> None:
    energy, X = energy_of(machine_of("bernoulli", *size, scale=0.2)), rows_of("bernoulli", n_rows, size[1])
    total = np.zeros(n_rows)
    for j in range(size[1]):
        flipped = X.copy()
        flipped[:, j] = 1 - X[:, j]
        total -= np.logaddexp(0, energy.free_energy(X) - energy.free_energy(flipped))
    assert_allclose(energy.pseudo_log_likelihood(X), total, rtol=1e-9)


@pytest.mark.parametrize("scale", [3.0, 40.0, 400.0])
@pytest.mark.parametrize("n_visible", [1, 3])
def test_gaussian_quadrature_at_far_modes(scale: float, n_visible: int) -> None:
    machine = machine_of("gaussian", 8, n_visible, seed=4, scale=scale)
    rng = np.random.default_rng(0)
    H = (rng.random((40, 8)) < 0.5).astype(float)
    X = reference.visible_expectation(H, machine) + machine["sigma"] * rng.normal(size=(40, n_visible))
    # A hidden unit alone is as likely on as off, whatever its distance.
    machine["hidden_bias"] = -0.5 * np.diag(
        (machine["weights"] / machine["sigma"] ** 2) @ machine["weights"].T
    )
    found = energy_of(machine).pseudo_log_likelihood(X)
    assert_allclose(found, reference.pseudo_log_likelihood(X, machine), rtol=1e-8, atol=1e-8)


def test_gaussian_quadrature_of_a_staircase() -> None:
    # Equal weights with biases in steps: equal modes at 0, c, ..., 12 c standard deviations, far apart.
    c, sigma, n_hidden = 30.0, 0.2, 12
    energy = GaussianRBMEnergy(
        np.full((n_hidden, 1), c * sigma), [0.0], -(c**2) * (np.arange(n_hidden) + 0.5), [sigma]
    )
    t = np.linspace(-4, 12 * c + 4, 300)
    expected = reference.log_sum_exp(-0.5 * (t[:, None] - c * np.arange(n_hidden + 1)) ** 2, axis=1)
    expected -= np.log((n_hidden + 1) * np.sqrt(2 * np.pi) * sigma)
    assert_allclose(energy.pseudo_log_likelihood(sigma * t[:, None]), expected, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_pseudo_log_likelihood_of_float32_is_summed_in_float64(kind: str) -> None:
    machine = {k: v.astype(np.float32) for k, v in machine_of(kind, 6, 5).items()}
    X = rows_of(kind, 4, 5).astype(np.float32)
    exact = reference.pseudo_log_likelihood(X.astype(float), {k: v.astype(float) for k, v in machine.items()})
    assert_allclose(energy_of(machine, np.float32).pseudo_log_likelihood(X), exact, rtol=1e-11)


# --- the references' own laws, on which the tests of training rest


@pytest.mark.parametrize("size", [(3, 4), (6, 5)])
def test_the_chain_is_in_detailed_balance(size: tuple[int, int]) -> None:
    machine = machine_of("bernoulli", *size)
    T, law = reference.transition(machine), reference.joint(machine).sum(axis=1)
    assert_allclose(T.sum(axis=1), 1, rtol=1e-12)
    assert_allclose(law[:, None] * T, (law[:, None] * T).T, atol=1e-16, rtol=1e-11)
    # The enumerated law is that of the energy.
    V = reference.states(size[1])
    energy = energy_of(machine)
    assert_allclose(np.exp(-energy.free_energy(V) - energy.log_partition()), law, rtol=1e-11)


def test_contrastive_divergence_tends_to_the_gradient() -> None:
    machine, X = machine_of("bernoulli", 3, 4, scale=0.7), rows_of("bernoulli", 6, 4)
    exact = reference.log_likelihood_gradient(X, machine)
    off = []
    for k in (1, 4, 16, 64):
        found = reference.contrastive_divergence_gradient(X, machine, k)
        off.append(max(np.abs(found[name] - exact[name]).max() for name in exact))
    assert off[0] > 1e-3
    assert off[0] > 2 * off[1] > 4 * off[2]
    assert off[3] < 1e-10


def test_likelihood_gradient_of_the_reference_is_the_slope() -> None:
    machine, X = machine_of("bernoulli", 3, 4), rows_of("bernoulli", 6, 4)
    slope = reference.numerical_gradient(
        lambda m: -reference.free_energy(X, m).mean() - reference.log_partition(m), machine
    )
    assert_same(reference.log_likelihood_gradient(X, machine), slope, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_contrastive_gradient_of_the_reference_is_the_slope(kind: str) -> None:
    machine, X, noise = machine_of(kind, 3, 4), rows_of(kind, 6, 4), rows_of(kind, 15, 4, seed=2)
    rng = np.random.default_rng(0)
    log_x, log_noise = rng.normal(size=6) - 3, rng.normal(size=15) - 3
    found = reference.nce_gradient(X, noise, log_x, log_noise, machine, 1.3)
    slope = reference.numerical_gradient(
        lambda m: reference.nce_objective(X, noise, log_x, log_noise, m, 1.3), machine
    )
    ends = [reference.nce_objective(X, noise, log_x, log_noise, machine, z) for z in (1.3 + 1e-5, 1.3 - 1e-5)]
    assert_same(found, {**slope, "log_z": (ends[0] - ends[1]) / 2e-5}, atol=1e-8)
    # The energies' gradient with the rows' weights is the same.
    weight = np.concatenate(
        [
            -reference.sigmoid(-reference._log_ratio(X, log_x, 2.5, machine, 1.3)),
            reference.sigmoid(reference._log_ratio(noise, log_noise, 2.5, machine, 1.3)),
        ]
    )
    ours = energy_of(machine).dlog_density(np.concatenate([X, noise]), weight / 6)
    assert_same(ours, {name: found[name] for name in ours}, atol=1e-10)


# --- errors


def test_bad_parameters_are_named() -> None:
    W, a, b = np.ones((2, 3)), np.zeros(3), np.zeros(2)
    for kind, rest in ((BernoulliRBMEnergy, ()), (GaussianRBMEnergy, (np.ones(3),))):
        with pytest.raises(ValueError, match=r"weights: expected shape \(n_components, n_features\)"):
            kind(a, a, b, *rest)
        with pytest.raises(ValueError, match=r"visible_bias: expected shape \(3,\), got \(2,\)"):
            kind(W, b, b, *rest)
        with pytest.raises(ValueError, match=r"hidden_bias: expected shape \(2,\), got \(3,\)"):
            kind(W, a, a, *rest)
        with pytest.raises(ValueError, match="weights: Complex data not supported"):
            kind(W * 1j, a, b, *rest)
    with pytest.raises(ValueError, match=r"sigma: expected shape \(3,\), got \(\)"):
        GaussianRBMEnergy(W, a, b, 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_rows_are_named(kind: str) -> None:
    energy = energy_of(machine_of(kind, 2, 3))
    X, H = np.ones((4, 3)), np.ones((4, 2))
    for method in (
        energy.free_energy,
        energy.hidden_logits,
        energy.hidden_mean,
        energy.score_function,
        energy.pseudo_log_likelihood,
    ):
        with pytest.raises(ValueError, match=r"X: expected shape \(n_samples, 3\), got \(4, 2\)"):
            method(H)
        with pytest.raises(ValueError, match=r"X: expected shape \(n_samples, 3\), got \(3,\)"):
            method(X[0])
    with pytest.raises(ValueError, match=r"H: expected shape \(n_samples, 2\), got \(4, 3\)"):
        energy.visible_mean(X)
    with pytest.raises(ValueError, match=r"V: expected shape \(n_samples, 3\)"):
        energy.value(H, H)
    with pytest.raises(ValueError, match="H: expected 4 rows, as V has"):
        energy.value(X, H[1:])
    with pytest.raises(ValueError, match="hidden: expected 4 rows, as visible has"):
        energy.gradient(X, H[1:], np.ones(4))
    with pytest.raises(ValueError, match=r"weight: expected shape \(4,\), got \(3,\)"):
        energy.gradient(X, H, np.ones(3))
    with pytest.raises(ValueError, match=r"weight: expected shape \(4,\), got \(\)"):
        energy.dlog_density(X, 1.0)


def test_kinds_of_rows_that_are_refused() -> None:
    gaussian = energy_of(machine_of("gaussian", 2, 3))
    with pytest.raises(TypeError, match=r"X: a dense array is required, .* X.toarray\(\)"):
        gaussian.free_energy(csr_array(np.ones((4, 3))))
    with pytest.raises(ValueError, match="X: expected at least one row"):
        gaussian.score_matching(np.ones((0, 3)))
    bernoulli = energy_of(machine_of("bernoulli", 2, 3))
    with pytest.raises(ValueError, match="X: expected real numbers, got dtype complex128"):
        bernoulli.free_energy(csr_array(np.ones((4, 3)) * 1j))
    with pytest.raises(ValueError, match=r"X: expected shape \(n_samples, 3\), got \(4, 2\)"):
        bernoulli.free_energy(csr_array(np.ones((4, 2))))


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_give_no_rows(kind: str) -> None:
    energy, none = energy_of(machine_of(kind, 2, 3)), np.ones((0, 3))
    assert energy.free_energy(none).shape == energy.pseudo_log_likelihood(none).shape == (0,)
    assert energy.hidden_mean(none).shape == (0, 2)
    assert energy.score_function(none).shape == (0, 3)
    assert not energy.dlog_density(none, np.ones(0))["weights"].any()
