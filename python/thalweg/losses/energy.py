"""The energy loss: pulls the right answer's energy down, and pushes nothing up."""

from __future__ import annotations

import numpy as np

from .._check import FloatArray
from ._pairs import Pair, PairLoss


class EnergyLoss(PairLoss):
    r"""L = E(right).

    It works where pulling one energy down raises the others: for D(y, G(x)), whose minimum over y is 0
    whatever the parameters are. On a matcher all energies go to zero together, and an energy linear in its
    parameters has no lower bound.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    2.2.1.

    Examples
    --------
    >>> from thalweg.losses import EnergyLoss
    >>> losses, gradient = EnergyLoss().value_and_gradient([[3.0, 1.0]], [0])
    >>> losses, gradient
    (array([3.]), array([[1., 0.]]))
    """

    guarantee = "none"

    def of_pair(self, right: FloatArray, offending: FloatArray) -> Pair:
        """Losses, and their derivatives in both energies; see `PairLoss`."""
        return right.copy(), np.ones_like(right), np.zeros_like(right)
