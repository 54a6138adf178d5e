"""The Gaussian that is fitted to patches before a deep energy is: it whitens them, and is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from .. import _rng
from .._blas import one_blas_thread
from ..models import ConstrainedGaussian
from .patch_rows import BLOCK_ROWS

# What the covariance is regularised by, in mean eigenvalues, where there are too few patches to know it.
_EPS_OF_FEW = 0.01


@dataclass
class PatchGaussian:
    """N(mean, precision^-1) over pixels, with its symmetric whitening y = P (x - mean), P = precision^1/2."""

    mean: NDArray[np.float64]
    precision: NDArray[np.float64]
    structure: str
    is_constraint_active: bool = False

    @cached_property
    def _spectrum(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        with one_blas_thread:
            values, vectors = np.linalg.eigh(self.precision)
        return values, vectors

    @cached_property
    def whitener(self) -> NDArray[np.float64]:
        """P, symmetric."""
        return self._power(0.5)

    @cached_property
    def unwhitener(self) -> NDArray[np.float64]:
        """The inverse of P."""
        return self._power(-0.5)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """The inverse of the precision."""
        return self._power(-1.0)

    @cached_property
    def log_normalizer(self) -> float:
        """log of the integral of exp(-1/2 ||y||^2) over pixels x."""
        values, _ = self._spectrum
        return float(0.5 * (len(values) * np.log(2 * np.pi) - np.log(values).sum()))

    def whiten(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Rows y of pixels x, in their dtype."""
        return _mapped(pixels, lambda block: block - self.mean.astype(block.dtype), self.whitener)

    def unwhiten(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Pixels x of rows y."""
        pixels = _mapped(rows, lambda block: block, self.unwhitener)
        pixels += self.mean.astype(pixels.dtype)
        return pixels

    def sample(self, n: int, seed: int, dtype: Any = np.float32) -> NDArray[Any]:
        """Pixels of n patches that are drawn; they may lie beyond 0 and 1."""
        normals = _rng.normals(seed, _rng.STREAM_SAMPLES, 0, n * len(self.mean))
        return self.unwhiten(normals.reshape(n, -1)).astype(dtype)

    def log_density(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """log of the density of every row of pixels."""
        squared = np.square(self.whiten(pixels), dtype=np.float64).sum(axis=1)
        return np.asarray(-0.5 * squared - self.log_normalizer)

    def _power(self, exponent: float) -> NDArray[np.float64]:
        values, vectors = self._spectrum
        with one_blas_thread:
            return np.asarray((vectors * values**exponent) @ vectors.T)


def gaussian_state(gaussian: PatchGaussian | None) -> dict[str, Any] | None:
    """What a model file keeps of it."""
    if gaussian is None:
        return None
    names = ("mean", "precision", "structure", "is_constraint_active")
    return {name: getattr(gaussian, name) for name in names}


def gaussian_from(state: dict[str, Any] | None) -> PatchGaussian | None:
    """The inverse of `gaussian_state`."""
    return None if state is None else PatchGaussian(**state)


def fit_gaussian(
    pixels: NDArray[Any], shape: tuple[int, int], structure: str, radius: int, estimator: str, eps: float
) -> PatchGaussian:
    """The Gaussian of rows of pixels, to whose covariance `eps` mean eigenvalues are added.

    Warns where there are fewer rows than pixels, for then the covariance is always regularised.
    """
    n_rows, n_pixels = pixels.shape
    if n_rows <= n_pixels and eps < _EPS_OF_FEW:
        warn(
            f"{n_rows} patches of {n_pixels} pixels are too few to know their covariance: {_EPS_OF_FEW:g} of "
            "its mean eigenvalue is added to it; --n-patches takes more patches",
            stacklevel=2,
        )
        eps = _EPS_OF_FEW
    fitted = ConstrainedGaussian(structure, image_shape=shape, radius=radius, estimator=estimator)
    with one_blas_thread:
        fitted.fit(_regularised(pixels, eps))
    return PatchGaussian(
        mean=pixels.mean(axis=0, dtype=np.float64),
        precision=np.asarray(fitted.precision_, np.float64),
        structure=structure,
        is_constraint_active=bool(fitted.is_constraint_active_),
    )


def _regularised(pixels: NDArray[Any], eps: float) -> NDArray[np.float64]:
    """Rows of the same mean whose covariance is that of the pixels and `eps` times its mean eigenvalue.

    Two rows a pixel are added, above and below the mean: every estimator that sees moments sees the sum.
    """
    rows = pixels.astype(np.float64)
    if eps == 0:
        return rows
    n_rows, n_pixels = rows.shape
    mean = rows.mean(axis=0)
    rows -= mean
    variance = eps * float(np.square(rows).sum()) / (n_rows * n_pixels)
    n_all = n_rows + 2 * n_pixels
    step = np.sqrt(n_all * variance / 2) * np.eye(n_pixels)
    made = np.concatenate([rows * np.sqrt(n_all / n_rows), step, -step])
    made += mean
    return made


def _mapped(
    rows: NDArray[Any], prepared: Callable[[NDArray[Any]], NDArray[Any]], matrix: NDArray[np.float64]
) -> NDArray[Any]:
    """Rows, prepared, times a matrix in their dtype; the bits do not depend on BLAS's threads."""
    result = np.empty_like(rows)
    factor = matrix.astype(rows.dtype)
    with one_blas_thread:
        for start in range(0, len(rows), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            result[block] = prepared(rows[block]) @ factor
    return result
