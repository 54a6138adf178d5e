"""States of discrete variables by Gibbs sampling and simulated annealing, many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _rng
from .._check import FloatArray, inverse_temperature, whole_number
from .free_energy import free_energy

# Energies (m,) of states (m, n_variables), which belong to the rows with these numbers (m,).
StateEnergy = Callable[[NDArray[np.int64], NDArray[np.int64]], FloatArray]


def gibbs_states(
    energy: StateEnergy,
    states: Any,
    cardinalities: Sequence[int],
    *,
    beta: float = 1.0,
    n_sweeps: int = 1,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Samples of exp(-beta E) by Gibbs sweeps, a chain a row, whatever the energy is.

    Every variable in turn is drawn from its distribution given the others, which takes the energies of all
    of its states.

    Parameters
    ----------
    energy : callable
        Energies (m,) of states (m, n_variables), given the numbers (m,) of the rows that they belong to.
    states : array_like of shape (n, n_variables), int
        Where the chains begin.
    cardinalities : sequence of int
        How many states each variable has.
    beta : float, default=1.0
        Inverse temperature; infinite takes the best state of each variable (iterated conditional modes).
    n_sweeps : int, default=1
    seed : int, default=0

    Returns
    -------
    ndarray of shape (n, n_variables), int64

    Raises
    ------
    TypeError, ValueError
        Where an argument is of the wrong kind, shape or range, or a chain has found no state that is allowed:
        one that begins at an energy of +inf moves on only where changing one variable makes it finite.

    References
    ----------
    S. Geman, D. Geman, Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images,
    IEEE PAMI 6, 1984.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.inference.discrete import gibbs_states
    >>> def energy(states, rows):
    ...     return 10.0 * (states[:, 0] != states[:, 1])
    >>> found = gibbs_states(energy, np.zeros((1000, 2), int), [2, 2], n_sweeps=5)
    >>> bool((found[:, 0] == found[:, 1]).mean() > 0.99)
    True
    """
    whole_number(n_sweeps, "n_sweeps")
    current, sizes = _checked(states, cardinalities)
    for sweep in range(n_sweeps):
        _sweep(energy, current, sizes, inverse_temperature(beta, "beta"), seed, sweep)
    _refuse_forbidden(np.asarray(energy(current, np.arange(len(current)))), n_sweeps)
    return current


def simulated_annealing(
    energy: StateEnergy,
    states: Any,
    cardinalities: Sequence[int],
    *,
    betas: Sequence[float],
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best states met while Gibbs sweeps cool down.

    Parameters
    ----------
    energy, states, cardinalities, seed :
        As in `gibbs_states`.
    betas : sequence of float
        The inverse temperature of each sweep; let it grow, and end with infinity to reach a local minimum.

    Returns
    -------
    states : ndarray of shape (n, n_variables), int64
    energy : ndarray of shape (n,), float64
        +inf where a row has met no state that is allowed.

    References
    ----------
    S. Kirkpatrick, C. D. Gelatt, M. P. Vecchi, Optimization by simulated annealing, Science 220, 1983.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.inference.discrete import simulated_annealing
    >>> costs = np.array([[3.0, 1.0, 2.0], [0.0, 4.0, -1.0]])
    >>> def energy(states, rows):
    ...     return costs[0, states[:, 0]] + costs[1, states[:, 1]]
    >>> simulated_annealing(energy, [[0, 0]], [3, 3], betas=[0.1, 1.0, np.inf])
    (array([[1, 2]]), array([0.]))
    """
    current, sizes = _checked(states, cardinalities)
    rows = np.arange(len(current))
    best, best_energy = current.copy(), np.asarray(energy(current, rows), np.float64)
    for sweep, beta in enumerate(betas):
        _sweep(energy, current, sizes, inverse_temperature(beta, "betas"), seed, sweep)
        value = np.asarray(energy(current, rows), np.float64)
        lower = value < best_energy
        best[lower], best_energy = current[lower], np.where(lower, value, best_energy)
    return best, best_energy


def _checked(states: Any, cardinalities: Sequence[int]) -> tuple[NDArray[np.int64], list[int]]:
    current = np.array(states)
    if current.dtype.kind not in "iu":
        raise TypeError(f"states: expected integers, got {current.dtype}")
    sizes = [whole_number(c, "cardinalities", minimum=1) for c in cardinalities]
    if current.ndim != 2 or current.shape[1] != len(sizes):
        raise ValueError(f"states: expected shape (n, {len(sizes)}), got {current.shape}")
    if current.size and ((current < 0) | (current >= np.array(sizes))).any():
        raise ValueError(f"states: expected states below the cardinalities {sizes}")
    return current.astype(np.int64), sizes


def _sweep(
    energy: StateEnergy, states: NDArray[np.int64], sizes: list[int], beta: float, seed: int, sweep: int
) -> None:
    """Draws every variable of every row once, in place."""
    n, rows = len(states), np.arange(len(states))
    uniform = _rng.uniform(seed, _rng.STREAM_STATES, sweep, n * len(sizes)).reshape(n, len(sizes))
    for i, size in enumerate(sizes):
        trial = states.copy()
        table = np.empty((n, size))
        for state in range(size):
            trial[:, i] = state
            table[:, state] = energy(trial, rows)
        free, distribution = free_energy(table, beta)
        total = distribution.cumsum(axis=1)
        below = total <= uniform[:, i : i + 1] * total[:, -1:]  # rounded sums end near 1
        states[:, i] = np.where(free < np.inf, below.sum(axis=1), states[:, i])


def _refuse_forbidden(energy: FloatArray, n_sweeps: int) -> None:
    """ValueError where a row's energy (n,) is +inf."""
    forbidden = np.flatnonzero(energy == np.inf)
    if len(forbidden):
        raise ValueError(
            f"states: row {forbidden[0]} is still forbidden (its energy is +inf) after {n_sweeps} sweep(s); "
            "begin with states that are allowed"
        )
