"""The deviation of white noise in a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, uniform_filter

from .. import _check
from ._images import channels_of, picture, scaled_channels

_BLOCK = 8  # pixels
_SMOOTH_SHARE = 0.3
_LEAST_SHARE = 0.1
_MAD_TO_DEVIATION = 0.6744897501960817  # of a normal variable: its median absolute value


def estimate_noise(image: Any) -> float:
    r"""Standard deviation of white Gaussian noise in a picture, from its smoothest places.

    On every 2 x 2 square (a b; c d), the finest diagonal Haar coefficient h = (a - b - c + d) / 2 carries
    noise of the picture's own deviation and little else. Texture is told by what h does not see: the
    variance of the squares' means in the 8 x 8 neighbourhood. Over the 30 % of places where that is least,

    .. math:: \hat\sigma = \operatorname{median} |h| \,/\, 0.6745

    Choosing the smoothest takes 2 % off pure noise, about what texture adds in photographs. Places near
    pixels at the least or the greatest value of the picture are left out, where there are enough others:
    there the noise was clipped.

    Parameters
    ----------
    image : array-like of shape (height, width) or (height, width, 3)
        At least 2 x 2 pixels, finite.

    Returns
    -------
    sigma : float
        In the units of the image. In colour the root of the mean of the channels' squares.

    Raises
    ------
    TypeError, ValueError
        Where `image` is no finite picture of real numbers, or is too small.

    References
    ----------
    D. Donoho, I. Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 81, 1994: the median
    of all h, which takes texture for noise.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.restoration import estimate_noise
    >>> ramp = np.linspace(0, 100, 160) + np.zeros((160, 1))
    >>> noise = np.random.default_rng(0).normal(scale=5, size=ramp.shape)
    >>> abs(estimate_noise(ramp + noise) - 5) < 0.25
    True
    """
    array = picture(image)
    channels = channels_of(array)
    if not _check.is_finite(channels):
        raise ValueError("image: every element must be finite, but it contains NaN or infinity")
    if min(channels.shape[1:]) < 2:
        raise ValueError(f"image: noise is estimated from 2 x 2 pixels or more, got shape {array.shape}")
    scaled, exponent = scaled_channels(channels, array)
    deviation = np.sqrt(np.mean([_deviation(channel) ** 2 for channel in scaled]))
    return float(np.ldexp(deviation, exponent))


def _deviation(channel: NDArray[np.float64]) -> float:
    a, b, c, d = channel[:-1, :-1], channel[:-1, 1:], channel[1:, :-1], channel[1:, 1:]
    details = np.abs(a - b - c + d) / 2
    means = (a + b + c + d) / 4
    means -= means.mean()
    texture = uniform_filter(means**2, _BLOCK) - uniform_filter(means, _BLOCK) ** 2
    usable = ~_near_extremes(channel)
    if usable.mean() < _LEAST_SHARE:
        usable[:] = True
    smooth = usable & (texture <= np.quantile(texture[usable], _SMOOTH_SHARE))
    return float(np.median(details[smooth])) / _MAD_TO_DEVIATION


def _near_extremes(channel: NDArray[np.float64]) -> NDArray[np.bool_]:
    extreme = (channel == channel.min()) | (channel == channel.max())
    near: NDArray[np.bool_] = maximum_filter(extreme, _BLOCK + 1)[:-1, :-1]
    return near
