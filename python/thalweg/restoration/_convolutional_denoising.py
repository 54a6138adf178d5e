"""Denoising by convolutional codes of the high frequencies, averaged over several dictionaries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..preprocessing import split_frequencies
from ._convolutional import FilterOptions, learn, refit
from ._images import Planes
from ._progress import Callback, Progress

_LOW_WEIGHT = 5.0  # of the split into frequencies
_CODING_ALPHA, _LEARNING_ALPHA = 3.2, 4.0  # deviations of a code of pure noise, which is 1
_STEPS = 12  # of learning
_BANKS = 8


def denoise_planes(planes: Planes, options: FilterOptions, callback: Callback | None) -> Planes:
    """Estimates of the planes without their white noise of deviation 1."""
    progress = Progress(callback, len(planes) * options.n_banks(_BANKS))
    return np.stack([_denoise(plane, options, number, progress) for number, plane in enumerate(planes)])


def _denoise(
    plane: NDArray[np.float64], options: FilterOptions, number: int, progress: Progress
) -> NDArray[np.float64]:
    low, high = split_frequencies(options.mirrored(plane), _LOW_WEIGHT)
    total = np.zeros(high.shape)
    for bank in range(options.n_banks(_BANKS)):
        filters = options.filters
        if filters is None:
            seed = options.seed + number * options.n_banks(_BANKS) + bank
            filters = learn(high, _LEARNING_ALPHA, _STEPS, options, seed)
        solver = options.solver(filters)
        maps, _ = solver.encode(high[np.newaxis], _CODING_ALPHA)
        shrunk = solver.synthesize(maps, (high.shape[0], high.shape[1]))[0]
        # The penalty takes too much, its removal gives noise back: the truth lies between.
        total += (shrunk + refit(high, maps, solver, options.n_jobs)) / 2
        progress.add(1)
    return options.middle(low + total / options.n_banks(_BANKS))
