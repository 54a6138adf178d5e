"""Single images at the door: their shape, and a power of two that keeps their squares within the dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg import _check

FloatArray = NDArray[Any]

_AXES = {1: "(length,) or (channels, length)", 2: "(height, width) or (channels, height, width)"}


def image_array(image: Any, name: str, *, spatial_ndim: int = 2) -> FloatArray:
    """`image` as a C-contiguous, finite float array of `spatial_ndim` axes, or one more for its channels."""
    array = _check.float_array(image, name)
    check_shape(array, name, spatial_ndim)
    return array


def check_shape(array: FloatArray, name: str, spatial_ndim: int = 2) -> None:
    """ValueError where the array is no image, or one without pixels."""
    if array.ndim not in (spatial_ndim, spatial_ndim + 1):
        raise ValueError(f"{name}: expected {_AXES[spatial_ndim]}, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name}: expected at least one pixel, got shape {array.shape}")


def scaled_down(array: FloatArray, name: str, dtype: Any = None) -> tuple[FloatArray, int]:
    """2^-e `array`, with magnitudes from 1/2 to one, and the exponent e; exact but for subnormal numbers.

    ValueError where the differences of elements could overflow the dtype that the result will have, which
    is that of the array unless another is given.
    """
    largest = float(np.abs(array).max())
    limit = float(np.finfo(array.dtype if dtype is None else dtype).max) / 4
    if largest > limit:
        raise ValueError(
            f"{name}: expected magnitudes of at most {limit:.3g}, got {largest:.3g}; scale it down"
        )
    exponent = int(np.frexp(largest)[1])
    return np.ldexp(array, -exponent), exponent
