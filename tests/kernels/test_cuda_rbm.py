"""Boltzmann machines on the device beside the CPU's, and what only a device has: graphs, orders of blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from reference import gibbs as reference
from reference import rbm
from thalweg._base import Bits, Draws, Phase
from thalweg.inference.annealing import anneal_downwards, anneal_upwards
from thalweg.inference.gibbs import RbmMachine, on_host, pack, unpack, zero_bits

KINDS = ("bernoulli", "gaussian")
DRAWS = Draws(seed=2**40 + 17, stream=8, first_row=2**33 + 5, step=2**32 - 30)

every_kind = pytest.mark.parametrize("kind", KINDS)


def parameters(kind: str, n_hidden: int, n_visible: int, dtype: Any, scale: float = 0.3) -> list[Any]:
    rng = np.random.default_rng(0)
    made = [
        scale * rng.normal(size=(n_hidden, n_visible)),
        rng.normal(size=n_visible),
        rng.normal(size=n_hidden),
    ]
    if kind == "gaussian":
        made.append(rng.uniform(0.5, 2, n_visible))
    return [a.astype(dtype) for a in made]


def machines(kind: str, n_hidden: int, n_visible: int, dtype: Any, scale: float = 0.3) -> list[RbmMachine]:
    """The device's and the CPU's."""
    given = parameters(kind, n_hidden, n_visible, dtype, scale)
    return [RbmMachine.of(*given, device=device) for device in ("cuda", "cpu")]


def states(n: int, n_units: int, dtype: Any) -> Any:
    return (np.random.default_rng(1).random((n, n_units)) < 0.4).astype(dtype)


# --- beside the CPU


@pytest.mark.parametrize("shape", [(33, 70, 40), (270, 20, 300), (20, 270, 300)], ids=str)
def test_draws_are_those_of_the_cpu_where_the_probabilities_are(shape, dtype, cuda):
    """Small blocks and large ones; in float64 the sums are the same bits."""
    n_hidden, n_visible, n = shape
    on_device, on_cpu = machines("bernoulli", n_hidden, n_visible, dtype)
    X = states(n, n_visible, dtype)
    mean, drawn = on_device.draw_hidden(X, DRAWS)
    expected_mean, expected = on_cpu.draw_hidden(X, DRAWS)
    is_equal = mean == expected_mean
    assert is_equal.mean() > (0.05 if dtype == np.float32 else 0.6)
    found, wanted = (reference.unpack(b.words, n_hidden) for b in (drawn, expected))
    assert_array_equal(found[is_equal], wanted[is_equal])
    assert (found != wanted).sum() <= 1
    if dtype == np.float64:
        assert_array_equal(on_device.hidden_logits(X), on_cpu.hidden_logits(X))


def test_real_rows_have_the_sums_of_the_cpu(dtype, cuda):
    on_device, on_cpu = machines("gaussian", 40, 70, dtype)
    X = np.random.default_rng(2).normal(size=(70, 70)).astype(dtype)
    assert_array_equal(on_device.hidden_logits(X), on_cpu.hidden_logits(X))


@every_kind
def test_chains_in_float64_are_those_of_the_cpu(kind, cuda):
    """150 sweeps, most of them in graphs."""
    on_device, on_cpu = machines(kind, 20, 33, np.float64)
    found, expected = zero_bits(13, 20), zero_bits(13, 20)
    visible, mean = on_device.sweep(found, 150, DRAWS)
    expected_visible, expected_mean = on_cpu.sweep(expected, 150, DRAWS)
    assert_array_equal(found.words, expected.words)
    assert_allclose(mean, expected_mean, rtol=1e-10)
    if kind == "bernoulli":
        assert_array_equal(visible.words, expected_visible.words)
    else:
        assert_allclose(visible, expected_visible, rtol=1e-8, atol=1e-8)


def test_statistics_are_those_of_the_cpu(dtype, cuda):
    on_device, on_cpu = machines("bernoulli", 33, 70, dtype)
    rng = np.random.default_rng(3)
    X, H, w = rng.random((50, 70)), rng.random((50, 33)), rng.normal(size=50)
    phase = Phase(*(a.astype(dtype) for a in (X, H, w)))
    found, expected = on_device.statistics([phase, phase]), on_cpu.statistics([phase, phase])
    assert_array_equal(found.up[:, :33], expected.up[:, :33])
    tolerance = 10 * np.finfo(dtype).eps * np.abs(w).sum()
    assert_allclose(found.visible_bias, expected.visible_bias, rtol=0, atol=tolerance)
    assert_allclose(found.hidden_bias, expected.hidden_bias, rtol=0, atol=tolerance)


@every_kind
def test_estimates_of_log_z_are_those_of_the_cpu(kind, cuda):
    on_device, on_cpu = machines(kind, 12, 20, np.float64)
    base = (np.zeros(20), np.ones(20) if kind == "gaussian" else None)
    t = np.linspace(0, 1, 120)
    start = states(13, 20, np.float64)
    for found, expected in (
        [anneal_upwards(m, *base, t, 13, 7) for m in (on_device, on_cpu)],
        [anneal_downwards(m, *base, t, start, 5, 7) for m in (on_device, on_cpu)],
    ):
        assert_allclose(found.log_weights, expected.log_weights, atol=1e-8)
        assert found.log_z_base == expected.log_z_base


# --- whole numbers in the place of weights


@pytest.mark.parametrize("largest", [1.0, 30.0, 1e3, 1e6])
def test_weights_of_very_different_size(largest, cuda):
    """Sums err by a few roundings of all absolute weights of the unit, whichever of them are asked for."""
    rng = np.random.default_rng(4)
    weights = rng.normal(size=(40, 500)).astype(np.float32)
    weights[::2, 7] = largest
    bias = np.zeros(500, np.float32), np.zeros(40, np.float32)
    machine = RbmMachine.of(weights, *bias, device="cuda")
    X = states(20, 500, np.float32)
    X[::2, 7] = 0
    exact = X.astype(np.float64) @ weights.T.astype(np.float64)
    error = np.abs(machine.hidden_logits(X) - exact)
    rounding = np.abs(exact) * 2.0**-23
    assert (error <= rounding + np.abs(weights).sum(axis=1, dtype=np.float64) * 2.0**-24).all()


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_weights_of_any_size(scale, cuda):
    weights = (np.random.default_rng(5).normal(size=(33, 40)) * scale).astype(np.float32)
    bias = np.zeros(40, np.float32), np.zeros(33, np.float32)
    X = states(13, 40, np.float32)
    found = RbmMachine.of(weights, *bias, device="cuda").hidden_logits(X)
    assert_allclose(found, X.astype(np.float64) @ weights.T.astype(np.float64), rtol=1e-5, atol=2e-6 * scale)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_units_of_weights_that_are_not_finite_have_no_logit(value, cuda):
    weights = np.ones((33, 40), np.float32)
    weights[5, 3] = value
    machine = RbmMachine.of(weights, np.zeros(40, np.float32), np.zeros(33, np.float32), device="cuda")
    logits = machine.hidden_logits(states(3, 40, np.float32))
    assert np.isnan(logits[:, 5]).all()
    assert np.isfinite(np.delete(logits, 5, axis=1)).all()


def test_machines_that_do_not_fit_on_chip(cuda):
    """The states' words of 64 rows are more than a block's memory: sums are chains of multiply-adds."""
    on_device, on_cpu = machines("bernoulli", 3, 30_000, np.float32, 0.01)
    X = states(2, 30_000, np.float32)
    found, expected = on_device.hidden_logits(X), on_cpu.hidden_logits(X)
    assert_allclose(found, expected, atol=2e-5)


# --- the same bits


@every_kind
def test_the_same_bits_in_any_order_of_blocks_and_threads(kind, dtype, cuda, monkeypatch):
    if not cuda.is_emulated:
        pytest.skip("a device has no order to choose")
    machine = machines(kind, 70, 100, dtype)[0]
    base = (np.zeros(100, dtype), np.ones(100, dtype) if kind == "gaussian" else None)
    found = []
    for order in ("forward", "reverse"):
        monkeypatch.setenv("THALWEG_EMULATION_ORDER", order)
        chains = zero_bits(70, 70)
        visible, mean = machine.sweep(chains, 3, DRAWS)
        v = unpack(visible, dtype) if isinstance(visible, Bits) else visible
        gradient = machine.statistics([Phase(v, mean, np.ones(70, dtype))])
        weights = anneal_upwards(machine, *base, np.linspace(0, 1, 5), 13, 3).log_weights
        found.append([chains.words, v, mean, gradient.up, gradient.visible_bias, weights])
    for a, b in zip(*found):
        assert_array_equal(a, b)


def test_the_same_seed_gives_the_same_bits(dtype, cuda):
    machine = machines("bernoulli", 33, 40, dtype)[0]
    first, second = (zero_bits(20, 33) for _ in range(2))
    for chains in (first, second):
        machine.sweep(chains, 100, DRAWS)
    assert_array_equal(first.words, second.words)
    other = zero_bits(20, 33)
    machine.sweep(other, 100, Draws(1, 8))
    assert (other.words != first.words).any()


# --- arrays on the device


def test_states_stay_where_they_are(dtype, cuda):
    on_device, on_cpu = machines("bernoulli", 33, 40, dtype)
    X = states(20, 40, dtype)
    placed = on_device.place(X)
    mean, hidden = on_device.draw_hidden(placed, DRAWS)
    visible, last = on_device.sweep(hidden, 3, DRAWS)
    assert all(isinstance(a, cuda.DeviceArray) for a in (mean, hidden.words, visible.words, last))
    _, expected = on_device.draw_hidden(X, DRAWS)
    expected_visible, expected_last = on_device.sweep(expected, 3, DRAWS)
    assert isinstance(expected_last, np.ndarray)
    for a, b in ((hidden, expected), (visible, expected_visible)):
        assert_array_equal(on_host(a).words, b.words)
    assert_array_equal(last.numpy(), expected_last)
    assert_array_equal(unpack(visible, dtype).numpy(), reference.unpack(expected_visible.words, 40))
    weight = np.ones(20, dtype)
    found = on_device.statistics([Phase(visible, last, weight)])
    assert_array_equal(found.up, on_device.statistics([Phase(expected_visible, expected_last, weight)]).up)
    assert on_device.place(placed) is placed
    assert on_cpu.place(X) is X
    bits, is_binary = pack(placed)
    assert is_binary
    assert_array_equal(bits.words.numpy(), reference.pack(X))


def test_bits_on_the_device_beyond_the_units_are_refused(dtype, cuda):
    machine = machines("bernoulli", 33, 40, dtype)[0]
    words = np.zeros((2, 70), np.uint32)
    words[1, 66] = 1 << 8
    for given in (words, cuda.to_device(words)):
        with pytest.raises(
            ValueError, match=r"^visible: expected no bits beyond 40 units, got some in row 66"
        ):
            machine.hidden(Bits(given, 40))
        with pytest.raises(ValueError, match=r"^hidden: expected no bits beyond 33 units"):
            machine.sweep(Bits(given, 33), 1, DRAWS)


def test_devices_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"^device: expected 'cpu' or 'cuda', got 'tpu'"):
        RbmMachine.of(*parameters("bernoulli", 3, 4, np.float32), device="tpu")


# --- long chains


@every_kind
def test_long_chains_have_the_machines_moments(kind, dtype, cuda):
    weights, visible_bias, hidden_bias, *sigma = parameters(kind, 3, 4, dtype, 0.8)
    machine = RbmMachine.of(weights, visible_bias, hidden_bias, *sigma, device="cuda")
    n, burn_in = 256, 40
    chains = machine.place(zero_bits(n, 3))
    total = np.zeros(4)
    n_kept = 10
    for i in range(n_kept):  # apart by some sweeps
        visible, _ = machine.sweep(chains, burn_in if i == 0 else 8, Draws(5, 8, 0, 100 * i))
        v = unpack(visible, dtype) if isinstance(visible, Bits) else visible
        total += on_host(v).mean(axis=0, dtype=np.float64) / n_kept
    exact = {"weights": weights, "visible_bias": visible_bias, "hidden_bias": hidden_bias}
    exact |= {"sigma": sigma[0]} if sigma else {}
    exact = {name: a.astype(np.float64) for name, a in exact.items()}
    H = ((np.arange(8)[:, None] >> np.arange(3)) & 1).astype(np.float64)
    minus_free_energy = H @ exact["hidden_bias"]
    means = rbm.visible_expectation(H, exact)
    if kind == "bernoulli":
        minus_free_energy += np.logaddexp(0, H @ exact["weights"] + exact["visible_bias"]).sum(axis=1)
    else:
        shift = H @ exact["weights"] + exact["visible_bias"]
        minus_free_energy += (shift**2 / (2 * exact["sigma"] ** 2)).sum(axis=1)
    law = np.exp(minus_free_energy - minus_free_energy.max())
    expected = law / law.sum() @ means
    spread = (
        0.5
        if kind == "bernoulli"
        else np.sqrt(exact["sigma"] ** 2 + np.abs(exact["weights"]).sum(axis=0) ** 2)
    )
    assert (np.abs(total - expected) <= 5 * spread / np.sqrt(n * n_kept / 3)).all()
