"""Losses of the energies of answers, row by row and as they are written: float64 NumPy."""

from __future__ import annotations

import numpy as np


def offending(energies: np.ndarray, right: int) -> float:
    """The least energy among the incorrect answers."""
    return float(np.delete(energies, right).min())


def free_energy(energies: np.ndarray, beta: float) -> float:
    return float(-np.logaddexp.reduce(-beta * energies) / beta)


def energy(e: np.ndarray, right: int) -> float:
    return float(e[right])


def perceptron(e: np.ndarray, right: int) -> float:
    return float(e[right] - e.min())


def hinge(e: np.ndarray, right: int, margin: float) -> float:
    return max(0.0, margin + e[right] - offending(e, right))


def log(e: np.ndarray, right: int) -> float:
    return float(np.logaddexp(0, e[right] - offending(e, right)))


def lvq2(e: np.ndarray, right: int, ceiling: float) -> float:
    return min(ceiling, max(0.0, e[right] - offending(e, right)))


def mce(e: np.ndarray, right: int) -> float:
    return float(1 / (1 + np.exp(-(e[right] - offending(e, right)))))


def square_square(e: np.ndarray, right: int, margin: float) -> float:
    return float(e[right] ** 2 + max(0.0, margin - offending(e, right)) ** 2)


def square_exponential(e: np.ndarray, right: int, gamma: float) -> float:
    return float(e[right] ** 2 + gamma * np.exp(-offending(e, right)))


def nll(e: np.ndarray, right: int, beta: float) -> float:
    return float(e[right] - free_energy(e, beta))


def mee(e: np.ndarray, right: int, beta: float) -> float:
    return float(1 - np.exp(-beta * (e[right] - free_energy(e, beta))))
