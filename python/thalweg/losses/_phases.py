"""Rows of a batch and rows of a model's samples as the two phases of a likelihood's gradient."""

from __future__ import annotations

import numpy as np

from .._base import Bits, Phase
from .._check import FloatArray


def data_and_model(
    X: FloatArray, X_hidden: FloatArray, visible: FloatArray | Bits, hidden: FloatArray
) -> list[Phase]:
    """The mean over the data minus the mean over the model's samples."""
    return [
        Phase(X, X_hidden, np.full(len(X), 1 / len(X), X.dtype)),
        Phase(visible, hidden, np.full(len(hidden), -1 / len(hidden), X.dtype)),
    ]
