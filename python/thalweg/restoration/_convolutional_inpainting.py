"""Inpainting by convolutional codes: a smooth fill, then codes that trust it ever less."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..inference.csc import SparseMaps
from ..preprocessing import split_frequencies
from ._convolutional import FilterOptions, Filters, Plane, learn
from ._images import Planes, from_opponent, to_opponent
from ._missing import Masks, error_of_fill, ranges, smooth_fill
from ._progress import Callback, Progress

_LOW_WEIGHT = 2.0  # of the split into frequencies
_FIRST_ALPHA, _LAST_ALPHA = 1.0, 0.1  # over the error of the smooth fill
_TRUST = 0.3  # weight of a missing pixel, as filled so far
_BANKS = 4
_FIRST_STEPS, _STEPS = 10, 2  # of learning, in the first iteration and in later ones


class _Bank:
    """Filters of one plane, and the codes over them, as they were last."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.filters: Filters | None = None
        self.maps: SparseMaps | None = None


def inpaint_planes(
    channels: Planes, observed: Masks, n_iter: int, options: FilterOptions, callback: Callback | None
) -> Planes:
    """The channels with their missing pixels filled; what is observed stays."""
    filled = smooth_fill(channels, observed)
    scale = error_of_fill(channels, observed, options.seed)
    if scale == 0 or n_iter == 0 or observed.all():
        return filled
    count, n_banks = len(channels), options.n_banks(_BANKS)
    weights = options.mirrored(np.where(np.any(~observed, axis=0), _TRUST, 1))
    limits = ranges(channels, observed)
    banks = [[_Bank(options.seed + c * n_banks + b) for b in range(n_banks)] for c in range(count)]
    progress = Progress(callback, n_iter * count * n_banks)
    for alpha in np.geomspace(_FIRST_ALPHA, _LAST_ALPHA, n_iter):
        planes = to_opponent(filled) / scale
        estimates = [
            _estimate(plane, weights, of_plane, float(alpha), options, progress)
            for plane, of_plane in zip(planes, banks, strict=True)
        ]
        better = from_opponent(np.stack(estimates)) * scale
        filled = np.where(observed, channels, np.clip(better, *limits))
    return filled


def _estimate(
    plane: NDArray[np.float64],
    weights: Plane,
    banks: list[_Bank],
    alpha: float,
    options: FilterOptions,
    progress: Progress,
) -> NDArray[np.float64]:
    """The mean of what the codes over each of the banks give."""
    offset = plane.mean()
    low, high = split_frequencies(options.mirrored(plane - offset), _LOW_WEIGHT)
    total = np.zeros(high.shape)
    for bank in banks:
        filters = options.filters
        if filters is None:
            n_steps = _FIRST_STEPS if bank.filters is None else _STEPS
            filters = learn(high, alpha, n_steps, options, bank.seed, weights=weights, first=bank.filters)
        bank.filters, solver = filters, options.solver(filters)
        bank.maps, _ = solver.encode(high[np.newaxis], alpha, mask=weights, init=bank.maps)
        total += solver.synthesize(bank.maps, (high.shape[0], high.shape[1]))[0]
        progress.add(1)
    return options.middle(low + total / len(banks) + offset)
