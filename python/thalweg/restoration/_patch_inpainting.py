"""Inpainting patch by patch: a smooth fill, then codes of the patches to an error that falls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._images import Planes, from_opponent, to_opponent
from ._missing import Masks, error_of_fill, ranges, smooth_fill
from ._patches import Atoms, PatchOptions, average_of_estimates, learn, padded, patches_in_work
from ._progress import Callback, Progress

_FIRST_ERROR, _LAST_ERROR = 2.0, 0.25  # deviation of a pixel, over that of the smooth fill
_RELAXATION = 1.9
_STEPS = 16  # of learning, an iteration


def inpaint_planes(
    channels: Planes,
    observed: Masks,
    n_iter: int,
    options: PatchOptions,
    callback: Callback | None,
) -> Planes:
    """The channels with their missing pixels filled; what is observed stays."""
    filled = smooth_fill(channels, observed)
    scale = error_of_fill(channels, observed, options.seed)
    if scale == 0 or n_iter == 0 or observed.all():
        return filled
    missing = np.any(~observed, axis=0)
    limits = ranges(channels, observed)
    atoms = [options.first_dictionary()] * len(channels)
    count, height, width = channels.shape
    progress = Progress(callback, n_iter * count * patches_in_work((height, width), _STEPS, options))
    for i, error in enumerate(np.geomspace(_FIRST_ERROR, _LAST_ERROR, n_iter)):
        planes = to_opponent(filled) / scale
        estimates = np.empty_like(planes)
        for c, plane in enumerate(planes):
            seed = options.seed + (i * len(planes) + c) * _STEPS
            atoms[c], estimates[c] = _iterate(plane, missing, atoms[c], float(error), options, seed, progress)
        change = from_opponent(estimates) * scale - filled
        if i < n_iter - 1:
            change *= _RELAXATION
        filled = np.where(observed, channels, np.clip(filled + change, *limits))
    return filled


def _iterate(
    plane: NDArray[np.float64],
    missing: NDArray[np.bool_],
    atoms: Atoms,
    error: float,
    options: PatchOptions,
    seed: int,
    progress: Progress,
) -> tuple[Atoms, NDArray[np.float64]]:
    """A dictionary learnt on, and the plane as its sparse codes have it; `error` a pixel."""
    height, width = plane.shape
    offset = plane.mean()
    current = padded((plane - offset).astype(np.float32), options.patch_size)
    target = error**2 * options.patch_size**2
    if options.dictionary is None:
        atoms = learn(atoms, current, target, _STEPS, options, seed, progress)
    wanted = padded(missing, options.patch_size)
    estimate = average_of_estimates(current, atoms, target, options, progress, wanted=wanted)
    return atoms, estimate[:height, :width] + offset
