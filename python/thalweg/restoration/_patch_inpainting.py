"""Inpainting patch by patch: a smooth fill, then codes of the patches to an error that falls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _rng
from ._fill import biharmonic_fill
from ._images import Planes, from_opponent, to_opponent
from ._patches import Atoms, PatchOptions, average_of_estimates, learn, padded, patches_in_work
from ._progress import Callback, Progress

Masks = NDArray[np.bool_]  # (channels, height, width)

_HELD_OUT_SHARE = 0.1
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
    filled = _smooth(channels, observed)
    scale = _error_of_fill(channels, observed, options.seed)
    if scale == 0 or n_iter == 0 or observed.all():
        return filled
    missing = np.any(~observed, axis=0)
    limits = [bound[:, np.newaxis, np.newaxis] for bound in _ranges(channels, observed)]
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


def _smooth(channels: Planes, observed: Masks) -> Planes:
    return np.stack([biharmonic_fill(c, o) for c, o in zip(channels, observed, strict=True)])


def _ranges(channels: Planes, observed: Masks) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the greatest observed value of every channel."""
    axes = (1, 2)
    least = channels.min(axis=axes, where=observed, initial=np.inf)
    return least, channels.max(axis=axes, where=observed, initial=-np.inf)


def _error_of_fill(channels: Planes, observed: Masks, seed: int) -> float:
    """Root mean square error of the smooth fill on a tenth of the observed pixels, hidden from it."""
    draws = _rng.uniform(seed, _rng.STREAM_HELD_OUT, 0, observed.size).reshape(observed.shape)
    kept = observed & (draws >= _HELD_OUT_SHARE)
    kept |= observed & ~kept.any(axis=(1, 2), keepdims=True)
    hidden = observed & ~kept
    if not hidden.any():
        return 0.0
    return float(np.sqrt(np.mean((_smooth(channels, kept) - channels)[hidden] ** 2)))


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
