"""A margin loss of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._base import Guarantee
from .._check import FloatArray, one_of
from ._pairs import MarginPairLoss, above_minus_infinity


class MarginLoss(MarginPairLoss):
    r"""L = Q_m(e), with e = E(right) - E(offending) and any Q_m that increases for e > -m.

    Parameters
    ----------
    function : callable
        Q_m: takes e, shape (n,), and returns its values and its derivatives, both of that shape. Where there
        is no other answer e is the least number of the dtype.
    guarantee : {"positive", "zero"}, default="positive"
        Whether Q_m still falls at e = 0, so that the right answer is pushed below the others by a margin;
        with "zero" it is treated as the perceptron loss is.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    2.2.3.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.losses import MarginLoss
    >>> squared_hinge = MarginLoss(lambda e: (np.maximum(0, 1 + e) ** 2, 2 * np.maximum(0, 1 + e)))
    >>> squared_hinge.value_and_gradient([[1.0, 1.5]], [0])
    (array([0.25]), array([[ 1., -1.]]))
    """

    def __init__(
        self, function: Callable[[FloatArray], tuple[Any, Any]], guarantee: Guarantee = "positive"
    ) -> None:
        if not callable(function):
            raise TypeError(f"function: expected a callable, got {function!r}")
        self.function = function
        self.guarantee = one_of(guarantee, "guarantee", ("positive", "zero"))

    def of_difference(self, e: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Q and its derivative at e."""
        value, slope = (np.asarray(given, e.dtype) for given in self.function(above_minus_infinity(e)))
        for name, array in (("values", value), ("derivatives", slope)):
            if array.shape != e.shape:
                raise ValueError(f"function: expected {name} of shape {e.shape}, got {array.shape}")
        return value, slope
