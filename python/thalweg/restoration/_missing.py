"""What every way of inpainting begins with: a smooth fill, its error, and the range of what is observed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _rng
from ._fill import biharmonic_fill
from ._images import FLOAT32_STEP, Planes

Masks = NDArray[np.bool_]  # (channels, height, width)

_HELD_OUT_SHARE = 0.1


def smooth_fill(channels: Planes, observed: Masks) -> Planes:
    """Every channel with the surface of least curvature where it is missing."""
    return np.stack([biharmonic_fill(c, o) for c, o in zip(channels, observed, strict=True)])


def ranges(channels: Planes, observed: Masks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the greatest observed value of every channel, of shape (channels, 1, 1)."""
    least = channels.min(axis=(1, 2), keepdims=True, where=observed, initial=np.inf)
    return least, channels.max(axis=(1, 2), keepdims=True, where=observed, initial=-np.inf)


def error_of_fill(channels: Planes, observed: Masks, seed: int) -> float:
    """Root mean square error of the smooth fill on a tenth of the observed pixels, hidden from it.

    0 where it is less than what codes in float32 tell apart in the range of what is observed.
    """
    draws = _rng.uniform(seed, _rng.STREAM_HELD_OUT, 0, observed.size).reshape(observed.shape)
    kept = observed & (draws >= _HELD_OUT_SHARE)
    kept |= observed & ~kept.any(axis=(1, 2), keepdims=True)
    hidden = observed & ~kept
    if not hidden.any():
        return 0.0
    error = float(np.sqrt(np.mean((smooth_fill(channels, kept) - channels)[hidden] ** 2)))
    least, greatest = ranges(channels, observed)
    return error if error >= FLOAT32_STEP * float((greatest - least).max()) else 0.0
