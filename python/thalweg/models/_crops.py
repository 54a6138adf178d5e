"""Random crops of images: which ones a pass over them takes, and crops of equal sizes put together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _rng
from .._check import FloatArray

Crop = NDArray[np.int64]  # image, top, left


def crops_of_pass(
    sizes: NDArray[np.int64], crop: tuple[int, int], seed: int, epoch: int, row: int = 0
) -> NDArray[np.int64]:
    """Crops (image, top, left) of one pass, in random order: as many of an image as would cover it.

    Parameters
    ----------
    sizes : ndarray of shape (n, 2)
        Height and width of the images.
    crop : tuple of int
        Height and width of the crops, cut to those of an image that is smaller.
    seed, epoch, row : int
        What the draws are a function of.

    Returns
    -------
    crops : ndarray of shape (n_crops, 3)
    """
    counts = np.prod(-(-sizes // np.array(crop)), axis=1)
    images = np.repeat(np.arange(len(sizes)), counts)
    images = images[_rng.permutation(seed, _rng.STREAM_BATCH_ORDER, epoch, len(images), row)]
    free = sizes[images] - np.minimum(sizes[images], crop) + 1
    draws = _rng.uniform(seed, _rng.STREAM_CROPS, epoch, 2 * len(images), row).reshape(-1, 2)
    places = np.minimum((draws * free).astype(np.int64), free - 1)
    return np.column_stack([images, places])


def stacks(images: list[FloatArray], crops: NDArray[np.int64], crop: tuple[int, int]) -> list[FloatArray]:
    """The crops as arrays (n, channels, height, width), one for each size that occurs."""
    found: dict[tuple[int, ...], list[FloatArray]] = {}
    for i, top, left in crops:
        cut = images[i][:, top : top + crop[0], left : left + crop[1]]
        found.setdefault(cut.shape, []).append(cut)
    return [np.stack(cuts) for cuts in found.values()]
