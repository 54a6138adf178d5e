"""The square-exponential loss: the right energy to zero, the offending one pushed up without end."""

from __future__ import annotations

import numpy as np

from .._check import FloatArray, real_number
from ._pairs import Pair, PairLoss


class SquareExponentialLoss(PairLoss):
    r"""L = E(right)^2 + gamma exp(-E(offending)): a positive margin for energies that are not negative.

    Parameters
    ----------
    gamma : float, default=1.0
        Weight of the push, > 0.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    2.2.5. S. Chopra, R. Hadsell, Y. LeCun, Learning a similarity metric discriminatively, CVPR 2005.

    Examples
    --------
    >>> from thalweg.losses import SquareExponentialLoss
    >>> SquareExponentialLoss(3.0).value_and_gradient([[2.0, 0.0]], [0])
    (array([7.]), array([[ 4., -3.]]))
    """

    guarantee = "positive"

    def __init__(self, gamma: float = 1.0) -> None:
        self.gamma = real_number(gamma, "gamma", above=0.0)

    def of_pair(self, right: FloatArray, offending: FloatArray) -> Pair:
        """Losses, and their derivatives in both energies; see `PairLoss`."""
        with np.errstate(over="ignore"):  # an energy far below zero: the learner refuses the infinite loss
            push = right.dtype.type(self.gamma) * np.exp(-offending)
        return right * right + push, 2 * right, -push
