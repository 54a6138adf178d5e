"""Patches of images as rows of a matrix, and images as averages of their patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg import _check, _rng
from thalweg._native import cpu as _cpu

FloatArray = NDArray[Any]


@dataclass(frozen=True)
class PatchGrid:
    """Where the patches of one image lie: every `step` pixels, and at the far borders, to cover all.

    Attributes
    ----------
    image_shape : tuple of int
        (height, width) of a gray image, (height, width, channels) of one in colour.
    patch_size : tuple of int
        (height, width) of a patch, in pixels.
    step : int
        Pixels from one patch to the next.

    Examples
    --------
    >>> from thalweg.preprocessing import PatchGrid
    >>> grid = PatchGrid((5, 9), (4, 4), step=3)
    >>> grid.rows, grid.columns, grid.n_patches
    (array([0, 1]), array([0, 3, 5]), 6)
    """

    image_shape: tuple[int, ...]
    patch_size: tuple[int, int]
    step: int = 1

    @property
    def rows(self) -> NDArray[np.int64]:
        """First pixel row of the patches, increasing."""
        return _places(self.image_shape[0], self.patch_size[0], self.step)

    @property
    def columns(self) -> NDArray[np.int64]:
        """First pixel column of the patches, increasing."""
        return _places(self.image_shape[1], self.patch_size[1], self.step)

    @property
    def n_patches(self) -> int:
        """Number of patches; patch i has row i // len(columns) and column i % len(columns)."""
        return len(self.rows) * len(self.columns)

    @property
    def n_features(self) -> int:
        """Length of a flattened patch."""
        channels = self.image_shape[2] if len(self.image_shape) == 3 else 1
        return self.patch_size[0] * self.patch_size[1] * channels


def _places(size: int, extent: int, step: int) -> NDArray[np.int64]:
    places = np.arange(0, size - extent + 1, step, dtype=np.int64)
    return places if places[-1] == size - extent else np.append(places, size - extent)


def extract_patches(
    images: Any,
    patch_size: int | tuple[int, int],
    *,
    step: int = 1,
    max_patches: int | None = None,
    random_state: Any = None,
    dtype: Any = None,
    n_jobs: int | None = None,
) -> tuple[FloatArray, Any]:
    """Patches of one image or of several, flattened to rows in the order (channel, row, column).

    Parameters
    ----------
    images : ndarray of shape (height, width) or (height, width, channels), or a list of such
        Images of a list may differ in size, not in their number of channels.
    patch_size : int or (int, int)
        Pixels: side, or (height, width).
    step : int
        Pixels from one patch to the next; the last ones are moved to the border.
    max_patches : int or None
        Number of patches to draw at random, with the same probability for every place in every image; None
        takes all of the grid.
    random_state : None, int, RandomState or Generator
        Seed of the random places.
    dtype : float32, float64 or None
        None keeps float32 and takes float64 for everything else.
    n_jobs : int or None
        Threads.

    Returns
    -------
    patches : ndarray of shape (n_patches, channels * height * width)
    grid : PatchGrid, list of PatchGrid, or None
        As `images`: one grid, or one for each image; None for random patches.

    Raises
    ------
    ValueError
        Where an image is no image or smaller than a patch, or a number is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import extract_patches, reconstruct_from_patches
    >>> image = np.arange(12.0).reshape(3, 4)
    >>> patches, grid = extract_patches(image, 2)
    >>> patches.shape, patches[0].tolist()
    ((6, 4), [0.0, 1.0, 4.0, 5.0])
    >>> bool((reconstruct_from_patches(patches, grid) == image).all())
    True
    """
    single = isinstance(images, np.ndarray) and images.ndim in (2, 3) and images.dtype != object
    size = _patch_size(patch_size)
    step = _check.whole_number(step, "step", minimum=1)
    dtype = None if dtype is None else _float_type(dtype)
    arrays = [_image(im, i, size, dtype) for i, im in enumerate([images] if single else list(images))]
    if not arrays:
        raise ValueError("images: expected at least one image, got an empty list")
    if len({a.shape[2] for a in arrays}) > 1:
        raise ValueError("images: expected the same number of channels in all, got gray and colour")
    common = np.result_type(*arrays) if dtype is None else dtype
    arrays = [a.astype(common, copy=False) for a in arrays]
    threads = _check.thread_number(n_jobs)
    if max_patches is not None:
        count = _check.whole_number(max_patches, "max_patches", minimum=1)
        return _random_patches(arrays, size, count, _check.seed_number(random_state), threads), None
    shapes = [images.shape] if single else [np.shape(im) for im in images]
    grids = [PatchGrid(tuple(shape), size, step) for shape in shapes]
    offsets = np.concatenate([[0], np.cumsum([g.n_patches for g in grids])])
    patches = np.empty((offsets[-1], arrays[0].shape[2] * size[0] * size[1]), common)
    for array, grid, start in zip(arrays, grids, offsets[:-1], strict=True):
        places = np.stack(np.meshgrid(grid.rows, grid.columns, indexing="ij"), axis=-1).reshape(-1, 2)
        _cpu.extract_patches(array, *size, places, patches[start : start + grid.n_patches], threads)
    return patches, grids[0] if single else grids


