"""Correlation and convolution of images or signals with banks of filters, and the gradient in the filters.

Images X `(n, C, H, W)`, filters `(K, C, kh, kw)`, codes Z `(n, K, Hc, Wc)`; signals X `(n, C, L)`, filters
`(K, C, l)`, codes `(n, K, Lc)`. Along each axis `boundary` fixes the codes' size and an offset o:

============  ==============  ============  ==================================================
boundary      Hc              o             codes against pixels
============  ==============  ============  ==================================================
"valid"       H + kh - 1      kh - 1        every code that reaches the image
"same"        H               (kh - 1)//2   one code for each pixel, zeros outside
"full"        H - kh + 1      0             every filter lies inside the image; kh <= H
"circular"    H               0             one code for each pixel, indices modulo H
============  ==============  ============  ==================================================

The names are those which the synthesis, `convolve`, has in `scipy.signal.convolve`. All are sums over pixels,
without Fourier transforms, so that small values keep their relative accuracy. Arrays of any memory layout are
taken; the first argument decides the dtype, float32 for float32 and otherwise float64. The bits do not depend
on the number of threads.

With device="cuda" they are computed on the GPU. Arrays of NumPy travel there and back; arrays in the memory
of the GPU (PyTorch's, CuPy's, or another library's that speaks DLPack) are read where they are, and the
result is an array of the library of the first argument. Zeros among the codes save nothing there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg import _check, _device
from thalweg._check import FloatArray, is_device_array
from thalweg._native import cpu as _cpu

__all__ = ["convolve", "correlate", "filter_gradient"]

NATIVE_BOUNDARIES = {
    "valid": _cpu.Boundary.valid,
    "same": _cpu.Boundary.same,
    "full": _cpu.Boundary.full,
    "circular": _cpu.Boundary.circular,
}

Sizes = tuple[int, ...]


def _text(sizes: Sizes) -> str:
    return " x ".join(map(str, sizes))


def _batch(
    value: Any, name: str, what: str, device: str, ndim: int | None = None, dtype: Any = None
) -> FloatArray:
    """`value` as an array of images or of signals: `ndim` axes, or either; one of the GPU stays there."""
    array: FloatArray
    if device == "cuda" and is_device_array(value):
        array = _device.as_device_array(value, name, dtype=dtype)
    else:
        array = _check.float_array(value, name, dtype=dtype)
    if ndim is None and array.ndim not in (3, 4):
        raise ValueError(
            f"{name}: expected (n, {what}, height, width) or (n, {what}, length), got {array.shape}"
        )
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimensions, got shape {array.shape}")
    if 0 in array.shape[1:]:
        raise ValueError(f"{name}: expected at least one element along every axis, got shape {array.shape}")
    return array


def _filters(value: Any, like: FloatArray, like_name: str, axis: int, what: str, device: str) -> FloatArray:
    """`value` as filters for `like`, whose second axis is theirs number `axis`."""
    filters = _batch(value, "filters", "channels", device, like.ndim, like.dtype)
    if filters.shape[0] == 0:
        raise ValueError(f"filters: expected at least one filter, got shape {filters.shape}")
    if filters.shape[axis] != like.shape[1]:
        raise ValueError(
            f"filters: expected {like.shape[1]} {what} as {like_name} has, got shape {filters.shape}"
        )
    return filters


def code_sizes(image: Sizes, filters: Sizes, boundary: str, name: str) -> Sizes:
    """Height and width, or length, of the codes; messages call the filters `name`."""
    if boundary == "valid":
        return tuple(h + k - 1 for h, k in zip(image, filters, strict=True))
    if boundary != "full":
        return image
    if any(k > h for h, k in zip(image, filters, strict=True)):
        raise ValueError(
            f"{name}: with boundary='full' filters must fit into the image; "
            f"{_text(filters)} does not fit into {_text(image)}"
        )
    return tuple(h - k + 1 for h, k in zip(image, filters, strict=True))


def _image_sizes(codes: Sizes, filters: Sizes, boundary: str) -> Sizes:
    if boundary == "full":
        return tuple(h + k - 1 for h, k in zip(codes, filters, strict=True))
    if boundary != "valid":
        return codes
    if any(k > h for h, k in zip(codes, filters, strict=True)):
        raise ValueError(
            f"Z: with boundary='valid' expected codes at least as large as the filters of {_text(filters)}, "
            f"got {_text(codes)}"
        )
    return tuple(h - k + 1 for h, k in zip(codes, filters, strict=True))


def _filter_sizes(value: Any, ndim: int) -> Sizes:
    """An integer, or one for each axis."""
    sizes = tuple(value) if isinstance(value, Sequence | np.ndarray) else (value,) * ndim
    if len(sizes) != ndim:
        raise ValueError(f"filter_shape: expected an integer or {ndim} of them, got {value!r}")
    return tuple(_check.whole_number(size, "filter_shape", minimum=1) for size in sizes)


def with_height(array: Any) -> Any:
    """Signals, or codes or filters of them, as those of images of height 1."""
    return array if array.ndim == 4 else array.reshape((*array.shape[:2], 1, array.shape[2]))


def _given_back(result: FloatArray, like: Any) -> FloatArray:
    """`result` as an array of the library of the argument `like`."""
    if isinstance(result, np.ndarray):
        return result
    given: FloatArray = _device.give_back(result, like)
    return given


def correlate(
    X: ArrayLike,
    filters: ArrayLike,
    *,
    boundary: str = "valid",
    n_jobs: int | None = None,
    device: str = "cpu",
) -> FloatArray:
    """Correlate images or signals with filters: the adjoint of `convolve`.

    Z[k, p] = sum_{c, i} filters[k, c, i] X[c, p - o + i] for every image; p and i run over rows and columns.
    Outside of the image X is zero, or for a circular boundary found modulo its size. The offset o and the
    codes' size follow from `boundary`:

    - "valid": Hc = H + kh - 1, o = kh - 1;
    - "same": Hc = H, o = (kh - 1) // 2;
    - "full": Hc = H - kh + 1, o = 0, only where filters fit into the image;
    - "circular": Hc = H, o = 0.

    Parameters
    ----------
    X : array_like of shape (n, channels, height, width) or (n, channels, length)
        Finite real numbers.
    filters : array_like of shape (n_filters, channels, kh, kw) or (n_filters, channels, l)
        Finite real numbers; taken in the dtype of the result.
    boundary : {"valid", "same", "full", "circular"}, default "valid"
        Named after the synthesis from codes, as in `scipy.signal.convolve`.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}, default "cpu"
        Where to compute.

    Returns
    -------
    ndarray of shape (n, n_filters, Hc, Wc) or (n, n_filters, Lc)
        float32 where `X` is, otherwise float64. An image's result does not depend on its batch.

    Raises
    ------
    TypeError
        An argument is a sparse matrix, or no array of numbers, or is in the memory of the GPU with
        device="cpu".
    ValueError
        An argument is complex, not numeric or not finite; the shapes do not fit each other; `boundary` is
        unknown, or is "full" and a filter is larger than the image; `device` is neither.
    RuntimeError
        device="cuda", and no GPU can be used: the message says what is missing.
    MemoryError
        The GPU's memory does not suffice.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import ops
    >>> X = np.array([[[1.0, 2.0, 4.0]]])
    >>> ops.correlate(X, [[[1.0, 10.0]]])
    array([[[10., 21., 42.,  4.]]])
    >>> ops.correlate(X, [[[1.0, 10.0]]], boundary="full")
    array([[[21., 42.]]])
    """
    kind = _check.one_of(boundary, "boundary", tuple(NATIVE_BOUNDARIES))
    kernels = _device.kernels(_check.device(device))
    images = _batch(X, "X", "channels", device)
    bank = _filters(filters, images, "X", 1, "channel(s)", device)
    sizes = code_sizes(images.shape[2:], bank.shape[2:], kind, "filters")
    codes = _device.empty((images.shape[0], bank.shape[0], *sizes), images.dtype, like=images)
    threads = _check.thread_number(n_jobs)
    kernels.correlate(
        with_height(images), with_height(bank), with_height(codes), NATIVE_BOUNDARIES[kind], threads
    )
    return _given_back(codes, X)


def convolve(
    Z: ArrayLike,
    filters: ArrayLike,
    *,
    boundary: str = "valid",
    n_jobs: int | None = None,
    device: str = "cpu",
) -> FloatArray:
    """Convolve codes with filters and sum over the filters: images or signals from their codes.

    X[c, y] = sum_{k, i} filters[k, c, i] Z[k, y + o - i] for every image; y and i run over rows and columns.
    Outside of its rows and columns Z is zero, or for a circular boundary found modulo their number.
    `boundary` gives the offset o as in `correlate`, whose adjoint this is, and the size of the image:
    H = Hc - kh + 1 for "valid", Hc + kh - 1 for "full", and Hc for "same" and "circular".

    Parameters
    ----------
    Z : array_like of shape (n, n_filters, Hc, Wc) or (n, n_filters, Lc)
        Finite real numbers. Runs of zeros cost little.
    filters : array_like of shape (n_filters, channels, kh, kw) or (n_filters, channels, l)
        Finite real numbers; taken in the dtype of the result.
    boundary : {"valid", "same", "full", "circular"}, default "valid"
        As `scipy.signal.convolve` names it.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}, default "cpu"
        Where to compute.

    Returns
    -------
    ndarray of shape (n, channels, height, width) or (n, channels, length)
        float32 where `Z` is, otherwise float64. An image's result does not depend on its batch.

    Raises
    ------
    TypeError
        An argument is a sparse matrix, or no array of numbers, or is in the memory of the GPU with
        device="cpu".
    ValueError
        An argument is complex, not numeric or not finite; the shapes do not fit each other; `boundary` is
        unknown, or is "valid" and the codes are smaller than a filter; `device` is neither.
    RuntimeError
        device="cuda", and no GPU can be used: the message says what is missing.
    MemoryError
        The GPU's memory does not suffice.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import ops
    >>> Z = np.array([[[1.0, 0.0, 0.0, 2.0]]])
    >>> ops.convolve(Z, [[[3.0, 4.0]]], boundary="full")
    array([[[3., 4., 0., 6., 8.]]])
    >>> ops.convolve(Z, [[[3.0, 4.0]]])
    array([[[4., 0., 6.]]])
    """
    kind = _check.one_of(boundary, "boundary", tuple(NATIVE_BOUNDARIES))
    kernels = _device.kernels(_check.device(device))
    codes = _batch(Z, "Z", "n_filters", device)
    bank = _filters(filters, codes, "Z", 0, "filter(s)", device)
    sizes = _image_sizes(codes.shape[2:], bank.shape[2:], kind)
    images = _device.empty((codes.shape[0], bank.shape[1], *sizes), codes.dtype, like=codes)
    threads = _check.thread_number(n_jobs)
    kernels.convolve(
        with_height(codes), with_height(bank), with_height(images), NATIVE_BOUNDARIES[kind], threads
    )
    return _given_back(images, Z)


def filter_gradient(
    Z: ArrayLike,
    X: ArrayLike,
    filter_shape: int | Sequence[int],
    *,
    boundary: str = "valid",
    n_jobs: int | None = None,
    device: str = "cpu",
) -> FloatArray:
    """Gradient of <X, convolve(Z, filters)> in the filters, summed over the batch.

    G[k, c, i] = sum over images and p of Z[k, p] X[c, p - o + i], with o and what lies outside of X as in
    `correlate`. The gradient of 1/2 ||X - convolve(Z, filters)||^2 is
    filter_gradient(Z, convolve(Z, filters) - X, ...).

    Parameters
    ----------
    Z : array_like of shape (n, n_filters, Hc, Wc) or (n, n_filters, Lc)
        Finite real numbers. Pixels where all codes are zero cost little.
    X : array_like of shape (n, channels, height, width) or (n, channels, length)
        Finite real numbers; taken in the dtype of the result.
    filter_shape : int or sequence of int
        (kh, kw) for images, (l,) for signals; an integer stands for all axes.
    boundary : {"valid", "same", "full", "circular"}, default "valid"
        As in `convolve`.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}, default "cpu"
        Where to compute.

    Returns
    -------
    ndarray of shape (n_filters, channels, kh, kw) or (n_filters, channels, l)
        float32 where `Z` is, otherwise float64.

    Raises
    ------
    TypeError
        An array is a sparse matrix or no array of numbers, or is in the memory of the GPU with device="cpu";
        `filter_shape` holds no integers.
    ValueError
        An array is complex, not numeric or not finite; the shapes do not fit each other; `boundary` is
        unknown, or is "full" and a filter is larger than the image; `device` is neither.
    RuntimeError
        device="cuda", and no GPU can be used: the message says what is missing.
    MemoryError
        The GPU's memory does not suffice.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import ops
    >>> Z = np.array([[[0.0, 2.0, 0.0]]])
    >>> X = np.array([[[1.0, 3.0, 5.0, 7.0]]])
    >>> ops.filter_gradient(Z, X, 2, boundary="full")
    array([[[ 6., 10.]]])
    """
    kind = _check.one_of(boundary, "boundary", tuple(NATIVE_BOUNDARIES))
    kernels = _device.kernels(_check.device(device))
    codes = _batch(Z, "Z", "n_filters", device)
    images = _batch(X, "X", "channels", device, codes.ndim, codes.dtype)
    taps = _filter_sizes(filter_shape, codes.ndim - 2)
    expected = (images.shape[0], codes.shape[1], *code_sizes(images.shape[2:], taps, kind, "filter_shape"))
    if codes.shape != expected:
        raise ValueError(
            f"Z: for X of shape {images.shape}, filters of {_text(taps)} and boundary={kind!r} "
            f"expected shape {expected}, got {codes.shape}"
        )
    gradient = _device.empty((codes.shape[1], images.shape[1], *taps), codes.dtype, like=codes)
    threads = _check.thread_number(n_jobs)
    boundary_of_kernel = NATIVE_BOUNDARIES[kind]
    kernels.filter_gradient(
        with_height(codes), with_height(images), with_height(gradient), boundary_of_kernel, threads
    )
    return _given_back(gradient, Z)
