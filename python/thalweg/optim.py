"""Parameter updates. For dictionary learning: sufficient statistics and the atoms' closed-form step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg import _check
from thalweg._native import cpu as _cpu

FloatArray = NDArray[Any]
Parameters = dict[str, FloatArray]
Moments = dict[str, tuple[FloatArray, FloatArray]]


def accumulate_statistics(
    codes: FloatArray,
    X: FloatArray,
    A: NDArray[np.float64],
    B: NDArray[np.float64],
    *,
    decay: float = 1.0,
    n_jobs: int | None = None,
) -> None:
    """A <- decay A + Z^T Z and B <- decay B + Z^T X, in place and in float64.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_components), float32 or float64
        Z; zeros cost nothing.
    X : ndarray of shape (n_samples, n_features)
        Samples, of the dtype of `codes`.
    A : ndarray of shape (n_components, n_components), float64, C-contiguous
    B : ndarray of shape (n_components, n_features), float64, C-contiguous
    decay : float
        Weight of what was seen before.
    n_jobs : int or None
        Threads; the bits do not depend on their number.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.optim import accumulate_statistics
    >>> A, B = np.zeros((2, 2)), np.zeros((2, 3))
    >>> accumulate_statistics(np.array([[0.0, 2.0]]), np.array([[1.0, 2.0, 3.0]]), A, B)
    >>> A.tolist(), B.tolist()
    ([[0.0, 0.0], [0.0, 4.0]], [[0.0, 0.0, 0.0], [2.0, 4.0, 6.0]])
    """
    z = _check.float_array(codes, "codes", ndim=2)
    x = _check.float_array(X, "X", ndim=2, dtype=z.dtype)
    decay = _check.real_number(decay, "decay", minimum=0.0)
    _require_statistics(A, B)
    _cpu.accumulate_statistics(z, x, decay, A, B, _check.thread_number(n_jobs))


def _require_statistics(A: Any, B: Any) -> None:
    for name, value in (("A", A), ("B", B)):
        if not isinstance(value, np.ndarray) or value.dtype != np.float64:
            kind = getattr(value, "dtype", type(value).__name__)
            raise TypeError(f"{name}: expected a float64 ndarray, as statistics are, got {kind}")
        if not value.flags.c_contiguous:
            raise ValueError(f"{name}: expected a C-contiguous array, got strides {value.strides}")


def update_dictionary(
    dictionary: FloatArray,
    A: NDArray[np.float64],
    B: NDArray[np.float64],
    *,
    positive: bool = False,
    unit_norm: bool = False,
    n_sweeps: int = 1,
    n_jobs: int | None = None,
) -> NDArray[np.bool_]:
    """One step of every atom to its best place in the unit ball, in place.

    Atom by atom, the minimiser of 1/2 tr(D^T A D) - tr(D^T B) over ||d_j|| <= 1 with the others held,

        u = d_j + (B_j - A_j D) / A_jj,    d_j = u / max(1, ||u||)

    Parameters
    ----------
    dictionary : ndarray of shape (n_components, n_features), float32 or float64, C-contiguous
    A, B : ndarray, float64, C-contiguous
        Sufficient statistics, see `accumulate_statistics`.
    positive : bool
        Whether atoms must be non-negative.
    unit_norm : bool
        Whether atoms must have norm 1, where the ball would let them be shorter.
    n_sweeps : int
        Passes over all atoms.
    n_jobs : int or None
        Threads; the bits do not depend on their number.

    Returns
    -------
    dead : ndarray of shape (n_components,), bool
        Atoms that no sample uses, or that `positive` has emptied; they are left as they were.

    References
    ----------
    J. Mairal, F. Bach, J. Ponce, G. Sapiro, "Online learning for matrix factorization and sparse coding",
    JMLR 11, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.optim import update_dictionary
    >>> D = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> update_dictionary(D, np.diag([4.0, 0.0]), np.array([[0.0, 8.0], [0.0, 0.0]]))
    array([False,  True])
    >>> D.tolist()
    [[0.0, 1.0], [0.0, 1.0]]
    """
    if not isinstance(dictionary, np.ndarray) or dictionary.dtype not in (np.float32, np.float64):
        raise TypeError("dictionary: expected a float32 or float64 ndarray, which is updated in place")
    if not dictionary.flags.c_contiguous:
        raise ValueError("dictionary: expected a C-contiguous array, which is updated in place")
    _require_statistics(A, B)
    dead = np.zeros(len(dictionary), np.uint8)
    sweeps = _check.whole_number(n_sweeps, "n_sweeps", minimum=1)
    _cpu.update_dictionary(
        A, B, dictionary, dead, bool(positive), bool(unit_norm), sweeps, _check.thread_number(n_jobs)
    )
    return dead.astype(bool)


def revive_dead_atoms(
    dictionary: FloatArray,
    dead: NDArray[np.bool_],
    A: NDArray[np.float64],
    B: NDArray[np.float64],
    X: FloatArray,
    codes: FloatArray,
    *,
    positive: bool = False,
) -> int:
    """Puts the worst-explained samples in the place of dead atoms, in place; returns how many were reborn.

    Every dead atom takes the direction of another of the samples with the largest ||x - z D||, and its
    statistics are cleared. Where there are more dead atoms than samples with an error, the rest stay as they
    are.
    """
    places = np.flatnonzero(dead)
    if places.size == 0:
        return 0
    residual = X - codes @ dictionary
    errors = np.einsum("ij,ij->i", residual, residual, dtype=np.float64)
    order = np.argsort(-errors, kind="stable")
    order = order[errors[order] > 0]
    reborn = 0
    for place, sample in zip(places, order, strict=False):
        atom = X[sample].astype(np.float64)
        if positive:
            atom = np.maximum(atom, 0.0)
        norm = float(np.linalg.norm(atom))
        if norm == 0.0:
            continue
        dictionary[place] = atom / norm
        A[place, :] = 0.0
        A[:, place] = 0.0
        B[place] = 0.0
        reborn += 1
    return reborn


def momentum_step(
    parameter: FloatArray,
    velocity: FloatArray | None,
    gradient: FloatArray,
    rate: float,
    *,
    momentum: float = 0.0,
    decay: float = 0.0,
    out: FloatArray,
    out_velocity: FloatArray | None = None,
    n_jobs: int | None = None,
) -> bool:
    """A step of gradient ascent with momentum and weight decay, all elements at once.

    velocity' = momentum velocity + rate (gradient - decay parameter), parameter' = parameter + velocity'.

    Parameters
    ----------
    parameter, gradient : ndarray of one or two dimensions, float32 or float64, C-contiguous
        Of one shape and dtype, as all the other arrays.
    velocity : ndarray or None
        None counts as zero, and none is kept: for a momentum of 0.
    rate, momentum, decay : float
    out, out_velocity : ndarray
        Take the results; they may be `parameter` and `velocity`.
    n_jobs : int or None
        Threads; the bits do not depend on their number.

    Returns
    -------
    bool
        Whether every new parameter is finite.

    References
    ----------
    B. Polyak, Some methods of speeding up the convergence of iteration methods, USSR Comput. Math. Math.
    Phys. 4, 1964.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.optim import momentum_step
    >>> w, v = np.array([1.0, 2.0]), np.zeros(2)
    >>> momentum_step(w, v, np.array([1.0, -1.0]), 0.1, momentum=0.9, out=w, out_velocity=v)
    True
    >>> w.tolist(), v.tolist()
    ([1.1, 1.9], [0.1, -0.1])
    """
    finite: bool = _cpu.momentum_step(
        parameter, velocity, gradient, rate, momentum, decay, out, out_velocity, _check.thread_number(n_jobs)
    )
    return finite


def projected_descent(
    start: NDArray[np.float64],
    gradient: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    project: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    n_steps: int,
    step: float | None = None,
) -> tuple[NDArray[np.float64], float | None]:
    """Lowers a convex quadratic over a convex set, a gradient a step.

    Every step goes from x towards P(x - s g) with Barzilai and Borwein's length s, and on that segment to the
    quadratic's minimum: as gradients are affine, the one at the segment's end gives the curvature along it
    and the next gradient. The quadratic never rises.

    Parameters
    ----------
    start : ndarray
        A point of the set.
    gradient : callable
        The quadratic's gradient at a point.
    project : callable
        The nearest point of the set.
    n_steps : int
        Gradients after the first.
    step : float or None
        The first s, as the last call returned it; None takes the length at which the gradient moves the point
        by its own norm.

    Returns
    -------
    x : ndarray
    step : float or None
        The s for a next call.

    References
    ----------
    E. G. Birgin, J. M. Martinez, M. Raydan, "Nonmonotone spectral projected gradient methods on convex sets",
    SIAM J. Optim. 10, 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.optim import projected_descent
    >>> target = np.array([3.0, 0.5])
    >>> x, _ = projected_descent(np.zeros(2), lambda x: x - target, lambda x: np.clip(x, 0, 1), n_steps=5)
    >>> x.round(6)
    array([1. , 0.5])
    """
    x, g = start, gradient(start)
    for _ in range(n_steps):
        if step is None:
            size = float(np.linalg.norm(g))
            step = max(float(np.linalg.norm(x)), 1.0) / size if size > 0 else 1.0
        move = project(x - step * g) - x
        slope = float((g * move).sum())
        if not slope < 0:
            break
        change = gradient(x + move) - g
        curvature = float((change * move).sum())
        length = 1.0 if curvature <= -slope else -slope / curvature
        x = x + length * move
        g = g + length * change
        if curvature > 0:
            step = float((move * move).sum()) / curvature
    return x, step


def curvature_step(
    parameter: FloatArray,
    velocity: FloatArray,
    gradient: FloatArray,
    curvature: NDArray[np.float64],
    rate: float,
    *,
    momentum: float = 0.9,
) -> tuple[FloatArray, FloatArray]:
    """A step of gradient descent with momentum, where every unit's step is divided by its curvature.

    velocity' = momentum velocity + (1 - momentum) gradient,
    parameter'_k = parameter_k - rate velocity'_k / curvature_k.

    A rate of 1 without momentum would be Newton's step, were the Hessian diagonal and equal within a unit.

    Parameters
    ----------
    parameter, velocity, gradient : ndarray of shape (n_units, ...), float32 or float64
        Of one shape and dtype; not changed.
    curvature : ndarray of shape (n_units,), float64
        Mean of the Hessian's diagonal over the unit's elements, >= 0. Where it is 0 the unit stays.
    rate, momentum : float

    Returns
    -------
    parameter, velocity : ndarray
        After the step.

    References
    ----------
    Y. LeCun, L. Bottou, G. B. Orr, K.-R. Mueller, Efficient backprop, 1998, section 9.1.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.optim import curvature_step
    >>> w, g, h = np.ones((2, 1)), np.array([[2.0], [6.0]]), np.array([4.0, 8.0])
    >>> w, v = curvature_step(w, np.zeros((2, 1)), g, h, 1.0)
    >>> w.round(6).tolist(), v.round(6).tolist()
    ([[0.95], [0.925]], [[0.2], [0.6]])
    """
    velocity = momentum * velocity + (1 - momentum) * gradient
    rates = np.divide(rate, curvature, out=np.zeros(len(curvature)), where=curvature > 0)
    rates = rates.astype(parameter.dtype).reshape(-1, *(1,) * (parameter.ndim - 1))
    return parameter - rates * velocity, velocity


def adam_step(
    parameters: Parameters,
    moments: Mapping[str, tuple[FloatArray, ...]],
    gradients: Parameters,
    rate: float,
    step: int,
    *,
    decays: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    n_jobs: int | None = None,
) -> tuple[Parameters, Moments, bool]:
    """A step of gradient descent whose length is scaled element by element, of all parameters at once.

    m' = b1 m + (1 - b1) g, v' = b2 v + (1 - b2) g^2, and with the biases of their first steps removed
    parameter' = parameter - rate (m' / (1 - b1^t)) / (sqrt(v' / (1 - b2^t)) + epsilon).

    Parameters
    ----------
    parameters, gradients : dict of str to ndarray, float32 or float64
        Of the same names, shapes and dtypes; not changed.
    moments : dict of str to tuple of ndarray
        m and v; where a name is missing they are zeros, as before the first step.
    rate : float
    step : int
        t, from 1.
    decays : tuple of float, default=(0.9, 0.999)
    epsilon : float, default=1e-8
    n_jobs : int, default=None
        Threads; the bits do not depend on their number.

    Returns
    -------
    parameters : dict of str to ndarray
    moments : dict of str to tuple of ndarray
    is_finite : bool
        Whether all new numbers are finite: it is for the caller to say what is wrong.

    References
    ----------
    D. P. Kingma, J. Ba, Adam: a method for stochastic optimization, ICLR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.optim import adam_step
    >>> after, moments, is_finite = adam_step({"w": np.ones(2)}, {}, {"w": np.array([4.0, -0.5])}, 0.1, 1)
    >>> after["w"].round(6), is_finite
    (array([0.9, 1.1]), True)
    """
    after: Parameters = {}
    next_moments: Moments = {}
    is_finite = True
    for dtype in {p.dtype for p in parameters.values()}:
        names = [name for name, p in parameters.items() if p.dtype == dtype]
        given = [np.ascontiguousarray(parameters[name]) for name in names]
        held = [moments.get(name, (np.zeros_like(p),) * 2) for name, p in zip(names, given)]
        made = [[np.empty_like(p) for p in given] for _ in range(3)]
        is_finite &= _cpu.adam_step(
            given,
            *(list(each) for each in zip(*held)),
            [np.ascontiguousarray(gradients[name]) for name in names],
            rate,
            *decays,
            epsilon,
            step,
            *made,
            n_jobs=_check.thread_number(n_jobs),
        )
        after.update(zip(names, made[0]))
        next_moments.update(zip(names, zip(*made[1:])))
    return after, next_moments, is_finite


_ROUNDING = 1e-4  # of the gradient of a float32 function


def minimise_lbfgs(
    objective: Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]],
    start: NDArray[np.float64],
    *,
    l1: NDArray[np.float64] | None = None,
    max_iter: int = 1000,
    tol: float = 1e-6,
    callback: Callable[[NDArray[np.float64]], Any] | None = None,
) -> tuple[NDArray[np.float64], int, bool]:
    """A minimum of a smooth function, plus sum(l1 |x|), by SciPy's L-BFGS-B.

    With weights `l1` it works on x = p - q with p, q >= 0, where the function is smooth.

    Parameters
    ----------
    objective : callable
        Value and gradient of the smooth part at x.
    start : ndarray of shape (d,)
    l1 : ndarray of shape (d,), default=None
        Weights, >= 0.
    max_iter : int, default=1000
    tol : float, default=1e-6
        Ends where no element of the (projected) gradient exceeds it, or no step lowers the function.
    callback : callable, default=None
        Called with x after each iteration.

    Returns
    -------
    x : ndarray of shape (d,)
    n_iter : int
    converged : bool
        Whether the gradient fell to `tol`, or to the rounding of float32 functions.

    References
    ----------
    R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, A limited memory algorithm for bound constrained optimization, SIAM
    J. Sci. Comput. 16, 1995.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.optim import minimise_lbfgs
    >>> target = np.array([3.0, 0.2])
    >>> def objective(x):
    ...     return 0.5 * ((x - target) ** 2).sum(), x - target
    >>> x, n_iter, converged = minimise_lbfgs(objective, np.zeros(2), l1=np.ones(2))
    >>> x.round(4), converged
    (array([2., 0.]), True)
    """
    from scipy.optimize import minimize  # a model that does not need it does not wait for it

    has_l1 = l1 is not None and bool((l1 > 0).any())
    n = start.size

    def joined(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x[:n] - x[n:] if has_l1 else x

    def function(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = objective(joined(x))
        if l1 is None or not has_l1:
            return value, gradient
        both = np.concatenate([gradient + l1, l1 - gradient])
        return value + float(np.concatenate([l1, l1]) @ x), both

    first = np.concatenate([np.maximum(start, 0), np.maximum(-start, 0)]) if has_l1 else start
    found = minimize(
        function,
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (2 * n) if has_l1 else None,
        callback=None if callback is None else lambda x: callback(joined(x)),
        options={"maxiter": max_iter, "maxfun": 20 * max_iter, "gtol": tol, "ftol": 1e-15, "maxcor": 20},
    )
    left = found.jac if not has_l1 else np.minimum(found.jac, found.x)  # what a step along it could move
    reached = float(np.abs(left).max(initial=0)) <= max(tol, _ROUNDING)
    return joined(found.x), int(found.nit), bool(found.success and found.nit < max_iter and reached)
