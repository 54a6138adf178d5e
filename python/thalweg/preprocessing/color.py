"""Colours of photographs: luma and chroma as in JPEG, gray, and orthonormal opponent colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg import _check

FloatArray = NDArray[Any]

# ITU-R BT.601: what red, green and blue give to the luma.
_LUMA = np.array([0.299, 0.587, 0.114])

# Chroma is half the difference of blue (red) and luma, over its largest value.
_RGB_TO_YCBCR = np.array(
    [
        _LUMA,
        (np.array([0.0, 0.0, 1.0]) - _LUMA) / (2.0 * (1.0 - _LUMA[2])),
        (np.array([1.0, 0.0, 0.0]) - _LUMA) / (2.0 * (1.0 - _LUMA[0])),
    ]
)
_YCBCR_TO_RGB = np.linalg.inv(_RGB_TO_YCBCR)
_NEUTRAL = np.array([0.0, 0.5, 0.5])

_RGB_TO_OPPONENT = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [-1.0, -1.0, 2.0]])
_RGB_TO_OPPONENT /= np.linalg.norm(_RGB_TO_OPPONENT, axis=1, keepdims=True)


def rgb_to_ycbcr(image: Any, *, channel_axis: int = -3) -> FloatArray:
    """Luma and chroma of ITU-R BT.601 in full range, as JPEG files hold them.

        Y = 0.299 R + 0.587 G + 0.114 B,    Cb = (B - Y) / 1.772 + 1/2,    Cr = (R - Y) / 1.402 + 1/2

    R, G, B in [0, 1] give Y, Cb, Cr in [0, 1], and gray has Cb = Cr = 1/2. (JFIF's 8-bit files round 255
    times this and have 128 for 127.5.) Values beyond [0, 1] are not cut off.

    Parameters
    ----------
    image : array-like with 3 channels, such as (3, height, width) or (n, 3, height, width)
        White is 1.
    channel_axis : int
        Where the channels are: -3 before height and width, -1 for the images of `thalweg.datasets`.

    Returns
    -------
    image : ndarray of the same shape
        float32 for a float32 image, else float64.

    Raises
    ------
    TypeError, ValueError
        Where `image` has no 3 channels there, is not finite, or holds integers above 1, which have to be
        divided by what white is first.

    References
    ----------
    ITU-T T.871, "JPEG File Interchange Format (JFIF)", 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import rgb_to_ycbcr
    >>> red_and_white = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    >>> (rgb_to_ycbcr(red_and_white, channel_axis=-1) + 1e-12).round(3)
    array([[0.299, 0.331, 1.   ],
           [1.   , 0.5  , 0.5  ]])
    """
    pixels, axis = _unit_channels(image, channel_axis)
    return _mapped(pixels, _RGB_TO_YCBCR, axis, after=_NEUTRAL)


def ycbcr_to_rgb(image: Any, *, channel_axis: int = -3) -> FloatArray:
    """The inverse of `rgb_to_ycbcr`, exact to rounding.

        R = Y + 1.402 (Cr - 1/2),    B = Y + 1.772 (Cb - 1/2),    G = (Y - 0.299 R - 0.114 B) / 0.587

    Values beyond [0, 1], which Y, Cb, Cr in [0, 1] can give, are not cut off.

    Parameters
    ----------
    image : array-like with 3 channels, such as (3, height, width) or (n, 3, height, width)
        Y, Cb and Cr.
    channel_axis : int
        Where the channels are: -3 before height and width, -1 for the images of `thalweg.datasets`.

    Returns
    -------
    image : ndarray of the same shape
        float32 for a float32 image, else float64.

    Raises
    ------
    TypeError, ValueError
        As `rgb_to_ycbcr`.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import rgb_to_ycbcr, ycbcr_to_rgb
    >>> image = np.random.default_rng(0).random((3, 4, 5))
    >>> bool(np.allclose(ycbcr_to_rgb(rgb_to_ycbcr(image)), image, rtol=0, atol=1e-15))
    True
    """
    pixels, axis = _unit_channels(image, channel_axis)
    return _mapped(pixels, _YCBCR_TO_RGB, axis, before=_NEUTRAL)


def to_gray(image: Any, *, channel_axis: int = -3) -> FloatArray:
    """Gray as 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), the luma of `rgb_to_ycbcr`.

    `thalweg.datasets.load_images` has the same weights where it reads gray, but rounds to 8 bits.

    Parameters
    ----------
    image : array-like with 3 channels, such as (3, height, width) or (n, 3, height, width)
    channel_axis : int
        Where the channels are: -3 before height and width, -1 for the images of `thalweg.datasets`.

    Returns
    -------
    gray : ndarray of the same shape without the axis of the channels
        float32 for a float32 image, else float64.

    Raises
    ------
    TypeError, ValueError
        Where `image` has no 3 channels there, or is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import to_gray
    >>> to_gray(np.eye(3), channel_axis=-1)
    array([0.299, 0.587, 0.114])
    """
    pixels, axis = _channels(image, channel_axis)
    return _mapped(pixels, _LUMA[np.newaxis], axis).squeeze(axis)


def rgb_to_opponent(image: Any, *, channel_axis: int = -3) -> FloatArray:
    """Luminance, red-green and blue-yellow: an orthonormal basis of the colours.

        (R + G + B) / sqrt(3),    (R - G) / sqrt(2),    (2 B - R - G) / sqrt(6)

    Lengths and angles between colours stay, and so does white noise: what is a least-squares error or a
    standard deviation of noise in R, G, B is the same here.

    Parameters
    ----------
    image : array-like with 3 channels, such as (3, height, width) or (n, 3, height, width)
    channel_axis : int
        Where the channels are: -3 before height and width, -1 for the images of `thalweg.datasets`.

    Returns
    -------
    image : ndarray of the same shape
        float32 for a float32 image, else float64.

    Raises
    ------
    TypeError, ValueError
        Where `image` has no 3 channels there, is not finite, or the result overflows.

    References
    ----------
    G. Buchsbaum, A. Gottschalk, "Trichromacy, opponent colours coding and optimum colour information
    transmission in the retina", Proc. R. Soc. Lond. B 220, 1983.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import rgb_to_opponent
    >>> gray_and_yellow = np.array([[0.5, 0.5, 0.5], [1.0, 1.0, 0.0]])
    >>> rgb_to_opponent(gray_and_yellow, channel_axis=-1).round(3) + 0.0
    array([[ 0.866,  0.   ,  0.   ],
           [ 1.155,  0.   , -0.816]])
    """
    pixels, axis = _channels(image, channel_axis)
    return _mapped(pixels, _RGB_TO_OPPONENT, axis)


def opponent_to_rgb(image: Any, *, channel_axis: int = -3) -> FloatArray:
    """The inverse of `rgb_to_opponent`, which is its transpose, exact to rounding.

    Parameters
    ----------
    image : array-like with 3 channels, such as (3, height, width) or (n, 3, height, width)
        Luminance, red-green and blue-yellow.
    channel_axis : int
        Where the channels are: -3 before height and width, -1 for the images of `thalweg.datasets`.

    Returns
    -------
    image : ndarray of the same shape
        float32 for a float32 image, else float64.

    Raises
    ------
    TypeError, ValueError
        As `rgb_to_opponent`.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import opponent_to_rgb, rgb_to_opponent
    >>> image = np.random.default_rng(0).random((3, 4, 5))
    >>> bool(np.allclose(opponent_to_rgb(rgb_to_opponent(image)), image, rtol=0, atol=1e-15))
    True
    """
    pixels, axis = _channels(image, channel_axis)
    return _mapped(pixels, _RGB_TO_OPPONENT.T, axis)


def _channels(image: Any, channel_axis: Any) -> tuple[FloatArray, int]:
    """The image, and its axis of 3 channels counted from the front."""
    pixels = _check.float_array(image, "image")
    axis = _check.whole_number(channel_axis, "channel_axis", minimum=-_check.MAX_COUNT)
    if not -pixels.ndim <= axis < pixels.ndim:
        raise ValueError(
            f"image: expected an axis channel_axis={axis} of 3 channels, got shape {pixels.shape}"
        )
    if pixels.shape[axis] != 3:
        raise ValueError(
            f"image: expected 3 channels on axis channel_axis={axis}, got {pixels.shape[axis]} in shape "
            f"{pixels.shape}"
        )
    return pixels, axis % pixels.ndim


def _unit_channels(image: Any, channel_axis: Any) -> tuple[FloatArray, int]:
    """As `_channels`; ValueError for integers of which 1 is not white, where chroma's 1/2 means nothing."""
    kind = _check.array_of(image, "image").dtype
    pixels, axis = _channels(image, channel_axis)
    if kind.kind in "iu" and pixels.max(initial=0.0) > 1.0:
        raise ValueError(
            f"image: expected white at 1, got {kind} up to {pixels.max():g}; divide by the value of white"
        )
    return pixels, axis


def _mapped(
    pixels: FloatArray,
    matrix: NDArray[Any],
    axis: int,
    *,
    before: NDArray[Any] | None = None,
    after: NDArray[Any] | None = None,
) -> FloatArray:
    """matrix (colour - before) + after at every pixel."""
    dtype = pixels.dtype
    with np.errstate(over="ignore", invalid="ignore"):  # told below
        # Sums in this order have the same bits wherever the channels are and however many threads there are.
        first, second, third = _shifted(np.moveaxis(pixels, axis, 0), before, -1)
        sums = [a * first + b * second + c * third for a, b, c in matrix.astype(dtype)]
        mapped: FloatArray = np.stack(_shifted(sums, after, 1), axis)
    if not _check.is_finite(mapped):
        raise ValueError(f"image: its colours overflow {dtype}; scale it down")
    return mapped


def _shifted(channels: Any, offset: NDArray[Any] | None, sign: int) -> Any:
    if offset is None:
        return channels
    return [channel + channel.dtype.type(sign * shift) for channel, shift in zip(channels, offset)]
