"""Gaussian noise for contrastive estimation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.linalg.blas import dtrmm, strmm

from .. import _rng
from .._base import Draws
from .._blas import one_blas_thread
from .._check import FloatArray, float_array, real_number
from .._native import cpu as _cpu


class GaussianNoise:
    """The normal distribution of a mean and a covariance, full or diagonal.

    Parameters
    ----------
    mean : array-like of shape (n_features,)
    covariance : array-like of shape (n_features, n_features) or (n_features,)
        Symmetric and positive definite; or its diagonal, the features' variances > 0.

    Attributes
    ----------
    mean, covariance : ndarray of float64
    n_features : int

    Raises
    ------
    ValueError
        The covariance is not symmetric, or not positive definite.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.losses import GaussianNoise
    >>> noise = GaussianNoise([0.0, 1.0], [[2.0, 1.0], [1.0, 2.0]])
    >>> (noise.log_density([[0.0, 1.0]]) + np.log(2 * np.pi * np.sqrt(3))).round(12)
    array([0.])
    >>> X = noise.sample(10_000, Draws(0, 0), np.float32)
    >>> X.dtype, bool(abs(np.cov(X.T) - noise.covariance).max() < 0.1)
    (dtype('float32'), True)
    """

    def __init__(self, mean: Any, covariance: Any) -> None:
        self.mean: NDArray[np.float64] = float_array(mean, "mean", ndim=1, dtype=np.float64)
        self.covariance: NDArray[np.float64] = float_array(covariance, "covariance", dtype=np.float64)
        self.n_features = d = len(self.mean)
        if self.covariance.shape not in ((d,), (d, d)):
            raise ValueError(f"covariance: expected shape ({d}, {d}) or ({d},), got {self.covariance.shape}")
        factor = _factor(self.covariance)
        is_full = factor.ndim == 2
        whitening = _inverse(factor) if is_full else 1 / factor
        self._matrices = {
            np.dtype(kind): (factor.astype(kind), whitening.astype(kind)) for kind in (np.float32, np.float64)
        }
        deviations = np.diag(factor) if is_full else factor
        self._log_normalizer = 0.5 * d * math.log(2 * math.pi) + float(np.log(deviations).sum())

    @classmethod
    def of_data(cls, X: Any, *, diagonal: bool = False, regularization: float = 0.0) -> GaussianNoise:
        """The noise with the data's own moments.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least two rows.
        diagonal : bool, default=False
        regularization : float, default=0.0
            Added to every variance, as a multiple of their mean.

        Returns
        -------
        GaussianNoise

        Raises
        ------
        ValueError
            The covariance is singular; a regularisation helps.

        Examples
        --------
        >>> from thalweg.losses import GaussianNoise
        >>> GaussianNoise.of_data([[0.0, 1.0], [2.0, 3.0]], diagonal=True).covariance
        array([1., 1.])
        """
        rows = float_array(X, "X", ndim=2, dtype=np.float64)
        if len(rows) < 2:
            raise ValueError(f"X: expected at least two rows, got shape {rows.shape}")
        more = real_number(regularization, "regularization", minimum=0.0)
        mean = rows.mean(axis=0)
        centered = rows - mean
        variances = np.einsum("ij,ij->j", centered, centered) / len(rows)
        if diagonal:
            return cls(mean, variances + more * variances.mean())
        with one_blas_thread:
            covariance = centered.T @ centered / len(rows)
        covariance.flat[:: len(mean) + 1] += more * variances.mean()
        return cls(mean, covariance)

    def sample(self, n: int, draws: Draws, dtype: Any) -> FloatArray:
        """Rows of noise; row i draws as row `draws.first_row` + i.

        Parameters
        ----------
        n : int
        draws : Draws
        dtype : {float32, float64}

        Returns
        -------
        ndarray of shape (n, n_features)
        """
        return self.sample_with_log_density(n, draws, dtype)[0]

    def sample_with_log_density(
        self, n: int, draws: Draws, dtype: Any
    ) -> tuple[FloatArray, NDArray[np.float64]]:
        """Rows of noise and their log densities, for the price of the former.

        Parameters
        ----------
        n : int
        draws : Draws
        dtype : {float32, float64}

        Returns
        -------
        X : ndarray of shape (n, n_features)
        log_density : ndarray of float64, shape (n,)
        """
        shape = (n, self.n_features)
        normal = _rng.normal_rows(
            draws.seed, draws.stream, draws.step, shape, dtype, first_row=draws.first_row
        )
        log_density = self._log_density_of(_squares(normal))
        factor = self._matrices[normal.dtype][0]
        X: FloatArray = (
            np.multiply(normal, factor, out=normal) if factor.ndim == 1 else _times(normal, factor)
        )
        X += self.mean.astype(dtype)
        return X, log_density

    def log_density(self, X: Any) -> NDArray[np.float64]:
        """log p(x) of every row, in the dtype of `X` but summed in float64.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float64, shape (n_samples,)
        """
        rows = float_array(X, "X", ndim=2)
        if rows.shape[1] != self.n_features:
            raise ValueError(f"X: expected shape (n_samples, {self.n_features}), got {rows.shape}")
        mean, whitening = self.mean.astype(rows.dtype), self._matrices[rows.dtype][1]
        if whitening.ndim == 1:
            return self._log_density_of(_squares(rows, mean, whitening))
        return self._log_density_of(_squares(_times(rows - mean, whitening)))

    def _log_density_of(self, squares: NDArray[np.float64]) -> NDArray[np.float64]:
        return -0.5 * squares - self._log_normalizer


def _squares(
    rows: FloatArray, mean: FloatArray | None = None, scale: FloatArray | None = None
) -> NDArray[np.float64]:
    """The sum of ((x - mean) scale)^2 over every row, in float64."""
    made = np.empty(len(rows))
    _cpu.row_squares(np.ascontiguousarray(rows), mean, scale, made)
    return made


def _times(rows: FloatArray, matrix: FloatArray) -> FloatArray:
    """rows matrix' of a lower triangular matrix, of their dtype."""
    if not len(rows):
        return rows
    times = strmm if rows.dtype == np.float32 else dtrmm
    with one_blas_thread:
        made: FloatArray = times(1.0, matrix.T, rows.T, trans_a=1).T
    return made


def _factor(covariance: FloatArray) -> FloatArray:
    """Standard deviations, or the lower Cholesky factor."""
    if covariance.ndim == 1:
        if not (covariance > 0).all():
            worst = int(covariance.argmin())
            raise ValueError(
                f"covariance: expected variances > 0, got {covariance[worst]:g} of feature {worst}"
            )
        return np.sqrt(covariance)
    if np.abs(covariance - covariance.T).max() > 1e-8 * np.abs(covariance).max():
        raise ValueError("covariance: expected a symmetric matrix")
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise ValueError(
            "covariance: expected a positive definite matrix, but its Cholesky factorisation fails"
        ) from None


def _inverse(triangle: FloatArray) -> FloatArray:
    """Of a lower triangular matrix, row-major as BLAS is to find it."""
    return np.ascontiguousarray(solve_triangular(triangle, np.eye(len(triangle)), lower=True))
