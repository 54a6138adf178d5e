"""The hinge loss: the right answer's energy below all others by a margin."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._base import AnswerLoss
from .._check import FloatArray, real_number
from ._distribution import DistributionLoss
from ._pairs import MarginPairLoss, rows_of_energies
from .negative_log_likelihood import NegativeLogLikelihoodLoss


class HingeLoss(MarginPairLoss):
    r"""L = max(0, m + e), with e = E(right) - E(offending).

    With a linear energy and an l2 penalty it makes a support vector machine: with two classes and
    E = -1/2 y w'x, m = 1 the usual one, with several linear energies that of Crammer and Singer.

    Parameters
    ----------
    margin : float, default=1.0
        m > 0.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    2.2.3. K. Crammer, Y. Singer, On the algorithmic implementation of multiclass kernel-based vector
    machines, JMLR 2, 2001.

    Examples
    --------
    >>> from thalweg.losses import HingeLoss
    >>> HingeLoss(1.0).value_and_gradient([[0.0, 0.25], [0.0, 2.0]], [0, 0])
    (array([0.75, 0.  ]), array([[ 1., -1.],
           [ 0.,  0.]]))
    """

    guarantee = "positive"

    def __init__(self, margin: float = 1.0) -> None:
        self.margin = real_number(margin, "margin", above=0.0)

    def of_difference(self, e: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Q and its derivative at e."""
        missing = e + e.dtype.type(self.margin)
        return np.maximum(missing, 0), (missing > 0).astype(e.dtype)

    def smoothed(self, beta: float) -> AnswerLoss:
        """1/beta log(1 + sum over wrong y of exp beta (m + E(right) - E(y))), which has no kinks.

        It lies above the hinge loss, by at most log(n_answers) / beta.
        """
        return _SmoothHinge(self.margin, beta)


class _SmoothHinge(DistributionLoss):
    """The log-likelihood loss where the right answer has to pay the margin."""

    def __init__(self, margin: float, beta: float) -> None:
        super().__init__(beta)
        self.margin = margin

    def value_and_gradient(self, energies: Any, right: Any) -> tuple[FloatArray, FloatArray]:
        table, column = rows_of_energies(energies, right)
        table = table.copy()
        table[np.arange(len(table)), column] += table.dtype.type(self.margin)
        return NegativeLogLikelihoodLoss(self.beta).value_and_gradient(table, column)
