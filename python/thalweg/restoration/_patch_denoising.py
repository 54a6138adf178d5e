"""Denoising patch by patch: codes to the level of the noise, overlapping estimates averaged."""

from __future__ import annotations

from math import sqrt

import numpy as np

from ._images import Planes
from ._patches import PatchOptions, average_of_estimates, learn, padded

_STEPS = 100  # of learning


def denoise_planes(planes: Planes, options: PatchOptions) -> Planes:
    """Estimates of the planes without their white noise of deviation 1."""
    return np.stack([_denoise(plane, options, number) for number, plane in enumerate(planes)])


def _denoise(plane: np.ndarray, options: PatchOptions, number: int) -> np.ndarray:
    height, width = plane.shape
    noisy = padded(plane.astype(np.float32), options.patch_size)
    target = noise_energy(options.patch_size**2)
    atoms = options.first_dictionary()
    if options.dictionary is None:
        atoms = learn(atoms, noisy, target, _STEPS, options, options.seed + number * _STEPS)
    return average_of_estimates(noisy, atoms, target, options)[:height, :width]


def noise_energy(n_features: int) -> float:
    """Squared norm that white noise of deviation 1, less its mean, exceeds about once in nine patches."""
    return n_features - 1 + 1.2 * sqrt(2 * (n_features - 1))
