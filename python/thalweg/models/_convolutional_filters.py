"""Filters while they are learnt: the first ones, their constraints, their quadratic form, their rebirth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import correlate1d

from .. import _rng
from .._check import FloatArray

Shape = tuple[int, ...]


def first_filters(shape: Shape, seed: int) -> NDArray[np.float64]:
    """Noise of unit norm under a Gaussian window, so that what is learnt comes to lie in the middle."""
    filters = _rng.normals(seed, _rng.STREAM_INITIAL_ATOMS, 0, int(np.prod(shape))).reshape(shape)
    for axis in (2, 3):
        places = np.arange(shape[axis]) - (shape[axis] - 1) / 2
        window = np.exp(-0.5 * (places / (shape[axis] / 4)) ** 2)
        filters *= np.expand_dims(window, tuple({0, 1, 2, 3} - {axis}))
    normed: NDArray[np.float64] = filters / _norms(filters)
    return normed


def project_filters(filters: NDArray[np.float64], *, positive: bool, zero_mean: bool) -> NDArray[np.float64]:
    """The nearest filters within the unit ball, >= 0 or with channels that sum to zero on request."""
    if positive:
        filters = np.maximum(filters, 0.0)
    if zero_mean:
        filters = filters - filters.mean(axis=(2, 3), keepdims=True)
    bounded: NDArray[np.float64] = filters / np.maximum(_norms(filters), 1.0)
    return bounded


def _norms(filters: NDArray[np.float64]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.sqrt((filters**2).sum(axis=(1, 2, 3), keepdims=True))
    return norms


class FilterStatistics:
    """The error of coded images as a quadratic form of the filters, 1/2 <f, A f> - <B, f>."""

    def __init__(self, A: NDArray[np.float64], B: NDArray[np.float64]) -> None:
        self._B = B
        self._sizes = [next_fast_len(3 * n - 2, real=True) for n in B.shape[2:]]
        spectrum = rfft2(A, s=self._sizes)
        # One matrix of filters by filters a frequency.
        self._spectrum = np.ascontiguousarray(spectrum.transpose(2, 3, 0, 1))

    def gradient(self, filters: NDArray[np.float64]) -> NDArray[np.float64]:
        """A f - B, by the discrete Fourier transform."""
        height, width = filters.shape[2:]
        spectrum = rfft2(filters, s=self._sizes).transpose(2, 3, 0, 1)
        product = irfft2((self._spectrum @ spectrum).transpose(2, 3, 0, 1), s=self._sizes)
        gradient: NDArray[np.float64] = (
            product[:, :, height - 1 : 2 * height - 1, width - 1 : 2 * width - 1] - self._B
        )
        return gradient


def worst_patches(residuals: list[FloatArray], shape: Shape, count: int) -> list[NDArray[Any]]:
    """Patches of the residuals with the greatest norms, apart from each other; zero ones are left out."""
    if count == 0:
        return []
    height, width = shape[2:]
    energies = [_patch_energy(residual, height, width) for residual in residuals]
    patches = []
    for _ in range(count):
        i = int(np.argmax([energy.max() for energy in energies]))
        y, x = np.unravel_index(int(energies[i].argmax()), energies[i].shape)
        if not energies[i][y, x] > 0:
            break
        patch = residuals[i][:, y : y + height, x : x + width].astype(np.float64)
        patches.append(patch / np.linalg.norm(patch))
        energies[i][max(0, y - height) : y + height, max(0, x - width) : x + width] = 0.0
    return patches


def _patch_energy(residual: FloatArray, height: int, width: int) -> NDArray[np.float64]:
    """Squared norm of the patch at every place where one fits."""
    squares = (residual.astype(np.float64) ** 2).sum(axis=0)
    # No running sums: where a patch is zero its energy is.
    for axis, size in enumerate((height, width)):
        sums = correlate1d(squares, np.ones(size), axis, mode="constant", origin=-(size // 2))
        squares = np.take(sums, range(sums.shape[axis] - size + 1), axis)
    return np.asarray(squares)
