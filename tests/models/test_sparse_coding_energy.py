"""The energy of sparse coding against its reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reference import sparse_coding as reference
from thalweg._base import LatentEnergy
from thalweg.energies import SparseCodingEnergy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4))
D = RNG.normal(size=(5, 4))
Z = RNG.normal(size=(6, 5)) * (RNG.random((6, 5)) < 0.6)


@pytest.mark.parametrize("penalty", ["l1", "l0", "l1/2", "l2/3"])
@pytest.mark.parametrize("shape", [(), (5,), (6, 1), (6, 5)])
@pytest.mark.parametrize("l2", [0.0, 0.7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_value_is_the_reference(penalty: str, shape: tuple[int, ...], l2: float, dtype: Any) -> None:
    alpha = RNG.uniform(0.1, 1.0, size=shape)
    rows = np.broadcast_to(alpha, (6, 5))
    expected = [reference.energy(X[i], Z[i], D, rows[i], penalty, l2) for i in range(6)]
    value = SparseCodingEnergy(D.astype(dtype), alpha, penalty=penalty, l2=l2).value(
        X.astype(dtype), Z.astype(dtype)
    )
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, expected, rtol=1e-12 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_is_that_of_the_smooth_part(dtype: Any) -> None:
    none = np.zeros(5)
    expected = [
        reference.numerical_gradient(lambda z, i=i: reference.energy(X[i], z, D, none, "l1", 0.7), Z[i])
        for i in range(6)
    ]
    energy = SparseCodingEnergy(D.astype(dtype), 0.3, l2=0.7)
    gradient = energy.gradient(X.astype(dtype), Z.astype(dtype))
    assert isinstance(energy, LatentEnergy)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, expected, atol=1e-6 if dtype == np.float64 else 1e-4)


def test_bad_input_is_named() -> None:
    energy = SparseCodingEnergy(D)
    with pytest.raises(ValueError, match="X: expected 4 features"):
        energy.value(X[:, 1:], Z)
    with pytest.raises(ValueError, match=r"Z: expected shape \(6, 5\)"):
        energy.value(X, Z[:, 1:])
    with pytest.raises(ValueError, match="alpha: expected a scalar"):
        SparseCodingEnergy(D, np.ones(3)).value(X, Z)
    with pytest.raises(ValueError, match="alpha: expected numbers >= 0"):
        SparseCodingEnergy(D, -1.0)
    with pytest.raises(ValueError, match="penalty: expected one of"):
        SparseCodingEnergy(D, penalty="l2")
