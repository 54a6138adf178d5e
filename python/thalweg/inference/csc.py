"""Convolutional sparse codes of images: sparse maps whose convolutions with filters add up to the image."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg import _check, _device
from thalweg._check import FloatArray, is_device_array
from thalweg._native import cpu as _cpu
from thalweg.ops.conv import NATIVE_BOUNDARIES

BOUNDARIES = tuple(NATIVE_BOUNDARIES)
SOLVERS = ("auto", "active_set", "fista")

_HIDDEN = "image: every pixel that the mask does not hide must be finite, but one is not"

_FINENESS = 16  # of the grid of frequencies, even
_BLOCK_ELEMENTS = 2**20  # of the matrices whose eigenvalues are taken at once


@dataclass(frozen=True)
class SparseMaps:
    """Code maps of one image, the non-zeros alone.

    Attributes
    ----------
    shape : (int, int, int)
        (n_filters, code height, code width).
    index : ndarray of int64
        Places of the non-zeros in the flattened maps, increasing.
    value : ndarray of float32 or float64
        Their values.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.inference.csc import SparseMaps
    >>> maps = SparseMaps.from_dense(np.eye(3)[None])
    >>> maps.nnz, maps.shape, maps.index.tolist()
    (3, (1, 3, 3), [0, 4, 8])
    >>> maps.tocsr().shape
    (1, 9)
    """

    shape: tuple[int, int, int]
    index: NDArray[np.int64]
    value: FloatArray

    @classmethod
    def from_dense(cls, codes: FloatArray) -> SparseMaps:
        """The maps of an array (n_filters, code height, code width)."""
        flat = np.ascontiguousarray(codes).reshape(-1)
        index = np.flatnonzero(flat)
        return cls((codes.shape[0], codes.shape[1], codes.shape[2]), index, flat[index])

    @property
    def nnz(self) -> int:
        """Number of non-zeros."""
        return len(self.index)

    @property
    def density(self) -> float:
        """Share of the codes that are not zero."""
        return self.nnz / int(np.prod(self.shape, dtype=np.int64))

    def toarray(self) -> FloatArray:
        """Dense maps (n_filters, code height, code width)."""
        codes = np.zeros(self.shape, self.value.dtype)
        codes.reshape(-1)[self.index] = self.value
        return codes

    def tocsr(self) -> Any:
        """scipy.sparse.csr_array of shape (n_filters, code height * code width)."""
        from scipy.sparse import csr_array

        n_filters, size = self.shape[0], self.shape[1] * self.shape[2]
        starts = np.searchsorted(self.index, np.arange(n_filters + 1) * size)
        return csr_array((self.value, self.index % size, starts), shape=(n_filters, size))


class CscInfo(NamedTuple):
    """What is known of an image's codes.

    Attributes
    ----------
    objective : float
        The energy that is minimised.
    gap : float
        Relative duality gap, to 1/2 ||M y||^2: computed in float64 from the codes as returned, it bounds how
        far `objective` lies above the minimum, in that unit.
    n_iter : int
        Iterations of the solver.
    is_converged : bool
        Whether `gap` is at most `tol`.
    """

    objective: float
    gap: float
    n_iter: int
    is_converged: bool


class ConvolutionalLassoSolver:
    r"""Encodes images over one bank of filters.

    Minimises, for an image y of C channels and an optional mask or weight M,

    .. math:: \tfrac12 \lVert M (y - \textstyle\sum_k f_k * z_k) \rVert^2
              + \sum_k \alpha_k \lVert z_k \rVert_1

    Parameters
    ----------
    filters : array-like of shape (n_filters, channels, height, width)
        Of any norms. float32 and float64 are kept; images are brought to their dtype.
    boundary : {"valid", "same", "full", "circular"}, default="valid"
        Size of the code maps of an image of height H, with filters of height h: "valid" H + h - 1 (codes
        beyond the border, nothing wraps around), "same" H (zeros outside), "full" H - h + 1 (every atom lies
        inside the image), "circular" H (indices modulo H). The names are those that the synthesis has in
        scipy.signal.convolve.
    positive : bool, default=False
        Whether codes must be non-negative.
    solver : {"auto", "active_set", "fista"}, default="auto"
        "active_set": coordinate descent on the violated and the non-zero codes, over tiles, and conjugate
        gradients on the support; its memory grows with the non-zeros alone. "fista": dense. "auto":
        "active_set", which measures faster at every density up to where codes are no longer sparse; on the
        GPU it is "fista", the one solver that has kernels there.
    max_iter : int, default=500
        Most iterations of an image.
    tol : float, default=1e-3
        An image is finished when its relative duality gap is at most this.
    n_jobs : int or None, default=None
        Threads; the bits do not depend on their number. Says nothing on the GPU.
    device : {"cpu", "cuda"}, default="cpu"
        Where to compute. With "cuda" images may be arrays in the memory of the GPU too, which are read where
        they are; filters, masks and maps are NumPy's. Dense codes of an image have to fit there twice.

    Raises
    ------
    TypeError, ValueError
        Where an argument is of the wrong kind, shape or range, or device="cuda" and solver="active_set".
    RuntimeError
        device="cuda", and no GPU can be used: the message says what is missing.
    MemoryError
        The GPU's memory does not suffice.

    References
    ----------
    T. Moreau, A. Gramfort, "DiCoDiLe: Distributed Convolutional Dictionary Learning", IEEE TPAMI, 2020.
    H. Lee, A. Battle, R. Raina, A. Ng, "Efficient sparse coding algorithms", NIPS 2006.
    H. Bristow, A. Eriksson, S. Lucey, "Fast convolutional sparse coding", CVPR 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.inference.csc import ConvolutionalLassoSolver
    >>> image = np.zeros((1, 6, 6))
    >>> image[0, 2:4, 2:4] = 2.0
    >>> solver = ConvolutionalLassoSolver(np.ones((1, 1, 2, 2)) / 2, boundary="full")
    >>> maps, info = solver.encode(image, alpha=0.5)
    >>> maps.index.tolist(), maps.value.tolist(), info.is_converged
    ([12], [3.5], True)
    >>> float(solver.synthesize(maps, (6, 6))[0, 2, 2])
    1.75
    """

    def __init__(
        self,
        filters: Any,
        *,
        boundary: str = "valid",
        positive: bool = False,
        solver: str = "auto",
        max_iter: int = 500,
        tol: float = 1e-3,
        n_jobs: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.device = _check.device(device)
        self._kernels = _device.kernels(self.device)
        self.filters = _check.float_array(filters, "filters", ndim=4)
        if 0 in self.filters.shape:
            raise ValueError(f"filters: expected no empty axis, got shape {self.filters.shape}")
        self.boundary = _check.one_of(boundary, "boundary", BOUNDARIES)
        self.positive = bool(_check.one_of(positive, "positive", (False, True)))
        self.solver = _check.one_of(solver, "solver", SOLVERS)
        check_solver(solver, self.device)
        self.max_iter = _check.whole_number(max_iter, "max_iter", minimum=1)
        self.tol = _check.real_number(tol, "tol", minimum=0.0)
        self.n_threads = _check.thread_number(n_jobs)

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64, as the filters have it."""
        return self.filters.dtype

    def code_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(n_filters, code height, code width) for images of this size."""
        n_filters, _, *sizes = self.filters.shape
        added = {"valid": 1, "full": -1}.get(self.boundary, 0)
        rows, cols = (n + added * (k - 1) for n, k in zip((height, width), sizes, strict=True))
        return n_filters, rows, cols

    def encode(
        self, image: Any, alpha: Any, *, mask: Any = None, init: SparseMaps | None = None
    ) -> tuple[SparseMaps, CscInfo]:
        """Code maps of one image.

        Parameters
        ----------
        image : array-like of shape (channels, height, width)
            At least as large as the filters. Where the mask is 0 a pixel may be anything, NaN too.
        alpha : float or array-like of shape (n_filters,)
            Weight of the penalty, > 0.
        mask : array-like of shape (height, width) or (channels, height, width), or None
            M, >= 0: 1 or True where a pixel is observed, 0 where it is missing, or any weight.
        init : SparseMaps or None
            Where to start; None starts from zero.

        Returns
        -------
        maps : SparseMaps
        info : CscInfo
        """
        weights, pixels = self._masked(image, mask)
        start = self._start(init, self.code_shape(*pixels.shape[1:]))
        problem = self._problem(pixels, weights, alpha)
        if self.device == "cuda":
            index, value, report = self._kernels.csc_fista_maps(
                *problem, self._lipschitz(weights), start.index, start.value, self._options()
            )
            maps = SparseMaps(start.shape, index, value)
        elif self.solver == "fista":
            codes = start.toarray()
            report = _cpu.csc_fista(*problem, self._lipschitz(weights), codes, self._options())
            maps = SparseMaps.from_dense(codes)
        else:
            index, value, report = _cpu.csc_encode(*problem, start.index, start.value, self._options())
            maps = SparseMaps(start.shape, index, value)
        return maps, self._info(report)

    def encode_into(
        self, codes: Any, image: Any, alpha: Any, *, mask: Any = None, init: SparseMaps | None = None
    ) -> CscInfo:
        """Dense code maps of one image, written to an array in the memory of the GPU, for device="cuda".

        Parameters
        ----------
        codes : array of shape (n_filters, code height, code width)
            In C order and in the dtype of the filters; its values are not read.
        image, alpha, mask, init
            As for `encode`.

        Returns
        -------
        info : CscInfo

        Raises
        ------
        ValueError
            Where this is not a solver of device="cuda", too.
        """
        if self.device != "cuda":
            raise ValueError("device: expected a solver of device='cuda', got one of device='cpu'")
        weights, pixels = self._masked(image, mask)
        start = self._start(init, self.code_shape(*pixels.shape[1:]))
        out = _device.output(codes, start.shape, self.dtype)
        problem = self._problem(pixels, weights, alpha)
        self._kernels.csc_expand(start.index, start.value, out)
        return self._info(self._kernels.csc_fista(*problem, self._lipschitz(weights), out, self._options()))

    def certify(self, image: Any, alpha: Any, maps: SparseMaps, *, mask: Any = None) -> CscInfo:
        """Objective and duality gap of given maps; arguments as for `encode`."""
        weights, pixels = self._masked(image, mask)
        start = self._feasible(maps, self.code_shape(*pixels.shape[1:]), "maps")
        problem = self._problem(pixels, weights, alpha)
        return self._info(self._kernels.csc_certify(*problem, start.index, start.value, self.n_threads))

    def synthesize(self, maps: SparseMaps, size: tuple[int, int]) -> FloatArray:
        """The image (channels, height, width) of this size, (height, width), that the maps give."""
        height, width = _sizes(size, "size")
        self._check_size((height, width), "size")
        start = self._checked(maps, self.code_shape(height, width), "maps")
        image = np.empty((self.filters.shape[1], height, width), self.dtype)
        boundary = NATIVE_BOUNDARIES[self.boundary]
        self._kernels.csc_synthesize(self.filters, start.index, start.value, boundary, image, self.n_threads)
        return image

    def filter_gradient(
        self, image: Any, maps: SparseMaps, *, mask: Any = None
    ) -> tuple[float, NDArray[np.float64]]:
        """1/2 ||M (y - sum_k f_k * z_k)||^2 and its gradient in the filters, of their shape."""
        weights, pixels = self._masked(image, mask)
        start = self._checked(maps, self.code_shape(*pixels.shape[1:]), "maps")
        gradient = np.empty(self.filters.size)
        value = self._kernels.csc_filter_gradient(
            pixels,
            weights,
            self.filters,
            np.ones(len(self.filters), self.dtype),
            NATIVE_BOUNDARIES[self.boundary],
            start.index,
            start.value,
            gradient,
            self.n_threads,
        )
        return float(value), gradient.reshape(self.filters.shape)

    def add_statistics(
        self, image: Any, maps: SparseMaps, A: NDArray[np.float64], B: NDArray[np.float64]
    ) -> None:
        """Adds an image to the sums that make the error a quadratic form of the filters, in place.

        For the atoms that lie inside the image (y' is what the others leave of it)

            A[k, l, t] += sum_p z_k[p] z_l[p + t],    B[k, c, i] += sum_p z_k[p] y'[c, p + i]

        Parameters
        ----------
        image : array-like of shape (channels, height, width)
        maps : SparseMaps
        A : ndarray of float64, shape (n_filters, n_filters, 2 height - 1, 2 width - 1)
        B : ndarray of float64, of the filters' shape
        """
        n_filters, _, height, width = self.filters.shape
        _check_sums(A, "A", (n_filters, n_filters, 2 * height - 1, 2 * width - 1))
        _check_sums(B, "B", self.filters.shape)
        _, pixels = self._masked(image, None)
        start = self._checked(maps, self.code_shape(*pixels.shape[1:]), "maps")
        self._kernels.csc_statistics(
            pixels,
            self.filters,
            np.ones(len(self.filters), self.dtype),
            NATIVE_BOUNDARIES[self.boundary],
            start.index,
            start.value,
            A.reshape(-1),
            B.reshape(-1),
            self.n_threads,
        )

    def _problem(self, pixels: FloatArray, weights: FloatArray | None, alpha: Any) -> tuple[Any, ...]:
        """The arguments that the kernels share."""
        return (
            pixels,
            weights,
            self.filters,
            alpha_of_filters(alpha, self.filters),
            NATIVE_BOUNDARIES[self.boundary],
            self.positive,
        )

    def _start(self, init: SparseMaps | None, shape: tuple[int, int, int]) -> SparseMaps:
        if init is not None:
            return self._feasible(init, shape, "init")
        return SparseMaps(shape, np.empty(0, np.int64), np.empty(0, self.dtype))

    def _options(self) -> Any:
        options = _cpu.CscOptions()
        options.tol, options.max_iter, options.n_jobs = self.tol, self.max_iter, self.n_threads
        return options

    def _masked(self, image: Any, mask: Any) -> tuple[FloatArray | None, FloatArray]:
        """The squares of M, or None, and an image that is finite everywhere.

        An image on the GPU stays there, and may be anything where M is 0.
        """
        if self.device == "cuda" and is_device_array(image):
            return self._masked_on_device(image, mask)
        if mask is None:
            pixels = _check.float_array(image, "image", ndim=3, dtype=self.dtype)
            self._check_image(pixels)
            return None, pixels
        pixels = _check.real_operand(image, "image", dtype=self.dtype)
        self._check_image(pixels)
        squares = self._squares(mask, pixels.shape)
        pixels = np.where(squares > 0, pixels, self.dtype.type(0))
        if not _check.is_finite(pixels):
            raise ValueError(_HIDDEN)
        return squares, np.ascontiguousarray(pixels)

    def _masked_on_device(self, image: Any, mask: Any) -> tuple[FloatArray | None, Any]:
        if mask is None:
            pixels = _device.as_device_array(image, "image", ndim=3, dtype=self.dtype)
            self._check_image(pixels)
            return None, pixels
        pixels = _device.device_operand(image, "image", dtype=self.dtype)
        self._check_image(pixels)
        squares = self._squares(mask, pixels.shape)
        nothing = SparseMaps(
            self.code_shape(*pixels.shape[1:]), np.empty(0, np.int64), np.empty(0, self.dtype)
        )
        # The error of no codes sums up the observed pixels' squares.
        report = self._kernels.csc_certify(
            *self._problem(pixels, squares, 1.0), nothing.index, nothing.value, self.n_threads
        )
        if not np.isfinite(report.objective):
            raise ValueError(_HIDDEN)
        return squares, pixels

    def _squares(self, mask: Any, shape: tuple[int, ...]) -> FloatArray:
        """The squares of M for an image of this shape."""
        weights = _check.non_negative(mask, "mask", self.dtype)
        if weights.shape not in (shape, shape[1:]):
            raise ValueError(
                f"mask: expected shape {shape[1:]} or {shape}, as the image has, got {weights.shape}"
            )
        weights = np.ascontiguousarray(np.broadcast_to(weights, shape))
        observed = weights > 0
        if not observed.any():
            raise ValueError("mask: expected at least one pixel that is observed, got zeros everywhere")
        with np.errstate(over="ignore", under="ignore"):
            squares: FloatArray = weights * weights
        if not (_check.is_finite(squares) and (squares[observed] > 0).all()):
            raise ValueError(f"mask: its squares leave the range of {self.dtype}; scale it")
        return squares

    def _check_image(self, pixels: FloatArray) -> None:
        channels = self.filters.shape[1]
        if pixels.ndim != 3 or pixels.shape[0] != channels:
            raise ValueError(
                f"image: expected shape ({channels}, height, width), as the filters have, got {pixels.shape}"
            )
        self._check_size((pixels.shape[1], pixels.shape[2]), "image")

    def _check_size(self, size: tuple[int, int], name: str) -> None:
        height, width = self.filters.shape[2:]
        if size[0] < height or size[1] < width:
            raise ValueError(
                f"{name}: filters of {height} x {width} do not fit into {size[0]} x {size[1]} pixels"
            )

    def _checked(self, maps: SparseMaps, shape: tuple[int, int, int], name: str) -> SparseMaps:
        """Maps of this shape, as the kernels take them."""
        if not isinstance(maps, SparseMaps):
            raise TypeError(f"{name}: expected SparseMaps, got {type(maps).__name__}")
        if tuple(maps.shape) != shape:
            raise ValueError(f"{name}: expected maps of shape {shape}, got {maps.shape}")
        value = _check.float_array(maps.value, name, ndim=1, dtype=self.dtype)
        index = np.asarray(maps.index)
        if index.ndim != 1 or (index.dtype.kind not in "iu" and index.size):
            raise ValueError(
                f"{name}: expected indices in one dimension and integers, got shape {index.shape} "
                f"and dtype {index.dtype}"
            )
        if len(index) != len(value):
            raise ValueError(f"{name}: expected as many values as indices, got {len(value)} and {len(index)}")
        index = np.ascontiguousarray(index, np.int64)
        size = int(np.prod(shape))
        if len(index) and not (index[0] >= 0 and index[-1] < size and (np.diff(index) > 0).all()):
            raise ValueError(f"{name}: expected indices that increase, from 0 on and below {size}")
        return SparseMaps(shape, index, value)

    def _feasible(self, maps: SparseMaps, shape: tuple[int, int, int], name: str) -> SparseMaps:
        checked = self._checked(maps, shape, name)
        if self.positive and checked.value.min(initial=0) < 0:
            worst = checked.value.min()
            raise ValueError(f"{name}: expected values >= 0, as codes must be, got {worst:g}")
        return checked

    def _info(self, report: Any) -> CscInfo:
        return CscInfo(report.objective, report.gap, int(report.n_iter), bool(report.gap <= self.tol))

    def _lipschitz(self, weights: FloatArray | None) -> float:
        return self._lipschitz_of_filters * (1.0 if weights is None else float(weights.max()))

    @cached_property
    def _lipschitz_of_filters(self) -> float:
        return lipschitz_bound(self.filters)


def check_solver(solver: str, device: str) -> None:
    """ValueError where this solver has no kernels on this device."""
    if device == "cuda" and solver == "active_set":
        raise ValueError(
            "solver: 'active_set', coordinate descent, has no kernels on the GPU; expected 'auto' or 'fista' "
            "with device='cuda'"
        )


def alpha_of_filters(alpha: Any, filters: FloatArray) -> FloatArray:
    """`alpha`, a number or one a filter, as (n_filters,) in the dtype of the filters."""
    weights = _check.float_array(alpha, "alpha", dtype=filters.dtype)
    if weights.shape not in ((), (1,), (len(filters),)):
        raise ValueError(f"alpha: expected a number or ({len(filters)},), got shape {weights.shape}")
    if not weights.min() > 0:
        raise ValueError(f"alpha: expected numbers > 0, got {weights.min():g}")
    return np.ascontiguousarray(np.broadcast_to(weights, len(filters)))


def _sizes(value: Any, name: str) -> tuple[int, int]:
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name}: expected (height, width), got {value!r}")
    if len(value) != 2:
        raise ValueError(f"{name}: expected (height, width), got {value!r}")
    return _check.whole_number(value[0], name, minimum=1), _check.whole_number(value[1], name, minimum=1)


def _check_sums(sums: Any, name: str, shape: tuple[int, ...]) -> None:
    if not isinstance(sums, np.ndarray) or sums.dtype != np.float64:
        kind = getattr(sums, "dtype", type(sums).__name__)
        raise TypeError(f"{name}: expected a float64 ndarray, which is added to, got {kind}")
    if sums.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {sums.shape}")
    if not (sums.flags.c_contiguous and sums.flags.writeable):
        raise ValueError(f"{name}: expected a C-contiguous, writeable array, which is added to")


def lipschitz_bound(filters: FloatArray) -> float:
    r"""An upper bound of the largest eigenvalue of the convolution with these filters times its adjoint.

    :math:`\sup_\omega \lVert \sum_k \hat f_k(\omega) \hat f_k(\omega)^H \rVert` over a grid of frequencies 16
    times as fine as the filters; between its points the sum, a trigonometric polynomial, is at most
    :math:`1/\cos^2(\pi/16)` times greater (for a direction in which filters have one pixel, not at all).
    Takes memory for a few copies of the filters.
    """
    n_filters, channels, *sizes = filters.shape
    # The sum and the filters' Gram matrix have the same largest eigenvalue: the smaller of both is taken.
    spatial = filters.astype(np.float64).swapaxes(0, 1) if n_filters < channels else filters
    largest = max(_largest_eigenvalue(block) for block in _spectra(spatial))
    between = np.prod([1.0 if n == 1 else np.cos(np.pi / _FINENESS) for n in sizes])
    return largest / float(between)


def _spectra(filters: FloatArray) -> Iterator[NDArray[np.complex128]]:
    """Fourier transforms of the filters at every frequency of a fine grid, up to the sign.

    Blocks (height * width, n_filters, channels), of the filters' own size: the frequencies that lie a given
    shift beyond those of the filters, which are a transform of the modulated filters.
    """
    height, width = filters.shape[2:]
    for column in range(1 if width == 1 else _FINENESS // 2 + 1):  # the others are conjugates of these
        for row in range(1 if height == 1 else _FINENESS):
            modulated = filters * np.outer(_wave(row, height), _wave(column, width))
            spectrum = np.fft.fft2(modulated)
            yield spectrum.reshape(*spectrum.shape[:2], -1).transpose(2, 0, 1)


def _wave(shift: int, size: int) -> NDArray[np.complex128]:
    """A wave of `shift` periods along `_FINENESS` times `size` pixels, on the first `size` of them."""
    wave: NDArray[np.complex128] = np.exp(-2j * np.pi * shift * np.arange(size) / (_FINENESS * size))
    return wave


def _largest_eigenvalue(spectra: NDArray[np.complex128]) -> float:
    """That of sum_k f_k f_k^H over all the frequencies of (frequencies, k, size of f_k)."""
    size = spectra.shape[2]
    if size == 1:
        return float((spectra.real**2 + spectra.imag**2).sum(axis=1).max())
    step = max(1, _BLOCK_ELEMENTS // size**2)
    largest = 0.0
    for first in range(0, len(spectra), step):
        block = spectra[first : first + step]
        power = block.transpose(0, 2, 1) @ block.conj()
        largest = max(largest, float(np.linalg.eigvalsh(power)[:, -1].max()))
    return largest


def warn_unconverged(infos: list[CscInfo], tol: float, stacklevel: int) -> None:
    """ConvergenceWarning where an image's gap missed `tol`."""
    from sklearn.exceptions import ConvergenceWarning

    missed = [info for info in infos if not info.is_converged]
    if missed:
        warnings.warn(
            f"{len(missed)} of {len(infos)} images did not reach tol={tol:g}: the worst relative duality "
            f"gap is {max(info.gap for info in missed):.2e} after "
            f"{max(info.n_iter for info in missed)} iterations; raise max_iter or tol",
            ConvergenceWarning,
            stacklevel=stacklevel + 1,
        )
