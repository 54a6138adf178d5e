"""The LVQ2 loss: the perceptron's, bounded, so that hopeless samples do not pull."""

from __future__ import annotations

import numpy as np

from .._check import FloatArray, real_number
from ._pairs import MarginPairLoss


class LVQ2Loss(MarginPairLoss):
    r"""L = min(M, max(0, e)), with e = E(right) - E(offending).

    Zero margin, as of the perceptron loss: a flat energy is a global minimum.

    Parameters
    ----------
    ceiling : float, default=1.0
        M > 0: a sample with e >= M no longer matters.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    2.2.4. T. Kohonen, Improved versions of learning vector quantization, IJCNN 1990.

    Examples
    --------
    >>> from thalweg.losses import LVQ2Loss
    >>> LVQ2Loss(1.0).value_and_gradient([[0.5, 0.0], [3.0, 0.0]], [0, 0])[0]
    array([0.5, 1. ])
    """

    guarantee = "zero"

    def __init__(self, ceiling: float = 1.0) -> None:
        self.ceiling = real_number(ceiling, "ceiling", above=0.0)

    def of_difference(self, e: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Q and its derivative at e."""
        return np.clip(e, 0, self.ceiling), ((e > 0) & (e < self.ceiling)).astype(e.dtype)
