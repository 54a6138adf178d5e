"""Minima and samples of energies of continuous variables, many rows at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize as scipy_minimize

from .. import _check, _rng
from .._blas import one_blas_thread
from .._check import FloatArray, one_of, real_number, whole_number

METHODS = ("lbfgs", "projected-gradient")

# Energies (m,) and gradients (m, d) of points (m, d), which belong to the rows with these numbers (m,).
EnergyAndGradient = Callable[[NDArray[np.float64], NDArray[np.int64]], tuple[FloatArray, FloatArray]]

_ARMIJO = 1e-4
_MEMORY = 5  # energies that a step may not exceed the greatest of
_STEPS = (1e-10, 1e10)


@dataclass(frozen=True)
class Minima:
    """The best point found for every row."""

    x: NDArray[np.float64]  # (n, d)
    energy: NDArray[np.float64]  # (n,)
    n_iter: NDArray[np.int64]  # (n,), of the start that gave it
    converged: NDArray[np.bool_]  # (n,)


def minimise_continuous(
    energy: EnergyAndGradient,
    start: NDArray[np.float64],
    *,
    bounds: tuple[Any, Any] | None = None,
    method: str = "lbfgs",
    n_restarts: int = 0,
    spread: float = 1.0,
    max_iter: int = 200,
    tol: float = 1e-6,
    seed: int = 0,
) -> Minima:
    r"""Lowers an energy of every row over a box, from the starts given and from random ones.

    Parameters
    ----------
    energy : callable
        Energies (m,) and gradients (m, d) of points (m, d), given the numbers (m,) of the rows that they
        belong to.
    start : ndarray of shape (n, d)
        Brought into the box first.
    bounds : tuple of array_like, default=None
        Least and greatest value: scalars, or of shape (d,); infinite where there is no bound.
    method : {"lbfgs", "projected-gradient"}, default="lbfgs"
        SciPy's L-BFGS-B, row after row; or spectral projected gradients, all rows at once.
    n_restarts : int, default=0
        Starts besides the one given: uniform in the box where it is bounded, else `start` plus normal noise
        of deviation `spread`.
    spread : float, default=1.0
    max_iter : int, default=200
        Iterations from each start.
    tol : float, default=1e-6
        A row has converged when no element of x - P(x - gradient) exceeds it.
    seed : int, default=0
        Of the restarts.

    Returns
    -------
    Minima
        The least energy of all starts, and whether the search that found it converged.

    References
    ----------
    E. G. Birgin, J. M. Martinez, M. Raydan, Nonmonotone spectral projected gradient methods on convex sets,
    SIAM J. Optim. 10, 2000. R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, A limited memory algorithm for bound
    constrained optimization, SIAM J. Sci. Comput. 16, 1995.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.inference.continuous import minimise_continuous
    >>> target = np.array([[2.0, 0.5], [-3.0, 0.0]])
    >>> def energy(x, rows):
    ...     return 0.5 * ((x - target[rows]) ** 2).sum(axis=1), x - target[rows]
    >>> found = minimise_continuous(energy, np.zeros((2, 2)), bounds=(-1.0, 1.0))
    >>> found.x, found.energy, found.converged
    (array([[ 1. ,  0.5],
           [-1. ,  0. ]]), array([0.5, 2. ]), array([ True,  True]))
    """
    one_of(method, "method", METHODS)
    whole_number(n_restarts, "n_restarts")
    whole_number(max_iter, "max_iter", minimum=1)
    real_number(tol, "tol", above=0.0)
    real_number(spread, "spread", minimum=0.0)
    start = np.array(start, np.float64, ndmin=2)
    box = box_of(bounds, start.shape[1])
    search = _lbfgs if method == "lbfgs" else _projected_gradient
    with one_blas_thread:
        best = search(energy, np.clip(start, *box), box, max_iter, tol)
        for attempt in range(n_restarts):
            again = search(energy, _random_start(start, box, spread, seed, attempt), box, max_iter, tol)
            best = _better(best, again)
    return best


Box = tuple[NDArray[np.float64], NDArray[np.float64]]


def box_of(bounds: Any, d: int) -> Box:
    """Least and greatest values, each (d,); errors name `bounds`."""
    low, high = (-np.inf, np.inf) if bounds is None else _pair(bounds)
    box = tuple(_check.real_operand(b, "bounds", dtype=np.float64) for b in (low, high))
    if any(b.shape not in ((), (d,)) for b in box):
        raise ValueError(
            f"bounds: expected two numbers, or two of shape ({d},), least and greatest values; got shapes "
            f"{box[0].shape} and {box[1].shape}"
        )
    if np.isnan(box[0]).any() or np.isnan(box[1]).any() or (box[0] > box[1]).any():
        raise ValueError(f"bounds: expected least values <= greatest ones, got {low!r} and {high!r}")
    return np.broadcast_to(box[0], (d,)), np.broadcast_to(box[1], (d,))


def _pair(bounds: Any) -> tuple[Any, Any]:
    try:
        low, high = bounds
    except (TypeError, ValueError) as error:
        raise ValueError(f"bounds: expected (least values, greatest values), got {bounds!r}") from error
    return low, high


def _random_start(
    start: NDArray[np.float64], box: Box, spread: float, seed: int, attempt: int
) -> NDArray[np.float64]:
    low, high = box
    stream = _rng.STREAM_RESTARTS
    uniform = _rng.uniform(seed, stream, attempt, start.size, row=0).reshape(start.shape)
    normal = _rng.normals(seed, stream, attempt, start.size, row=1).reshape(start.shape)
    is_boxed = np.isfinite(low) & np.isfinite(high)
    width = np.where(is_boxed, high - np.where(is_boxed, low, 0), 0)
    inside = np.where(is_boxed, low, 0) + uniform * width
    return np.clip(np.where(is_boxed, inside, start + spread * normal), low, high)


def _better(a: Minima, b: Minima) -> Minima:
    wins = b.energy < a.energy
    return Minima(
        np.where(wins[:, None], b.x, a.x),
        np.where(wins, b.energy, a.energy),
        np.where(wins, b.n_iter, a.n_iter),
        np.where(wins, b.converged, a.converged),
    )


def _lbfgs(
    energy: EnergyAndGradient, start: NDArray[np.float64], box: Box, max_iter: int, tol: float
) -> Minima:
    n = len(start)
    x, value = start.copy(), np.empty(n)
    n_iter, converged = np.zeros(n, np.int64), np.zeros(n, bool)
    for i in range(n):
        row = np.array([i])

        def of_point(point: NDArray[np.float64], row: NDArray[np.int64] = row) -> tuple[float, Any]:
            values, gradients = energy(point[None], row)
            return float(values[0]), np.asarray(gradients[0], np.float64)

        found = scipy_minimize(
            of_point,
            start[i],
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(*box, strict=True)),
            options={"maxiter": max_iter, "gtol": tol, "ftol": 0.0},
        )
        x[i], n_iter[i] = found.x, found.get("nit", 0)  # none where the bounds leave one point alone
        value[i], gradient = of_point(x[i])
        converged[i] = np.abs(x[i] - np.clip(x[i] - gradient, *box)).max(initial=0) <= tol
    return Minima(x, value, n_iter, converged)


def _projected_gradient(
    energy: EnergyAndGradient, start: NDArray[np.float64], box: Box, max_iter: int, tol: float
) -> Minima:
    """Spectral projected gradients: steps of Barzilai and Borwein's length, non-monotone line search."""
    x = start.copy()
    value, gradient = _evaluated(energy, x, np.arange(len(x)))
    recent = np.full((_MEMORY, len(x)), -np.inf)
    recent[0] = value
    step = 1 / np.maximum(1, np.abs(gradient).max(axis=1, initial=0))
    n_iter = np.zeros(len(x), np.int64)
    best_x, best_value = x.copy(), value.copy()
    moving = _stationarity(x, gradient, box) > tol
    for iteration in range(1, max_iter + 1):
        rows = np.flatnonzero(moving)
        if rows.size == 0:
            break
        move = np.clip(x[rows] - step[rows, None] * gradient[rows], *box) - x[rows]
        here = (x[rows], value[rows], gradient[rows])
        new_x, new_value, new_gradient, moved = _line_search(
            energy, here, move, recent[:, rows].max(axis=0), rows
        )
        s, y = new_x - x[rows], new_gradient - gradient[rows]
        curvature = (s * y).sum(axis=1)
        length = (s * s).sum(axis=1)
        step[rows] = np.where(
            curvature > 0, np.clip(length / np.where(curvature > 0, curvature, 1), *_STEPS), 1.0
        )
        x[rows], value[rows], gradient[rows] = new_x, new_value, new_gradient
        recent[iteration % _MEMORY, rows] = new_value
        n_iter[rows] = iteration
        lower = value < best_value
        best_x[lower], best_value[lower] = x[lower], value[lower]
        moving[rows] = moved & (_stationarity(new_x, new_gradient, box) > tol)
    _, last = _evaluated(energy, best_x, np.arange(len(x)))
    return Minima(best_x, best_value, n_iter, _stationarity(best_x, last, box) <= tol)


