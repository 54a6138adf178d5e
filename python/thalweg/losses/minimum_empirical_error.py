"""The minimum empirical error loss: the probability that the Gibbs distribution gives to mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from .._check import FloatArray
from ._distribution import DistributionLoss, log_odds_of_error


class MinimumEmpiricalErrorLoss(DistributionLoss):
    r"""L = 1 - P_beta(right) = 1 - exp(-beta E(right)) / sum_y exp(-beta E(y)): a positive margin.

    A sample that is far from right hardly matters, unlike in the log-likelihood.

    Parameters
    ----------
    beta : float, default=1.0
        Inverse temperature, > 0.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    2.2.7.

    Examples
    --------
    >>> from thalweg.losses import MinimumEmpiricalErrorLoss
    >>> MinimumEmpiricalErrorLoss().value_and_gradient([[1.0, 1.0]], [0])
    (array([0.5]), array([[ 0.25, -0.25]]))
    """

    def value_and_gradient(self, energies: Any, right: Any) -> tuple[FloatArray, FloatArray]:
        """Losses of rows of energies, and their gradients; see `PairLoss`."""
        odds, shares, column = log_odds_of_error(energies, right, self.beta)
        slope = odds.dtype.type(self.beta) * ops.d_sigmoid(odds)
        gradient = -slope[:, None] * shares
        gradient[np.arange(len(column)), column] = slope
        return ops.sigmoid(odds), gradient
