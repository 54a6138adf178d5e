"""What the losses of densities share: sums of gradients, and noise whose density is positive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._base import Draws, NoiseDistribution, Parameters
from .._check import FloatArray, float_array


class NoNoiseDensityError(ValueError):
    """Noise whose density is zero, or not finite, where there are data."""

    def __init__(self, value: float, row: int, count: int, n: int, of: str = "X") -> None:
        self.row = row  # of those that were given
        self._words = (value, count, n, of)
        super().__init__(self.at(row))

    def at(self, row: int) -> str:
        """The message, for whom that row has this number."""
        value, count, n, of = self._words
        return (
            "noise: expected a density that is positive and finite wherever there are data, but its "
            f"logarithm is {value:g} at row {row} of {of}, the first of {count} such rows among {n}"
        )


def rows_of(X: Any) -> FloatArray:
    """`X` as at least one row."""
    rows = float_array(X, "X", ndim=2)
    if not len(rows):
        raise ValueError(f"X: expected at least one row, got shape {rows.shape}")
    return rows


def scaled(gradients: Parameters, factor: float) -> Parameters:
    return {name: g * g.dtype.type(factor) for name, g in gradients.items()}


def added(a: Parameters, b: Parameters) -> Parameters:
    return {name: a[name] + b[name] for name in a} if a else b


def log_noise_density(noise: NoiseDistribution, X: FloatArray, of: str = "X") -> NDArray[np.float64]:
    """log p_n of every row, which must be finite; `of` says whose rows they are."""
    made = np.asarray(noise.log_density(X), np.float64)
    if made.shape != (len(X),):
        raise ValueError(f"noise: expected log densities of shape ({len(X)},), got {made.shape}")
    wrong = np.flatnonzero(~np.isfinite(made))
    if wrong.size:
        raise NoNoiseDensityError(float(made[wrong[0]]), int(wrong[0]), wrong.size, len(X), of)
    return made


def noise_rows(
    noise: NoiseDistribution, n: int, draws: Draws, dtype: Any
) -> tuple[FloatArray, NDArray[np.float64]]:
    """Samples and their log densities; by `sample_with_log_density`, which is cheaper, where there is one."""
    both = getattr(noise, "sample_with_log_density", None)
    if both is not None:
        X, log_density = both(n, draws, dtype)
        return X, log_density
    X = noise.sample(n, draws, dtype)
    return X, log_noise_density(noise, X, "its own samples")