def _line_search(
    energy: EnergyAndGradient,
    here: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    move: NDArray[np.float64],
    ceiling: NDArray[np.float64],
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Points, energies and gradients after halved moves, and whether a move was accepted."""
    x, value, gradient = here
    slope = (gradient * move).sum(axis=1)
    new_x = x + move
    new_value, new_gradient = _evaluated(energy, new_x, rows)
    length = np.ones(len(x))
    for _ in range(60):
        refused = ~(new_value <= ceiling + _ARMIJO * length * slope)
        if not refused.any():
            break
        length[refused] *= 0.5
        new_x[refused] = x[refused] + length[refused, None] * move[refused]
        new_value[refused], new_gradient[refused] = _evaluated(energy, new_x[refused], rows[refused])
    accepted = new_value <= ceiling + _ARMIJO * length * slope
    new_x[~accepted] = x[~accepted]
    new_value[~accepted], new_gradient[~accepted] = value[~accepted], gradient[~accepted]
    return new_x, new_value, new_gradient, accepted


def _evaluated(
    energy: EnergyAndGradient, x: NDArray[np.float64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    value, gradient = energy(x, rows)
    return np.array(value, np.float64), np.array(gradient, np.float64)


def _stationarity(x: NDArray[np.float64], gradient: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = np.abs(x - np.clip(x - gradient, *box)).max(axis=1, initial=0)
    return moved


def langevin(
    energy: EnergyAndGradient,
    start: NDArray[np.float64],
    *,
    n_steps: int,
    step: float,
    beta: float = 1.0,
    bounds: tuple[Any, Any] | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    r"""Samples of exp(-beta E) by Langevin's dynamics, a chain a row.

    .. math:: x \leftarrow x - \tfrac{\varepsilon}{2} \beta \nabla E(x) + \sqrt{\varepsilon}\, n,
              \qquad n \sim N(0, I)

    Without a Metropolis test the distribution reached differs from the right one by O(step).

    Parameters
    ----------
    energy : callable
        As in `minimise_continuous`.
    start : ndarray of shape (n, d)
    n_steps : int
    step : float
        The epsilon above, > 0.
    beta : float, default=1.0
        Inverse temperature, > 0.
    bounds : tuple of array_like, default=None
        Chains are reflected at them.
    seed : int, default=0

    Returns
    -------
    ndarray of shape (n, d)
        The chains' last states.

    References
    ----------
    G. O. Roberts, R. L. Tweedie, Exponential convergence of Langevin distributions, Bernoulli 2, 1996.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.inference.continuous import langevin
    >>> def energy(x, rows):
    ...     return 0.5 * (x**2).sum(axis=1), x
    >>> x = langevin(energy, np.zeros((4000, 1)), n_steps=200, step=0.05)
    >>> bool(abs(x.mean()) < 0.1 and abs(x.var() - 1) < 0.1)
    True
    """
    whole_number(n_steps, "n_steps")
    real_number(step, "step", above=0.0)
    real_number(beta, "beta", above=0.0)
    x = np.array(start, np.float64, ndmin=2)
    box = box_of(bounds, x.shape[1])
    rows = np.arange(len(x))
    for t in range(n_steps):
        _, gradient = _evaluated(energy, x, rows)
        noise = _rng.normals(seed, _rng.STREAM_LANGEVIN, t, x.size).reshape(x.shape)
        x = _reflected(x - 0.5 * step * beta * gradient + np.sqrt(step) * noise, box)
    return x


def _reflected(x: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    """One reflection, and what is still outside goes to the border."""
    low, high = box
    x = np.where(x < low, 2 * low - x, x)
    return np.clip(np.where(x > high, 2 * high - x, x), low, high)
