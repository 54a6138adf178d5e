"""The log loss: a hinge loss that is smooth and has no end."""

from __future__ import annotations

from .. import ops
from .._check import FloatArray
from ._pairs import MarginPairLoss, above_minus_infinity


class LogLoss(MarginPairLoss):
    r"""L = log(1 + exp e), with e = E(right) - E(offending): a positive margin.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    2.2.3.

    Examples
    --------
    >>> from thalweg.losses import LogLoss
    >>> losses, gradient = LogLoss().value_and_gradient([[1.0, 1.0]], [0])
    >>> losses.round(6), gradient
    (array([0.693147]), array([[ 0.5, -0.5]]))
    """

    guarantee = "positive"

    def of_difference(self, e: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Q and its derivative at e."""
        e = above_minus_infinity(e)
        return ops.softplus(e), ops.sigmoid(e)
