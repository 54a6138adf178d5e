"""Accelerated proximal gradient steps for energies with an l1 norm and a strongly convex smooth part."""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import ops
from .._check import FloatArray

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


class ProximalInfo(NamedTuple):
    """How far each sample's code is from the best one."""

    gap: NDArray[np.float64]  # an upper bound of E(z) - min E
    n_iter: int


def minimise(
    energy: SparseEnergy,
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
    energy : SparseEnergy
        f must be quadratic.
    init : ndarray of shape (n, ...)
        The first codes, one for each sample.
    max_iter : int
        Most iterations.
    tolerance : ndarray of shape (n,), default=None
        The iterations end once every sample's certificate is at most this. None makes `max_iter` of them.
    n_jobs : int, default=None
        Threads.

    Returns
    -------
    codes : ndarray of the shape and dtype of `init`
    info : ProximalInfo, or None without a tolerance

    References
    ----------
    A. Beck, M. Teboulle, A fast iterative shrinkage-thresholding algorithm for linear inverse problems, SIAM
    J. Imaging Sciences 2, 2009. Y. Nesterov, Lectures on convex optimization, 2018, section 2.2.
    """
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
