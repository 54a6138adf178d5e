"""Restricted Boltzmann machines with device="cuda": learning, arrays on the device, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from thalweg import BernoulliRBM, GaussianBernoulliRBM
from thalweg.inference.gibbs import RbmMachine, pack

MODELS = (BernoulliRBM, GaussianBernoulliRBM)

every_model = pytest.mark.parametrize("model", MODELS)


def rows(dtype, n=60, n_features=12):
    return (np.random.default_rng(0).random((n, n_features)) < 0.4).astype(dtype)


def pair(model, X, **options):
    """The estimator learnt on the device, and on the CPU."""
    made = model(**{"n_components": 8, "n_iter": 2, "random_state": 0, **options})
    return clone(made).set_params(device="cuda").fit(X), made.fit(X)


@every_model
@pytest.mark.parametrize("loss", ["cd", "pcd", "fpcd", "pt", "nce"])
def test_learning_is_that_of_the_cpu(loss, model, dtype, cuda):
    X = rows(dtype)
    on_device, on_cpu = pair(model, X, loss=loss, n_temperatures=3)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for name in ("components_", "intercept_hidden_", "intercept_visible_"):
        found = getattr(on_device, name)
        assert isinstance(found, np.ndarray)
        assert found.dtype == dtype
        assert_allclose(found, getattr(on_cpu, name), atol=tolerance)
    again = clone(on_device).fit(X)
    assert_array_equal(again.components_, on_device.components_)


@every_model
@pytest.mark.parametrize(
    "options",
    [
        {"centering": True, "momentum": 0.5},
        {"sparsity_target": 0.2, "sparsity_cost": 0.1},
        {"sample_hidden": True, "n_gibbs_steps": 3, "n_chains": 15},
    ],
    ids=lambda o: next(iter(o)),
)
def test_learning_with_options_is_that_of_the_cpu(options, model, cuda):
    on_device, on_cpu = pair(model, rows(np.float64), **options)
    assert_allclose(on_device.components_, on_cpu.components_, atol=1e-12)


@every_model
def test_learning_goes_on_with_the_same_bits(model, dtype, cuda):
    X = rows(dtype)
    whole, _ = pair(model, X, n_iter=3)
    part, _ = pair(model, X, n_iter=1)
    part.set_params(n_iter=3).resume(X)
    assert_array_equal(part.components_, whole.components_)


@every_model
def test_arrays_of_the_device_go_in_and_come_out(model, dtype, cuda):
    X = rows(dtype)
    made, on_cpu = pair(model, X)
    given = cuda.to_device(X)
    for name in (
        "transform",
        "reconstruct",
        "sample_h",
        "gibbs",
        "free_energy",
        "score_samples",
        "score_function",
    ):
        options = {"random_state": 1} if name in ("sample_h", "gibbs") else {}
        found = getattr(made, name)(given, **options)
        expected = getattr(made, name)(X, **options)
        assert isinstance(found, cuda.DeviceArray)
        assert isinstance(expected, np.ndarray)
        assert found.dtype == expected.dtype
        assert_array_equal(found.numpy(), expected)
        assert_allclose(expected, getattr(on_cpu, name)(X, **options), atol=1e-4)
    hidden = made.sample_h(given, random_state=2)
    assert_array_equal(
        made.sample_v(hidden, random_state=3).numpy(), made.sample_v(hidden.numpy(), random_state=3)
    )
    assert_array_equal(made.energy(given, hidden).numpy(), made.energy(X, hidden.numpy()))
    drawn = made.sample(n_steps=5, init=given, random_state=4)
    assert_array_equal(drawn.numpy(), made.sample(n_steps=5, init=X, random_state=4))
    assert_array_equal(clone(made).fit(given).components_, made.components_)
    assert_array_equal(given.numpy(), X)


@every_model
def test_free_energies_of_many_rows(model, dtype, cuda):
    """More than are taken at a time."""
    sigma = np.array([0.5, 0.7, 2], dtype) if model is GaussianBernoulliRBM else None
    weights = np.random.default_rng(1).normal(size=(2, 3)).astype(dtype)
    machines = [
        RbmMachine.of(weights, np.ones(3, dtype), np.ones(2, dtype), sigma, device=device)
        for device in ("cuda", "cpu")
    ]
    X = rows(dtype, 16_390, 3)
    found, expected = (machine.free_energy(X) for machine in machines)
    assert_allclose(found, expected, rtol=1e-6)
    there = machines[0].free_energy_there(cuda.to_device(X))
    assert isinstance(there, cuda.DeviceArray)
    assert_array_equal(there.numpy(), found)
    if model is BernoulliRBM:
        bits, _ = pack(X)
        assert_array_equal(machines[0].free_energy(bits), found)


@every_model
def test_log_partition_is_that_of_the_cpu(model, cuda):
    X = rows(np.float64)
    made, on_cpu = pair(model, X)
    on_cpu.components_, on_cpu.intercept_hidden_ = made.components_, made.intercept_hidden_
    on_cpu.intercept_visible_ = made.intercept_visible_
    if model is GaussianBernoulliRBM:
        on_cpu.sigma_ = made.sigma_
    for options in ({"method": "ais"}, {"method": "reverse_ais", "X": X, "burn_in": 3}):
        found, expected = (
            m.log_partition(n_runs=10, temperatures=50, random_state=0, **options) for m in (made, on_cpu)
        )
        assert_allclose(found.log_z, expected.log_z, rtol=1e-9)


def test_what_does_not_fit_is_refused(cuda):
    X = rows(np.float32)
    with pytest.raises(ValueError, match=r"^device: expected 'cpu' or 'cuda', got 'gpu'"):
        BernoulliRBM(device="gpu").fit(X)
    with pytest.raises(ValueError, match=r'^device: "cuda" has no kernels for loss="score_matching"'):
        GaussianBernoulliRBM(loss="score_matching", device="cuda").fit(X)
    made, on_cpu = pair(BernoulliRBM, X)
    for call in (on_cpu.transform, on_cpu.fit, BernoulliRBM().fit):
        with pytest.raises(TypeError, match=r"X: an array on a CUDA device, where device='cpu'"):
            call(cuda.to_device(X))
    with pytest.raises(ValueError, match=r"^X has 11 features, but BernoulliRBM is expecting 12 features"):
        made.transform(cuda.to_device(np.ascontiguousarray(X[:, :11])))
    with pytest.raises(ValueError, match=r"^X: expected 2 dimension\(s\), got shape \(12,\)"):
        made.transform(cuda.to_device(X[0]))
    with pytest.raises(ValueError, match=r"^X: expected at least one row, got shape \(0, 12\)"):
        made.free_energy(cuda.to_device(X)[:0])
    X[3, 4] = np.nan
    with pytest.raises(ValueError, match=r"^X: every element must be finite, but it contains NaN"):
        made.transform(cuda.to_device(X))
