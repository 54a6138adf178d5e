"""Backend, dtype and tolerance travel together; real data lies at THALWEG_DATA, else beside the project."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from thalweg import _native

settings.register_profile(
    "thalweg",
    deadline=None,
    max_examples=40,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("thalweg")


def cuda_fault():
    """Why backend "cuda" cannot be tested here, or None."""
    try:
        _native.cuda()
    except RuntimeError as error:
        return str(error)
    return None


CUDA_FAULT = cuda_fault()


@pytest.fixture(params=["cpu", "cuda"])
def backend(request):
    """A device's name: tests that take it run once a backend, where that is there."""
    if request.param == "cuda" and CUDA_FAULT is not None:
        pytest.skip(f"backend cuda: {CUDA_FAULT}")
    return request.param


@pytest.fixture
def cuda():
    """The module of the CUDA backend, or of its emulation."""
    if CUDA_FAULT is not None:
        pytest.skip(f"backend cuda: {CUDA_FAULT}")
    return _native.cuda()


@pytest.fixture
def cuda_module():
    """The module of the CUDA backend for what it does without a device."""
    try:
        return _native.load_cuda()
    except RuntimeError as error:
        pytest.skip(f"backend cuda: {error}")


@pytest.fixture
def kernels(backend):
    """The compiled module of the backend."""
    return _native.kernels(backend)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture
def rtol(dtype):
    """Relative agreement to ask of a well-conditioned product in this dtype."""
    return 2e-5 if dtype == np.float32 else 1e-11


@pytest.fixture
def rng():
    return np.random.default_rng(20240229)


@pytest.fixture(scope="session")
def data_root():
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("THALWEG_DATA", beside))
    if not root.is_dir():
        pytest.skip("real data: neither THALWEG_DATA nor ../shared/data is there")
    return root


@pytest.fixture(scope="session")
def natural_root(data_root):
    if not (data_root / "natural").is_dir():
        pytest.skip("real data: no folder 'natural' with the Kodak photographs")
    return data_root / "natural"


@pytest.fixture(scope="session")
def mnist_root(data_root):
    if not (data_root / "mnist").is_dir():
        pytest.skip("real data: no folder 'mnist' with the IDX files")
    return data_root / "mnist"
