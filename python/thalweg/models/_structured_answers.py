"""Labellings of chains and grids as answers to a loss, though there are too many to list."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._base import AnswerLoss
from ..losses import NegativeLogLikelihoodLoss

# Derivatives in the energies of single labels, and in those of pairs of labels.
Gradients = tuple[NDArray[Any], NDArray[Any]]


class StructuredAnswers(ABC):
    """The labellings of a batch of samples, of which one each is right."""

    @abstractmethod
    def energy(self) -> NDArray[np.float64]:
        """That of the right labelling of every sample."""

    @abstractmethod
    def offending(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The labelling of least energy but the right one of every sample, and its energy."""

    @abstractmethod
    def free_energy(self, beta: float) -> NDArray[np.float64]:
        """-1/beta log of the sum over all labellings of exp(-beta E), of every sample."""

    @abstractmethod
    def expected(self, beta: float, weight: NDArray[np.float64]) -> Gradients:
        """The derivatives of the weighted sum of the free energies."""

    @abstractmethod
    def counted(self, states: NDArray[np.int64] | None, weight: NDArray[np.float64]) -> Gradients:
        """The derivatives of the weighted sum of the energies of labellings; None for the right ones."""

    def loss_and_gradient(self, loss: AnswerLoss) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Losses of the samples, and the derivatives of their sum."""
        energy = self.energy()
        if loss.needs == "all":
            return self._of_all(loss, energy)
        states, worst = self.offending()
        values, gradient = loss.value_and_gradient(np.stack([energy, worst], axis=1), _first(energy))
        of_labels, of_pairs = self.counted(None, gradient[:, 0])
        pushed, pushed_pairs = self.counted(states, np.where(np.isinf(worst), 0.0, gradient[:, 1]))
        return values, of_labels + pushed, of_pairs + pushed_pairs

    def _of_all(
        self, loss: Any, energy: NDArray[np.float64]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """For losses of P(right) alone: as of two answers, the right one and all others together.

        exp(-beta F) = exp(-beta E(right)) + exp(-beta F_others), and so dF = P dE(right) + (1 - P) dF_others.
        """
        free = self.free_energy(loss.beta)
        if isinstance(loss, NegativeLogLikelihoodLoss):  # E - F, also where an approximate F lies above E
            of_labels, of_pairs = self.counted(None, np.ones(len(energy)))
            expected, expected_pairs = self.expected(loss.beta, np.full(len(energy), -1.0))
            return energy - free, of_labels + expected, of_pairs + expected_pairs
        surprise = np.maximum(loss.beta * (energy - free), 0)  # -log P(right)
        wrong = -np.expm1(-surprise)
        with np.errstate(divide="ignore"):
            others = free - np.log(wrong) / loss.beta
        table = np.stack([energy, others], axis=1)
        values, gradient = loss.value_and_gradient(table, _first(energy))
        of_free = np.divide(gradient[:, 1], wrong, out=np.zeros_like(wrong), where=wrong > 0)
        of_labels, of_pairs = self.counted(None, gradient[:, 0] - of_free * (1 - wrong))
        expected, expected_pairs = self.expected(loss.beta, of_free)
        return values, of_labels + expected, of_pairs + expected_pairs


def _first(energy: NDArray[Any]) -> NDArray[np.int64]:
    """The right answer's column, the first one, of every sample."""
    return np.zeros(len(energy), np.int64)
