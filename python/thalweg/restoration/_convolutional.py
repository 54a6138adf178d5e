"""A plane of a picture from convolutional sparse codes, over filters that are learnt from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, ops
from ..inference.csc import ConvolutionalLassoSolver, SparseMaps
from ..models import ConvolutionalDictionaryLearning
from ._conjugate_gradients import conjugate_gradients

Plane = NDArray[np.float32]  # (height, width)
Filters = NDArray[np.float32]  # (n_filters, 1, height, width)

_CODING_GAP = 1e-2
_REFIT_STEPS = 20


class FilterOptions(NamedTuple):
    """How planes are coded: `filters` as given, or None to learn `n_filters` of `size` x `size`."""

    filters: Filters | None
    size: int
    n_filters: int
    seed: int
    n_jobs: int | None
    device: str = "cpu"

    def n_banks(self, learnt: int) -> int:
        """Dictionaries whose estimates are averaged: of those given one, of others `learnt`."""
        return learnt if self.filters is None else 1

    @property
    def margin(self) -> int:
        """Pixels that a plane is mirrored by on all sides, so that codes at its border see whole filters."""
        return self.size if self.filters is None else max(self.filters.shape[2:])

    def mirrored(self, plane: NDArray[np.float64]) -> Plane:
        return np.pad(plane.astype(np.float32), self.margin, mode="symmetric")

    def middle(self, plane: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of `mirrored`."""
        inside = slice(self.margin, -self.margin)
        return plane[inside, inside]

    def solver(self, filters: Filters) -> ConvolutionalLassoSolver:
        return ConvolutionalLassoSolver(filters, tol=_CODING_GAP, n_jobs=self.n_jobs, device=self.device)


def filter_options(
    dictionary: Any,
    patch_size: int,
    n_components: int,
    seed: int,
    n_jobs: int | None,
    device: str = "cpu",
) -> FilterOptions:
    """The options, with the dictionary checked; its filters get unit norms."""
    if dictionary is None:
        return FilterOptions(None, patch_size, n_components, seed, n_jobs, device)
    filters = _check.float_array(dictionary, "dictionary", ndim=4, dtype=np.float32)
    if filters.size == 0 or filters.shape[1] != 1:
        raise ValueError(
            f"dictionary: expected filters (n_filters, 1, height, width), got shape {filters.shape}"
        )
    return FilterOptions(with_unit_norms(filters), patch_size, len(filters), seed, n_jobs, device)


def with_unit_norms(filters: Filters) -> Filters:
    """Filters divided by their norms; those that are zero stay."""
    norms = np.sqrt(np.sum(filters.astype(np.float64) ** 2, axis=(1, 2, 3), keepdims=True))
    unit: Filters = (filters / np.where(norms > 0, norms, 1)).astype(np.float32)
    return unit


def learn(
    plane: Plane,
    alpha: float,
    n_steps: int,
    options: FilterOptions,
    seed: int,
    *,
    weights: Plane | None = None,
    first: Filters | None = None,
) -> Filters:
    """Filters of unit norm after `n_steps` turns of codes and filters, from `first` or from random ones."""
    learner = ConvolutionalDictionaryLearning(
        options.n_filters,
        options.size,
        alpha=alpha,
        max_iter=n_steps,
        dict_init=first,
        random_state=seed % 2**63,
        n_jobs=options.n_jobs,
        device=options.device,
    )
    learner.fit(plane[np.newaxis], mask=None if weights is None else weights[np.newaxis])
    return with_unit_norms(learner.components_)


def refit(plane: Plane, maps: SparseMaps, solver: ConvolutionalLassoSolver, n_jobs: int | None) -> Plane:
    """The plane that the non-zeros of the maps give with the values that fit it best, nearly.

    Least squares by conjugate gradients from the values of the maps on: without the bias that the penalty
    puts on them.
    """
    size = (plane.shape[0], plane.shape[1])

    def synthesis(value: Plane) -> Plane:
        image: Plane = solver.synthesize(SparseMaps(maps.shape, maps.index, value), size)[0]
        return image

    def adjoint(residual: Plane) -> Plane:
        return _on_support(residual, maps, solver, n_jobs)

    gradient = adjoint(plane - synthesis(maps.value))
    change = conjugate_gradients(lambda value: adjoint(synthesis(value)), gradient, _REFIT_STEPS)
    return synthesis(maps.value + change)


def _on_support(
    image: Plane, maps: SparseMaps, solver: ConvolutionalLassoSolver, n_jobs: int | None
) -> Plane:
    """Correlations of an image with the filters, at the non-zeros of the maps; a filter at a time."""
    n_filters, n_places = maps.shape[0], maps.shape[1] * maps.shape[2]
    ends = np.searchsorted(maps.index, np.arange(n_filters + 1) * n_places)
    found = np.empty(maps.nnz, np.float32)
    for k in np.flatnonzero(np.diff(ends)):
        span = slice(ends[k], ends[k + 1])
        everywhere = ops.correlate(
            image[np.newaxis, np.newaxis], solver.filters[k : k + 1], n_jobs=n_jobs, device=solver.device
        )
        found[span] = everywhere.ravel()[maps.index[span] - k * n_places]
    return found