def reconstruct_from_patches(
    patches: Any, grid: PatchGrid | Sequence[PatchGrid], *, n_jobs: int | None = None
) -> Any:
    """The image (or images) whose pixels are the means of all patch values that cover them.

    Parameters
    ----------
    patches : array-like of shape (n_patches, n_features)
        In the grid's order, as `extract_patches` gives them.
    grid : PatchGrid or list of PatchGrid
    n_jobs : int or None
        Threads.

    Returns
    -------
    images : ndarray or list of ndarray
        Of the shape that the grid names, and of the patches' dtype.

    Raises
    ------
    TypeError, ValueError
        Where `patches` are not the finite numbers of the shape that the grid has.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import extract_patches, reconstruct_from_patches
    >>> image = np.arange(12.0).reshape(3, 4)
    >>> patches, grid = extract_patches(image, 2)
    >>> bool(np.array_equal(reconstruct_from_patches(patches, grid), image))
    True
    """
    grids = [grid] if isinstance(grid, PatchGrid) else list(grid)
    rows = _check.float_array(patches, "patches", ndim=2)
    expected = (sum(g.n_patches for g in grids), grids[0].n_features if grids else 0)
    if rows.shape != expected:
        raise ValueError(f"patches: expected shape {expected}, as the grid has it, got {rows.shape}")
    threads = _check.thread_number(n_jobs)
    images = []
    start = 0
    for g in grids:
        height, width, channels = (*g.image_shape, 1)[:3]
        image = np.empty((height, width, channels), rows.dtype)
        part = rows[start : start + g.n_patches]
        _cpu.average_patches(part, *g.patch_size, g.rows, g.columns, image, threads)
        images.append(image.reshape(g.image_shape))
        start += g.n_patches
    return images[0] if isinstance(grid, PatchGrid) else images


def _patch_size(patch_size: Any) -> tuple[int, int]:
    pair = patch_size if isinstance(patch_size, tuple | list) else (patch_size, patch_size)
    if len(pair) != 2:
        raise ValueError(f"patch_size: expected an integer or (height, width), got {patch_size!r}")
    return (
        _check.whole_number(pair[0], "patch_size", minimum=1),
        _check.whole_number(pair[1], "patch_size", minimum=1),
    )


def _float_type(dtype: Any) -> np.dtype[Any]:
    for known in (np.dtype(np.float32), np.dtype(np.float64)):
        try:
            if known == dtype:
                return known
        except TypeError:  # NumPy knows no dtype of this name
            break
    raise ValueError(f"dtype: expected float32, float64 or None, got {dtype!r}")


def _image(image: Any, number: int, size: tuple[int, int], dtype: Any) -> FloatArray:
    array = _check.float_array(image, f"images[{number}]", dtype=dtype)
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim != 3 or array.shape[2] == 0:
        raise ValueError(
            f"images[{number}]: expected (height, width) or (height, width, channels), "
            f"got shape {np.shape(image)}"
        )
    if array.shape[0] < size[0] or array.shape[1] < size[1]:
        raise ValueError(
            f"images[{number}]: a patch of {size[0]} x {size[1]} does not fit into "
            f"{array.shape[0]} x {array.shape[1]}"
        )
    return array


def _random_patches(
    arrays: list[FloatArray], size: tuple[int, int], count: int, seed: int, threads: int
) -> FloatArray:
    spans = [(a.shape[0] - size[0] + 1, a.shape[1] - size[1] + 1) for a in arrays]
    ends = np.cumsum([h * w for h, w in spans])
    draws = _rng.integers(seed, _rng.STREAM_PATCHES, 0, count, int(ends[-1]))
    owner = np.searchsorted(ends, draws, side="right")
    patches = np.empty((count, arrays[0].shape[2] * size[0] * size[1]), arrays[0].dtype)
    for i, array in enumerate(arrays):
        mine = np.flatnonzero(owner == i)
        if mine.size == 0:
            continue
        place = draws[mine] - (ends[i] - spans[i][0] * spans[i][1])
        places = np.stack([place // spans[i][1], place % spans[i][1]], axis=1)
        part = np.empty((mine.size, patches.shape[1]), patches.dtype)
        _cpu.extract_patches(array, *size, places, part, threads)
        patches[mine] = part
    return patches
