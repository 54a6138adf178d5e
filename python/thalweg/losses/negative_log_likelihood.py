"""The negative log-likelihood of the right answer under the Gibbs distribution."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from .._check import FloatArray
from ._distribution import DistributionLoss, log_odds_of_error


class NegativeLogLikelihoodLoss(DistributionLoss):
    r"""L = E(right) - F_beta = E(right) + 1/beta log sum_y exp(-beta E(y)): a positive margin.

    It is -1/beta log P_beta(right), and lies between the perceptron loss and that plus log(n_answers) / beta.

    Parameters
    ----------
    beta : float, default=1.0
        Inverse temperature, > 0.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    2.2.6.

    Examples
    --------
    >>> from thalweg.losses import NegativeLogLikelihoodLoss
    >>> losses, gradient = NegativeLogLikelihoodLoss().value_and_gradient([[1.0, 1.0]], [0])
    >>> losses.round(6), gradient
    (array([0.693147]), array([[ 0.5, -0.5]]))
    """

    def value_and_gradient(self, energies: Any, right: Any) -> tuple[FloatArray, FloatArray]:
        """Losses of rows of energies, and their gradients; see `PairLoss`."""
        odds, shares, column = log_odds_of_error(energies, right, self.beta)
        wrong = ops.sigmoid(odds)
        gradient = -wrong[:, None] * shares
        gradient[np.arange(len(column)), column] = wrong
        return ops.softplus(odds) / odds.dtype.type(self.beta), gradient
