"""Denoising patch by patch: codes to the level of the noise, overlapping estimates averaged."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ._images import Planes
from ._patches import PatchOptions, average_of_estimates, learn, padded, patches_in_work
from ._progress import Callback, Progress

_STEPS = 100  # of learning
_CODING_MARGIN, _LEARNING_MARGIN = 1.2, 3.0  # deviations of the noise's energy beyond its mean


def denoise_planes(planes: Planes, options: PatchOptions, callback: Callback | None) -> Planes:
    """Estimates of the planes without their white noise of deviation 1."""
    count, height, width = planes.shape
    progress = Progress(callback, count * patches_in_work((height, width), _STEPS, options))
    return np.stack([_denoise(plane, options, number, progress) for number, plane in enumerate(planes)])


def _denoise(
    plane: NDArray[np.float64], options: PatchOptions, number: int, progress: Progress
) -> NDArray[np.float64]:
    height, width = plane.shape
    noisy = padded(plane.astype(np.float32), options.patch_size)
    n_features = options.patch_size**2
    atoms = options.first_dictionary()
    if options.dictionary is None:
        # Patches of pure noise that pass for more would shape the atoms: hardly any pass three deviations.
        bound = _noise_energy(n_features, _LEARNING_MARGIN)
        atoms = learn(atoms, noisy, bound, _STEPS, options, options.seed + number * _STEPS, progress)
    bound = _noise_energy(n_features, _CODING_MARGIN)
    return average_of_estimates(noisy, atoms, bound, options, progress)[:height, :width]


def _noise_energy(n_features: int, margin: float) -> float:
    """Squared norm of a patch of white noise of deviation 1 less its mean: `margin` deviations above average.

    It is chi-squared with n_features - 1 degrees of freedom.
    """
    return n_features - 1 + margin * sqrt(2 * (n_features - 1))
