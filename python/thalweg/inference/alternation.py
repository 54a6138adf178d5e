"""Minimisation over several variables by turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._check import real_number, whole_number

Values = tuple[Any, ...]


def alternate(
    energy: Callable[..., NDArray[Any]],
    best: Sequence[Callable[..., Any]],
    start: Values,
    *,
    max_iter: int = 100,
    tol: float = 0.0,
) -> tuple[Values, NDArray[np.float64], int]:
    """Minimises over each variable in turn while the others are held, until no row's energy falls.

    Parameters
    ----------
    energy : callable
        Energies (n,) of the variables, given one after the other.
    best : sequence of callable
        For each variable the value that minimises the energy, given all variables.
    start : tuple
        Values to begin with.
    max_iter : int, default=100
        Rounds.
    tol : float, default=0.0
        Falls of at most so much count as none.

    Returns
    -------
    values : tuple
    energy : ndarray of shape (n,), float64
    n_iter : int

    Raises
    ------
    ValueError
        Where a minimisation raises an energy: it does not minimise.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.inference.alternation import alternate
    >>> x = np.array([[4.0, 1.0]])
    >>> def energy(a, b):
    ...     return (a - x[:, 0]) ** 2 + (b - x[:, 1]) ** 2 + (a - b) ** 2
    >>> (a, b), value, _ = alternate(
    ...     energy, [lambda a, b: (x[:, 0] + b) / 2, lambda a, b: (x[:, 1] + a) / 2], (0.0, 0.0), tol=1e-12
    ... )
    >>> a.round(4), b.round(4), value.round(4)
    (array([3.]), array([2.]), array([3.]))
    """
    whole_number(max_iter, "max_iter", minimum=1)
    real_number(tol, "tol", minimum=0.0)
    values = tuple(start)
    if len(best) != len(values):
        raise ValueError(f"best: expected one for each of the {len(values)} variables, got {len(best)}")
    now = np.asarray(energy(*values), np.float64)
    for n_iter in range(1, max_iter + 1):
        before = now
        for i, minimise in enumerate(best):
            values = (*values[:i], minimise(*values), *values[i + 1 :])
        now = np.asarray(energy(*values), np.float64)
        rise = now - before
        if (rise > 1e-6 * np.maximum(1, np.abs(before))).any():
            raise ValueError(f"best: a round raised an energy by {float(rise.max()):g}")
        if (rise >= -tol).all():
            return values, now, n_iter
    return values, now, max_iter
