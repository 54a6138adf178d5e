"""Images as the sum of a smooth part and of the details that convolutional models learn from."""

from __future__ import annotations

from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn
from scipy.sparse.linalg import LinearOperator, cg
from sklearn.exceptions import ConvergenceWarning

from thalweg import _check
from thalweg._blas import one_blas_thread
from thalweg.preprocessing import _images

FloatArray = NDArray[Any]


def split_frequencies(
    image: Any,
    weight: float = 5.0,
    *,
    mask: Any = None,
    spatial_ndim: int = 2,
    tol: float = 1e-6,
    max_iter: int = 1000,
) -> tuple[FloatArray, FloatArray]:
    r"""Low and high frequencies of an image, by Tikhonov regularisation.

    For every channel,

        low  = argmin_l  1/2 ||M (l - image)||^2 + weight/2 ||grad l||^2
        high = image - low

    where grad holds the differences of neighbours, and none across the border: the image is reflected there,
    so that left and right, top and bottom do not mix. M is the mask. Without one, `low` is exact to rounding:
    the discrete cosine transform (DCT) diagonalises the problem. With one, conjugate gradients solve it in
    float64, preconditioned by the DCT; `low` then continues smoothly where pixels are missing.

    Parameters
    ----------
    image : array-like of shape (height, width) or (channels, height, width)
        A signal of shape (length,) or (channels, length) where `spatial_ndim` is 1.
    weight : float
        How smooth `low` is, > 0: waves of more than about 2 pi sqrt(weight) pixels go to `low`.
    mask : array-like, or None
        Weights in [0, 1] of the image's shape or of that of one channel; 0 marks a missing pixel, whose
        value is not read and may be NaN.
    spatial_ndim : {2, 1}
        Axes of an image, or of a signal, apart from its channels.
    tol : float
        With a mask: conjugate gradients end where the norm of the preconditioned residual, relative to that
        of the right-hand side, is at most this. Ask for less where `weight` is far below 1 and the filling
        of large holes matters: the residual hardly tells of it then.
    max_iter : int
        With a mask: most iterations of conjugate gradients for one channel.

    Returns
    -------
    low : ndarray of the image's shape
        float32 for a float32 image, else float64.
    high : ndarray of the image's shape and of the same dtype
        0 where a pixel is missing.

    Raises
    ------
    TypeError, ValueError
        Where the image is no image, an observed pixel is not finite, a number is out of range, or the mask
        has another shape, weights outside [0, 1] or a channel without an observed pixel.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Where conjugate gradients do not reach `tol`.

    Notes
    -----
    Without a mask, this is SPORCO's ``tikhonov_filter`` but for the borders, which are padded and circular
    there.

    References
    ----------
    B. Wohlberg, "Convolutional sparse representations as an image model for impulse noise restoration",
    IVMSP, 2016.

    G. Strang, "The discrete cosine transform", SIAM Review 41, 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import split_frequencies
    >>> ramp = np.tile(np.arange(8.0), (6, 1))
    >>> checks = np.indices((6, 8)).sum(axis=0) % 2 - 0.5
    >>> low, high = split_frequencies(ramp + checks)
    >>> bool(np.allclose(low + high, ramp + checks)), round(float(np.vdot(high, checks) / 12), 2)
    (True, 0.97)

    What is missing is filled by its neighbourhood:

    >>> ramp[2, 3] = np.nan
    >>> low, high = split_frequencies(ramp, 0.01, mask=np.isfinite(ramp))
    >>> round(float(low[2, 3]), 2), float(high[2, 3])
    (3.0, 0.0)
    """
    weight = _check.real_number(weight, "weight", above=0.0)
    spatial_ndim = _check.whole_number(spatial_ndim, "spatial_ndim", minimum=1, maximum=2)
    tol = _check.real_number(tol, "tol", above=0.0)
    max_iter = _check.whole_number(max_iter, "max_iter", minimum=1)
    if mask is None:
        pixels = _images.image_array(image, "image", spatial_ndim=spatial_ndim)
        values, exponent = _images.scaled_down(pixels, "image")
        low = np.ldexp(_smoothed(values, weight, spatial_ndim), exponent)
        return low, pixels - low
    pixels, weights = _observed(image, mask, spatial_ndim)
    values, exponent = _images.scaled_down(pixels, "image")
    low = np.ldexp(_smoothed_where_observed(values, weights, weight, spatial_ndim, tol, max_iter), exponent)
    return low, np.where(weights > 0, pixels - low, pixels.dtype.type(0))


