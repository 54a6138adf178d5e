"""Losses that see two energies: the right answer's, and the most offending incorrect answer's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._base import Guarantee
from .._check import FloatArray, real_operand

Pair = tuple[FloatArray, FloatArray, FloatArray]


class PairLoss(ABC):
    """A loss of E(right) and of E(offending), the least energy among the incorrect answers."""

    needs = "pair"
    guarantee: Guarantee

    @abstractmethod
    def of_pair(self, right: FloatArray, offending: FloatArray) -> Pair:
        """Losses, and their derivatives in both energies; arrays of one shape and dtype.

        Parameters
        ----------
        right : ndarray of shape (n,), float32 or float64
            Finite.
        offending : ndarray of shape (n,)
            +inf where there is no other answer that is allowed.

        Returns
        -------
        loss, d_right, d_offending : ndarray of shape (n,)
        """

    def value_and_gradient(self, energies: Any, right: Any) -> tuple[FloatArray, FloatArray]:
        """Losses of rows of energies, and their gradients.

        Parameters
        ----------
        energies : array_like of shape (n, n_answers)
            +inf forbids an answer, which must not be the right one.
        right : array_like of shape (n,), int
            The right answer's column.

        Returns
        -------
        losses : ndarray of shape (n,)
        gradient : ndarray of shape (n, n_answers)
            Where several incorrect answers are equally offending, that of the first one.
        """
        table, column = rows_of_energies(energies, right)
        rows = np.arange(len(table))
        others = table.copy()
        others[rows, column] = np.inf
        worst = others.argmin(axis=1)
        losses, up, down = self.of_pair(table[rows, column], others[rows, worst])
        gradient = np.zeros_like(table)
        gradient[rows, worst] = np.where(np.isinf(others[rows, worst]), 0, down)
        gradient[rows, column] = up
        return losses, gradient


class MarginPairLoss(PairLoss):
    """Q(e) of the difference e = E(right) - E(offending)."""

    def of_pair(self, right: FloatArray, offending: FloatArray) -> Pair:
        """Losses, and their derivatives in both energies; see `PairLoss`."""
        value, slope = self.of_difference(right - offending)
        return value, slope, 0 - slope

    @abstractmethod
    def of_difference(self, e: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Q and its derivative at e, which is -inf where there is no other answer."""


def rows_of_energies(energies: Any, right: Any) -> tuple[FloatArray, NDArray[np.int64]]:
    """The energies in float32 or float64, and the right columns; ValueError unless they fit each other."""
    table = real_operand(energies, "energies")
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"energies: expected shape (n, n_answers), got {table.shape}")
    column = np.asarray(right)
    if column.shape != table.shape[:1]:
        raise ValueError(f"right: expected shape {table.shape[:1]}, a column a row, got {column.shape}")
    if column.dtype.kind not in "iu":
        raise TypeError(f"right: expected integers, got {column.dtype}")
    if column.size and not 0 <= column.min() <= column.max() < table.shape[1]:
        raise ValueError(
            f"right: expected columns in [0, {table.shape[1]}), got {column.min()} to {column.max()}"
        )
    if np.isnan(table).any() or np.isneginf(table).any():
        raise ValueError("energies: NaN or -inf, where a number or +inf was expected")
    column = column.astype(np.int64, copy=False)
    forbidden = np.isposinf(table[np.arange(len(table)), column])
    if forbidden.any():
        raise ValueError(
            f"energies: the right answer of row {int(forbidden.argmax())} is forbidden: its energy is +inf"
        )
    return table, column


def above_minus_infinity(e: FloatArray) -> FloatArray:
    """-inf, where there is no other answer, becomes the least number of the dtype."""
    least: FloatArray = np.maximum(e, np.finfo(e.dtype).min)
    return least
