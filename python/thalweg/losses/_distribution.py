"""Losses that see the Gibbs distribution over all answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._base import Guarantee
from .._check import FloatArray, real_number
from ._pairs import above_minus_infinity, rows_of_energies


class DistributionLoss:
    """A loss of P_beta(y) = exp(-beta E(y)) / sum_y exp(-beta E(y))."""

    needs = "all"
    guarantee: Guarantee = "positive"

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = real_number(beta, "beta", above=0.0)


def log_odds_of_error(
    energies: Any, right: Any, beta: float
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """log P(wrong) / P(right) of every row, each answer's share in P(wrong), and the right columns.

    Differences to the right answer's energy are taken first: nothing cancels where P(right) is nearly 1.
    """
    table, column = rows_of_energies(energies, right)
    rows = np.arange(len(table))
    exponent = (table[rows, column][:, None] - table) * table.dtype.type(beta)
    exponent[rows, column] = -np.inf
    peak = above_minus_infinity(exponent.max(axis=1))
    shares = np.exp(exponent - peak[:, None])
    total = shares.sum(axis=1)
    shares /= np.where(total > 0, total, 1)[:, None]
    odds = peak + np.log(np.where(total > 0, total, 1))
    return odds, shares, column
