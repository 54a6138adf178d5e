"""Pictures at the door: what is accepted, in which planes it is worked on, and how the result leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ..preprocessing._images import scaled_down

Planes = NDArray[np.float64]  # (channels, height, width)

FLOAT32_STEP = 2.0**-24  # of the range of a picture: what is finer, codes in float32 do not hold

# Orthonormal, so that white noise stays white and keeps its deviation: brightness, and two opponent colours.
_OPPONENT = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
_OPPONENT /= np.linalg.norm(_OPPONENT, axis=1, keepdims=True)


def picture(image: Any) -> NDArray[Any]:
    """`image` as an array of shape (height, width) or (height, width, 3), of its own dtype.

    Raises TypeError and ValueError for what is no such picture; its values are not looked at.
    """
    array = _check.array_of(image, "image")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"image: expected (height, width) or (height, width, 3), got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"image: expected at least one pixel, got shape {array.shape}")
    return array


def channels_of(array: NDArray[Any]) -> Planes:
    """The channels of a picture as float64 planes, a copy."""
    stacked = array[np.newaxis] if array.ndim == 2 else np.moveaxis(array, 2, 0)
    return np.array(_check.real_operand(stacked, "image"), np.float64, order="C")


def scaled_channels(channels: Planes, given: NDArray[Any]) -> tuple[Planes, int]:
    """2^-e the channels of the picture `given`, with magnitudes of at most one, and the exponent e.

    So that squares neither overflow nor vanish, whatever the scale of the picture.
    """
    return scaled_down(channels, "image", _float_dtype(given))


def picture_from(channels: Planes, given: NDArray[Any]) -> NDArray[Any]:
    """Channels as a picture of the dtype that suits `given`: whole numbers are rounded and kept in range."""
    array = channels[0] if given.ndim == 2 else np.moveaxis(channels, 0, 2)
    if given.dtype.kind in "iu":
        limits = np.iinfo(given.dtype)
        return np.clip(np.rint(array), limits.min, limits.max).astype(given.dtype)
    return np.ascontiguousarray(array, _float_dtype(given))


def _float_dtype(given: NDArray[Any]) -> Any:
    return np.float32 if given.dtype == np.float32 else np.float64


def to_opponent(channels: Planes) -> Planes:
    """Brightness and opponent colours of red, green and blue; a single channel stays."""
    return np.einsum("ij,jhw->ihw", _OPPONENT, channels) if len(channels) == 3 else channels


def from_opponent(planes: Planes) -> Planes:
    """The inverse of `to_opponent`."""
    return np.einsum("ji,jhw->ihw", _OPPONENT, planes) if len(planes) == 3 else planes
