"""The square-square loss: the right energy to zero, the offending one above a margin."""

from __future__ import annotations

import numpy as np

from .._check import FloatArray, real_number
from ._pairs import Pair, PairLoss


class SquareSquareLoss(PairLoss):
    r"""L = E(right)^2 + max(0, m - E(offending))^2: a margin of m for energies that are not negative.

    The two terms are added; where a minus is printed between them, the loss has no lower bound.

    Parameters
    ----------
    margin : float, default=1.0
        m > 0.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    2.2.5. R. Hadsell, S. Chopra, Y. LeCun, Dimensionality reduction by learning an invariant mapping, CVPR
    2006.

    Examples
    --------
    >>> from thalweg.losses import SquareSquareLoss
    >>> SquareSquareLoss(1.0).value_and_gradient([[2.0, 0.5]], [0])
    (array([4.25]), array([[ 4., -1.]]))
    """

    guarantee = "positive"

    def __init__(self, margin: float = 1.0) -> None:
        self.margin = real_number(margin, "margin", above=0.0)

    def of_pair(self, right: FloatArray, offending: FloatArray) -> Pair:
        """Losses, and their derivatives in both energies; see `PairLoss`."""
        missing = np.maximum(right.dtype.type(self.margin) - offending, 0)
        return right * right + missing * missing, 2 * right, -2 * missing
