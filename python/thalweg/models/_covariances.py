"""Means and covariances of many rows, and what is done where there are too few of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._blas import one_blas_thread
from .._check import FloatArray
from ._density import blocks

# Smallest eigenvalue of a covariance, in units of the mean variance, that counts as measured: below it lie
# directions in which the samples do not differ, and roundings of float32.
_LEAST = 1e-9
_SHARE = 1e-3  # of the mean variance that is added where some are not


def covariance_of(X: FloatArray, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """1/n sum (x - mean)(x - mean)', shape (n_features, n_features), added up in float64."""
    made = np.zeros((X.shape[1], X.shape[1]))
    with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
        for block in blocks(len(X)):
            centred = X[block].astype(np.float64) - mean
            made += centred.T @ centred
    made /= len(X)
    if not np.isfinite(made).all():
        raise ValueError("X: the squares of its elements overflow; scale it down")
    return made


def lacking(covariance: NDArray[np.float64]) -> float:
    """How much must be added to all variances for the inverse to be meaningful; 0 where nothing must."""
    mean_variance = float(np.trace(covariance)) / len(covariance)
    with one_blas_thread:
        least = float(np.linalg.eigvalsh(covariance)[0])
    return 0.0 if least > _LEAST * mean_variance else _SHARE * mean_variance


def add_to_diagonal(matrix: NDArray[np.float64], amount: float) -> NDArray[np.float64]:
    """matrix + amount I, a new array."""
    made: NDArray[np.float64] = matrix.copy()
    made.flat[:: len(made) + 1] += amount
    return made
