"""Symmetric matrices with structure: which entries are free, and which places each one fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._check import FloatArray, one_of, real_number, whole_number

STRUCTURES = ("full", "banded", "toeplitz")


@dataclass(frozen=True)
class PrecisionStructure:
    """Symmetric matrices that are linear in their free entries.

    Entry `entries[i]` stands at (`rows[i]`, `columns[i]`) and, where that is off the diagonal, mirrored; all
    else is zero.
    """

    size: int
    n_entries: int
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    entries: NDArray[np.intp]

    def matrix(self, values: FloatArray) -> FloatArray:
        """The matrix of these free entries."""
        made = np.zeros((self.size, self.size), values.dtype)
        filling = values[self.entries]
        made[self.rows, self.columns] = filling
        made[self.columns, self.rows] = filling
        return made

    def pulled(self, gradient: FloatArray) -> FloatArray:
        """From a gradient in the elements of the matrix to that in the free entries."""
        both = gradient[self.rows, self.columns].astype(np.float64)
        both += np.where(self.rows == self.columns, 0, gradient[self.columns, self.rows])
        return np.bincount(self.entries, both, self.n_entries).astype(gradient.dtype)

    def values(self, matrix: FloatArray) -> FloatArray:
        """The free entries of a matrix; ValueError where it does not have the structure."""
        made = np.zeros(self.n_entries, matrix.dtype)
        made[self.entries] = matrix[self.rows, self.columns]
        worst = float(np.abs(self.matrix(made) - matrix).max())
        if worst > 1e-6 * float(np.abs(matrix).max()):
            raise ValueError(
                "precision: expected a symmetric matrix of the structure, got one that is off by up to "
                f"{worst:g}"
            )
        return made


def precision_structure(
    structure: Any, n_features: int, image_shape: Any = None, radius: Any = None
) -> PrecisionStructure:
    """The structure of this name, for vectors or images of that many features."""
    name = one_of(structure, "structure", STRUCTURES)
    if name == "full":
        rows, columns = np.triu_indices(n_features)
        return PrecisionStructure(n_features, len(rows), rows, columns, np.arange(len(rows)))
    height, width = _image_shape(image_shape, n_features)
    if name == "banded":
        return _banded(height, width, real_number(radius, "radius", minimum=0.0))
    limit = min(height, width) - 1
    return _toeplitz(height, width, whole_number(radius, "radius", maximum=limit))


def _image_shape(image_shape: Any, n_features: int) -> tuple[int, int]:
    if not isinstance(image_shape, tuple | list) or len(image_shape) != 2:
        raise ValueError(f"image_shape: expected (height, width), got {image_shape!r}")
    height, width = (whole_number(side, "image_shape", minimum=1) for side in image_shape)
    if height * width != n_features:
        raise ValueError(
            f"image_shape: expected height * width = {n_features}, as there are features, got "
            f"{(height, width)}"
        )
    return height, width


def _offsets(height: int, width: int, reach: int) -> list[tuple[int, int]]:
    """Half of the offsets of pixels, the one of none first: of each pair that differs by sign, one."""
    down, across = min(reach, height - 1), min(reach, width - 1)
    return [(0, j) for j in range(across + 1)] + [
        (i, j) for i in range(1, down + 1) for j in range(-across, across + 1)
    ]


def _pairs(height: int, width: int, offset: tuple[int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Numbers of all pixels whose neighbour at this offset is inside the image, and of that neighbour."""
    numbers = np.arange(height * width).reshape(height, width)
    i, j = offset
    here = numbers[: height - i, max(0, -j) : width - max(0, j)]
    return here.ravel(), here.ravel() + i * width + j


def _banded(height: int, width: int, radius: float) -> PrecisionStructure:
    within = [o for o in _offsets(height, width, int(radius)) if o[0] ** 2 + o[1] ** 2 <= radius**2]
    rows, columns = (np.concatenate(side) for side in zip(*(_pairs(height, width, o) for o in within)))
    order = np.lexsort((columns, rows))
    return PrecisionStructure(
        height * width, len(rows), rows[order], columns[order], np.arange(len(rows), dtype=np.intp)
    )


def _toeplitz(height: int, width: int, radius: int) -> PrecisionStructure:
    offsets = _offsets(height, width, radius)
    pairs = [_pairs(height, width, offset) for offset in offsets]
    rows, columns = (np.concatenate(side) for side in zip(*pairs))
    entries = np.repeat(np.arange(len(offsets)), [len(here) for here, _ in pairs])
    return PrecisionStructure(height * width, len(offsets), rows, columns, entries)
