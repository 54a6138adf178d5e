"""Accelerated proximal gradient steps for energies with an l1 norm and a strongly convex smooth part."""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from .. import _check, _device, ops
from .._check import FloatArray, is_device_array
from ..ops.conv import NATIVE_BOUNDARIES, with_height

_CHECK_EVERY = 5


class SparseEnergy(Protocol):
    """sum over samples of f(z) + alpha ||z||_1, for samples that are given."""

    alpha: float
    strong_convexity: float  # of f, > 0

    @property
    def lipschitz(self) -> float:
        """A Lipschitz constant of the gradient of f."""
        ...

    def gradient(self, Z: Any) -> FloatArray:
        """The gradient of f, shape of `Z`."""
        ...


class PredictedCodesEnergy(SparseEnergy, Protocol):
    """1/2 ||y - sum_k f_k * z_k||^2 + beta/2 ||z - p||^2 as f, of images that are given.

    Arrays on either side; signals without the axis of the height.
    """

    device: str
    images: FloatArray  # y, (n, channels, height, width)
    boundary: str

    @property
    def filters(self) -> FloatArray:
        """f, (n_filters, channels, kh, kw) in the dtype of the images."""
        ...

    @property
    def prediction(self) -> FloatArray:
        """p, (n, n_filters, code height, code width)."""
        ...


class ProximalInfo(NamedTuple):
    """How far each sample's code is from the best one."""

    gap: NDArray[np.float64]  # an upper bound of E(z) - min E
    n_iter: int


def minimise(
    energy: SparseEnergy | PredictedCodesEnergy,
    init: FloatArray,
    *,
    max_iter: int,
    tolerance: NDArray[np.float64] | None = None,
    n_jobs: int | None = None,
) -> tuple[FloatArray, ProximalInfo | None]:
    r"""FISTA, whose momentum grows until it is the best for the modulus of strong convexity.

    .. math:: v_t = z_t + m_t (z_t - z_{t-1}), \qquad
              z_{t+1} = \mathrm{shrink}_{\alpha/L}\big( v_t - \nabla f(v_t) / L \big)

    The gradient of a quadratic f at v_t follows from those at z_t and z_{t-1}; so each iteration takes one,
    at a sparse code, and brings a certificate: for every subgradient g of the energy at z
    :math:`E(z) - \min E \le \lVert g \rVert^2 / (2 \mu)`, and the shortest one is taken.

    Parameters
    ----------
    energy : SparseEnergy or PredictedCodesEnergy
        f must be quadratic. One of the latter kind with `device` "cuda" is minimised there.
    init : ndarray of shape (n, ...)
        The first codes, one for each sample.
    max_iter : int
        Most iterations.
    tolerance : ndarray of shape (n,), default=None
        The iterations end once every sample's certificate is at most this. None makes `max_iter` of them.
    n_jobs : int, default=None
        Threads. Says nothing on the GPU.

    Returns
    -------
    codes : ndarray of the shape and dtype of `init`
        In the memory of the GPU, where `init` is there.
    info : ProximalInfo, or None without a tolerance

    References
    ----------
    A. Beck, M. Teboulle, A fast iterative shrinkage-thresholding algorithm for linear inverse problems, SIAM
    J. Imaging Sciences 2, 2009. Y. Nesterov, Lectures on convex optimization, 2018, section 2.2.
    """
    if getattr(energy, "device", "cpu") == "cuda":
        return minimise_there(
            cast(PredictedCodesEnergy, energy), init, max_iter=max_iter, tolerance=tolerance
        )
    rate = 1 / energy.lipschitz
    root = sqrt(energy.strong_convexity * rate)
    most = (1 - root) / (1 + root)
    codes, before, t = init, None, 1.0
    for i in range(max_iter + 1):
        if i == max_iter and tolerance is None:
            break
        gradient = energy.gradient(codes)
        if tolerance is not None and (i % _CHECK_EVERY == 0 or i == max_iter):
            gap = _certificate(energy, codes, gradient)
            if i == max_iter or (gap <= tolerance).all():
                return codes, ProximalInfo(gap, i)
        gradient *= -rate
        gradient += codes
        stepped = gradient  # z - grad f(z) / L, which momentum extrapolates as it does z
        following = (1 + sqrt(1 + 4 * t * t)) / 2
        momentum = min((t - 1) / following, most)
        t = following
        point = stepped if before is None else _extrapolated(stepped, before, momentum)
        codes = ops.shrink(point, energy.alpha * rate, n_jobs=n_jobs)
        before = stepped
    return codes, None


def minimise_there(
    energy: PredictedCodesEnergy,
    init: FloatArray,
    *,
    max_iter: int,
    tolerance: NDArray[np.float64] | None = None,
    out: Any = None,
) -> tuple[FloatArray, ProximalInfo | None]:
    """`minimise` on the GPU, where the codes stay from the first iteration to the last.

    Parameters
    ----------
    energy : PredictedCodesEnergy
    init : array of shape (n, n_filters, code height, code width)
        On either side, in the dtype of the images.
    max_iter : int
    tolerance : ndarray of shape (n,), default=None
        As for `minimise`.
    out : array on the device, default=None
        Where to write the codes, apart from `init`; None makes an array where `init` is.

    Returns
    -------
    codes, info
        As of `minimise`.

    Raises
    ------
    ValueError
        Where arrays do not fit each other, or the codes leave the finite numbers.
    """
    if not is_device_array(init):
        init = np.ascontiguousarray(init, energy.images.dtype)
    shape, dtype = tuple(init.shape), np.dtype(init.dtype)
    codes = _device.empty(shape, dtype, like=init) if out is None else _device.output(out, shape, dtype)
    gap = np.empty(shape[0])
    n_iter = _device.kernels("cuda").csc_predicted_fista(
        *(with_height(each) for each in (energy.images, energy.filters, energy.prediction)),
        energy.alpha,
        energy.strong_convexity,
        NATIVE_BOUNDARIES[energy.boundary],
        energy.lipschitz,
        with_height(init),
        None if tolerance is None else np.ascontiguousarray(tolerance, np.float64),
        max_iter,
        with_height(codes),
        gap,
    )
    if n_iter > 0:
        _require_finite(codes)
    return codes, None if tolerance is None else ProximalInfo(gap, n_iter)


def _require_finite(codes: Any) -> None:
    if is_device_array(codes):
        _device.refuse_not_finite(codes, "Z")
    else:
        _check.float_array(codes, "Z")


def _extrapolated(point: FloatArray, before: FloatArray, momentum: float) -> FloatArray:
    """point + momentum (point - before), in the memory of `before`."""
    before *= -momentum
    before += (1 + momentum) * point
    return before


def _certificate(energy: SparseEnergy, codes: FloatArray, gradient: FloatArray) -> NDArray[np.float64]:
    """||g||^2 / (2 mu) of the shortest subgradient g at each code."""
    shortest = np.where(
        codes != 0, gradient + energy.alpha * np.sign(codes), ops.shrink(gradient, energy.alpha)
    )
    with np.errstate(over="ignore"):  # an infinite certificate says that nothing is certain
        squares = np.square(shortest).reshape(len(codes), -1).sum(axis=1, dtype=np.float64)
    certificate: NDArray[np.float64] = squares / (2 * energy.strong_convexity)
    return certificate
