"""Missing pixels filled smoothly: the surface of least curvature through those observed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._conjugate_gradients import conjugate_gradients

_ITERATIONS = 60
_REDUCTION = 1e-3  # of the residual's norm
_COARSEST = 4  # pixels

Plane = NDArray[np.float64]  # (height, width)
Mask = NDArray[np.bool_]


def biharmonic_fill(plane: Plane, observed: Mask) -> Plane:
    """The plane with missing pixels such that the sum of its squared Laplacians is least.

    Borders reflect. Solved by conjugate gradients on ever finer grids, each beginning with the one before;
    what is filled in stays within the range of what is observed, of which there must be a pixel.
    """
    start = np.where(observed, plane, 0.0)
    if observed.all():
        return start
    seen = start[observed]
    filled = _fill(start, observed)
    return np.where(observed, start, np.clip(filled, seen.min(), seen.max()))


def _fill(plane: Plane, observed: Mask) -> Plane:
    if observed.all():
        return plane
    if max(plane.shape) <= _COARSEST:
        start = np.where(observed, plane, plane[observed].mean())
    else:
        coarse = _fill(*_halved(plane, observed))
        finer = coarse.repeat(2, axis=0).repeat(2, axis=1)[: plane.shape[0], : plane.shape[1]]
        start = np.where(observed, plane, finer)
    return _least_curvature(start, ~observed)


def _halved(plane: Plane, observed: Mask) -> tuple[Plane, Mask]:
    """Means of what is observed in every 2 x 2 square."""
    odd = [(0, size % 2) for size in plane.shape]
    sums = _square_sums(np.pad(plane, odd))
    counts = _square_sums(np.pad(observed.astype(np.float64), odd))
    return sums / np.maximum(counts, 1), counts > 0


def _square_sums(a: Plane) -> Plane:
    sums: Plane = a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2]
    return sums


def _least_curvature(plane: Plane, free: Mask) -> Plane:
    """Conjugate gradients for min ||Laplacian of x||^2 over the free pixels, from `plane`."""

    def curvature(x: Plane) -> Plane:
        return free * _laplacian(_laplacian(x))

    return plane + conjugate_gradients(curvature, -curvature(plane), _ITERATIONS, reduction=_REDUCTION)


def _laplacian(x: Any) -> Plane:
    # With borders that reflect it is its own adjoint.
    p = np.pad(x, 1, mode="edge")
    laplacian: Plane = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * x
    return laplacian
