"""Elementwise functions and proximal maps on arrays.

All take real arrays of any shape and strides, and numbers. float32 in gives float32 out, every other real
kind float64; the first argument decides. A number, or an array without axes, gives a NumPy scalar. `out` may
be the first argument itself. Large arrays are worked on by several threads, and the bits do not depend on how
many.

With device="cuda" they are computed on the GPU. Arrays of NumPy travel there and back; an array in the memory
of the GPU (PyTorch's, CuPy's, or another library's that speaks DLPack) is read where it is, and the result is
an array of the same library. `out` lies on the side of the first argument, on the GPU in C order. Errors
there are a unit or two in the last place larger than those that are stated for the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg import _check, _device
from thalweg._check import FloatArray, is_device_array
from thalweg._native import cpu as _cpu

__all__ = [
    "d_log_sigmoid",
    "d_sigmoid",
    "d_softplus",
    "hard_shrink",
    "log_sigmoid",
    "prox_lq",
    "shrink",
    "shrink_nonneg",
    "sigmoid",
    "softplus",
]


def _operand(x: Any, name: str, device: str, dtype: Any = None) -> Any:
    """`x` for kernels of this device: what is there stays there, what is not travels with the call."""
    if device == "cuda" and is_device_array(x):
        return _device.device_operand(x, name, dtype=dtype)
    return _check.real_operand(x, name, dtype=dtype)


def _weight(alpha: Any, device: str, dtype: Any) -> Any:
    if device == "cuda" and is_device_array(alpha):
        return _device.non_negative(alpha, "alpha", dtype)
    return _check.non_negative(alpha, "alpha", dtype)


def _smooth(f: Any, u: Any, out: Any, n_jobs: int | None, device: str) -> Any:
    kernels = _device.kernels(_check.device(device))
    threads = _check.thread_number(n_jobs)
    x = _operand(u, "u", device)
    if not isinstance(x, np.ndarray):
        target = _device.output(out, x.shape, x.dtype)
        kernels.apply_smooth(f, x, target, threads)
        return _device.give_back(target, u) if out is None else out
    if out is None:
        made = np.empty_like(x)
        kernels.apply_smooth(f, x, made, threads)
        return made if made.ndim else made[()]
    _check.output(out, x.shape, x.dtype)
    kernels.apply_smooth(f, _check.apart(x, out), out, threads)
    return out


def _prox(f: Any, q: float, z: Any, alpha: Any, out: Any, n_jobs: int | None, device: str) -> Any:
    kernels = _device.kernels(_check.device(device))
    threads = _check.thread_number(n_jobs)
    x = _operand(z, "z", device)
    weight = _weight(alpha, device, x.dtype)
    shape = x.shape if weight.ndim == 0 else _check.common_shape(x, "z", weight, "alpha")
    if not isinstance(x, np.ndarray):
        target = _device.output(out, shape, x.dtype)
        kernels.apply_prox(f, q, x, weight, target, threads)
        return _device.give_back(target, z) if out is None else out
    if out is None:
        made = np.empty_like(x) if shape == x.shape else np.empty(shape, x.dtype)
        kernels.apply_prox(f, q, x, weight, made, threads)
        return made if made.ndim else made[()]
    _check.output(out, shape, x.dtype)
    x = _check.apart(x, out)
    weight = _check.apart(weight, out) if isinstance(weight, np.ndarray) else weight
    kernels.apply_prox(f, q, x, weight, out, threads)
    return out


def softplus(
    u: ArrayLike, *, out: FloatArray | None = None, n_jobs: int | None = None, device: str = "cpu"
) -> Any:
    """log(1 + e^u), without overflow or cancellation.

    S(u) = log(1 + e^u) for u <= 0 and u + log(1 + e^-u) for u > 0, within 2 units in the last place over the
    whole line, subnormal results included; S(-inf) = 0, S(inf) = inf, NaN gives NaN.

    Parameters
    ----------
    u : array_like of real numbers, any shape
    out : ndarray, optional
        Where to write the result, of its shape and dtype; any strides.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}
        Where to compute.

    Returns
    -------
    ndarray or NumPy scalar
        Of the shape of `u`; float32 for float32, otherwise float64. `out` where that was given.

    Raises
    ------
    TypeError
        `u` is a sparse matrix, or `out` is no array; an array is in the memory of the GPU, and device="cpu".
    ValueError
        `u` is complex or not numeric; `out` has another shape or dtype, or is read-only; `device` is neither.
    RuntimeError
        device="cuda", and no GPU can be used: the message says what is missing.
    MemoryError
        The GPU's memory does not suffice.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import ops
    >>> ops.softplus(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.6931471805599453, 1000.0]
    """
    return _smooth(_cpu.Smooth.softplus, u, out, n_jobs, device)


def sigmoid(
    u: ArrayLike, *, out: FloatArray | None = None, n_jobs: int | None = None, device: str = "cpu"
) -> Any:
    """1 / (1 + e^-u), for u <= 0 as e^u / (1 + e^u).

    Within 2 units in the last place over the whole line, subnormal results included; NaN gives NaN.

    Parameters
    ----------
    u : array_like of real numbers, any shape
    out : ndarray, optional
        Where to write the result, of its shape and dtype; any strides.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}
        Where to compute.

    Returns
    -------
    ndarray or NumPy scalar
        Of the shape of `u`; float32 for float32, otherwise float64. `out` where that was given.

    Raises
    ------
    TypeError, ValueError, RuntimeError, MemoryError
        As `softplus`.

    Examples
    --------
    >>> from thalweg import ops
    >>> ops.sigmoid([-40, 0, 40])
    array([4.24835426e-18, 5.00000000e-01, 1.00000000e+00])
    """
    return _smooth(_cpu.Smooth.sigmoid, u, out, n_jobs, device)


def log_sigmoid(
    u: ArrayLike, *, out: FloatArray | None = None, n_jobs: int | None = None, device: str = "cpu"
) -> Any:
    """log(1 / (1 + e^-u)) = -softplus(-u).

    Within 2 units in the last place over the whole line, subnormal results included; NaN gives NaN.

    Parameters
    ----------
    u : array_like of real numbers, any shape
    out : ndarray, optional
        Where to write the result, of its shape and dtype; any strides.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}
        Where to compute.

    Returns
    -------
    ndarray or NumPy scalar
        Of the shape of `u`; float32 for float32, otherwise float64. `out` where that was given.

    Raises
    ------
    TypeError, ValueError, RuntimeError, MemoryError
        As `softplus`.

    Examples
    --------
    >>> from thalweg import ops
    >>> ops.log_sigmoid([-1000, 0]).tolist()
    [-1000.0, -0.6931471805599453]
    """
    return _smooth(_cpu.Smooth.log_sigmoid, u, out, n_jobs, device)


def d_softplus(
    u: ArrayLike, *, out: FloatArray | None = None, n_jobs: int | None = None, device: str = "cpu"
) -> Any:
    """The derivative of `softplus`, which is `sigmoid`.

    Parameters
    ----------
    u : array_like of real numbers, any shape
    out : ndarray, optional
        Where to write the result, of its shape and dtype; any strides.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}
        Where to compute.

    Returns
    -------
    ndarray or NumPy scalar
        Of the shape of `u`; float32 for float32, otherwise float64. `out` where that was given.

    Raises
    ------
    TypeError, ValueError, RuntimeError, MemoryError
        As `softplus`.

    Examples
    --------
    >>> from thalweg import ops
    >>> float(ops.d_softplus(0.0))
    0.5
    """
    return _smooth(_cpu.Smooth.sigmoid, u, out, n_jobs, device)


def d_sigmoid(
    u: ArrayLike, *, out: FloatArray | None = None, n_jobs: int | None = None, device: str = "cpu"
) -> Any:
    """The derivative of `sigmoid`, sigmoid(u) sigmoid(-u) = e^-|u| / (1 + e^-|u|)^2.

    Within 4 units in the last place over the whole line, subnormal results included; NaN gives NaN.

    Parameters
    ----------
    u : array_like of real numbers, any shape
    out : ndarray, optional
        Where to write the result, of its shape and dtype; any strides.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}
        Where to compute.

    Returns
    -------
    ndarray or NumPy scalar
        Of the shape of `u`; float32 for float32, otherwise float64. `out` where that was given.

    Raises
    ------
    TypeError, ValueError, RuntimeError, MemoryError
        As `softplus`.

    Examples
    --------
    >>> from thalweg import ops
    >>> ops.d_sigmoid([-40, 0, 40])
    array([4.24835426e-18, 2.50000000e-01, 4.24835426e-18])
    """
    return _smooth(_cpu.Smooth.d_sigmoid, u, out, n_jobs, device)


def d_log_sigmoid(
    u: ArrayLike, *, out: FloatArray | None = None, n_jobs: int | None = None, device: str = "cpu"
) -> Any:
    """The derivative of `log_sigmoid`, sigmoid(-u).

    Parameters
    ----------
    u : array_like of real numbers, any shape
    out : ndarray, optional
        Where to write the result, of its shape and dtype; any strides.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}
        Where to compute.

    Returns
    -------
    ndarray or NumPy scalar
        Of the shape of `u`; float32 for float32, otherwise float64. `out` where that was given.

    Raises
    ------
    TypeError, ValueError, RuntimeError, MemoryError
        As `softplus`.

    Examples
    --------
    >>> from thalweg import ops
    >>> ops.d_log_sigmoid([-40, 0, 40])
    array([1.00000000e+00, 5.00000000e-01, 4.24835426e-18])
    """
    return _smooth(_cpu.Smooth.d_log_sigmoid, u, out, n_jobs, device)


def shrink(
    z: ArrayLike,
    alpha: ArrayLike,
    *,
    out: FloatArray | None = None,
    n_jobs: int | None = None,
    device: str = "cpu",
) -> Any:
    """Soft threshold, sign(z) max(abs(z) - alpha, 0): the proximal map of alpha abs(x).

    It is odd bit for bit: what is set to zero keeps its sign. NaN in `z` gives NaN.

    Parameters
    ----------
    z : array_like of real numbers, any shape
    alpha : array_like of finite real numbers >= 0
        A number, or an array that broadcasts with `z`; taken in the dtype of the result.
    out : ndarray, optional
        Where to write the result, of its shape and dtype; any strides.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}
        Where to compute.

    Returns
    -------
    ndarray or NumPy scalar
        Of the shape that `z` and `alpha` broadcast to; float32 where `z` is, otherwise float64. `out` where
        that was given.

    Raises
    ------
    TypeError
        `z` or `alpha` is a sparse matrix, or `out` is no array; an array is in the memory of the GPU, and
        device="cpu".
    ValueError
        `z` or `alpha` is complex or not numeric; an alpha is negative or not finite; the shapes do not
        broadcast; `out` has another shape or dtype, or is read-only; `device` is neither.
    RuntimeError, MemoryError
        As `softplus`.

    Examples
    --------
    >>> from thalweg import ops
    >>> ops.shrink([-3.0, 0.5, 2.0], 1)
    array([-2.,  0.,  1.])
    """
    return _prox(_cpu.Prox.shrink, 1.0, z, alpha, out, n_jobs, device)


def shrink_nonneg(
    z: ArrayLike,
    alpha: ArrayLike,
    *,
    out: FloatArray | None = None,
    n_jobs: int | None = None,
    device: str = "cpu",
) -> Any:
    """max(z - alpha, 0): the proximal map of alpha x over x >= 0.

    Parameters
    ----------
    z : array_like of real numbers, any shape
    alpha : array_like of finite real numbers >= 0
        A number, or an array that broadcasts with `z`; taken in the dtype of the result.
    out : ndarray, optional
        Where to write the result, of its shape and dtype; any strides.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}
        Where to compute.

    Returns
    -------
    ndarray or NumPy scalar
        Of the shape that `z` and `alpha` broadcast to; float32 where `z` is, otherwise float64; never -0.0.
        `out` where that was given.

    Raises
    ------
    TypeError, ValueError, RuntimeError, MemoryError
        As `shrink`.

    Examples
    --------
    >>> from thalweg import ops
    >>> ops.shrink_nonneg([-3.0, 0.5, 2.0], [0.0, 0.25, 1.0])
    array([0.  , 0.25, 1.  ])
    """
    return _prox(_cpu.Prox.shrink_nonneg, 1.0, z, alpha, out, n_jobs, device)


def hard_shrink(
    z: ArrayLike,
    alpha: ArrayLike,
    *,
    out: FloatArray | None = None,
    n_jobs: int | None = None,
    device: str = "cpu",
) -> Any:
    """Hard threshold: z where abs(z) > sqrt(2 alpha), otherwise 0; the proximal map of alpha ||x||_0.

    At the threshold 0 and z are equally good, and 0 is taken.

    Parameters
    ----------
    z : array_like of real numbers, any shape
    alpha : array_like of finite real numbers >= 0
        The weight of the penalty, not the threshold. A number, or an array that broadcasts with `z`; taken in
        the dtype of the result.
    out : ndarray, optional
        Where to write the result, of its shape and dtype; any strides.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}
        Where to compute.

    Returns
    -------
    ndarray or NumPy scalar
        Of the shape that `z` and `alpha` broadcast to; float32 where `z` is, otherwise float64. `out` where
        that was given.

    Raises
    ------
    TypeError, ValueError, RuntimeError, MemoryError
        As `shrink`.

    Examples
    --------
    >>> from thalweg import ops
    >>> ops.hard_shrink([-3.0, 1.5, 2.5], 2)
    array([-3. ,  0. ,  2.5])
    """
    return _prox(_cpu.Prox.lq, 0.0, z, alpha, out, n_jobs, device)


def prox_lq(
    z: ArrayLike,
    alpha: ArrayLike,
    q: float,
    *,
    out: FloatArray | None = None,
    n_jobs: int | None = None,
    device: str = "cpu",
) -> Any:
    """argmin_x 1/2 (x - z)^2 + alpha abs(x)^q for 0 <= q <= 1.

    For 0 < q < 1 the map jumps from 0 to x0 = (2 alpha (1 - q))^(1 / (2 - q)) where abs(z) reaches
    x0 (2 - q) / (2 (1 - q)); at the jump 0 is taken. Away from it the error is at most 8 units in the
    last place. q = 1/2 and q = 2/3 (2 / 3 as Python divides) have closed forms, the roots of a cubic and of a
    quartic; for other q Newton's method is run from abs(z) down to the root. q = 0 is `hard_shrink`, q = 1 is
    `shrink`.

    Parameters
    ----------
    z : array_like of real numbers, any shape
    alpha : array_like of finite real numbers >= 0
        A number, or an array that broadcasts with `z`; taken in the dtype of the result.
    q : float
        In [0, 1].
    out : ndarray, optional
        Where to write the result, of its shape and dtype; any strides.
    n_jobs : int, optional
        Threads, in scikit-learn's sense; None for OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}
        Where to compute.

    Returns
    -------
    ndarray or NumPy scalar
        Of the shape that `z` and `alpha` broadcast to; float32 where `z` is, otherwise float64. `out` where
        that was given.

    Raises
    ------
    TypeError
        As `shrink`, or `q` is no real number.
    ValueError
        As `shrink`, or `q` is outside [0, 1].
    RuntimeError, MemoryError
        As `softplus`.

    References
    ----------
    G. Marjanovic, V. Solo, "On Lq optimization and matrix completion", IEEE Trans. Signal Process. 60, 2012.
    Z. Xu et al., "L1/2 regularization: a thresholding representation theory and a fast solver", IEEE Trans.
    Neural Netw. Learn. Syst. 23, 2012 (q = 1/2).
    W. Cao, J. Sun, Z. Xu, "Fast image deconvolution using closed-form thresholding formulas of Lq (q = 1/2,
    2/3) regularization", J. Vis. Commun. Image R. 24, 2013 (q = 2/3).

    Examples
    --------
    >>> from thalweg import ops
    >>> ops.prox_lq([1.4, 1.6, 10.0], 1, 0.5).round(4)
    array([0.    , 1.1295, 9.8406])
    """
    power = _check.real_number(q, "q", minimum=0)
    if power > 1:
        raise ValueError(f"q: expected a number in [0, 1], got {power:g}")
    return _prox(_cpu.Prox.lq, power, z, alpha, out, n_jobs, device)
