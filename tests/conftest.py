"""Backend, dtype and tolerance travel together; real data lies at THALWEG_DATA, else beside the project."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "thalweg",
    deadline=None,
    max_examples=40,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("thalweg")


@pytest.fixture(params=["cpu"])
def backend(request):
    return request.param


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
