"""Orthogonal matching pursuit of many samples over one dictionary."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg import _check
from thalweg._native import cpu as _cpu

REACHED = 0
DEPENDENT = 1
EXHAUSTED = 2


class PursuitInfo(NamedTuple):
    """What is known of every row's code.

    Attributes
    ----------
    residual_squared : ndarray of shape (n_samples,), float64
        ||x - z D||^2, computed in float64 from the codes as returned.
    n_nonzero : ndarray of shape (n_samples,), int32
        Atoms that were chosen.
    status : ndarray of shape (n_samples,), int8
        0: the number of non-zeros or the residual asked for is reached. 1: the best atom depends on those
        chosen. 2: nothing is left to explain, or no atom is left. In the last two cases the pursuit stopped
        early.
    """

    residual_squared: NDArray[np.float64]
    n_nonzero: NDArray[np.int32]
    status: NDArray[np.int8]


def omp_encode(
    X: Any,
    dictionary: Any,
    *,
    n_nonzero_coefs: int | None = None,
    tol: float | None = None,
    n_jobs: int | None = None,
) -> tuple[NDArray[Any], PursuitInfo]:
    """Codes by orthogonal matching pursuit, to a number of non-zeros or to an error.

    Beginning with z = 0 and S empty, the atom whose correlation |<d_j, x - z D>| is largest joins S, and z
    becomes the least-squares code on S.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    dictionary : array-like of shape (n_components, n_features)
        Rows are atoms, of any norm. X and the dictionary are brought to one dtype: float32 where both are
        float32, float64 otherwise.
    n_nonzero_coefs : int or None
        Non-zeros of a row. None takes a tenth of the number of features, at least 1, unless `tol` is given.
    tol : float or None
        Largest squared norm of the residual, in squared units of X; it then overrides `n_nonzero_coefs`, as
        in scikit-learn.
    n_jobs : int or None
        Threads; None takes OpenMP's default. The bits do not depend on their number.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_components)
    info : PursuitInfo

    Raises
    ------
    TypeError, ValueError
        Where an argument is of the wrong kind, shape or range.

    References
    ----------
    R. Rubinstein, M. Zibulevsky, M. Elad, "Efficient implementation of the K-SVD algorithm using batch
    orthogonal matching pursuit", CS Technion, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.inference.omp import omp_encode
    >>> codes, info = omp_encode([[3.0, -0.5, 1.0]], np.eye(3), n_nonzero_coefs=2)
    >>> codes
    array([[3., 0., 1.]])
    >>> float(info.residual_squared[0])
    0.25
    """
    single = all(getattr(a, "dtype", None) == np.float32 for a in (X, dictionary))
    dtype = np.float32 if single else np.float64
    atoms = _check.float_array(dictionary, "dictionary", ndim=2, dtype=dtype)
    samples = _check.float_array(X, "X", ndim=2, dtype=dtype)
    if 0 in atoms.shape:
        raise ValueError(f"dictionary: expected at least one atom and one feature, got shape {atoms.shape}")
    if samples.shape[1] != atoms.shape[1]:
        raise ValueError(
            f"X: expected {atoms.shape[1]} features, as the dictionary has, got {samples.shape[1]}"
        )
    most, target = _stopping(n_nonzero_coefs, tol, *atoms.shape)
    threads = _check.thread_number(n_jobs)
    n_samples = samples.shape[0]
    codes = np.empty((n_samples, atoms.shape[0]), dtype)
    info = PursuitInfo(np.empty(n_samples), np.empty(n_samples, np.int32), np.empty(n_samples, np.int8))
    kind = _cpu.CodingDictionary32 if single else _cpu.CodingDictionary64
    _cpu.omp_encode(kind(atoms, 0.0, threads), samples, codes, *info, most, target, threads)
    return codes, info


def _stopping(n_nonzero_coefs: Any, tol: Any, n_components: int, n_features: int) -> tuple[int, float]:
    if tol is not None:
        return min(n_components, n_features), _check.real_number(tol, "tol", minimum=0.0)
    if n_nonzero_coefs is None:
        return min(max(n_features // 10, 1), n_components), -1.0
    count = _check.whole_number(n_nonzero_coefs, "n_nonzero_coefs", minimum=1)
    if count > n_components:
        raise ValueError(
            f"n_nonzero_coefs: expected at most {n_components}, the number of atoms, got {count}"
        )
    return count, -1.0
