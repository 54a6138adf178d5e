"""Sums and minima over all paths of labels through many sequences."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, _factors
from .._check import FloatArray
from .._native import cpu as _cpu


@dataclass(frozen=True)
class ChainSums:
    """What `chain_marginals` finds."""

    marginals: FloatArray  # (n_positions, n_labels)
    pairs: NDArray[np.float64]  # (n_labels, n_labels)
    free_energy: NDArray[np.float64]  # (n_sequences,)


def chain_marginals(
    unary: Any,
    pairwise: Any,
    starts: Any,
    *,
    beta: float = 1.0,
    weights: Any = None,
    n_jobs: int | None = None,
) -> ChainSums:
    r"""Distributions of the labels of chains, by forward and backward sums.

    .. math:: E(y) = \sum_t U_{t, y_t} + \sum_t T_{y_t, y_{t+1}}, \qquad P(y) \propto e^{-\beta E(y)}

    Parameters
    ----------
    unary : array-like of shape (n_positions, n_labels)
        U, the positions of all sequences one after another; +inf forbids. float32 stays float32.
    pairwise : array-like of shape (n_labels, n_labels)
        T, from the label before (rows) to the next; +inf forbids.
    starts : array-like of shape (n_sequences + 1,), int
        Sequence s has the positions from starts[s] to starts[s + 1] - 1.
    beta : float, default=1.0
        Inverse temperature, > 0 and finite.
    weights : array-like of shape (n_sequences,), default=None
        Of the sequences in `pairs`; None for ones.
    n_jobs : int, default=None
        Threads; the bits do not depend on their number.

    Returns
    -------
    ChainSums
        P(y_t); the expected number of times that one label follows another, summed over the sequences; and
        -1/beta log sum exp(-beta E) of each sequence, in float64.

    Raises
    ------
    TypeError, ValueError
        Where an argument is of the wrong kind, shape or range, or all paths of a sequence are forbidden.

    References
    ----------
    L. Rabiner, A tutorial on hidden Markov models and selected applications in speech recognition, Proc. IEEE
    77, 1989.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.inference.chains import chain_marginals
    >>> sums = chain_marginals([[0.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]], [0, 2])
    >>> sums.marginals, sums.pairs.round(4)
    (array([[0.5, 0.5],
           [0.5, 0.5]]), array([[0.3655, 0.1345],
           [0.1345, 0.3655]]))
    """
    U, T, S = _chains(unary, pairwise, starts)
    beta = _check.real_number(beta, "beta", above=0.0)
    n = len(S) - 1
    w = np.ones(n) if weights is None else _check.float_array(weights, "weights", ndim=1, dtype=np.float64)
    if len(w) != n:
        raise ValueError(f"weights: expected {n}, one a sequence, got {len(w)}")
    sums = ChainSums(np.empty_like(U), np.empty(T.shape), np.empty(n))
    threads = _check.thread_number(n_jobs)
    _cpu.chain_marginals(U, T, S, beta, w, sums.marginals, sums.pairs, sums.free_energy, threads)
    return sums


def chain_best(
    unary: Any, pairwise: Any, starts: Any, *, n_jobs: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The path of least energy through every chain, by Viterbi's algorithm.

    Parameters
    ----------
    unary, pairwise, starts, n_jobs
        As in `chain_marginals`.

    Returns
    -------
    states : ndarray of shape (n_positions,), int64
    energy : ndarray of shape (n_sequences,), float64

    Raises
    ------
    TypeError, ValueError
        As `chain_marginals`.

    References
    ----------
    A. Viterbi, Error bounds for convolutional codes and an asymptotically optimum decoding algorithm, IEEE
    Trans. Inf. Theory 13, 1967.

    Examples
    --------
    >>> from thalweg.inference.chains import chain_best
    >>> chain_best([[0.0, 1.0], [0.4, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], [0, 3])
    (array([0, 0, 0]), array([0.4]))
    """
    U, T, S = _chains(unary, pairwise, starts)
    states, energy = np.empty(len(U), np.int64), np.empty(len(S) - 1)
    _cpu.chain_best(U, T, S, states, energy, _check.thread_number(n_jobs))
    return states, energy


def chain_offending(
    unary: Any, pairwise: Any, starts: Any, right: Any, *, n_jobs: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The path of least energy among all that differ from a given one: the most offending incorrect answer.

    Parameters
    ----------
    unary, pairwise, starts, n_jobs
        As in `chain_marginals`.
    right : array-like of shape (n_positions,), int
        The paths left out.

    Returns
    -------
    states : ndarray of shape (n_positions,), int64
    energy : ndarray of shape (n_sequences,), float64
        +inf, with the right path, where all others are forbidden.

    Examples
    --------
    >>> from thalweg.inference.chains import chain_offending
    >>> chain_offending([[0.0, 2.0], [0.4, 0.0]], [[0.0, 1.0], [1.0, 0.0]], [0, 2], [0, 0])
    (array([0, 1]), array([1.]))
    """
    U, T, S = _chains(unary, pairwise, starts)
    given = np.asarray(right)
    if given.dtype.kind not in "iu":
        raise TypeError(f"right: expected integers, got {given.dtype}")
    if given.shape != U.shape[:1]:
        raise ValueError(f"right: expected shape {U.shape[:1]}, one label a position, got {given.shape}")
    states, energy = np.empty(len(U), np.int64), np.empty(len(S) - 1)
    right = np.ascontiguousarray(given, np.int64)
    _cpu.chain_offending(U, T, S, right, states, energy, _check.thread_number(n_jobs))
    return states, energy


def path_energies(unary: FloatArray, pairwise: FloatArray, starts: Any, states: Any) -> NDArray[np.float64]:
    """E of one path through every chain, shape (n_sequences,), in float64."""
    own = np.take_along_axis(unary, states[:, None], axis=1)[:, 0].astype(np.float64)
    own[1:] += np.where(is_start(starts, len(own))[1:], 0.0, pairwise[states[:-1], states[1:]])
    return np.add.reduceat(own, starts[:-1])


def is_start(starts: NDArray[np.int64], n_positions: int) -> NDArray[np.bool_]:
    """Which positions begin a sequence."""
    first = np.zeros(n_positions, bool)
    first[starts[:-1]] = True
    return first


def _chains(unary: Any, pairwise: Any, starts: Any) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    U = _energies(unary, "unary", None)
    T = _energies(pairwise, "pairwise", U.dtype)
    if T.shape != (U.shape[1], U.shape[1]):
        raise ValueError(
            f"pairwise: expected shape {(U.shape[1], U.shape[1])}, as unary has {U.shape[1]} labels, "
            f"got {T.shape}"
        )
    given = np.asarray(starts)
    if given.dtype.kind not in "iu" or given.ndim != 1 or len(given) < 2:
        raise ValueError(f"starts: expected integers of shape (n_sequences + 1,), got {starts!r}")
    S = np.ascontiguousarray(given, np.int64)
    if S[0] != 0 or S[-1] != len(U) or (np.diff(S) < 1).any():
        raise ValueError(f"starts: expected increasing numbers from 0 to {len(U)}, the number of positions")
    return U, T, S


def _energies(value: Any, name: str, dtype: Any) -> FloatArray:
    """A matrix of energies: numbers or +inf."""
    table = np.ascontiguousarray(_factors.energy_numbers(value, name, dtype))
    if table.ndim != 2 or 0 in table.shape:
        raise ValueError(f"{name}: expected a table of at least one row and label, got shape {table.shape}")
    if np.isnan(table).any() or (table == -inf).any():
        raise ValueError(f"{name}: NaN or -inf, where a number or +inf was expected")
    return table
