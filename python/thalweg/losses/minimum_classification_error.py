"""The minimum classification error loss: a smooth count of mistakes."""

from __future__ import annotations

from .. import ops
from .._check import FloatArray
from ._pairs import MarginPairLoss, above_minus_infinity


class MinimumClassificationErrorLoss(MarginPairLoss):
    r"""L = 1 / (1 + exp(-e)), with e = E(right) - E(offending): a positive margin.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    2.2.4. B.-H. Juang, W. Chou, C.-H. Lee, Minimum classification error rate methods for speech recognition,
    IEEE Trans. Speech Audio Process. 5, 1997.

    Examples
    --------
    >>> from thalweg.losses import MinimumClassificationErrorLoss
    >>> MinimumClassificationErrorLoss().value_and_gradient([[1.0, 1.0]], [0])
    (array([0.5]), array([[ 0.25, -0.25]]))
    """

    guarantee = "positive"

    def of_difference(self, e: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Q and its derivative at e."""
        e = above_minus_infinity(e)
        return ops.sigmoid(e), ops.d_sigmoid(e)
