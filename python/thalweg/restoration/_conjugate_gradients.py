"""Linear equations with a symmetric positive semi-definite operator, solved to a few digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float32 or float64


def conjugate_gradients(
    operator: Callable[[Array], Array], wanted: Array, max_iter: int, *, reduction: float = 0.0
) -> Array:
    """x with operator(x) = wanted, nearly, from zero on; in the dtype of `wanted`.

    Ends after `max_iter` iterations, or where the residual's norm is at most `reduction` times the first.
    """
    number = wanted.dtype.type
    x = np.zeros_like(wanted)
    residual = direction = wanted
    squared = first = _product(residual, residual)
    for _ in range(max_iter):
        if squared <= reduction**2 * first:
            break
        image = operator(direction)
        curvature = _product(direction, image)
        if curvature <= 0:  # by rounding, in the operator's null space
            break
        length = number(squared / curvature)
        x = x + length * direction
        residual = residual - length * image
        before, squared = squared, _product(residual, residual)
        direction = residual + number(squared / before) * direction
    return x


def _product(a: Array, b: Array) -> float:
    # Not by BLAS, whose sums depend on its threads.
    return float(np.sum(np.multiply(a, b, dtype=np.float64)))