def _observed(image: Any, mask: Any, spatial_ndim: int) -> tuple[FloatArray, NDArray[np.float64]]:
    """The image with 0 for missing pixels, and the weights, of the image's shape."""
    pixels = _check.real_operand(image, "image")
    _images.check_shape(pixels, "image", spatial_ndim)
    weights = _check.float_array(mask, "mask", dtype=np.float64)
    plane = pixels.shape[-spatial_ndim:]
    if weights.shape not in (pixels.shape, plane):
        shapes = " or ".join(map(str, dict.fromkeys((pixels.shape, plane))))
        raise ValueError(f"mask: expected shape {shapes}, as the image has it, got {weights.shape}")
    if weights.min() < 0.0 or weights.max() > 1.0:
        wrong = weights.min() if weights.min() < 0.0 else weights.max()
        raise ValueError(f"mask: expected weights in [0, 1], got {wrong:g}")
    if not np.square(weights).any(axis=_last_axes(spatial_ndim)).all():
        raise ValueError("mask: expected an observed pixel in every channel, got all zeros")
    weights = np.broadcast_to(weights, pixels.shape)
    pixels = np.where(weights > 0, pixels, pixels.dtype.type(0))
    if not _check.is_finite(pixels):
        kind = "NaN" if np.isnan(pixels).any() else "infinity"
        raise ValueError(f"image: every observed pixel must be finite, but there is {kind} where mask > 0")
    return pixels, weights


def _last_axes(count: int) -> tuple[int, ...]:
    return tuple(range(-count, 0))


def _roughness(plane: tuple[int, ...]) -> NDArray[np.float64]:
    """Eigenvalues of grad^T grad, one for each of the DCT's waves."""
    along = [4.0 * np.sin(0.5 * np.pi * np.arange(n) / n) ** 2 for n in plane]
    total: NDArray[np.float64] = sum(np.ix_(*along), start=np.zeros(()))
    return total


def _gain(weight: float, plane: tuple[int, ...], fidelity: float = 1.0) -> NDArray[np.float64]:
    """Eigenvalues of (fidelity + weight grad^T grad)^-1."""
    with np.errstate(over="ignore"):  # an infinite penalty leaves a gain of 0
        return 1.0 / (fidelity + weight * _roughness(plane))


def _smoothed(values: FloatArray, weight: float, spatial_ndim: int) -> FloatArray:
    axes = _last_axes(spatial_ndim)
    waves: FloatArray = dctn(values, axes=axes, norm="ortho")
    waves *= _gain(weight, values.shape[-spatial_ndim:]).astype(values.dtype)
    low: FloatArray = idctn(waves, axes=axes, norm="ortho", overwrite_x=True)
    return low


def _smoothed_where_observed(
    values: FloatArray,
    weights: NDArray[np.float64],
    weight: float,
    spatial_ndim: int,
    tol: float,
    max_iter: int,
) -> FloatArray:
    plane = values.shape[-spatial_ndim:]
    low = np.empty(values.shape, values.dtype)
    channels = zip(
        values.reshape(-1, *plane), np.square(weights).reshape(-1, *plane), low.reshape(-1, *plane)
    )
    reached = 0.0
    # The rounding of BLAS's scalar products depends on its number of threads.
    with one_blas_thread:
        for channel, fidelity, smooth in channels:
            smooth[...], residual = _solve(channel.astype(np.float64), fidelity, weight, tol, max_iter)
            reached = max(reached, residual)
    if reached > tol:
        warn(
            f"Conjugate gradients reached a relative residual of {reached:.2g} in {max_iter} iterations, "
            f"above tol={tol:g}; raise max_iter, weight or tol.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return low


def _solve(
    values: NDArray[np.float64], fidelity: NDArray[np.float64], weight: float, tol: float, max_iter: int
) -> tuple[NDArray[np.float64], float]:
    """The solution l of (F + weight grad^T grad) l = F values, F = diag(fidelity), and its relative residual.

    With P = m + weight grad^T grad, m the mean of F, the unknowns are u = P^1/2 l in the space of the DCT,
    where their matrix is 1 + P^-1/2 (F - m) P^-1/2: bounded for every weight, as no gradient is formed.
    """
    mean_fidelity = float(fidelity.mean())
    # A constant passes unchanged, and without it the residual is relative to what varies.
    constant = float(np.vdot(fidelity, values) / fidelity.sum())
    root = np.sqrt(_gain(weight, values.shape, mean_fidelity))
    excess = fidelity - mean_fidelity

    def spread(u: NDArray[np.float64]) -> NDArray[np.float64]:
        smooth: NDArray[np.float64] = idctn(root * u.reshape(root.shape), norm="ortho")
        return smooth

    def gathered(image: NDArray[np.float64]) -> NDArray[np.float64]:
        waves: NDArray[np.float64] = root * dctn(image, norm="ortho")
        return waves.ravel()

    system = LinearOperator(
        (root.size, root.size), matvec=lambda u: u.ravel() + gathered(excess * spread(u)), dtype=np.float64
    )
    right = gathered(fidelity * (values - constant))
    u, info = cg(system, right, rtol=tol, atol=0.0, maxiter=max_iter)
    residual = float(np.linalg.norm(right - system @ u) / np.linalg.norm(right)) if info else 0.0
    return constant + spread(u), residual
