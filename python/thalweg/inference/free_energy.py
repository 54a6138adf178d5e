"""What remains of energies when a variable is summed or minimised out."""

from __future__ import annotations

from math import inf
from numbers import Integral
from typing import Any

import numpy as np

from .._check import FloatArray, inverse_temperature, real_operand


def free_energy(energies: Any, beta: float = inf, axis: int = -1) -> tuple[FloatArray, FloatArray]:
    r"""The free energy of a set of states, and the distribution over them.

    .. math:: F_\beta = -\frac1\beta \log \sum_z e^{-\beta E(z)}, \qquad P(z) = e^{-\beta (E(z) - F_\beta)}

    F_beta rises to min E as beta grows: min E - log(n_states) / beta <= F_beta <= min E.

    Parameters
    ----------
    energies : array_like
        float32 stays float32, other numbers become float64. +inf forbids a state.
    beta : float, default=inf
        Inverse temperature, > 0; infinity takes the minimum.
    axis : int, default=-1
        The axis of the states.

    Returns
    -------
    free : ndarray
        Without that axis; +inf where all states are forbidden.
    distribution : ndarray, shape of `energies`
        P, which is the derivative of F in the energies; at beta infinite the first of the best states has it
        all. Zero where all states are forbidden.

    Raises
    ------
    TypeError, ValueError
        Where an energy is NaN, -inf or no real number, there is no state or no such axis, `beta` is not
        positive, or so small that F overflows.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006.

    Examples
    --------
    >>> from thalweg.inference.free_energy import free_energy
    >>> free, distribution = free_energy([[1.0, 1.0], [2.0, 5.0]], beta=1.0)
    >>> free.round(4), distribution.round(4)
    (array([0.3069, 1.9514]), array([[0.5   , 0.5   ],
           [0.9526, 0.0474]]))
    >>> free_energy([3.0, 2.0, 2.0])
    (array(2.), array([0., 1., 0.]))
    """
    table = real_operand(energies, "energies")
    beta = inverse_temperature(beta, "beta")
    axis = _axis(axis, table.ndim)
    if table.shape[axis] == 0:
        raise ValueError(f"energies: expected a state at least along axis {axis}, got shape {table.shape}")
    if np.isnan(table).any() or np.isneginf(table).any():
        raise ValueError("energies: NaN or -inf, where a number or +inf was expected")
    least = table.min(axis=axis, keepdims=True)
    if beta == inf:
        distribution = np.zeros_like(table)
        best = table.argmin(axis=axis)
        np.put_along_axis(distribution, np.expand_dims(best, axis), np.isfinite(least), axis)
        return np.asarray(least.squeeze(axis)), distribution
    return _at_temperature(table, least, beta, axis)


def _axis(axis: Any, ndim: int) -> int:
    if not isinstance(axis, Integral) or isinstance(axis, bool | np.bool_):
        raise TypeError(f"axis: expected an integer, got {axis!r}")
    if ndim == 0:
        raise ValueError("energies: expected at least one axis, got a single number")
    number = int(axis)
    if not -ndim <= number < ndim:
        raise ValueError(f"axis: expected a number from {-ndim} to {ndim - 1}, got {number}")
    return number


def _at_temperature(
    table: FloatArray, least: FloatArray, beta: float, axis: int
) -> tuple[FloatArray, FloatArray]:
    # in float64, as neither beta nor log(n) / beta need be numbers of the energies' dtype
    shift = np.where(np.isfinite(least), least, 0).astype(np.float64)
    with np.errstate(over="ignore"):
        weights = np.exp((shift - table) * beta)
        total = weights.sum(axis=axis, keepdims=True)
        allowed = total > 0
        free = np.where(allowed, shift - np.log(np.where(allowed, total, 1)) / beta, np.inf)
        free = free.squeeze(axis).astype(table.dtype)
    if np.isneginf(free).any():
        raise ValueError(f"beta: {beta:g} is so small that the free energy overflows {table.dtype}")
    distribution = (weights / np.where(allowed, total, 1)).astype(table.dtype, copy=False)
    return np.asarray(free), distribution
