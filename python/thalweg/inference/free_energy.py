"""What remains of energies when a variable is summed or minimised out."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from .._check import FloatArray, inverse_temperature


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
    ValueError
        Where an energy is NaN or -inf, there is no state, or `beta` is not positive.

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
    table = np.asarray(energies)
    table = table if table.dtype == np.float32 else table.astype(np.float64, copy=False)
    beta = inverse_temperature(beta, "beta")
    if table.ndim == 0 or table.shape[axis] == 0:
        raise ValueError(f"energies: expected a state at least along axis {axis}, got shape {table.shape}")
    if np.isnan(table).any() or np.isneginf(table).any():
        raise ValueError("energies: NaN or -inf, where a number or +inf was expected")
    least = table.min(axis=axis, keepdims=True)
    if beta == inf:
        distribution = np.zeros_like(table)
        best = table.argmin(axis=axis)
        np.put_along_axis(distribution, np.expand_dims(best, axis), np.isfinite(least), axis)
        return np.asarray(least.squeeze(axis)), distribution
    return _at_temperature(table, least, table.dtype.type(beta), axis)


def _at_temperature(
    table: FloatArray, least: FloatArray, beta: Any, axis: int
) -> tuple[FloatArray, FloatArray]:
    shift = np.where(np.isfinite(least), least, 0)
    weights = np.exp((shift - table) * beta)
    total = weights.sum(axis=axis, keepdims=True)
    allowed = total > 0
    free = np.where(allowed, shift - np.log(np.where(allowed, total, 1)) / beta, np.inf)
    return np.asarray(free.squeeze(axis), table.dtype), weights / np.where(allowed, total, 1)
