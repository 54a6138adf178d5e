"""The perceptron loss: the right answer's energy above the least of all."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._base import AnswerLoss
from .._check import FloatArray
from ._pairs import MarginPairLoss, rows_of_energies
from .negative_log_likelihood import NegativeLogLikelihoodLoss


class PerceptronLoss(MarginPairLoss):
    r"""L = E(right) - min_y E(y) = max(0, e), with e = E(right) - E(offending).

    Zero margin: energies that are all equal are a global minimum. So a matcher may collapse, and nothing but
    the way there keeps others from it.

    Notes
    -----
    Among answers of equal energy the first one is the winner. On E = -y w'x with answers (-1, 1) a step is
    Rosenblatt's W + eta (y - sign(w'x)) x with sign(0) = -1.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    2.2.2. F. Rosenblatt, The perceptron, Psychological Review 65, 1958.

    Examples
    --------
    >>> from thalweg.losses import PerceptronLoss
    >>> losses, gradient = PerceptronLoss().value_and_gradient([[3.0, 1.0], [1.0, 3.0]], [0, 0])
    >>> losses, gradient
    (array([2., 0.]), array([[ 1., -1.],
           [ 0.,  0.]]))
    """

    guarantee = "zero"

    def of_difference(self, e: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Q and its derivative at e."""
        return np.maximum(e, 0), (e > 0).astype(e.dtype)

    def smoothed(self, beta: float) -> AnswerLoss:
        """The log-likelihood loss, which has no kinks: above this one, by at most log(n_answers) / beta."""
        return NegativeLogLikelihoodLoss(beta)

    def value_and_gradient(self, energies: Any, right: Any) -> tuple[FloatArray, FloatArray]:
        """Losses of rows of energies, and their gradients; see `PairLoss`."""
        table, column = rows_of_energies(energies, right)
        rows = np.arange(len(table))
        winner = table.argmin(axis=1)
        gradient = np.zeros_like(table)
        gradient[rows, column] = 1
        gradient[rows, winner] -= 1
        return table[rows, column] - table[rows, winner], gradient
