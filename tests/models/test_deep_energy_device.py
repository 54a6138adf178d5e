"""Deep energy models with device="cuda": what they learn, what goes in and comes out, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from thalweg import DeepEnergyModel
from thalweg.energies import DeepEnergy
from thalweg.losses import DenoisingScoreMatching
from thalweg.persistence import load_model, save_model

LOSSES = ("nce", "conditional_nce", "cd")


def small(**options: Any) -> DeepEnergyModel:
    given = {"hidden_layer_sizes": (4, 3), "n_iter": 2, "batch_size": 25, "random_state": 0, **options}
    return DeepEnergyModel(5, **{"n_leapfrog": 3, "loss": "nce", **given})


def rows(n: int = 50, d: int = 3, dtype: Any = np.float64) -> Any:
    return np.random.default_rng(0).normal(size=(n, d)).astype(dtype)


@pytest.mark.parametrize("loss", LOSSES)
def test_learning_is_that_of_the_host(loss: str, cuda: Any) -> None:
    X, step = rows(), 0.3  # a step that adapts makes of rounding what chaos does
    host, found = (small(loss=loss, sampler_step=step, device=d).fit(X) for d in ("cpu", "cuda"))
    for name, p in host.energy_.parameters.items():
        there = found.energy_.parameters[name]
        assert isinstance(there, np.ndarray)
        assert_allclose(there, p, rtol=1e-9, atol=1e-9, err_msg=name)
    assert_allclose(found.loss_curve_, host.loss_curve_, rtol=1e-9)
    again = small(loss=loss, sampler_step=step, device="cuda").fit(cuda.to_device(X))
    assert_array_equal(again.filters_, found.filters_)


def test_rows_on_the_device_are_answered_there(dtype: Any, cuda: Any) -> None:
    X = rows(dtype=dtype)
    model = small(device="cuda").fit(X)
    host = small(device="cpu").fit(X)
    x = cuda.to_device(X)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-9}
    for method in ("free_energy", "score_samples", "score_function", "transform"):
        there, here = getattr(model, method)(x), getattr(model, method)(X)
        assert isinstance(there, cuda.DeviceArray)
        assert isinstance(here, np.ndarray)
        assert_array_equal(there.numpy(), here)
        assert here.dtype == (dtype if method in ("score_function", "transform") else np.float64)
        assert_allclose(here, getattr(host, method)(X), **tolerance)
    options: dict[str, Any] = {"n_steps": 2, "n_leapfrog": 2, "warm_up": 40, "random_state": 1}
    chains = model.run_chains(x[:7], **options)
    assert isinstance(chains.X, cuda.DeviceArray)
    expected = model.run_chains(X[:7], **options)
    assert isinstance(expected.X, np.ndarray)
    assert_array_equal(chains.X.numpy(), expected.X)
    assert isinstance(model.sample(init=x[:2], **options), cuda.DeviceArray)
    assert isinstance(model.sample(2, **options), np.ndarray)
    assert model.sample(2, **options).dtype == dtype
    modes = model.modes(x[:3])
    assert isinstance(modes, cuda.DeviceArray)
    assert_array_equal(modes.numpy(), model.modes(X[:3]))
    assert_allclose(modes.numpy(), host.modes(X[:3]), atol=1e-3)


def test_log_partition_on_the_device(cuda: Any) -> None:
    X, options = rows(), {"n_runs": 5, "temperatures": 10, "n_leapfrog": 2, "random_state": 0}
    host, found = (small(device=device, loss="conditional_nce").fit(X) for device in ("cpu", "cuda"))
    assert_allclose(found.log_partition(**options).log_z, host.log_partition(**options).log_z, rtol=1e-9)


def test_models_go_from_one_device_to_another(tmp_path: Any, cuda: Any) -> None:
    X = rows()
    model = small(device="cuda").fit(X)
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.device == "cuda"
    assert_array_equal(loaded.free_energy(X), model.free_energy(X))
    loaded.set_params(device="cpu")
    assert_allclose(loaded.free_energy(X), model.free_energy(X), rtol=1e-12)
    assert_allclose(loaded.partial_fit(X).filters_, model.partial_fit(X).filters_, rtol=1e-9)


def test_what_has_no_kernels_is_refused(cuda: Any) -> None:
    X = rows()
    for loss in ("score_matching", "denoising", "sliced"):
        with pytest.raises(ValueError, match=f"device: loss='{loss}' has no kernels with device='cuda'"):
            small(loss=loss, device="cuda").fit(X)
    with pytest.raises(ValueError, match="DeepEnergy does not offer with device='cuda'"):
        small(loss=DenoisingScoreMatching(0.3), device="cuda").fit(X)
    energy = DeepEnergy.random(3, (4,), 5, random_state=0, device="cuda")
    assert energy.on("cuda") is energy
    assert energy.on("cpu").device == "cpu"
    for call in (
        lambda: energy.score(X),
        lambda: energy.curvature(X, X),
        lambda: energy.score_matching(X),
    ):
        with pytest.raises(ValueError, match="has no kernels with device='cuda'"):
            call()
    assert_allclose(energy.value(X)[0], energy.on("cpu").value(X)[0], rtol=1e-12)


def test_bad_arguments_of_the_device(cuda: Any) -> None:
    X, x = rows(), cuda.to_device(rows())
    for value in ("gpu", None, 0):
        with pytest.raises(ValueError, match="device: expected 'cpu' or 'cuda'"):
            small(device=value).fit(X)
    model, host = small(device="cuda").fit(X), small().fit(X)
    with pytest.raises(TypeError, match="X: an array on a CUDA device"):
        host.free_energy(x)
    with pytest.raises(TypeError, match="X: an array on a CUDA device"):
        small().fit(x)
    with pytest.raises(TypeError, match="init: an array on a CUDA device"):
        host.run_chains(x)
    with pytest.raises(TypeError, match="X: an array on a CUDA device"):
        host.transform(x)
    with pytest.raises(ValueError, match="X has 2 features, but DeepEnergyModel is expecting 3"):
        model.free_energy(x.reshape((75, 2)))
    with pytest.raises(ValueError, match=r"init: expected 3 features"):
        model.run_chains(x.reshape((75, 2)))
    with pytest.raises(ValueError, match="X: expected 2 dimension"):
        model.free_energy(x.reshape((150,)))
    with pytest.raises(ValueError, match="X: expected at least one row"):
        model.fit(x[:0])
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="X: every element must be finite"):
            model.free_energy(cuda.to_device(np.full((2, 3), bad)))
