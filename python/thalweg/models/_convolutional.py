"""What `ConvolutionalSparseCoder` and the convolutional dictionary learner share: coding, and its inverse."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from .. import _check, _device, ops
from .._check import (
    FloatArray,
    float_array,
    is_device_array,
    is_finite,
    non_negative,
    one_of,
    real_number,
    thread_number,
    whole_number,
)
from ..inference.csc import (
    BOUNDARIES,
    SOLVERS,
    ConvolutionalLassoSolver,
    CscInfo,
    SparseMaps,
    check_solver,
    warn_unconverged,
)
from ._images import Layout, MapsThere, as_images


class ConvolutionalTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Codes images over a bank of filters. A subclass names the filters and has the parameters read here."""

    _filters_name: str  # what messages call the filters
    _transform_prefix: str  # "transform_" where the parameters of the transform have names of their own
    boundary: str
    positive_code: bool
    solver: str
    device: str
    n_jobs: int | None

    def _filters(self) -> FloatArray:
        """(n_filters, channels, height, width), or (n_filters, channels, length) for signals."""
        raise NotImplementedError

    def _transform_settings(self) -> tuple[Any, float, int]:
        """alpha, tol and max_iter of the transform."""
        raise NotImplementedError

    def fit_transform(self, X: Any, y: Any = None, *, mask: Any = None) -> Any:
        """`fit`, then `transform` of the same images with the same masks.

        Parameters
        ----------
        X, mask
            As for `fit`.
        y : ignored

        Returns
        -------
        codes : ndarray of shape (n, n_filters, code height, code width), list of such maps
        """
        return self.fit(X, y, mask=mask).transform(X, mask=mask)

    def transform(self, X: Any, mask: Any = None) -> Any:
        """Dense code maps of images.

        Parameters
        ----------
        X : array-like of shape (n, channels, height, width) or (n, height, width), or list of images
            For filters of signals (n, channels, length) or (n, length). A list may hold unequal sizes.
        mask : array-like, list of such, or None
            M, for each image (height, width) or (channels, height, width); one of such a shape serves all
            images. An array (n, height, width) is one an image, unless n is also the number of channels: give
            a list then. 1 or True where a pixel is observed; where it is 0 it may be anything, NaN too.

        Returns
        -------
        codes : ndarray of shape (n, n_filters, code height, code width), or list of such maps
            As X came; in the dtype of X. Where X is in the memory of the GPU, so are they, as arrays of its
            library.

        Raises
        ------
        TypeError, ValueError
            Where X, mask or a parameter is of the wrong kind, shape or range, or an observed pixel is not
            finite.

        Warns
        -----
        ConvergenceWarning
            Where images stop at the largest number of iterations, with the worst gap reached.
        """
        return self.encode(X, mask=mask)

    def encode(
        self,
        X: Any,
        *,
        mask: Any = None,
        init: list[SparseMaps] | None = None,
        sparse_output: bool = False,
        return_info: bool = False,
    ) -> Any:
        """Code maps of images, sparse on request, with how well each image was solved.

        Parameters
        ----------
        X, mask
            As for `transform`.
        init : list of SparseMaps or None
            Where to start, an element an image; None starts from zero.
        sparse_output : bool, default=False
            Return a list of `SparseMaps`: dense maps are never held.
        return_info : bool, default=False
            Return a list of `CscInfo` as well: objective, relative duality gap, iterations.

        Returns
        -------
        codes : ndarray, list of ndarray, or list of SparseMaps
        info : list of CscInfo
            Only where `return_info`.

        Raises
        ------
        TypeError, ValueError
            As `transform`.

        Warns
        -----
        ConvergenceWarning
            As `transform`.
        """
        self._check_coding_parameters()
        images, layout = self._images(X, mask)
        masks = masks_of(mask, images, layout)
        if init is not None and not isinstance(init, list | tuple):
            raise TypeError(f"init: expected a list of SparseMaps, got {type(init).__name__}")
        if init is not None and len(init) != len(images):
            raise ValueError(f"init: expected {len(images)} maps, one an image, got {len(init)}")
        alpha, tol, max_iter = self._transform_settings()
        solver = self._solver(self._filters_in(images[0].dtype), tol, max_iter)
        starts = [None] * len(images) if init is None else list(init)
        problems = list(zip(images, masks, starts, strict=True))
        codes: Any
        if not sparse_output and is_device_array(images[0]):
            codes, infos = _codes_on_device(solver, alpha, problems, layout, X)
        else:
            results = [solver.encode(image, alpha, mask=m, init=start) for image, m, start in problems]
            infos = [info for _, info in results]
            codes = [maps for maps, _ in results]
            if not sparse_output:
                codes = layout.maps([maps.toarray() for maps in codes])
        warn_unconverged(infos, tol, stacklevel=3)
        return (codes, infos) if return_info else codes

    def inverse_transform(self, codes: Any) -> Any:
        """Images from their code maps: the sums of the maps convolved with the filters.

        Parameters
        ----------
        codes : ndarray of shape (n, n_filters, code height, code width), list of such maps, or of SparseMaps
            As `transform` and `encode` give them, in the memory of the GPU too where device="cuda".

        Returns
        -------
        images : ndarray of shape (n, channels, height, width), or list of images (channels, height, width)
            Of the library of the codes, where these are in the memory of the GPU.

        Raises
        ------
        TypeError, ValueError
            Where codes are not the maps of images of any size.
        """
        filters = self._filters()
        is_sparse = isinstance(codes, list | tuple) and any(isinstance(each, SparseMaps) for each in codes)
        if is_sparse and not all(isinstance(each, SparseMaps) for each in codes):
            raise TypeError("codes: expected SparseMaps throughout, or arrays throughout")
        ndim = filters.ndim - 2
        if is_sparse:
            maps, layout = list(codes), Layout(ndim, False, True)
        else:
            dense, layout = as_images(
                codes, channels=len(filters), ndim=ndim, name="codes", device=_check.device(self.device)
            )
            if is_device_array(dense[0]):
                return self._images_on_device(dense, layout, codes)
            maps = [SparseMaps.from_dense(each) for each in dense]
        is_single = all(np.asarray(each.value).dtype == np.float32 for each in maps)
        solver = self._solver(self._filters_in(np.float32 if is_single else np.float64), 1.0, 1)
        images = [solver.synthesize(each, self._image_size(solver, each.shape)) for each in maps]
        return Layout(ndim, layout.is_stacked, True).images(images)

    def _images_on_device(self, codes: list[Any], layout: Layout, given: Any) -> Any:
        """Images from dense codes in the memory of the GPU, as `given` came."""
        solver = self._solver(self._filters_in(codes[0].dtype), 1.0, 1)
        for each in codes:
            self._image_size(solver, each.shape)  # refuses codes of no image

        def images(maps: Any, like: Any) -> Any:
            made: Any = ops.convolve(maps, solver.filters, boundary=self.boundary, device="cuda")
            *axes, _, width = made.shape
            return _device.give_back(made.reshape((*axes, width) if layout.ndim == 1 else made.shape), like)

        if layout.is_stacked:
            whole = _device.device_operand(given, "codes").reshape((len(codes), *codes[0].shape))
            return images(whole, given)
        made = [images(each.reshape((1, *each.shape)), each) for each in codes]
        single = [each.reshape(tuple(each.shape[1:])) for each in made]
        return [_device.give_back(each, like) for each, like in zip(single, given, strict=True)]

    @staticmethod
    def _image_size(solver: ConvolutionalLassoSolver, shape: tuple[int, ...]) -> tuple[int, int]:
        """Height and width of the image that maps of this shape belong to."""
        removed = solver.code_shape(0, 0)[1:]
        height, width = (n - d for n, d in zip(shape[1:], removed, strict=True))
        kernel = solver.filters.shape[2:]
        if height < kernel[0] or width < kernel[1]:
            raise ValueError(
                f"codes: maps of {shape[1]} x {shape[2]} belong to no image that filters of "
                f"{kernel[0]} x {kernel[1]} fit into"
            )
        return height, width

    def _images(self, X: Any, mask: Any, dtype: Any = None) -> tuple[list[FloatArray], Layout]:
        filters = self._filters()
        images, layout = as_images(
            X,
            channels=filters.shape[1],
            ndim=filters.ndim - 2,
            dtype=dtype,
            is_finite=mask is None,
            device=_check.device(self.device),
        )
        require_room(images, filters_as_images(filters).shape[2:], "X")
        return images, layout

    def _filters_in(self, dtype: Any) -> FloatArray:
        return float_array(filters_as_images(self._filters()), self._filters_name, dtype=dtype)

    def _solver(self, filters: FloatArray, tol: float, max_iter: int) -> ConvolutionalLassoSolver:
        return ConvolutionalLassoSolver(
            filters,
            boundary=self.boundary,
            positive=self.positive_code,
            solver=self.solver,
            max_iter=max_iter,
            tol=tol,
            n_jobs=self.n_jobs,
            device=self.device,
        )

    def _check_coding_parameters(self) -> None:
        one_of(self.boundary, "boundary", BOUNDARIES)
        one_of(self.solver, "solver", SOLVERS)
        check_solver(self.solver, _check.device(self.device))
        one_of(self.positive_code, "positive_code", (False, True))
        thread_number(self.n_jobs)
        _, tol, max_iter = self._transform_settings()
        real_number(tol, f"{self._transform_prefix}tol", minimum=0.0)
        whole_number(max_iter, f"{self._transform_prefix}max_iter", minimum=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags


def _codes_on_device(
    solver: ConvolutionalLassoSolver, alpha: Any, problems: list[tuple[Any, ...]], layout: Layout, X: Any
) -> tuple[Any, list[CscInfo]]:
    """Dense codes, as X came, of images in the memory of the GPU; a problem is (image, mask, start)."""
    shapes: list[tuple[int, ...]] = [solver.code_shape(*image.shape[1:]) for image, _, _ in problems]
    maps, infos = MapsThere(X, layout, shapes, solver.dtype), []
    for shape, (image, mask, start) in zip(shapes, problems, strict=True):
        room = maps.room()
        infos.append(solver.encode_into(room.reshape(shape), image, alpha, mask=mask, init=start))
        maps.keep(room)
    return maps.given_back(), infos


def filters_as_images(filters: FloatArray) -> FloatArray:
    """Filters of signals as filters of images of height 1."""
    return filters if filters.ndim == 4 else filters[:, :, None]


def check_filters(value: Any, name: str) -> FloatArray:
    """`value` as a bank of filters, for images or for signals."""
    filters = float_array(value, name)
    if filters.ndim not in (3, 4) or 0 in filters.shape:
        raise ValueError(
            f"{name}: expected shape (n_filters, channels, height, width) or (n_filters, channels, length), "
            f"got {filters.shape}"
        )
    return filters


def require_room(images: list[FloatArray], size: tuple[int, ...], name: str) -> None:
    """ValueError where filters of this size do not fit into an image."""
    for i, image in enumerate(images):
        if image.shape[1] < size[0] or image.shape[2] < size[1]:
            raise ValueError(
                f"{name}: filters of {size[0]} x {size[1]} do not fit into {name}[{i}] of "
                f"{image.shape[1]} x {image.shape[2]} pixels"
            )


def masks_of(mask: Any, images: list[FloatArray], layout: Layout) -> list[FloatArray | None]:
    """The mask of every image, in the shape that the solver takes; observed pixels are finite."""
    if mask is None:
        return [None] * len(images)
    axes, n = np.ndim(mask) if not isinstance(mask, list | tuple) else None, len(images)
    # With as many axes as a batch of gray masks, or as one mask of all channels: the lengths tell.
    is_batch = axes == layout.ndim + 1 and len(mask) == n and len(mask) != images[0].shape[0]
    is_one = axes is not None and axes != layout.ndim + 2 and not is_batch
    if not is_one and len(mask) != n:
        raise ValueError(f"mask: expected one for each of {n} images, got {len(mask)}")
    shared = _mask(mask, "mask", images[0], layout) if is_one else None
    made: list[FloatArray | None] = []
    for i, image in enumerate(images):
        each = _mask(mask[i], f"mask[{i}]", image, layout) if shared is None else shared
        if each.shape not in (image.shape, image.shape[1:]):
            raise ValueError(f"mask: expected the shape of X[{i}], {image.shape}, got {each.shape}")
        # What is in the memory of the GPU is looked at by the solver.
        if isinstance(image, np.ndarray) and not is_finite(np.where(each > 0, image, 0)):
            raise ValueError(f"X[{i}]: every pixel that the mask does not hide must be finite")
        made.append(each)
    return made


def _mask(mask: Any, name: str, image: FloatArray, layout: Layout) -> FloatArray:
    array = non_negative(mask, name, image.dtype)
    expected = (image.shape[0], *image.shape[3 - layout.ndim :])
    if array.shape not in (expected, expected[1:]):
        raise ValueError(f"{name}: expected shape {expected[1:]} or {expected}, got {array.shape}")
    if not array.any():
        raise ValueError(f"{name}: expected at least one pixel that is observed, got zeros everywhere")
    return array if layout.ndim == 2 else array[..., None, :]
