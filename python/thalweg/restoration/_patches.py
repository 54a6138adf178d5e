"""A plane of a picture from the sparse codes of its overlapping patches, and dictionaries learnt from it."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, isqrt, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, optim
from .._blas import one_blas_thread
from ..inference.omp import omp_encode
from ..preprocessing import PatchGrid, extract_patches, reconstruct_from_patches
from ._progress import Progress

Plane = NDArray[np.float32]  # (height, width)
Atoms = NDArray[np.float32]  # (n_components, patch_size^2)

_BATCH = 4000  # patches of a step of learning
_BLOCK = 2**14  # patches that are coded at a time
_FORGETTING = 5.0  # the batch of step s weighs (s / t)^5 in step t


class PatchOptions(NamedTuple):
    """How patches are coded: `dictionary` as given, or None to learn one of `n_components` atoms."""

    dictionary: Atoms | None
    patch_size: int
    n_components: int
    seed: int
    n_jobs: int | None

    def first_dictionary(self) -> Atoms:
        """The dictionary given, or the one that learning begins with."""
        if self.dictionary is not None:
            return self.dictionary
        return overcomplete_dct(self.patch_size, self.n_components)


def patch_options(
    dictionary: Any, patch_size: int, n_components: int, seed: int, n_jobs: int | None
) -> PatchOptions:
    """The options, with the dictionary checked."""
    if dictionary is None:
        return PatchOptions(None, patch_size, n_components, seed, n_jobs)
    atoms = _check.float_array(dictionary, "dictionary", ndim=2, dtype=np.float32)
    size = isqrt(atoms.shape[1])
    if atoms.size == 0 or size < 2 or size**2 != atoms.shape[1]:
        raise ValueError(
            "dictionary: expected atoms of 2 x 2 pixels or more, square and of one channel, "
            f"got shape {atoms.shape}"
        )
    return PatchOptions(atoms, size, len(atoms), seed, n_jobs)


def overcomplete_dct(patch_size: int, n_components: int) -> Atoms:
    """Atoms of unit norm and mean zero: products of two cosines, the lowest frequencies first.

    The cosines of each axis are ceil(sqrt(n_components + 1)) in number, of frequencies from 0 (left out where
    both are) to Nyquist's.
    """
    count = max(ceil(sqrt(n_components + 1)), patch_size)
    places = np.arange(patch_size) + 0.5
    waves = np.cos(np.pi * np.arange(count)[:, None] * places / count)
    waves[1:] -= waves[1:].mean(axis=1, keepdims=True)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    frequency = np.arange(count)[:, None] ** 2 + np.arange(count) ** 2
    lowest = np.argsort(frequency, axis=None, kind="stable")[1 : n_components + 1]
    first, second = np.divmod(lowest, count)
    atoms = waves[first][:, :, None] * waves[second][:, None, :]
    return np.ascontiguousarray(atoms.reshape(len(lowest), -1), np.float32)


def padded(plane: NDArray[Any], least: int) -> NDArray[Any]:
    """The plane mirrored beyond its last row and column until it has `least` of both."""
    missing = [(0, max(0, least - size)) for size in plane.shape]
    mirrored: NDArray[Any] = np.pad(plane, missing, mode="symmetric")
    return mirrored


def learn(
    dictionary: Atoms,
    plane: Plane,
    target: float,
    n_steps: int,
    options: PatchOptions,
    seed: int,
    progress: Progress,
) -> Atoms:
    """The dictionary after `n_steps` steps on random patches of the plane, less their means.

    A step codes a batch by orthogonal matching pursuit to the squared error `target`, adds it to the
    statistics of codes and patches, and moves every atom to its best place on the unit sphere. Atoms that no
    patch uses stay.

    Sources: M. Aharon, M. Elad, A. Bruckstein, K-SVD, IEEE TSP 54, 2006, for the coding; J. Mairal et al.,
    JMLR 11, 2010, for the statistics.
    """
    atoms: Atoms = dictionary.copy()
    A, B = np.zeros((len(atoms),) * 2), np.zeros(atoms.shape)
    size, n_jobs = options.patch_size, options.n_jobs
    count = min(_BATCH, PatchGrid(plane.shape, (size, size)).n_patches)
    for t in range(1, n_steps + 1):
        drawn, _ = extract_patches(
            plane, size, max_patches=count, random_state=(seed + t) % 2**63, n_jobs=n_jobs
        )
        rows, _ = _centred(drawn)
        codes, _ = _pursue(rows, atoms, target, n_jobs)
        optim.accumulate_statistics(codes, rows, A, B, decay=(1 - 1 / t) ** _FORGETTING, n_jobs=n_jobs)
        optim.update_dictionary(atoms, A, B, unit_norm=True, n_jobs=n_jobs)
        progress.add(count)
    return atoms


def patches_in_work(shape: tuple[int, int], n_steps: int, options: PatchOptions) -> int:
    """How many patches a plane of this shape has to code: in steps of learning, then every one."""
    size = options.patch_size
    height, width = (max(side, size) - size + 1 for side in shape)
    learnt = 0 if options.dictionary is not None else n_steps * min(_BATCH, height * width)
    return learnt + height * width


def average_of_estimates(
    plane: Plane,
    dictionary: Atoms,
    target: float,
    options: PatchOptions,
    progress: Progress,
    *,
    wanted: NDArray[np.bool_] | None = None,
    step: int = 1,
) -> NDArray[np.float64]:
    """The plane as the weighted mean of the estimates of its patches, one at every `step` pixels.

    A patch is estimated by its mean and a code, by orthogonal matching pursuit, that leaves the squared error
    `target`. With k atoms the estimate keeps about the share (k + 1) / n of the patch's noise; it weighs
    1 / (k + 1). Patches without a wanted pixel are passed over, and other pixels may stay as they are.
    """
    size, n_jobs = options.patch_size, options.n_jobs
    grid = PatchGrid(plane.shape, (size, size), step)
    sums, weights = np.zeros(plane.shape), np.zeros(plane.shape)
    for first, last in _bands(grid):
        rows = grid.rows[first:last]
        lines = slice(rows[0], rows[-1] + size)
        patches, band = extract_patches(plane[lines], size, step=step, n_jobs=n_jobs)
        progress.add(len(patches))
        coded = np.ones(len(patches), bool) if wanted is None else _touching(wanted[lines], band)
        if not coded.any():
            continue
        weight = np.zeros(len(patches))
        estimates, n_atoms = _estimates(patches[coded], dictionary, target, n_jobs)
        weight[coded] = 1 / (n_atoms + 1.0)
        patches[coded] = estimates
        patches *= weight[:, np.newaxis].astype(np.float32)
        means = reconstruct_from_patches(patches, band, n_jobs=n_jobs)
        sums[lines] += means * _overlap(np.ones(len(weight)), band)
        weights[lines] += _overlap(weight, band)
    covered = weights > 0
    return np.where(covered, sums / np.where(covered, weights, 1), plane)


def _touching(wanted: NDArray[np.bool_], grid: PatchGrid) -> NDArray[np.bool_]:
    """Patches that have a pixel that is wanted."""
    before = np.zeros((wanted.shape[0] + 1, wanted.shape[1] + 1), np.int64)
    before[1:, 1:] = wanted.cumsum(axis=0).cumsum(axis=1)
    top, left = grid.rows[:, np.newaxis], grid.columns
    bottom, right = top + grid.patch_size[0], left + grid.patch_size[1]
    counts = before[bottom, right] - before[top, right] - before[bottom, left] + before[top, left]
    return (counts > 0).ravel()


def _bands(grid: PatchGrid) -> Iterator[tuple[int, int]]:
    """Ranges of the grid's rows, each of about a block of patches."""
    n_rows, height = len(grid.rows), max(1, _BLOCK // len(grid.columns))
    return ((first, min(first + height, n_rows)) for first in range(0, n_rows, height))


def _centred(patches: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    means = patches.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    return patches - means, means


def _estimates(
    patches: NDArray[np.float32], dictionary: Atoms, target: float, n_jobs: int | None
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    rows, means = _centred(patches)
    codes, n_atoms = _pursue(rows, dictionary, target, n_jobs)
    with one_blas_thread:
        np.matmul(codes, dictionary, out=rows)
    rows += means
    return rows, n_atoms


def _pursue(
    rows: NDArray[np.float32], dictionary: Atoms, target: float, n_jobs: int | None
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Codes to the squared error `target`, and how many atoms each has."""
    codes, info = omp_encode(rows, dictionary, tol=target, n_jobs=n_jobs)
    return codes, info.n_nonzero


def _overlap(weight: NDArray[np.float64], grid: PatchGrid) -> NDArray[np.float64]:
    """For every pixel, the sum of the weights of the patches that cover it."""
    height, width = grid.patch_size
    rows, columns = grid.rows, grid.columns
    table = weight.reshape(len(rows), len(columns))
    along = np.zeros((len(rows), grid.image_shape[1]))
    for k in range(width):
        along[:, columns + k] += table
    total = np.zeros(grid.image_shape)
    for k in range(height):
        total[rows + k] += along
    return total
